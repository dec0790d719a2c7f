"""pass@k against all subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from icpo import ConfigError
from icpo.evaluation import pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_is_the_share_of_subsets_with_a_right_one(samples):
    for k in range(1, samples + 1):
        expected = []
        for right in range(samples + 1):
            flags = [True] * right + [False] * (samples - right)
            subsets = list(itertools.combinations(flags, k))
            expected.append(sum(any(subset) for subset in subsets) / len(subsets))
        np.testing.assert_allclose(pass_at_k(samples, range(samples + 1), k), expected, atol=1e-12)


def test_is_unbiased():
    """The mean over many runs of 10 samples is 1 - (1 - p)^k."""
    rng = np.random.default_rng(0)
    right = rng.binomial(10, 0.15, size=40_000)
    estimates = pass_at_k(10, right, 4)
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - (1 - 0.85**4)) < 4 * error


def test_many_samples_do_not_overflow():
    assert 0 < pass_at_k(100_000, [3], 50)[0] < 1


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="k: expected a number from 1 to 4, got 5"):
        pass_at_k(4, [1], 5)
    with pytest.raises(ConfigError, match="right: expected numbers from 0 to 4"):
        pass_at_k(4, [1, 5], 2)
