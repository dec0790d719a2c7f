"""How much of a stored solution the policy is given before it goes on by itself (Prefix-RFT)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.errors import ConfigError

__all__ = ["Prefix"]


@dataclass(frozen=True)
class Prefix:
    """The length of prefixes over a run, and which of their tokens are trained on.

    >>> Prefix().bound(0, 400), round(Prefix().bound(200, 400), 3), Prefix().bound(400, 400)
    (0.95, 0.5, 0.05)
    """

    #: Greatest share of a solution that is given, at the first step.
    longest: float = 0.95
    #: Least share that is given, and the greatest after the last step.
    shortest: float = 0.05
    #: Share of a prefix that is trained on: the tokens of which the policy is least certain.
    entropy_share: float = 0.2

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("longest", "shortest", "entropy_share"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise ConfigError(f"{name}: expected a number from 0 to 1, got {value!r}")
        if self.shortest > self.longest:
            raise ConfigError(
                f"shortest: expected at most longest = {self.longest}, got {self.shortest}"
            )

    def bound(self, step: float, total_steps: float) -> float:
        """The greatest share at step t of T: a cosine from `longest` to `shortest`."""
        left = (1 + math.cos(math.pi * min(step / total_steps, 1.0))) / 2
        return self.shortest + (self.longest - self.shortest) * left

    def length(self, solution: int, step: float, total_steps: float, chance: float) -> int:
        """How many tokens of a solution of so many are given.

        `chance`, uniform from 0 to 1, becomes a share between the shortest one and the bound. The
        policy always has at least the last token to write.
        """
        share = self.shortest + chance * (self.bound(step, total_steps) - self.shortest)
        return min(math.floor(share * solution), max(solution - 1, 0))

    def trained(
        self,
        given: int,
        entropy: NDArray[np.floating],  # (L,)
    ) -> NDArray[np.bool_]:  # (L,)
        """Which tokens of a completion are trained on: of the given ones the least certain.

        Of equal entropies the earlier token is taken.
        """
        mask = np.ones(len(entropy), np.bool_)
        kept = math.ceil(self.entropy_share * given)
        mask[np.argsort(-entropy[:given], kind="stable")[kept:]] = False
        return mask
