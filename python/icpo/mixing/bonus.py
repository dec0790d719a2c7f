"""Settings of the annealed bonus for accepted expert rollouts (eq. 12)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icpo.errors import ConfigError
from icpo.objective.bonus import bonus_gamma, reward_bonus

__all__ = ["Bonus"]


@dataclass(frozen=True)
class Bonus:
    """How much an accepted expert rollout is rewarded on top, and how that fades.

    >>> Bonus(alpha=0.5).gamma(100, total_steps=400)
    0.75
    """

    #: α, the bonus at step 0.
    alpha: float = 1.0
    #: How it fades: ``linear``, ``cosine`` or ``exp``.
    schedule: str = "linear"
    #: τ of ``exp``, in steps.
    tau: float | None = None

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if isinstance(self.alpha, bool) or not (
            isinstance(self.alpha, (int, float)) and math.isfinite(self.alpha)
        ):
            raise ConfigError(f"alpha: expected a finite number, got {self.alpha!r}")
        if self.tau is not None and (
            isinstance(self.tau, bool)
            or not isinstance(self.tau, (int, float))
            or not 0 < self.tau < math.inf
        ):
            raise ConfigError(f"tau: expected a number of steps above 0, got {self.tau!r}")
        if self.schedule == "exp" and self.tau is None:
            raise ConfigError("tau: expected a number of steps for schedule 'exp', got None")
        self.gamma(0, total_steps=1)

    def gamma(self, step: float, total_steps: float) -> float:
        """γ(t), the share of the bonus that is left at step t of T."""
        return bonus_gamma(step, schedule=self.schedule, total_steps=total_steps, tau=self.tau)

    def shaped(
        self,
        rewards: NDArray[np.floating],  # (B,)
        accepted: NDArray[np.bool_],  # (B,)
        step: float,
        total_steps: float,
    ) -> NDArray[np.floating]:  # (B,)
        """R' = R + α·γ(t) for accepted expert rollouts, R for the rest (eq. 12)."""
        return reward_bonus(
            rewards,
            accepted,
            step,
            alpha=self.alpha,
            schedule=self.schedule,
            total_steps=total_steps,
            tau=self.tau,
        )
