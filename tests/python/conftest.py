"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import cases


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip, with a reason, where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test draws the same numbers each time; ICPO_TEST_SEED asks for others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cases.SEED)
        yield
