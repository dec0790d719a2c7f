"""Curves are what the metrics files say, and say where."""

from __future__ import annotations

import json
import math

import analysis_cases as cases
import numpy as np
import pytest

from icpo import DataError
from icpo.analysis import curves
from icpo.analysis.sources import open_named


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one thing, one of which lacks a step, and a run of verl."""
    for seed in (0, 1):
        folder = tmp_path / f"icpo-{seed}"
        rows = [
            {"step": step, "on/reward": step / 4 + seed, "eval/avg@4": None if step % 2 else 0.5}
            for step in range(4 - seed)
        ]
        cases.write_lines(folder / "metrics.jsonl", rows)
        cases.write_lines(folder / "samples.jsonl", [])
    dump = {"input": "?", "output": "w1", "gts": "1", "step": 1, "score": 1.0}
    cases.write_lines(tmp_path / "verl" / "rollouts" / "1.jsonl", [dump])
    told = {"val-core/a/acc/mean@4": 0.25, "val-core/b/acc/mean@4": 0.75, "critic/score/mean": 0.5}
    cases.write_lines(tmp_path / "verl" / "metrics.jsonl", [{"step": 1, "data": told}])
    return open_named(
        [f"icpo={tmp_path}/icpo-0", f"icpo={tmp_path}/icpo-1", f"verl={tmp_path}/verl"]
    )


def test_every_value_says_where_it_stands(runs):
    found = curves.curves(runs, ["accuracy", "reward", "critic/.*"])
    assert {row["figure"] for row in found} == {"accuracy", "reward", "critic/.*"}
    files = {str(one.run.folder): one.run.metrics_file for one in runs}
    for row in found:
        line = json.loads(files[row["run"]].read_text().splitlines()[row["line"] - 1])
        line = line.get("data", line)
        assert row["value"] == pytest.approx(np.mean([line[key] for key in row["keys"].split()]))
    reward = [
        (row["label"], row["step"], row["value"]) for row in found if row["figure"] == "reward"
    ]
    assert reward == [
        *(("icpo", step, step / 4) for step in range(4)),
        *(("icpo", step, step / 4 + 1) for step in range(3)),
        ("verl", 1, 0.5),
    ]
    # Steps at which a figure is null are left out; data sets of verl count the same.
    accuracy = [(row["label"], row["step"]) for row in found if row["figure"] == "accuracy"]
    assert accuracy == [("icpo", 0), ("icpo", 2), ("icpo", 0), ("icpo", 2), ("verl", 1)]
    assert found[4]["value"] == 0.5


def test_seeds_are_averaged_where_all_have_a_value(runs):
    found = curves.curves(runs, ["reward"])
    seeds = list(curves.series(found, label="icpo").values())
    steps, mean, error = curves.mean_curve(seeds)
    assert steps == [0, 1, 2]
    assert mean == pytest.approx([0.5, 0.75, 1.0])
    # Two values that are 1 apart: standard deviation 1/√2, over √2.
    assert error == pytest.approx([0.5, 0.5, 0.5])
    assert curves.mean_curve(seeds[:1])[2] is None
    (row, other) = curves.summary(found)
    assert (row["seeds"], row["last_step"], row["last"]) == (2, 2, 1.0)
    assert other["standard_error"] is None


def test_running_means_end_with_fewer_values():
    values = {1: 1.0, 2: 4.0, 3: 7.0, 4: 0.0}
    smooth = curves._smooth(values, 3)
    assert list(smooth) == [1, 2, 3, 4]
    assert list(smooth.values()) == pytest.approx([2.5, 4.0, 11 / 3, 3.5])
    assert curves._smooth(values, 1) == values
    assert all(math.isfinite(value) for value in curves._smooth(values, 9).values())


def test_an_unknown_figure_is_named(runs):
    with pytest.raises(DataError, match=r"figure: .* got 'nope'; there are accuracy, .*on/reward"):
        curves.curves(runs, ["nope"])
