"""ICPO with expert rollouts only for problems that no on-policy rollout solves."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.icpo import icpo


def icpo_non_pass() -> Algorithm:
    """The row "non-pass" of Table 14: expert rollouts are sampled in a second round."""
    base = icpo()
    plan = dataclasses.replace(base.plan, target="non_pass")
    return dataclasses.replace(base, name="icpo_non_pass", plan=plan, defining=("target",))
