"""How much of a solution is given, and which of it is trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icpo.errors import ConfigError
from icpo.mixing import Prefix


def test_the_bound_is_a_cosine():
    prefix = Prefix(longest=0.9, shortest=0.1)
    for step in range(0, 41):
        by_hand = 0.1 + 0.8 * math.cos(math.pi * step / 80) ** 2
        assert prefix.bound(step, 40) == pytest.approx(by_hand, abs=1e-12)
    assert prefix.bound(41, 40) == prefix.bound(400, 40) == pytest.approx(0.1)


@pytest.mark.parametrize("step", [0, 10, 20, 39, 40])
def test_lengths_are_uniform_up_to_the_bound(step):
    """Kolmogorov and Smirnov: of 4,000 shares none may be further off than 0.03."""
    prefix, rng = Prefix(), np.random.default_rng(step)
    solution = 100_000
    shares = np.sort(
        [prefix.length(solution, step, 40, rng.random()) / solution for _ in range(4000)]
    )
    low, high = 0.05, prefix.bound(step, 40)
    if high - low < 1e-9:
        assert abs(shares - low).max() <= 1 / solution
        return
    expected = np.clip((shares - low) / (high - low), 0, 1)
    assert abs(expected - np.arange(4000) / 4000).max() < 0.03


def test_something_is_left_to_write():
    rng, all_of_it = np.random.default_rng(0), Prefix(longest=1.0, shortest=1.0)
    for solution in (1, 2, 3, 10):
        assert all_of_it.length(solution, 0, 10, rng.random()) == solution - 1
    nothing = Prefix(longest=0.0, shortest=0.0)
    assert nothing.length(10, 0, 10, rng.random()) == 0


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_least_certain_tokens_are_trained_on(share):
    rng = np.random.default_rng(5)
    prefix = Prefix(entropy_share=share)
    for length in (1, 2, 9, 40):
        for given in range(length + 1):
            entropy = rng.integers(6, size=length) / 4  # with many that are equal
            mask = prefix.trained(given, entropy)
            assert mask[given:].all() and mask.shape == (length,)
            kept = np.flatnonzero(mask[:given])
            assert len(kept) == math.ceil(share * given)
            ranked = sorted(range(given), key=lambda place: (-entropy[place], place))
            assert kept.tolist() == sorted(ranked[: len(kept)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"longest": 1.1}, "longest: expected a number from 0 to 1, got 1.1"),
        ({"shortest": -0.1}, "shortest: expected a number from 0 to 1, got -0.1"),
        ({"entropy_share": True}, "entropy_share: expected a number from 0 to 1, got True"),
        ({"entropy_share": "0.2"}, "entropy_share: expected a number from 0 to 1, got '0.2'"),
        ({"longest": float("nan")}, "longest: expected a number from 0 to 1, got nan"),
        ({"longest": 0.2, "shortest": 0.3}, "shortest: expected at most longest = 0.2, got 0.3"),
    ],
)
def test_prefixes_that_make_no_sense(fields, message):
    with pytest.raises(ConfigError, match=message):
        Prefix(**fields)
