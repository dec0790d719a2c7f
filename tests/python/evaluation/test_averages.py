"""Means over samples and seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icpo import ConfigError, ShapeError
from icpo.evaluation import avg_at_n, mean_and_error, pass_at_k
from icpo.evaluation.averages import counts_to_report


def test_the_mean_over_all_samples_one_by_one():
    rng = np.random.default_rng(0)
    flags = rng.random((7, 5)) < 0.4
    np.testing.assert_allclose(avg_at_n(5, flags.sum(1)), [np.mean(row) for row in flags])
    # pass@1 is the same thing.
    np.testing.assert_allclose(avg_at_n(5, flags.sum(1)), pass_at_k(5, flags.sum(1), 1))


def test_the_error_over_seeds_is_that_of_a_mean():
    values = [0.2, 0.3, 0.7, 0.4]
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(0.4)
    # s² / S with the unbiased s², worked by hand: (0.04 + 0.01 + 0.09 + 0) / 3 / 4.
    assert error == pytest.approx(math.sqrt(0.14 / 3 / 4))
    assert math.isnan(mean_and_error([0.5])[1])


def test_numbers_told_of_pass_at_k():
    assert [counts_to_report(n) for n in (1, 2, 8, 32)] == [
        [1],
        [2],
        [2, 4, 8],
        [2, 4, 8, 16, 32],
    ]


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="right: expected numbers from 0 to 4"):
        avg_at_n(4, [5])
    with pytest.raises(ConfigError, match="samples: expected at least 1, got 0"):
        avg_at_n(0, [])
    with pytest.raises(ShapeError, match=r"values: expected \(S,\) with S from 1, got \(0,\)"):
        mean_and_error([])
