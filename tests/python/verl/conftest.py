"""Runs of verl that several modules look at: each is made once."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from run_laptop import ASSETS_SCRIPT, REPEATABLE, Laptop, NewRun, RepeatedRuns


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> NewRun:
    """Skips where verl can not run."""
    # CI installs it, so there its absence is a failure and not a reason to skip.
    give_up = pytest.fail if os.environ.get("CI") else pytest.skip
    for module in ("verl", "ray", "transfer_queue"):
        if importlib.util.find_spec(module) is None:
            give_up(f"{module} is not installed")
    if not sys.platform.startswith("linux"):
        pytest.skip("runs are ended by Linux's process table")
    folder = tmp_path_factory.mktemp("verl")
    # All runs read the same files; by itself the script makes them for each.
    assets = folder / "assets"
    subprocess.run([sys.executable, str(ASSETS_SCRIPT), str(assets)], check=True)
    (assets / "made").touch()
    return lambda name, *settings, **env: Laptop(folder / name, assets, *settings, **env)


@pytest.fixture(scope="session")
def repeated(new_run: NewRun) -> RepeatedRuns:
    """Two runs at a time: their starts are long, and leave cores idle."""
    runs = RepeatedRuns(
        uninterrupted=new_run("uninterrupted", *REPEATABLE),
        killed=new_run("killed", *REPEATABLE),
        resumed=new_run("killed", *REPEATABLE, "trainer.resume_mode=auto"),
        two_ranks=new_run(
            "two-ranks",
            *REPEATABLE,
            "icpo.target=some_pass",
            "actor_rollout_ref.rollout.agent.num_workers=2",
            "reward.num_workers=2",
            "trainer.total_training_steps=2",
            "trainer.test_freq=-1",
            RANKS="2",
        ),
    )

    def to_the_end(run: Laptop) -> None:
        with run:
            run.succeed()

    def to_the_first_checkpoint(run: Laptop) -> None:
        with run:
            run.wait_for(lambda: run.checkpointed(1))

    with ThreadPoolExecutor() as pool:
        chains = [
            pool.submit(lambda: (to_the_end(runs.uninterrupted), to_the_end(runs.two_ranks))),
            pool.submit(lambda: (to_the_first_checkpoint(runs.killed), to_the_end(runs.resumed))),
        ]
    for chain in chains:
        chain.result()
    return runs


@pytest.fixture(scope="session")
def uninterrupted(repeated: RepeatedRuns) -> Laptop:
    """The first of them."""
    return repeated.uninterrupted
