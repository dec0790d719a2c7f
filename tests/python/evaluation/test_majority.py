"""maj@k against every subset, every tie broken every way."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from icpo import ConfigError, ShapeError
from icpo.evaluation import maj_at_k


def by_enumeration(votes, right, k) -> Fraction:
    first = {}
    for vote, good in zip(votes, right, strict=True):
        first.setdefault(vote, good)
    total, subsets = Fraction(0), list(itertools.combinations(range(len(votes)), k))
    for subset in subsets:
        cast = [votes[i] for i in subset if votes[i] >= 0]
        if cast:
            most = max(cast.count(vote) for vote in cast)
            winners = [vote for vote in set(cast) if cast.count(vote) == most]
            total += Fraction(sum(first[vote] for vote in winners), len(winners))
    return total / len(subsets)


@pytest.mark.parametrize("seed", range(12))
def test_is_the_mean_over_all_subsets(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    votes = rng.integers(-1, 4, n).tolist()
    # Samples of one answer may differ in their verdict: then the first one counts.
    right = (rng.random(n) < 0.5).tolist()
    for k in range(1, n + 1):
        assert maj_at_k(votes, right, k) == float(by_enumeration(votes, right, k))


def test_one_vote_is_the_mean_and_all_votes_the_majority():
    votes, right = [0, 1, 1, -1, 2, 1], [True, False, False, False, True, False]
    assert maj_at_k(votes, right, 1) == 2 / 6
    assert maj_at_k(votes, right, 6) == 0.0
    assert maj_at_k([-1, -1], [False, False], 2) == 0.0
    assert maj_at_k([0, 1, 1, 2, 2], [False, True, True, False, False], 5) == 0.5


def test_many_samples_stay_exact():
    votes, right = [0] * 33 + [1] * 31, [True] * 33 + [False] * 31
    assert maj_at_k(votes, right, 64) == 1.0
    assert 0.5 < maj_at_k(votes, right, 32) < maj_at_k(votes, right, 48) < 1.0


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="k: expected a number from 1 to 2, got 3"):
        maj_at_k([0, 0], [True, True], 3)
    with pytest.raises(ShapeError, match="right: expected 2 values, one a vote, got 1"):
        maj_at_k([0, 0], [True], 1)
