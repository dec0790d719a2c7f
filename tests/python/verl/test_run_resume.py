"""A run that is killed and resumed continues as if nothing had happened."""

from __future__ import annotations

import pytest
from run_laptop import RepeatedRuns, without_uids

pytestmark = pytest.mark.verl


def test_it_was_killed_on_the_way(repeated: RepeatedRuns) -> None:
    steps = repeated.resumed.metrics()
    assert 1 not in steps and 3 in steps
    assert "val-core/toy_sums/reward/mean@1" in steps[3]


def test_metrics_are_those_of_the_uninterrupted_run(repeated: RepeatedRuns) -> None:
    expected = repeated.uninterrupted.metrics()
    for run in (repeated.killed, repeated.resumed):
        for step, metrics in run.metrics().items():
            assert metrics == expected[step]


def test_rollouts_are_those_of_the_uninterrupted_run(repeated: RepeatedRuns) -> None:
    for step in repeated.resumed.metrics():
        expected = repeated.uninterrupted.dump(step)
        assert without_uids(repeated.resumed.dump(step)) == without_uids(expected)
