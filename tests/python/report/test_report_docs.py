"""docs/report.md tells everything that there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import report_cases as cases

from icpo.report import checks
from icpo.report.page import report
from icpo.report.panels import PART, WINDOW, window
from icpo.report.samples import PROBLEMS, SOURCES

PAGE = Path(__file__).parents[3] / "docs" / "report.md"


@pytest.fixture(scope="module")
def text():
    return PAGE.read_text(encoding="utf-8")


def rows(text, head):
    """The table under a head, as cells."""
    after = text.partition(head)[2]
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_checks(text):
    told = {name: bound for name, bound in rows(text, "| what | marked |")[1:]}
    assert told == {check.name: check.bound for check in checks.CHECKS}
    assert f"fewer than {checks.SEEDS} runs" in text


def test_operations(text, tmp_path):
    told = {
        name.strip("`") for row in rows(text, "| operation | of |") for name in row[0].split(", ")
    }
    folders = [
        *(cases.trainer_run(tmp_path / f"r{seed}", seed=seed) for seed in range(2)),
        cases.eval_run(tmp_path / "eval"),
    ]
    used = set()

    def look(trace):
        used.add(trace[0])
        for part in trace[1:]:
            if isinstance(part, list):
                look(part)

    for one in cases.read_page(report(folders)).all("data"):
        look(json.loads(one.attributes["data-from"]))
    assert used == told


def test_parts(text, tmp_path):
    folders = cases.trainer_run(tmp_path / "run"), cases.eval_run(tmp_path / "eval")
    heads = [one.text for one in cases.read_page(report(folders)).all("h2")]
    assert [row[0] for row in rows(text, "| part | what |")] == heads


def test_figures_in_words(text):
    assert f"over {WINDOW} values, or a {PART}th" in text
    assert window(12) == window(239) == WINDOW and window(2000) == 51 and window(403) == 11
    assert "four at most" in text and PROBLEMS == 4
    assert all(source in text for source in SOURCES)
