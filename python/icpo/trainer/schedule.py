"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES", "learning_rate"]

#: What remains of the rate after a share of the run, 0 to 1.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def learning_rate(step: int, *, peak: float, warmup: int, schedule: str, total_steps: int) -> float:
    """The rate of a step, counted from 0: up in a line over `warmup` steps, then as the schedule.

    >>> [learning_rate(t, peak=1.0, warmup=2, schedule="linear", total_steps=4) for t in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(total_steps - warmup, 1)
    return peak * SCHEDULES[schedule](done)
