"""GRPO: no expert rollouts. What ICPO is without implicit expert forcing."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig


def grpo() -> Algorithm:
    """N on-policy rollouts and eq. 5."""
    # Without verl's dual clip, which the paper does not mention: on policy, the loss is ICPO's.
    loss = LossConfig.preset("grpo", dual_clip=None)
    return Algorithm("grpo", Plan(n_off=0), loss, defining=("n_off",))
