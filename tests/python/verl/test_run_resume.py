"""A run that is killed and resumed continues as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from run_laptop import REPEATABLE, Laptop, read_metrics, without_uids

pytestmark = pytest.mark.verl


@pytest.fixture(scope="module")
def resumed(verl_runs: Path) -> Iterator[Laptop]:
    """The same run, killed after its first checkpoint, and started again."""
    out = verl_runs / "resumed"
    with Laptop(out, *REPEATABLE, ICPO_SPY=str(out / "spy")) as run:
        run.wait_for(lambda: run.checkpointed(1))
        run.kill()
    assert not run.checkpointed(3)
    with Laptop(
        out,
        *REPEATABLE,
        "trainer.resume_mode=auto",
        ICPO_SPY=str(out / "spy"),
        VERL_FILE_LOGGER_PATH=str(out / "resumed.jsonl"),
    ) as run:
        run.succeed()
        yield run


def test_metrics_are_those_of_the_uninterrupted_run(uninterrupted: Laptop, resumed: Laptop) -> None:
    found = read_metrics(resumed.out / "resumed.jsonl")
    expected = uninterrupted.metrics()
    assert 1 not in found and 3 in found
    for step, metrics in found.items():
        assert metrics == expected[step]


def test_rollouts_are_those_of_the_uninterrupted_run(
    uninterrupted: Laptop, resumed: Laptop
) -> None:
    for step in read_metrics(resumed.out / "resumed.jsonl"):
        assert without_uids(resumed.dump(step)) == without_uids(uninterrupted.dump(step))
