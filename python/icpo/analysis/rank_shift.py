"""Token-rank shift: how unlikely a policy's tokens are for the model it began as (appendix F).

rank(y_t) = 1 + |{v : base logit of v > base logit of y_t}| (eq. 13). A token is unshifted if its
rank is 1, marginally shifted up to rank 3, shifted beyond. Positions are divided by the length of
the trajectory, and tokens counted in 100 bins of that (Figure 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icpo.analysis import style
from icpo.analysis.tidy import Row
from icpo.errors import ConfigError, DataError

__all__ = ["BINS", "MARGINAL", "Shift", "draw_rank_shift", "rank_shift", "rows", "summary"]

#: Of normalised position.
BINS = 100
#: The greatest rank that is still marginal.
MARGINAL = 3


@dataclass(frozen=True, eq=False)
class Shift:
    """Counts of tokens by position and by how far they are shifted."""

    trajectories: int
    #: Tokens of rank 1, of 2 to `MARGINAL`, and beyond, in each bin.
    counts: NDArray[np.int64]  # (3, bins)
    #: Standard error of the shifted share in each bin, with trajectories as the independent unit;
    #: NaN in bins that fewer than two have tokens in.
    error: NDArray[np.float64]  # (bins,)
    #: The same of the share over all positions.
    total_error: float

    @property
    def tokens(self) -> NDArray[np.int64]:
        """In each bin, (bins,)."""
        return np.asarray(self.counts.sum(0))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the tokens of each bin, (3, bins); NaN where there are none."""
        tokens = self.tokens.astype(np.float64)
        tokens[tokens == 0] = np.nan
        return np.asarray(self.counts / tokens)


def rank_shift(
    ranks: Sequence[NDArray[np.int64]], bins: int = BINS, marginal: int = MARGINAL
) -> Shift:
    """Counts the tokens of trajectories.

    Args:
        ranks: (L,) of the tokens of each trajectory, under the base model.
        bins: of position t / L: token t, from 0, of a trajectory of L falls into bin ⌊t·bins / L⌋.
        marginal: the greatest rank that is still marginal.

    Raises:
        DataError: if there is no token.
    """
    if bins < 1:
        raise ConfigError(f"bins: expected at least 1, got {bins}")
    if marginal < 1:
        raise ConfigError(f"marginal: expected at least 1, got {marginal}")
    counts = np.zeros((3, bins), np.int64)
    # Of each trajectory, its shifted tokens and all tokens in each bin.
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for one in ranks:
        if not len(one):
            continue
        bin_of = np.arange(len(one)) * bins // len(one)
        kind = (one > 1).astype(np.int64) + (one > marginal)
        here = np.zeros((3, bins), np.int64)
        np.add.at(here, (kind, bin_of), 1)
        counts += here
        parts.append((here[2], here.sum(0)))
    if not parts:
        raise DataError("ranks: expected trajectories with tokens, got none")
    shifted, tokens = (np.stack(side) for side in zip(*parts, strict=True))  # (n, bins)
    return Shift(
        trajectories=len(parts),
        counts=counts,
        error=_error(shifted, tokens),
        total_error=float(_error(shifted.sum(1, keepdims=True), tokens.sum(1, keepdims=True))[0]),
    )


def _error(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """The standard error of Σ part / Σ whole over rows, by linearisation; (n, bins) to (bins,).

    Tokens of one trajectory depend on each other, so the tokens are not the sample: the
    trajectories are.
    """
    total = whole.sum(0).astype(np.float64)
    total[total == 0] = np.nan
    residual = part - whole * (part.sum(0) / total)
    rows = (whole > 0).sum(0)
    # As for any variance, one degree of freedom goes to the mean; of one row nothing is left.
    correction = np.where(rows > 1, rows / np.maximum(rows - 1, 1), np.nan)
    return np.asarray(np.sqrt(correction * (residual**2).sum(0)) / total)


def rows(shifts: Mapping[str, Shift]) -> list[Row]:
    """A row for each condition and bin."""
    found: list[Row] = []
    for name, shift in shifts.items():
        bins = shift.counts.shape[1]
        for place in range(bins):
            unshifted, marginal, shifted = (int(count) for count in shift.counts[:, place])
            found.append(
                {
                    "condition": name,
                    "bin": place,
                    "from": place / bins,
                    "below": (place + 1) / bins,
                    "tokens": int(shift.tokens[place]),
                    "unshifted": unshifted,
                    "marginal": marginal,
                    "shifted": shifted,
                    "shifted_share": float(shift.shares[2, place]),
                    "standard_error": float(shift.error[place]),
                }
            )
    return found


def summary(shifts: Mapping[str, Shift]) -> list[Row]:
    """A row for each condition: shares of all its tokens."""
    found: list[Row] = []
    for name, shift in shifts.items():
        tokens = int(shift.tokens.sum())
        unshifted, marginal, shifted = (float(c) / tokens for c in shift.counts.sum(1))
        found.append(
            {
                "condition": name,
                "trajectories": shift.trajectories,
                "tokens": tokens,
                "unshifted": unshifted,
                "marginal": marginal,
                "shifted": shifted,
                "standard_error": shift.total_error,
            }
        )
    return found


def draw_rank_shift(shifts: Mapping[str, Shift], stem: Path) -> tuple[Path, ...]:
    """Shares of shifted and of marginally shifted tokens over normalised position."""
    with style.sheet(8.6, 3.2, 1, 2) as (figure, axes):
        for panel, kind, title in (
            (axes[0], 2, f"Shifted: base rank above {MARGINAL}"),
            (axes[1], 1, f"Marginal: base rank 2 to {MARGINAL}"),
        ):
            for index, (name, shift) in enumerate(shifts.items()):
                bins = shift.counts.shape[1]
                middle = (np.arange(bins) + 0.5) / bins
                there = shift.tokens > 0
                shares = shift.shares[kind, there]
                error = shift.error[there] if kind == 2 else None
                style.line(panel, index, middle[there], shares, name, error=error)
            panel.set_title(title)
            panel.set_xlabel("position in the trajectory")
            panel.set_xlim(0, 1)
            panel.set_ylim(bottom=0)
            style.shares(panel, x=True)
            style.shares(panel)
        axes[0].set_ylabel("share of tokens")
        style.legend(axes[0], figure)
        return style.save(figure, stem)
