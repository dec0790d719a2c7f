"""The annealed bonus on the reward of accepted expert rollouts (eq. 12, "ICPO†")."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo import _core
from icpo.errors import ConfigError, MissingArgumentError
from icpo.objective.memory import as_array, as_bools, as_floats, check_length

__all__ = ["bonus_gamma", "reward_bonus"]


def bonus_gamma(
    step: float,
    *,
    schedule: str = "linear",
    total_steps: float | None = None,
    tau: float | None = None,
) -> float:
    """γ(t), the share of the bonus that is left at step t.

    ``linear`` is 1 - t/T and ``cosine`` ½(1 + cos πt/T), with T = ``total_steps``, 0 afterwards;
    ``exp`` is e^(-t/τ) with τ = ``tau``.

    >>> bonus_gamma(100, total_steps=400)
    0.75
    """
    name, horizon = ("tau", tau) if schedule == "exp" else ("total_steps", total_steps)
    if horizon is None:
        raise MissingArgumentError(f"{name}: schedule {schedule!r} needs it")
    return _core.bonus_gamma(step, schedule, horizon)


def reward_bonus(
    rewards: ArrayLike,
    accepted: ArrayLike,
    step: float,
    *,
    alpha: float = 1.0,
    schedule: str = "linear",
    total_steps: float | None = None,
    tau: float | None = None,
) -> NDArray[np.floating]:
    """R' = R + α·γ(t) for accepted expert rollouts, R for the rest.

    Args:
        rewards: (B,) rewards. Acceptance looks at these, never at what is returned.
        accepted: (B,) which rollouts are accepted expert ones.
        step: t.
        alpha: α.
        schedule: see `bonus_gamma`, as for ``total_steps`` and ``tau``.
        total_steps: T.
        tau: τ.

    Returns:
        (B,), float32 for float32 rewards, else float64.

    >>> reward_bonus([1.0, 1.0], [True, False], 100, total_steps=400).tolist()
    [1.75, 1.0]
    """
    array = as_array("rewards", rewards)
    values = as_floats("rewards", array, np.float64)
    flags = as_bools("accepted", accepted)
    check_length("rewards", values, len(flags), "rollouts")
    if not math.isfinite(alpha):
        raise ConfigError(f"alpha: expected a finite number, got {alpha}")
    gamma = bonus_gamma(step, schedule=schedule, total_steps=total_steps, tau=tau)
    shaped: NDArray[np.floating] = values + alpha * gamma * flags
    return shaped.astype(np.float32) if array.dtype == np.float32 else shaped
