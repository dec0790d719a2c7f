"""Shares of shifted tokens against plain counting, and their error against the jackknife."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from icpo import ConfigError, DataError
from icpo.analysis.rank_shift import rank_shift, rows, summary


def ranks(seed: int, lengths) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.geometric(0.5, size=length) + (rng.random(length) < 0.1) * 50 for length in lengths]


def naive(trajectories, bins: int) -> Counter:
    """(regime, bin) of each token, with exact fractions."""
    found: Counter = Counter()
    for trajectory in trajectories:
        for place, rank in enumerate(trajectory.tolist()):
            regime = "unshifted" if rank == 1 else "marginal" if rank in (2, 3) else "shifted"
            where = next(
                number
                for number in range(bins)
                if Fraction(number, bins)
                <= Fraction(place, len(trajectory))
                < Fraction(number + 1, bins)
            )
            found[regime, where] += 1
    return found


@pytest.mark.parametrize("bins", [1, 7, 100])
def test_tokens_are_counted_where_they_stand(bins):
    trajectories = ranks(0, [0, 1, 2, 7, 99, 100, 101, 250, 3])
    expected = naive(trajectories, bins)
    shift = rank_shift(trajectories, bins)
    found = rows({"a": shift})
    assert len(found) == bins and shift.trajectories == 8
    for row in found:
        counts = [expected[regime, row["bin"]] for regime in ("unshifted", "marginal", "shifted")]
        assert [row["unshifted"], row["marginal"], row["shifted"]] == counts
        assert row["tokens"] == sum(counts)
        assert row["shifted_share"] == pytest.approx(counts[2] / sum(counts))
    total = summary({"a": shift})[0]
    for regime in ("unshifted", "marginal", "shifted"):
        count = sum(expected[regime, place] for place in range(bins))
        assert total[regime] == pytest.approx(count / sum(map(len, trajectories)))


def test_bins_without_tokens_have_no_share():
    shift = rank_shift([np.array([1, 9])], bins=5)
    assert shift.tokens.tolist() == [1, 0, 1, 0, 0]
    assert np.isnan(shift.shares[2, 1]) and shift.shares[2, 2] == 1.0
    # A single trajectory says nothing of how much others would differ.
    assert np.isnan(shift.error).all() and np.isnan(shift.total_error)


def test_the_error_is_about_that_of_the_jackknife():
    """Leaving out one trajectory at a time. Tokens taken as independent would say half of it."""
    rng = np.random.default_rng(1)
    trajectories = [
        (rng.random(length) < chance) * 8 + 1
        for length, chance in zip(
            rng.integers(20, 60, size=150), rng.beta(2, 6, size=150), strict=True
        )
    ]
    shift = rank_shift(trajectories, bins=4)
    shifted = np.array([(one > 3).sum() for one in trajectories])
    tokens = np.array([len(one) for one in trajectories])
    without = (shifted.sum() - shifted) / (tokens.sum() - tokens)
    n = len(trajectories)
    jackknife = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    assert shift.total_error == pytest.approx(jackknife, rel=0.03)
    share = shifted.sum() / tokens.sum()
    assert shift.total_error > 1.5 * np.sqrt(share * (1 - share) / tokens.sum())


def test_bad_arguments_are_named():
    with pytest.raises(DataError, match="ranks: expected trajectories with tokens, got none"):
        rank_shift([np.array([], np.int64)])
    with pytest.raises(ConfigError, match="bins: expected at least 1, got 0"):
        rank_shift([np.array([1])], bins=0)
    with pytest.raises(ConfigError, match="marginal: expected at least 1, got 0"):
        rank_shift([np.array([1])], marginal=0)
