"""GRPO on the questions of the expert pool: is it these problems that help, or showing them?"""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo


def grpo_expert_domain() -> Algorithm:
    """As GRPO; the problems are the pool's, whose solutions are the gold answers."""
    return dataclasses.replace(grpo(), name="grpo_expert_domain", problems="demos")
