"""Seeded draws in float64, and sums that do not depend on how many threads there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["generator", "on_sphere", "one_thread"]


def generator(seed: int) -> torch.Generator:
    """Random numbers that only the seed decides."""
    return torch.Generator().manual_seed(seed)


def on_sphere(shape: Sequence[int], draw: torch.Generator) -> Tensor:
    """Points of the unit sphere in the dimension that comes last."""
    points = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return functional.normalize(points, dim=-1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes in one thread: a sum split among several has other last digits.

    Matrices of a few rows are also slower with more threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
