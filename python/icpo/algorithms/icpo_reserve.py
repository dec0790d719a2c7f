"""ICPO with N - N_off on-policy rollouts: places are kept free for accepted expert ones."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.icpo import icpo


def icpo_reserve() -> Algorithm:
    """Section 5, "1 off-policy and 7 on-policy", with the rejection of section 4.2."""
    base = icpo()
    plan = dataclasses.replace(base.plan, group="reserve")
    return dataclasses.replace(base, name="icpo_reserve", plan=plan, defining=("group",))
