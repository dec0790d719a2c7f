"""Votes: the majority's answer, and the entropy of answers in bits (ALGORITHM of ME-ICPO, 2, 4).

A vote is the number of an answer, the same for answers that are equal; -1 is none.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

from icpo.errors import ShapeError

__all__ = ["consensus", "entropy_bits"]

#: Times log2 of the number of votes: the entropy if none of them can be read. Of two votes or more
#: that is more than any other outcome has, so silence is not the surest answer.
ALL_INVALID = 5.0


def consensus(votes: Sequence[int], seed: int) -> int | None:
    """The answer with most votes; among equals one is drawn. None: nobody voted.

    >>> consensus([0, 1, 1, -1, -1, -1], seed=0)
    1
    """
    counts = Counter(vote for vote in votes if vote >= 0)
    if not counts:
        return None
    most = max(counts.values())
    # Sorted: what is drawn depends on the votes, not on who voted first.
    return random.Random(seed).choice(sorted(vote for vote in counts if counts[vote] == most))


def entropy_bits(votes: Sequence[int], *, penalty: bool = True) -> float:
    """The entropy of the answers that could be read, and log2(k_e) times the share of the others.

    Without the penalty only that share is left out: where nothing could be read there is no
    distribution to take the entropy of, and 5 log2(k_e) stands for the worst.

    Args:
        votes: (k_e,).
        penalty: whether answers that could not be read count.

    >>> entropy_bits([0, 0, 1, 1]), entropy_bits([0, 0, 0, -1]), entropy_bits([-1, -1])
    (1.0, 0.5, 5.0)
    """
    if not votes:
        raise ShapeError("votes: expected (k_e,) with k_e from 1, got none")
    worst = math.log2(len(votes))
    counts = Counter(vote for vote in votes if vote >= 0)
    valid = counts.total()
    if valid == 0:
        return ALL_INVALID * worst
    # In the order of the counts, not of the answers: the same distribution has the same sum.
    entropy = math.fsum(-n / valid * math.log2(n / valid) for n in sorted(counts.values()))
    invalid = (len(votes) - valid) / len(votes)
    return entropy + 0.0 + (worst * invalid if penalty else 0.0)
