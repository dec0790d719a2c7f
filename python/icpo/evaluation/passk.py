"""pass@k, estimated without bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo.errors import ConfigError

__all__ = ["pass_at_k"]


def pass_at_k(samples: int, right: ArrayLike, k: int) -> NDArray[np.float64]:
    """1 - C(n - c, k) / C(n, k): the chance that one of k samples is right.

    Args:
        samples: n, samples of each problem.
        right: (P,) c, how many of them were right.
        k: from 1 to n.

    Returns:
        (P,).

    >>> pass_at_k(4, [0, 1, 4], 2).tolist()
    [0.0, 0.5, 1.0]
    """
    if not 1 <= k <= samples:
        raise ConfigError(f"k: expected a number from 1 to {samples}, got {k}")
    counts = np.asarray(right)
    if counts.size and not (counts.min() >= 0 and counts.max() <= samples):
        raise ConfigError(f"right: expected numbers from 0 to {samples}, got {counts.tolist()}")
    # C(n - c, k) / C(n, k) = Π (1 - c / i) over i = n - k + 1 … n, which does not overflow. Where
    # n - c < k, one of its factors is 0 or below: then no k samples are all wrong.
    draws = np.arange(samples - k + 1, samples + 1)
    missed = np.prod(np.maximum(1 - counts[..., None] / draws, 0.0), axis=-1)
    return np.asarray(1.0 - missed, np.float64)
