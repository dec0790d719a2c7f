"""maj@k: how often the answer that most of k samples give is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from icpo.errors import ConfigError, ShapeError

__all__ = ["maj_at_k"]


def maj_at_k(votes: Sequence[int], right: Sequence[bool], k: int) -> float:
    """The chance that the majority of k of these samples is right, drawn without replacement.

    Among equally frequent answers one is drawn; nobody votes for "no answer", and without any vote
    nothing is right. An answer is right if the first sample that gives it is. Computed exactly,
    from the counts: no draw is simulated.

    Args:
        votes: (n,) the number of the answer that a sample gives; -1: it gives none.
        right: (n,) whether a sample is right.
        k: from 1 to n.

    >>> maj_at_k([0, 0, 1], [True, True, False], 3), maj_at_k([0, 1], [True, False], 2)
    (1.0, 0.5)
    """
    n = len(votes)
    if len(right) != n:
        raise ShapeError(f"right: expected {n} values, one a vote, got {len(right)}")
    if not 1 <= k <= n:
        raise ConfigError(f"k: expected a number from 1 to {n}, got {k}")
    counts: dict[int, int] = {}
    is_right: dict[int, bool] = {}
    for vote, good in zip(votes, right, strict=True):
        if vote >= 0:
            counts[vote] = counts.get(vote, 0) + 1
            is_right.setdefault(vote, bool(good))
    silent = n - sum(counts.values())
    won = sum(
        (
            _wins(own, [counts[other] for other in counts if other != answer], silent, k)
            for answer, own in counts.items()
            if is_right[answer]
        ),
        Fraction(0),
    )
    return float(won / math.comb(n, k))


def _wins(own: int, others: Sequence[int], silent: int, k: int) -> Fraction:
    """In how many of the subsets of size k an answer wins; a tie of t answers counts 1/t."""
    won = Fraction(0)
    for votes in range(1, min(own, k) + 1):
        left = k - votes
        # ways[ties][drawn]: of the samples with other answers, none of which has more votes.
        ways = [[math.comb(silent, drawn) for drawn in range(left + 1)]]
        for count in others:
            ways = _with(ways, count, votes, left)
        mine = math.comb(own, votes)
        won += sum(Fraction(mine * row[left], ties + 1) for ties, row in enumerate(ways))
    return won


def _with(ways: list[list[int]], count: int, votes: int, left: int) -> list[list[int]]:
    """The same after an answer of so many samples, which gets at most `votes`."""
    found = [[0] * (left + 1) for _ in range(len(ways) + (votes <= count))]
    for ties, row in enumerate(ways):
        for drawn, subsets in enumerate(row):
            if subsets:
                for taken in range(min(count, votes, left - drawn) + 1):
                    tied = ties + (taken == votes)
                    found[tied][drawn + taken] += subsets * math.comb(count, taken)
    return found
