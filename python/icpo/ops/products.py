"""Matrix products on CUDA devices that torch has no single name for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["add_product"]


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Adds aᵀ·b to `total`, which is float32, whatever a and b are."""
    if a.dtype == torch.float32:
        total.addmm_(a.t(), b)
    else:
        _best_way(a.device)(total, a, b)


def _at_once(total: Tensor, a: Tensor, b: Tensor) -> None:
    """On the matrix units, and nothing is copied."""
    torch.addmm(total, a.t(), b, out_dtype=torch.float32, out=total)


def _product_first(total: Tensor, a: Tensor, b: Tensor) -> None:
    """On the matrix units; the product takes as much memory as the total."""
    total.add_(torch.mm(a.t(), b, out_dtype=torch.float32))


def _widened(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Without the matrix units, several times as slow."""
    total.addmm_(a.t().to(torch.float32), b.to(torch.float32))


@functools.cache
def _best_way(device: torch.device) -> Callable[[Tensor, Tensor, Tensor], None]:
    """The first way that this torch takes, by trying: signatures do not tell.

    Some versions know `out_dtype`, but want the total to be of the type of the matrices.
    """
    half = torch.zeros(1, 1, dtype=torch.bfloat16, device=device)
    total = torch.zeros(1, 1, dtype=torch.float32, device=device)
    for way in (_at_once, _product_first):
        try:
            way(total, half, half)
        except (RuntimeError, TypeError):
            continue
        return way
    return _widened
