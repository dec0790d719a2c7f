"""Supervised fine-tuning on stored solutions."""

from __future__ import annotations

from icpo.algorithms.composition import Algorithm
from icpo.mixing.lessons import LESSON_LOSS, LESSON_PLAN


def sft() -> Algorithm:
    """-ln π of each token of a stored solution; nothing is sampled."""
    return Algorithm("sft", LESSON_PLAN, LESSON_LOSS, defining=("n", "n_off", "group", "source"))
