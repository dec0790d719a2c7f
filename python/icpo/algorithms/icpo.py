"""ICPO: implicit expert forcing, rejection of failed expert rollouts, and the shaped ratio."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig


def icpo() -> Algorithm:
    """Algorithm 1 and eq. 10, with the settings of Table 8."""
    return Algorithm("icpo", Plan(n_off=1, group="replace"), LossConfig.preset("paper"))
