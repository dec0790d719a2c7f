"""Bootstrap intervals: how much of a mean is owed to the problems that happen to be asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["LEVEL", "RESAMPLES", "difference_interval", "interval"]

#: Share of resampled means that an interval holds.
LEVEL = 0.95
#: Resampled means. The ends of an interval then vary by about 0.02 standard errors with the seed.
RESAMPLES = 10_000

#: Numbers drawn at once, to bound memory.
_AT_ONCE = 1 << 22


def interval(
    groups: Sequence[ArrayLike],
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The percentile interval of the mean of the groups' means.

    Problems are drawn with replacement, from each group as many as it has. One group gives the
    interval of a benchmark, several that of an average over benchmarks. For a paired comparison
    pass differences, problem by problem.

    Args:
        groups: (P_i,) each, a value a problem.
        seed: of the draws.
        level: share of the resampled means inside.
        resamples: how many there are.

    >>> interval([[0.0, 1.0, 1.0, 1.0]], seed=0)
    (0.25, 1.0)
    """
    if not groups:
        raise ShapeError("groups: expected at least one, got none")
    means = _means(groups, seed, resamples)
    return _ends(np.mean(means, axis=0), level)


def difference_interval(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The same of mean(second) - mean(first), where these are of different problems.

    Args:
        first: (P,).
        second: (Q,); drawn apart from `first`.
        seed: of the draws.
        level: see `interval`.
        resamples: see `interval`.
    """
    one, other = _means([first, second], seed, resamples)
    return _ends(other - one, level)


def _means(
    groups: Sequence[ArrayLike], seed: int, resamples: int
) -> list[NDArray[np.float64]]:  # of (resamples,)
    if resamples < 1:
        raise ConfigError(f"resamples: expected at least 1, got {resamples}")
    streams = np.random.SeedSequence(seed).spawn(len(groups))
    found = []
    for place, (group, stream) in enumerate(zip(groups, streams, strict=True)):
        values = np.asarray(group, np.float64)
        if values.ndim != 1 or not values.size:
            raise ShapeError(f"groups[{place}]: expected (P,) with P from 1, got {values.shape}")
        if not np.isfinite(values).all():
            raise NonFiniteError(f"groups[{place}]: expected finite values, got {values.tolist()}")
        found.append(_resampled(values, np.random.default_rng(stream), resamples))
    return found


def _resampled(
    values: NDArray[np.float64], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    # Problems with the same value are as good as each other, and there are few values: how often
    # each comes up is multinomial.
    distinct, counts = np.unique(values, return_counts=True)
    chances = counts / values.size
    means = np.empty(resamples)
    rows = max(1, _AT_ONCE // distinct.size)
    for start in range(0, resamples, rows):
        part = means[start : start + rows]
        part[:] = rng.multinomial(values.size, chances, size=part.size) @ distinct / values.size
    return means


def _ends(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ConfigError(f"level: expected a number between 0 and 1, got {level}")
    tail = (1 - level) / 2
    # The least mean that at least this share of them does not exceed: always one that occurs.
    low, high = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
