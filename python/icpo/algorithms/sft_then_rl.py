"""Supervised fine-tuning, then GRPO."""

from __future__ import annotations

import dataclasses

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo
from icpo.mixing.lessons import Lessons


def sft_then_rl() -> Algorithm:
    """GRPO; the first half of the steps are those of `sft` instead."""
    return dataclasses.replace(grpo(), name="sft_then_rl", lessons=Lessons("first", share=0.5))
