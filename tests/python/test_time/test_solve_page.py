"""docs/solve.md: its tables are complete, its code runs, its commands are ones."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shlex
from pathlib import Path

import pytest
from solve_cases import drive, task

from icpo import cli
from icpo.test_time import run
from icpo.test_time.cli import FIGURE, _given
from icpo.test_time.config import SearchConfig
from icpo.test_time.methods import METHODS, choose
from icpo.test_time.settings import SolveSettings

PAGE = (Path(__file__).parents[3] / "docs" / "solve.md").read_text()


def rows(head: str) -> list[list[str]]:
    lines = PAGE.split(head)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_methods_are_those_of_the_table():
    found = rows("| method | what it is | settings |")
    assert [row[0] for row in found] == [f"`{name}`" for name in METHODS]
    for name, known in METHODS.items():
        (row,) = (row for row in found if row[0] == f"`{name}`")
        told = ", ".join(f"`{key}={value}`" for key, value in known.settings.items())
        assert row[2] == told


def test_settings_are_all_of_a_search_with_their_defaults():
    found = rows("| setting | option | default | |")
    fields = dataclasses.fields(SearchConfig)
    assert [row[0] for row in found] == [f"`{field.name}`" for field in fields]
    written = SearchConfig().to_dict()
    for field, row in zip(fields, found, strict=True):
        value = written[field.name]
        told = "none" if value == [] else str(value)
        assert row[2] == (told.lower() if isinstance(value, bool) else told), field.name


def test_files_are_those_that_are_written():
    named = [
        name for row in rows("| in the folder | |") for name in re.findall(r"`([^`]+)`", row[0])
    ]
    assert named == [
        run.SETTINGS,
        "versions.json",
        run.JOURNAL,
        run.RESULTS,
        run.TABLE,
        run.TRACE,
        run.TIMINGS,
        f"{FIGURE}.png",
        f"{FIGURE}.svg",
    ]


def test_code_prints_what_it_says():
    code, printed = re.findall(r"```python\n(.*?)```\n```\n(.*?)```", PAGE, flags=re.S)[0]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/solve.md", "exec"), {})
    assert out.getvalue() == printed


def test_calls_are_as_many_as_it_says():
    told = re.search(r"up to ([\d,]+) calls a question, ([\d,]+) of them to measure", PAGE)
    config = SearchConfig()
    search = choose("me_icpo", config).search(task(), config, lambda *_: True)
    solution, waves = drive(search, lambda call: r"\boxed{1}")
    probes = sum("/probe" in call.key for wave in waves for call in wave)
    assert [f"{solution.spent.calls:,}", f"{probes:,}"] == [*told.groups()]


def commands() -> list[str]:
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.S)
        for line in block.splitlines()
        if line.startswith("icpo solve")
    ]


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted(line):
    options = cli._parser().parse_args(shlex.split(line)[1:])
    assert options.command == "solve"
    if not (options.resume or options.replay):
        asked = {"benchmarks": options.benchmarks, "questions": options.questions or []}
        settings = SolveSettings.build({**_given(options), **asked, "out": options.out})
        assert settings.chosen


def test_methods_in_the_text_are_accepted():
    (line,) = re.findall(r"`--methods ([^`]+)`", PAGE)
    names = line.split()
    assert [choose(name, SearchConfig()).name for name in names] == names


def test_options_that_it_names_exist():
    known = io.StringIO()
    with contextlib.redirect_stdout(known), pytest.raises(SystemExit):
        cli._parser().parse_args(["solve", "--help"])
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert all(re.search(rf"{name}\b", known.getvalue()) for name in named), named
    assert len(named) > 20
