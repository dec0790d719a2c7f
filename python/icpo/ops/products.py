"""Matrix products on CUDA devices that torch has no single name for."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["add_product"]


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Adds aᵀ·b to `total`, which is float32, whatever a and b are."""
    if a.dtype == torch.float32:
        total.addmm_(a.t(), b)
    elif _adds_to_float32(a.device):
        torch.addmm(total, a.t(), b, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(a.t().to(torch.float32), b.to(torch.float32))


@functools.cache
def _adds_to_float32(device: torch.device) -> bool:
    """Whether this torch adds products of 16-bit matrices to a float32 one, by trying.

    Where it does, nothing is copied and the matrix units work; its signature does not tell.
    """
    half = torch.zeros(1, 1, dtype=torch.bfloat16, device=device)
    total = torch.zeros(1, 1, dtype=torch.float32, device=device)
    try:
        torch.addmm(total, half, half, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError):
        return False
    return True
