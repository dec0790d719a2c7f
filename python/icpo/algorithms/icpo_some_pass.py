"""ICPO with expert rollouts only for problems that some on-policy rollouts solve, and not all."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.icpo import icpo


def icpo_some_pass() -> Algorithm:
    """The row "some-pass" of Table 14: expert rollouts are sampled in a second round."""
    base = icpo()
    plan = dataclasses.replace(base.plan, target="some_pass")
    return dataclasses.replace(base, name="icpo_some_pass", plan=plan, defining=("target",))
