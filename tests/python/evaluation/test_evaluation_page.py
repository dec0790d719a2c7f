"""docs/evaluation.md: its tables are complete, its code runs, its commands are ones."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from icpo import cli
from icpo.demos import Template
from icpo.evaluation.benchmarks import BENCHMARKS, benchmark
from icpo.evaluation.journal import _KEY
from icpo.evaluation.run import JOURNAL, RESULTS, SETTINGS, TABLE

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()


def rows(head: str) -> list[list[str]]:
    lines = PAGE.split(head)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_benchmarks_are_those_of_the_registry():
    expected = [
        [f"`{b.name}`", b.title, str(b.source), str(b.samples), "shuffled" if b.choice else ""]
        for b in BENCHMARKS.values()
    ]
    assert rows("| name | in tables | on the hub | samples | options |") == expected


def test_files_are_those_that_are_written():
    listed = [re.findall(r"`([^`]+)`", row[0])[0] for row in rows("| in the folder | |")]
    assert listed == [SETTINGS, "versions.json", JOURNAL, RESULTS, TABLE]
    (journal,) = [row[1] for row in rows("| in the folder | |") if JOURNAL in row[0]]
    assert all(name in journal for name in _KEY)


def test_code_prints_what_it_says():
    code, printed = re.findall(r"```python\n(.*?)```\n```\n(.*?)```", PAGE, flags=re.S)[0]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/evaluation.md", "exec"), {})
    assert out.getvalue() == printed


def commands() -> list[str]:
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.S)
        for line in block.splitlines()
    ]


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted(line):
    name, *words = shlex.split(line)
    options = cli._parser().parse_args(words)
    assert name == "icpo" and options.command in ("eval", "compare")
    if options.command == "eval":
        assert all(benchmark(text) for text in options.benchmarks)
        if isinstance(options.template, dict):
            assert Template.from_mapping(options.template).demo.endswith("<eos>")


def test_options_that_it_names_exist():
    parser = cli._parser()
    known = io.StringIO()
    for command in ("eval", "compare"):
        with contextlib.redirect_stdout(known), pytest.raises(SystemExit):
            parser.parse_args([command, "--help"])
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named and all(re.search(rf"{name}\b", known.getvalue()) for name in named), named


def test_sources_in_the_text_are_read():
    for text in re.findall(r"`((?:math500|gsm8k|mine)=[^`]+)`", PAGE):
        assert benchmark(text).source.path in text
