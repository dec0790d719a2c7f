"""Exponents of a decay, by least squares on logarithms, with errors from replications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icpo.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["Estimate", "PowerLaw", "fit_power_law"]


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float

    def away_from(self, expected: float) -> float:
        """In standard errors."""
        return (self.value - expected) / self.error


@dataclass(frozen=True)
class PowerLaw:
    """effect = C · (t/s)^ratio · s^shock."""

    ratio: Estimate
    shock: Estimate


def fit_power_law(
    shocks: Sequence[int],
    times: Sequence[NDArray[np.int64]],
    effects: Sequence[NDArray[np.float64]],
    groups: int = 100,
) -> PowerLaw:
    """Fits the mean effects of all shocks together.

    Standard errors are those of the jackknife: replications are split into groups, and the fit is
    repeated without each. A mean over nearly all of them has nearly the bias of the mean over all,
    which the logarithm of a mean over one group would not. Effects have long tails, so a few groups
    would give errors that are off by a fifth and more.

    Args:
        shocks: s, at least two different ones.
        times: of each shock, the t at which effects were taken; (T,).
        effects: of each shock, by replication; (R, T).
        groups: of replications, at least 2 and at most R.

    Raises:
        NonFiniteError: if a mean effect is not positive.
    """
    if len(set(shocks)) < 2 or not len(shocks) == len(times) == len(effects):
        raise ConfigError(
            "shocks: expected at least two different ones with times and effects of each, got "
            f"{list(shocks)} with {len(times)} and {len(effects)}"
        )
    for at, of in zip(times, effects, strict=True):
        if of.ndim != 2 or of.shape[1] != len(at) or not 2 <= groups <= len(of):
            raise ShapeError(
                f"effects: expected (R, {len(at)}) with R of at least {groups}, got {of.shape}"
            )
    sums = [
        np.stack([part.sum(0) for part in np.array_split(of, groups)]) for of in effects
    ]  # (groups, T) each
    sizes = [
        np.array([len(part) for part in np.array_split(of, groups)], np.float64) for of in effects
    ]
    design = np.concatenate(
        [
            np.stack([np.ones(len(at)), np.log(at / s), np.full(len(at), np.log(s))], 1)
            for s, at in zip(shocks, times, strict=True)
        ]
    )
    whole = _fit(design, [s.sum(0) / n.sum() for s, n in zip(sums, sizes, strict=True)])
    parts = np.stack(
        [
            _fit(
                design,
                [
                    (s.sum(0) - s[group]) / (n.sum() - n[group])
                    for s, n in zip(sums, sizes, strict=True)
                ],
            )
            for group in range(groups)
        ]
    )
    errors = np.sqrt((groups - 1) * parts.var(0))
    _, ratio, shock = (
        Estimate(float(value), float(error)) for value, error in zip(whole, errors, strict=True)
    )
    return PowerLaw(ratio, shock)


def _fit(design: NDArray[np.float64], means: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    values = np.concatenate(means)
    if not (values > 0).all():
        raise NonFiniteError(f"effects: expected positive means, got {values.min():.3g}")
    return np.asarray(np.linalg.lstsq(design, np.log(values), rcond=None)[0], np.float64)
