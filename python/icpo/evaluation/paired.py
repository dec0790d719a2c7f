"""Tests whether two runs differ on the same problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["holm", "mcnemar", "sign_flip"]

#: Additions that an exact distribution may take: about a second of work.
_EXACT = 1_000_000_000

#: Signs drawn at once, to bound memory.
_AT_ONCE = 1 << 22


def sign_flip(differences: ArrayLike, *, resamples: int = 100_000, seed: int = 0) -> float:
    """The two-sided p of the sign-flip permutation test.

    If neither run were better, each difference could as well have the other sign. p is the share of
    all 2^P choices of signs whose sum is at least as far from 0 as that of the differences. For
    integers it is computed exactly, from the distribution of the sum; else, or where that would
    take long, estimated from drawn signs, the observed ones included.

    Args:
        differences: (P,) a problem each; pass integers (counts of right samples) where possible.
        resamples: choices of signs to draw, if any are drawn.
        seed: of these.

    >>> sign_flip([1, 1, 1, 1]), sign_flip([3, -3, 0])
    (0.125, 1.0)
    """
    given = np.asarray(differences)
    if given.ndim != 1:
        raise ShapeError(f"differences: expected (P,), got {given.shape}")
    if not np.isfinite(given.astype(np.float64)).all():
        raise NonFiniteError(f"differences: expected finite values, got {given.tolist()}")
    if resamples < 1:
        raise ConfigError(f"resamples: expected at least 1, got {resamples}")
    there = given[given != 0]
    if not there.size:
        return 1.0
    if np.issubdtype(there.dtype, np.integer):
        there = there // np.gcd.reduce(there)
        if there.size * int(np.abs(there).sum()) <= _EXACT:
            return _exact(there.astype(np.int64))
    return _estimated(there.astype(np.float64), resamples, seed)


def _exact(differences: NDArray[np.int64]) -> float:
    steps = np.abs(differences)
    total = int(steps.sum())
    # chance[total + s]: that the sum of the differences so far is s.
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    reach = 0
    for step in steps.tolist():
        before = chance[total - reach : total + reach + 1] / 2
        reach += step
        after = chance[total - reach : total + reach + 1]
        after[:] = 0.0
        after[: before.size] += before
        after[2 * step :] += before
    observed = abs(int(differences.sum()))
    far = chance[: total - observed + 1].sum() + chance[total + observed :].sum()
    return min(1.0, float(far))


def _estimated(differences: NDArray[np.float64], resamples: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    # Sums of the same numbers in another order differ by rounding, and count as equal.
    slack = 1e-9 * float(np.abs(differences).sum())
    observed = abs(float(differences.sum())) - slack
    far = 0
    rows = max(1, _AT_ONCE // differences.size)
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, 2, size=(min(rows, resamples - start), differences.size))
        far += int(np.count_nonzero(np.abs((2.0 * drawn - 1.0) @ differences) >= observed))
    return (far + 1) / (resamples + 1)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test, for one answer a problem.

    Args:
        only_first: problems that the first run alone has right.
        only_second: problems that the second run alone has right.

    >>> mcnemar(0, 5), mcnemar(3, 3)
    (0.0625, 1.0)
    """
    for name, count in {"only_first": only_first, "only_second": only_second}.items():
        if count < 0:
            raise ConfigError(f"{name}: expected a number from 0, got {count}")
    n = only_first + only_second
    # Integers until the end: 2^-n may be less than the least float.
    tail = ways = 1  # C(n, i), summed over i
    for i in range(min(only_first, only_second)):
        ways = ways * (n - i) // (i + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**n))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for being several, by Holm's method, in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(values)
    least = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        least = max(least, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = least
    return adjusted
