"""LUFFY: expert rollouts are a stronger model's traces of the same problems."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig


def luffy() -> Algorithm:
    """N - N_off on-policy rollouts and N_off stored ones, which enter right or wrong."""
    plan = Plan(n_off=1, group="always", source="stored")
    return Algorithm("luffy", plan, LossConfig.preset("luffy"), defining=("source",))
