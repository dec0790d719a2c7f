"""ICPO without rejection: expert rollouts enter right or wrong, as in the authors' code."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.icpo import icpo


def icpo_always() -> Algorithm:
    """The ablation "− ERRS": N - N_off on-policy rollouts and N_off expert ones, all trained on."""
    base = icpo()
    plan = dataclasses.replace(base.plan, group="always")
    return dataclasses.replace(base, name="icpo_always", plan=plan, defining=("group",))
