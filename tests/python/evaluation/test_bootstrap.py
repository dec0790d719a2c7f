"""Bootstrap intervals against the enumeration of all resamples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from icpo import ConfigError, NonFiniteError, ShapeError
from icpo.evaluation import difference_interval, interval


def all_means(values) -> np.ndarray:
    """Of every one of the P^P equally likely resamples."""
    return np.array([np.mean(drawn) for drawn in itertools.product(values, repeat=len(values))])


def ends(means, level) -> tuple[float, float]:
    """The least mean that at least the share has not above it, from the whole distribution."""
    means = np.sort(means)
    places = [int(np.ceil(share * means.size)) - 1 for share in ((1 - level) / 2, (1 + level) / 2)]
    return tuple(float(means[max(place, 0)]) for place in places)


# Levels at which no end lies at a jump of the distribution, where draws could tell either way.
CASES = [
    ([0.0, 1.0, 1.0, 1.0], 0.8),
    ([0.0, 0.25, 1.0, 0.75, 0.75], 0.9),
    ([0.1, 0.4, 0.2, 0.9, 0.3, 0.35], 0.95),
    ([0.5], 0.95),
]


@pytest.mark.parametrize(("values", "level"), CASES)
def test_is_that_of_all_resamples(values, level):
    expected = ends(all_means(values), level)
    found = interval([values], seed=3, level=level, resamples=200_000)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_average_draws_within_each_group():
    first, second = [0.0, 1.0, 0.5], [0.2, 0.9, 0.9, 0.4]
    both = [(a + b) / 2 for a in all_means(first) for b in all_means(second)]
    found = interval([first, second], seed=1, level=0.9, resamples=200_000)
    np.testing.assert_allclose(found, ends(np.array(both), 0.9), atol=5e-3)


def test_a_difference_of_other_problems_draws_both():
    first, second = [0.0, 1.0, 0.5], [0.2, 0.9, 0.9, 0.4]
    both = [b - a for a in all_means(first) for b in all_means(second)]
    found = difference_interval(first, second, seed=1, level=0.9, resamples=200_000)
    np.testing.assert_allclose(found, ends(np.array(both), 0.9), atol=1e-2)


def test_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for seed in range(400):
        low, high = interval([rng.integers(0, 3, 60) / 2], seed=seed, resamples=1000)
        inside += low <= 0.5 <= high
    assert 0.90 < inside / 400 < 0.985


def test_the_seed_is_all_that_varies():
    values = np.random.default_rng(0).random(50)
    assert interval([values], seed=1) == interval([values[::-1]], seed=1)
    assert interval([values], seed=1) != interval([values], seed=2)


def test_bad_arguments_are_named():
    with pytest.raises(ShapeError, match="groups: expected at least one, got none"):
        interval([], seed=0)
    with pytest.raises(ShapeError, match=r"groups\[1\]: expected \(P,\) with P from 1, got \(0,\)"):
        interval([[1.0], []], seed=0)
    with pytest.raises(NonFiniteError, match=r"groups\[0\]: expected finite values, got \[nan\]"):
        interval([[float("nan")]], seed=0)
    with pytest.raises(ConfigError, match="level: expected a number between 0 and 1, got 95"):
        interval([[1.0]], seed=0, level=95)
    with pytest.raises(ConfigError, match="resamples: expected at least 1, got 0"):
        interval([[1.0]], seed=0, resamples=0)
