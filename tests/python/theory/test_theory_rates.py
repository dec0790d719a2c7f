"""Exponents are found, with errors that are as large as they say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from icpo import ConfigError, NonFiniteError, ShapeError
from icpo.theory import Estimate, fit_power_law

SHOCKS = (10, 40, 80)
TIMES = [shock * np.array([1, 2, 5, 20]) for shock in SHOCKS]


def made(ratio: float, shock: float, noise: float, seed: int, replications: int = 100) -> list:
    """Effects that follow a power law times what is different in each replication, of mean 1."""
    rng = np.random.default_rng(seed)
    found = []
    for s, times in zip(SHOCKS, TIMES, strict=True):
        law = 3 * (times / s) ** ratio * float(s) ** shock
        spread = noise * rng.standard_normal((replications, len(times))).cumsum(1)
        found.append(law * np.exp(spread - noise**2 * np.arange(1, len(times) + 1) / 2))
    return found


def test_exact_laws_are_found():
    law = fit_power_law(SHOCKS, TIMES, made(-0.7, -1.1, 0.0, 0))
    assert law.ratio.value == pytest.approx(-0.7, abs=1e-12)
    assert law.shock.value == pytest.approx(-1.1, abs=1e-12)
    assert law.ratio.error < 1e-12 and law.shock.error < 1e-12


def test_errors_are_those_of_repetitions():
    """Over 300 repetitions, deviations in units of the stated error have a spread of about 1."""
    away = np.array(
        [
            (law.ratio.away_from(-0.7), law.shock.away_from(-1.1))
            for seed in range(300)
            for law in [fit_power_law(SHOCKS, TIMES, made(-0.7, -1.1, 0.4, seed), groups=50)]
        ]
    )
    assert (np.abs(away.mean(0)) < 0.25).all()
    assert (away.std(0) > 0.85).all() and (away.std(0) < 1.25).all()


def test_groups_need_not_be_of_one_size():
    found = made(-0.7, -1.1, 0.2, 1, replications=23)
    assert abs(fit_power_law(SHOCKS, TIMES, found, groups=10).ratio.away_from(-0.7)) < 4


def test_away_from_counts_errors():
    assert Estimate(1.0, 0.25).away_from(0.5) == 2.0


def test_what_is_refused():
    good = made(-0.7, -1.1, 0.2, 1)
    with pytest.raises(ConfigError, match=r"shocks: expected at least two .* got \[10\] with 1"):
        fit_power_law(SHOCKS[:1], TIMES[:1], good[:1])
    with pytest.raises(ConfigError, match="with 3 and 2"):
        fit_power_law(SHOCKS, TIMES, good[:2])
    with pytest.raises(ShapeError, match=r"effects: expected \(R, 4\) with R of at least 101, got"):
        fit_power_law(SHOCKS, TIMES, good, groups=101)
    with pytest.raises(ShapeError, match=r"got \(100, 3\)"):
        fit_power_law(SHOCKS, TIMES, [one[:, :3] for one in good])
    with pytest.raises(NonFiniteError, match="effects: expected positive means, got -"):
        fit_power_law(SHOCKS, TIMES, [-one for one in good])
