"""Where the rows of a batch lie among its tokens, on the device that holds them.

Nothing here waits for the device, and no content of a tensor makes anything read out of bounds.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["PackedRows", "PaddedRows", "TokenRows", "token_rows"]


class TokenRows(Protocol):
    """Rows of N tokens that lie end to end."""

    def count(self, mask: Tensor) -> Tensor:
        """How many tokens of each row a mask (N,) lets in: (B,) int64."""

    def spread(self, values: Tensor) -> Tensor:
        """One value a token, (N,), from one a row, (B,)."""

    def common_length(self) -> Tensor:
        """The length that all rows have, at least 1, in float64; NaN if their lengths differ."""

    def place(self, token: int) -> str:
        """Where a token stands, for messages."""


class PaddedRows:
    """B rows of T tokens each."""

    def __init__(self, rows: int, length: int, device: torch.device) -> None:
        """Takes B, T, and where their tokens are."""
        self._rows, self._length, self._device = rows, length, device

    def count(self, mask: Tensor) -> Tensor:
        """See `TokenRows`."""
        return mask.view(self._rows, self._length).sum(-1)

    def spread(self, values: Tensor) -> Tensor:
        """See `TokenRows`."""
        return values.reshape(self._rows, 1).expand(self._rows, self._length).reshape(-1)

    def common_length(self) -> Tensor:
        """See `TokenRows`."""
        length = float(max(self._length, 1))
        return torch.full((), length, dtype=torch.float64, device=self._device)

    def place(self, token: int) -> str:
        """See `TokenRows`."""
        return f"row {token // self._length}, token {token % self._length}"


class PackedRows:
    """Rows of any lengths, from their offsets (``cu_seqlens``)."""

    def __init__(self, offsets: Tensor, tokens: int) -> None:
        """Takes the offsets, (B + 1,), and N."""
        self.offsets, self._tokens = offsets, tokens
        inside = offsets.to(torch.int64).clamp(0, tokens)
        self._starts, self._ends = inside[:-1].contiguous(), inside[1:].contiguous()
        numbers = torch.arange(tokens, device=offsets.device)
        # The row of a token is the number of rows that end before it; B if offsets end early.
        self._row_of = torch.searchsorted(self._ends, numbers, right=True)

    def lengths(self) -> Tensor:
        """Lengths of the rows, (B,) int64."""
        return self._ends - self._starts

    def count(self, mask: Tensor) -> Tensor:
        """See `TokenRows`."""
        before = torch.nn.functional.pad(mask.cumsum(0), (1, 0))  # (N + 1,)
        return before[self._ends] - before[self._starts]

    def spread(self, values: Tensor) -> Tensor:
        """See `TokenRows`. What lies behind the last row gets zero."""
        flat = values.reshape(-1)
        return torch.cat([flat, flat.new_zeros(1)])[self._row_of]

    def common_length(self) -> Tensor:
        """See `TokenRows`. Of no rows, nothing."""
        lengths, first = self.lengths(), self.lengths()[:1]
        return first.clamp(min=1).to(torch.float64).where((lengths == first).all(), torch.nan)

    def place(self, token: int) -> str:
        """See `TokenRows`."""
        row = int(self._row_of[token])
        return f"row {row}, token {token - int(self._starts[row])}"


def token_rows(shape: torch.Size, offsets: Tensor | None, device: torch.device) -> TokenRows:
    """The rows of a padded batch (B, T), or of a packed one (N,)."""
    if offsets is None:
        return PaddedRows(shape[0], shape[1], device)
    return PackedRows(offsets, shape[0])
