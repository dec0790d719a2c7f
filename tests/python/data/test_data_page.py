"""docs/data.md: tables are complete, commands parse, the configuration reads the files."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from icpo.data.cli import add_parser
from icpo.data.duplicates import COMMON, NEAR, WORDS
from icpo.data.passes import COLUMNS
from icpo.data.prepare import Preparation, prepare
from icpo.data.schemas import LOOKED_AT, PARTS, SCHEMAS
from icpo.data.sources import Source
from icpo.data.table import KINDS
from icpo.data.write import Form
from icpo.reward import Checker
from icpo.trainer.config import DataConfig, DemosConfig
from icpo.trainer.data import load_demos, load_problems

yaml = pytest.importorskip("yaml")
pyarrow = pytest.importorskip("pyarrow")

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


def first_cells() -> set[str]:
    """Names in the first column of the page's tables."""
    found: set[str] = set()
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            found.update(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


@pytest.mark.parametrize(
    "names",
    [KINDS, SCHEMAS, COLUMNS, ["report.json", "left_out.jsonl"]],
    ids=["kinds", "schemas", "columns", "files"],
)
def test_tables_are_complete(names):
    assert not set(names) - first_cells()


def test_columns_of_the_files():
    written = first_cells()
    for column in Form("").schema():
        struct = pyarrow.types.is_struct(column.type)
        inner = {f".{each.name}" for each in column.type} if struct else set()
        if column.name in ("data_source", "prompt", "ability"):
            assert column.name in written
        else:
            # The first of a group is written in full.
            assert inner <= written | {name.removeprefix(column.name) for name in written}


def test_numbers():
    for text in (
        f"(`--words`, {WORDS})",
        f"a share of `--near` ({NEAR})",
        f"more than {COMMON} questions",
        f"first {LOOKED_AT} rows",
    ):
        assert re.search(re.escape(text).replace(r"\ ", r"\s+"), PAGE), text
    assert all(f"`{part}`" in PAGE for part in PARTS)


def test_commands():
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]
    ours = [words[1:] for words in commands if words[:2] == ["icpo", "data"]]
    ours += [["data", "prepare", *words] for words in commands if words[0].startswith("--")]
    assert len(ours) == 8
    for words in ours:
        options = parser.parse_args(words)
        for text in getattr(options, "train", []):
            Source.read(text)


def test_the_configuration_reads_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = {"question": "What is 1 + 1?", "answer": "2", "solution": "\\boxed{2}", "subject": "sums"}
    for name, change in (("train", "Say"), ("test", "Tell"), ("demos", "Show")):
        asked = {**row, "question": f"{change}: {row['question']}"}
        Path(f"{name}.jsonl").write_text(json.dumps(asked) + "\n")
    prepare(
        Preparation(
            train=[Source("train.jsonl")],
            validation=[Source("test.jsonl")],
            demos=[Source("demos.jsonl")],
        ),
        Path("runs/data"),
    )
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    tree = yaml.safe_load(block)
    data = DataConfig.build(tree["data"])
    (problem,) = load_problems(data.train, data, Checker(), solutions=True)
    assert (problem.id, problem.answer, problem.subject) == ("train:1", "2", "sums")
    assert problem.solutions == ("\\boxed{2}",)
    assert data.test is not None
    (other,) = load_problems(data.test, data, Checker())
    assert other.question == "Tell: What is 1 + 1?"
    (demo,) = load_demos(DemosConfig.build(tree["demos"]))
    assert (demo.question, demo.solution, demo.subject) == (
        "Show: What is 1 + 1?",
        "\\boxed{2}",
        "sums",
    )
