"""What docs/analysis.md says of tables, commands and Python is so."""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import analysis_cases as cases
import pytest

from icpo.analysis.cli import add_parser
from icpo.analysis.curves import CURVES
from icpo.cli import main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "analysis.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def analyses() -> dict[str, argparse.ArgumentParser]:
    commands = argparse.ArgumentParser().add_subparsers()
    add_parser(commands)
    (kinds,) = (
        action
        for action in commands.choices["analyze"]._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return kinds.choices


def test_every_analysis_and_option_is_there(page):
    for name, parser in analyses().items():
        assert f"| [`{name}`](#{name}) |" in page
        for action in parser._actions:
            option = action.option_strings[0] if action.option_strings else None
            unsaid = {"-h", "--out", "--device", None}
            assert option in unsaid or f"`{option}" in page or f" {option}" in page, option
    for name in CURVES:
        assert f"`{name}`" in page


def columns(page: str, table: str) -> list[str]:
    """Those that the page lists, without what stands in parentheses."""
    listed = re.search(rf"^`{table}\.csv`: (.*?)\.(?: |\n)", page, re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", listed))


def test_tables_have_the_columns_that_it_lists(page, tmp_path):
    metrics = {"step": 1, "on/reward": 0.5, "prompts": 2, "prompts/non_pass": 1}
    metrics |= {"prompts/some_pass": 1, "prompts/all_pass": 0}
    shown = {"expert": True, "prompt": "<bos> w8 w5", "demos": ["d"], "accepted": True}
    rows = [cases.sample(1, "w5", text) for text in ("w1", "w2 w3")]
    rows.append(cases.sample(1, "w5", "w4", **shown))
    cases.write_lines(tmp_path / "run" / "samples.jsonl", rows)
    cases.write_lines(tmp_path / "run" / "metrics.jsonl", [metrics])
    model = str(cases.model_folder(tmp_path / "model"))
    for name, more in {
        "curves": [],
        "non-pass": [],
        "lengths": [],
        "diversity": ["--tokenizer", "words"],
        "flips": ["--tokenizer", "words"],
        "rank-shift": ["--base", model],
        "perplexity": ["--models", f"a={model}", f"b={model}"],
    }.items():
        words = ["analyze", name, str(tmp_path / "run"), *more, "--no-figures", "-o", str(tmp_path)]
        assert main(words) == 0
        table = name.replace("-", "_")
        with (tmp_path / f"{table}.csv").open() as file:
            assert next(csv.reader(file)) == columns(page, table), table


def test_its_python_runs(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    cases.write_lines(tmp_path / "runs" / "icpo-0" / "samples.jsonl", [cases.sample(1, "a", "b")])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, {})
    assert "samples.jsonl:1 False 0.0 b" in capsys.readouterr().out
    assert (tmp_path / "accuracy.svg").exists()
