"""GRPO with twice the rollouts: is it the demonstrations that help, or just more samples?"""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo
from icpo.mixing.plan import Plan


def grpo_extra_rollouts() -> Algorithm:
    """2N on-policy rollouts and eq. 5."""
    plan = Plan(n=2 * Plan().n, n_off=0)
    return dataclasses.replace(grpo(), name="grpo_extra_rollouts", plan=plan)
