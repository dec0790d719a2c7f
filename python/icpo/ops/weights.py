"""From mask, aggregation and denominators to one weight a token, on the device.

The arithmetic is that of src/objective/aggregate.rs, operation by operation, so that weights are
equal to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from icpo.objective.config import LossConfig
from icpo.ops.rows import TokenRows

__all__ = ["row_counts", "token_weights"]


def token_weights(
    rows: TokenRows,
    mask: Tensor,  # (N,) bool
    config: LossConfig,
    denominator: float | None,
) -> Tensor:  # (N,) float64
    """What each token counts for: zero exactly where the mask is false.

    Rows of different lengths under ``seq-mean-token-sum-norm`` without a constant have no weights:
    those are NaN.
    """
    counts = rows.count(mask)  # (B,)
    filled = mask if config.aggregation == "token-mean" else counts > 0
    total = filled.sum().to(torch.float64)
    if denominator is not None:
        total = torch.full_like(total, denominator)
    divisor = total
    if config.aggregation == "seq-mean-token-mean":
        divisor = total * counts.to(torch.float64)
    elif config.aggregation == "seq-mean-token-sum-norm":
        constant = config.norm_constant
        divisor = total * (rows.common_length() if constant is None else constant)
    of_row = (1.0 / divisor).expand(counts.shape)
    # Without any token there is nothing to divide by, and nothing that has a weight.
    return torch.where(mask, rows.spread(of_row), 0.0)


def row_counts(rows: TokenRows, mask: Tensor, expert: Tensor | None) -> Tensor:
    """How many rows have a valid policy token, and how many a valid expert token: (2,) float64."""
    off = torch.zeros_like(mask) if expert is None else expert
    counts = [(rows.count(mask & side) > 0).sum() for side in (~off, off)]
    return torch.stack(counts).to(torch.float64)
