"""ICPO with reward shaping, "ICPO†": accepted expert rollouts earn a bonus that fades."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.icpo import icpo
from icpo.mixing.bonus import Bonus


def icpo_bonus() -> Algorithm:
    """ICPO and eq. 12, α = 1, linear."""
    bonus = Bonus(alpha=1.0, schedule="linear")
    return dataclasses.replace(icpo(), name="icpo_bonus", bonus=bonus)
