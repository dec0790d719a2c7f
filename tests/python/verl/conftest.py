"""Runs of verl that several modules look at: each is made once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_laptop import REPEATABLE, Laptop


@pytest.fixture(scope="session")
def verl_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for runs of verl; skips where there can be none."""
    for module in ("verl", "ray", "transfer_queue"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if not sys.platform.startswith("linux"):
        pytest.skip("runs are ended by Linux's process table")
    return tmp_path_factory.mktemp("verl")


@pytest.fixture(scope="session")
def uninterrupted(verl_runs: Path) -> Iterator[Laptop]:
    """Three steps with ICPO, a checkpoint after each, validation after the last."""
    out = verl_runs / "uninterrupted"
    with Laptop(out, *REPEATABLE, ICPO_SPY=str(out / "spy")) as run:
        run.succeed()
        yield run
