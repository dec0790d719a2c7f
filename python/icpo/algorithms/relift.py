"""ReLIFT: GRPO, and now and then a step that imitates solutions of what it could not solve."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo
from icpo.mixing.lessons import Lessons


def relift() -> Algorithm:
    """GRPO; once a batch of problems without a right rollout has come together, a step of `sft`."""
    return dataclasses.replace(grpo(), name="relift", lessons=Lessons("hardest"))
