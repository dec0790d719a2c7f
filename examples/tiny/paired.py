"""Two methods compared over the same seeds: is the mean of the differences 0?

Two tests, both two-sided. Student's assumes that differences are normal, which final accuracies are
not: runs mostly succeed or get stuck. The sign-flip test assumes only that a difference could as
well have had the other sign, and counts all the ways: of n seeds its p can not be below 2/2^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Comparison", "compare", "mean_and_error", "sign_flip_test", "t_test"]

#: Sums this close, relative to their terms, are the same: they are of the same numbers in another
#: order.
TIE = 1e-9

#: All signs of more differences are too many to count.
MOST = 40


@dataclass(frozen=True)
class Comparison:
    """Differences of a method from the baseline, a seed each."""

    differences: tuple[float, ...]
    mean: float
    #: Standard error of the mean; NaN: there is one seed.
    error: float
    #: p of Student's paired test; NaN: it has none, for one seed or for differences all the same.
    student: float
    #: p of the sign-flip test.
    sign_flip: float

    @property
    def least(self) -> float:
        """What p of the sign-flip test is when every difference has the same sign."""
        return min(1.0, 2.0 ** (1 - len(self.differences)))


def compare(values: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """What `values` are above `baseline`; a pair is of the same seed."""
    differences = tuple(a - b for a, b in zip(values, baseline, strict=True))
    mean, error = mean_and_error(differences)
    return Comparison(differences, mean, error, t_test(differences), sign_flip_test(differences))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, which is NaN for one value.

    >>> mean_and_error([1.0, 2.0, 3.0])[0]
    2.0
    """
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def t_test(differences: Sequence[float]) -> float:
    """p of Student's test that the mean is 0; NaN if differences do not vary.

    >>> round(t_test([1.0, 2.0, 3.0]), 4)  # t = 2 √3 with 2 degrees of freedom
    0.0742
    """
    mean, error = mean_and_error(differences)
    if not error > TIE * float(np.abs(differences).max()):
        return math.nan
    return _beyond(mean / error, len(differences) - 1)


def _beyond(t: float, freedom: int) -> float:
    """Probability that a t-distributed number with a whole number of degrees is further from 0.

    One minus the sum of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if freedom % 2 else 1.0
    series = 0.0
    for k in range(1 + freedom % 2, freedom, 2):
        series += term
        term *= k / (k + 1) * cosine**2
    inside = 2 / math.pi * (angle + sine * series) if freedom % 2 else sine * series
    return max(0.0, 1.0 - inside)


def sign_flip_test(differences: Sequence[float]) -> float:
    """The share of all sign patterns whose sum is at least as far from 0 as the one seen.

    >>> sign_flip_test([0.2, 0.1, 0.4])
    0.25
    """
    if len(differences) > MOST:
        raise ValueError(f"differences: expected at most {MOST}, got {len(differences)}")
    seen = abs(math.fsum(differences)) - TIE * math.fsum(map(abs, differences))
    if seen <= 0:
        return 1.0
    # Every sum is one of the first half and one of the second: sort these, and count.
    half = len(differences) // 2
    first, second = _all_sums(differences[:half]), np.sort(_all_sums(differences[half:]))
    above = len(second) - np.searchsorted(second, seen - first, side="left")
    below = np.searchsorted(second, -seen - first, side="right")
    return float((above.sum() + below.sum()) / 2.0 ** len(differences))


def _all_sums(terms: Sequence[float]) -> np.ndarray:
    """Of the terms with every pattern of signs, (2^n,)."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums + term, sums - term])
    return sums
