"""Means: over the samples of a problem, and over seeds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo.errors import ConfigError, ShapeError

__all__ = ["avg_at_n", "counts_to_report", "mean_and_error"]


def avg_at_n(samples: int, right: ArrayLike) -> NDArray[np.float64]:
    """The share of right samples of each problem; their mean is avg@n.

    Args:
        samples: n, samples of each problem.
        right: (P,) how many of them were right.

    Returns:
        (P,).

    >>> avg_at_n(4, [0, 1, 4]).tolist()
    [0.0, 0.25, 1.0]
    """
    counts = np.asarray(right)
    if samples < 1:
        raise ConfigError(f"samples: expected at least 1, got {samples}")
    if counts.size and not (counts.min() >= 0 and counts.max() <= samples):
        raise ConfigError(f"right: expected numbers from 0 to {samples}, got {counts.tolist()}")
    return np.asarray(counts / samples, np.float64)


def counts_to_report(samples: int) -> list[int]:
    """The k for which pass@k is told: powers of two, and all samples.

    >>> counts_to_report(6)
    [2, 4, 6]
    """
    return [*(2**i for i in range(1, samples.bit_length()) if 2**i < samples), samples]


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """The mean over seeds, and its standard error s/√S; NaN for a single one.

    >>> mean_and_error([1.0, 2.0, 3.0])[0]
    2.0
    """
    seeds = np.asarray(values, np.float64)
    if seeds.ndim != 1 or not seeds.size:
        raise ShapeError(f"values: expected (S,) with S from 1, got {seeds.shape}")
    error = float(seeds.std(ddof=1)) / math.sqrt(seeds.size) if seeds.size > 1 else math.nan
    return float(seeds.mean()), error
