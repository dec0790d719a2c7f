"""How a batch is laid out, padded or packed, decided by shapes alone.

Used for numpy arrays and for tensors alike, fake ones included: only tuples of sizes come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icpo.errors import MissingArgumentError, ShapeError

__all__ = ["BatchLayout"]

Shape = Sequence[int]


@dataclass(frozen=True)
class BatchLayout:
    """Rows of tokens: (B, T) padded, or (N,) packed with offsets."""

    #: Shape of whatever has one value a token.
    shape: tuple[int, ...]
    #: B.
    rows: int
    #: (B, T) of a padded batch.
    padded_shape: tuple[int, int] | None

    @classmethod
    def of(cls, argument: str, shape: Shape, cu_seqlens: Shape | None) -> BatchLayout:
        """The layout of a batch whose ``argument`` has this shape.

        Raises:
            ShapeError: if there are not one or two axes, or the offsets fit neither.
            MissingArgumentError: if a packed batch comes without offsets.
        """
        shape = tuple(shape)
        if len(shape) == 2:
            if cu_seqlens is not None:
                raise ShapeError(
                    f"cu_seqlens: expected None for padded (B, T) tensors such as {argument} of "
                    f"shape {shape}, got offsets"
                )
            return cls(shape, shape[0], (shape[0], shape[1]))
        if len(shape) != 1:
            raise ShapeError(
                f"{argument}: expected shape (B, T), or (N,) with cu_seqlens, got {shape}"
            )
        if cu_seqlens is None:
            raise MissingArgumentError(
                f"cu_seqlens: {argument} of shape {shape} is packed, and where rows begin and end "
                "can not be told without it"
            )
        if len(cu_seqlens) != 1 or cu_seqlens[0] < 1:
            raise ShapeError(
                f"cu_seqlens: expected shape (B + 1,) with B >= 0, got {tuple(cu_seqlens)}"
            )
        return cls(shape, cu_seqlens[0] - 1, None)

    def check_per_token(self, shapes: Mapping[str, Shape | None]) -> None:
        """Checks arguments that have one value a token."""
        for argument, shape in shapes.items():
            if shape is not None and tuple(shape) != self.shape:
                raise ShapeError(f"{argument}: expected shape {self.shape}, got {tuple(shape)}")

    def check_per_token_or_row(self, shapes: Mapping[str, Shape | None]) -> None:
        """Checks arguments that have one value a token, or one a row."""
        for argument, shape in shapes.items():
            if shape is None or tuple(shape) in (self.shape, (self.rows,), (self.rows, 1)):
                continue
            raise ShapeError(
                f"{argument}: expected shape {self.shape} (one value a token) or ({self.rows},) "
                f"(one a row), got {tuple(shape)}"
            )
