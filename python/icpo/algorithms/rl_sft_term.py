"""GRPO with a likelihood term on a stored solution of each problem."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo
from icpo.mixing.plan import Plan


def rl_sft_term() -> Algorithm:
    """N on-policy rollouts and eq. 5; beside each group a solution that is imitated."""
    plan = Plan(n_off=1, group="beside", source="stored")
    loss = grpo().loss.replace(sft_coef=1.0)
    return Algorithm("rl_sft_term", plan, loss, defining=("group", "source"))
