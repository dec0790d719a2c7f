"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

try:
    import torch

    import cases
except ModuleNotFoundError:
    # The checker's tests need no torch; the others fail on importing it themselves.
    torch = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip, with a reason, where there is no GPU."""
    if torch is not None and torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test draws the same numbers each time; ICPO_TEST_SEED asks for others."""
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cases.SEED)
        yield
