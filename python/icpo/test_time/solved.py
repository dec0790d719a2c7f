"""A question that was solved."""

from __future__ import annotations

from dataclasses import dataclass

from icpo.test_time.search import Solution, Task

__all__ = ["Solved"]


@dataclass(frozen=True, eq=False)
class Solved:
    """What a method has made of a question under a seed."""

    #: As tables call it.
    method: str
    seed: int
    task: Task
    solution: Solution
