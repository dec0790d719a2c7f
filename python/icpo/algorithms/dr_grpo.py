"""Dr. GRPO, also known as Oat-Zero: no division by the deviation, nor by the length."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig


def dr_grpo() -> Algorithm:
    """N on-policy rollouts, eq. 5 without what GRPO divides by."""
    loss = LossConfig.preset("dr_grpo", dual_clip=None)
    return Algorithm("dr_grpo", Plan(n_off=0), loss, defining=("n_off",))
