"""Paired tests against all signs and all outcomes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from icpo import ConfigError, NonFiniteError, ShapeError
from icpo.evaluation import holm, mcnemar, sign_flip


def by_enumeration(differences) -> float:
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed for value in sums) / len(sums)


@pytest.mark.parametrize("seed", range(10))
def test_sign_flips_of_integers_are_exact(seed):
    rng = np.random.default_rng(seed)
    differences = rng.integers(-4, 6, int(rng.integers(1, 13))) * (seed % 3 + 1)
    expected = by_enumeration(differences.tolist())
    assert sign_flip(differences) == pytest.approx(expected, abs=1e-12)


def test_sign_flips_of_others_are_estimated():
    differences = np.array([0.31, -0.12, 0.55, 0.27, -0.08, 0.4, 0.11])
    expected = by_enumeration(differences.tolist())
    found = sign_flip(differences, resamples=200_000, seed=1)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected / 200_000))
    # The same numbers as integers, exactly; and a drawn p is never 0.
    assert sign_flip(np.round(100 * differences).astype(int)) == pytest.approx(expected)
    assert sign_flip(np.full(40, 0.5), resamples=99) == 0.01


def test_hundreds_of_problems_are_exact():
    # Sums of n signs are binomial: P(|S| >= 40) for n = 400.
    differences = np.array([1] * 220 + [-1] * 180)
    drawn = np.random.default_rng(0).binomial(400, 0.5, 400_000)
    assert sign_flip(differences) == pytest.approx(np.mean(abs(2 * drawn - 400) >= 40), abs=2e-3)
    assert sign_flip([1] * 1000) == pytest.approx(2.0**-999)


def test_no_difference_is_no_evidence():
    assert sign_flip([]) == sign_flip([0, 0]) == sign_flip([2, -2]) == 1.0


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 9), (9, 3), (6, 6), (5, 7)])
def test_mcnemar_counts_all_outcomes_as_far_from_even(b, c):
    n = b + c
    outcomes = list(itertools.product((0, 1), repeat=n))
    extreme = sum(abs(2 * sum(outcome) - n) >= abs(b - c) for outcome in outcomes)
    assert mcnemar(b, c) == pytest.approx(extreme / len(outcomes))
    assert mcnemar(b, c) == pytest.approx(sign_flip([1] * b + [-1] * c))


def test_mcnemar_of_thousands():
    assert 0 < mcnemar(3000, 3300) < 1e-3 and mcnemar(0, 2000) == 0.0


def test_holm_rejects_as_stepping_down_does():
    rng = np.random.default_rng(2)
    for _ in range(50):
        values = (rng.random(6) ** 3).tolist()
        for alpha in (0.01, 0.05, 0.2, 0.5):
            rejected = set()
            for step, index in enumerate(sorted(range(6), key=lambda i: values[i])):
                if values[index] > alpha / (6 - step):
                    break
                rejected.add(index)
            assert {i for i, p in enumerate(holm(values)) if p <= alpha} == rejected
    assert holm([]) == []


def test_bad_arguments_are_named():
    with pytest.raises(ShapeError, match=r"differences: expected \(P,\), got \(1, 2\)"):
        sign_flip([[1, 2]])
    with pytest.raises(NonFiniteError, match="differences: expected finite values"):
        sign_flip([float("inf")])
    with pytest.raises(ConfigError, match="only_second: expected a number from 0, got -1"):
        mcnemar(1, -1)
