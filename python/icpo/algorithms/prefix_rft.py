"""Prefix-RFT: the policy is given the beginning of a stored solution, and goes on by itself."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.dr_grpo import dr_grpo
from icpo.mixing.plan import Plan
from icpo.mixing.prefix import Prefix


def prefix_rft() -> Algorithm:
    """N - N_off on-policy rollouts and N_off hybrid ones, by the loss of Dr. GRPO.

    The whole of a hybrid has the ratio πθ(τ|x)/πold(τ|x), as if it had been sampled from x.
    """
    plan = Plan(n_off=1, group="always", source="prefix")
    return Algorithm("prefix_rft", plan, dr_grpo().loss, prefix=Prefix(), defining=("source",))
