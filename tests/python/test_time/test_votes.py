"""Votes and entropies, against values worked by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from icpo import ShapeError
from icpo.evaluation.benchmarks import Question
from icpo.evaluation.judge import votes
from icpo.reward import Checker
from icpo.test_time.votes import consensus, entropy_bits
from icpo.types import Problem


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        # All the same: nothing is uncertain.
        ([0, 0, 0, 0], 0.0),
        ([3], 0.0),
        # 1/2, 1/2.
        ([0, 1, 1, 0], 1.0),
        # 1/4, 1/4, 1/4, 1/4.
        ([0, 1, 2, 3], 2.0),
        # 1/2, 1/4, 1/4: 1/2 + 1/2 + 1/2.
        ([5, 5, 2, 9], 1.5),
        # 3/4, 1/4: 2 - 3/4 log2 3.
        ([0, 0, 0, 1], 2 - 0.75 * math.log2(3)),
        # Two of four are invalid: 1 bit of the others, log2(4) / 2 for these.
        ([0, 1, -1, -1], 1 + 2 / 2),
        # One valid, 15 invalid: 4 * 15/16.
        ([7] + [-1] * 15, 3.75),
        # All invalid: 5 log2(16).
        ([-1] * 16, 20.0),
        ([-1] * 2, 5.0),
        # log2(1) is 0, whatever it is multiplied with.
        ([-1], 0.0),
    ],
)
def test_entropy_with_penalty(given, bits):
    assert entropy_bits(given) == pytest.approx(bits, abs=1e-15)
    assert str(entropy_bits(given))[0] != "-"


@pytest.mark.parametrize(
    ("given", "bits"), [([0, 1, -1, -1], 1.0), ([7, -1, -1], 0.0), ([-1, -1, -1, -1], 10.0)]
)
def test_entropy_without(given, bits):
    assert entropy_bits(given, penalty=False) == bits


def test_entropy_is_that_of_the_counts():
    rng = np.random.default_rng(5)
    for _ in range(300):
        size = int(rng.integers(1, 40))
        given = rng.integers(-1, int(rng.integers(1, 9)), size).tolist()
        counts = np.array([n for vote, n in Counter(given).items() if vote >= 0], dtype=float)
        if not counts.size:
            continue
        share = counts / counts.sum()
        expected = -(share * np.log2(share)).sum() + np.log2(size) * given.count(-1) / size
        assert entropy_bits(given) == pytest.approx(expected, abs=1e-12)
        # To the last bit the same, whoever is asked first and whatever answers are called.
        other = [vote if vote < 0 else 100 - vote for vote in rng.permutation(given).tolist()]
        assert entropy_bits(other) == entropy_bits(given)
        # Silence is never the surest answer.
        assert size == 1 or entropy_bits(given) < entropy_bits([-1] * size)


def test_no_votes_are_refused():
    with pytest.raises(ShapeError, match="votes: expected"):
        entropy_bits([])


def test_consensus():
    assert consensus([2, 0, 2, -1, -1, -1], seed=0) == 2
    assert consensus([-1, -1], seed=0) is None
    assert consensus([4], seed=9) == 4


def test_ties_are_drawn_evenly_and_by_the_seed():
    drawn = [consensus([3, 1, 1, 3, 0], seed) for seed in range(2000)]
    assert drawn == [consensus([0, 1, 3, 3, 1], seed) for seed in range(2000)]
    counts = Counter(drawn)
    assert set(counts) == {1, 3}
    # Binomial(2000, 1/2): five standard deviations are 112.
    assert abs(counts[1] - 1000) < 112


def test_equal_answers_vote_together_and_words_do_not():
    question = Question(Problem("a", "?", ""))
    texts = [
        r"\boxed{1/2}",
        "I give up.",
        r"It is $0.5$.",
        r"\boxed{2}",
        r"\boxed{\frac{2}{4}}",
        "",
        r"\boxed{\frac{1}}",
        "The answer is 2.",
        "I give up.",
    ]
    assert votes(question, texts, Checker()) == [0, -1, 0, 2, 0, -1, -1, 2, -1]
