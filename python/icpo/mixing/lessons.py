"""Steps in which stored solutions are imitated, instead of rollouts being rewarded.

SFT makes no others; SFT+RL begins with them; ReLIFT puts them between steps of reinforcement, for
the hardest problems met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from icpo.errors import CheckpointError, ConfigError
from icpo.mixing.groups import MixedGroup
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig

__all__ = ["LESSON_LOSS", "LESSON_PLAN", "WHEN", "Lessons", "Timetable", "unsolved"]

T = TypeVar("T")

#: One stored solution a problem, and no rollout.
LESSON_PLAN = Plan(n=1, n_off=1, group="alone", source="stored")

#: -ln π of its tokens, on average. Without an advantage there is nothing else in the loss.
LESSON_LOSS = LossConfig(off_ratio="policy", sft_coef=1.0)


@dataclass(frozen=True)
class Lessons:
    """Which steps imitate.

    >>> Lessons("first", share=0.25).until(400)
    100
    """

    #: ``first``: those at the beginning; ``hardest``: whenever enough problems have been met that
    #: no rollout solved. See `WHEN`.
    when: str = "first"
    #: Of ``first``: the share of the run's steps.
    share: float = 0.5
    #: Of ``hardest``: solutions a step; None: as many as a step has prompts.
    prompts: int | None = None
    #: Learning rate of these steps, in place of the run's; None: the run's.
    lr: float | None = None

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not isinstance(self.when, str) or self.when not in WHEN:
            known = " or ".join(repr(name) for name in WHEN)
            raise ConfigError(f"when: expected {known}, got {self.when!r}")
        if not _is_number(self.share) or not 0 < self.share < 1:
            raise ConfigError(f"share: expected a number between 0 and 1, got {self.share!r}")
        if self.prompts is not None and (
            isinstance(self.prompts, bool) or not isinstance(self.prompts, int) or self.prompts < 1
        ):
            raise ConfigError(f"prompts: expected a whole number from 1, got {self.prompts!r}")
        if self.lr is not None and (not _is_number(self.lr) or not 0 < self.lr < math.inf):
            raise ConfigError(f"lr: expected a number above 0, got {self.lr!r}")

    def until(self, total_steps: int) -> int:
        """The last step of ``first``, at least 1."""
        return max(1, round(self.share * total_steps))


class Timetable(Generic[T]):
    """Decides of each step whether it imitates, and which problems.

    What it knows of earlier steps are the problems that wait for their solution to be imitated.
    """

    def __init__(self, lessons: Lessons | None, *, total_steps: int, batch: int) -> None:
        """`batch` is the number of prompts a step; `lessons` None: no step imitates."""
        self._lessons = lessons
        self._total_steps = total_steps
        self._batch = batch
        self._waiting: dict[str, T] = {}

    @property
    def waiting(self) -> Mapping[str, T]:
        """The problems that wait, by id, in the order in which they were met."""
        return self._waiting

    def lesson(self, step: int, draw: Callable[[int], list[T]]) -> list[T] | None:
        """The problems whose solutions a step imitates; None: it is one of reinforcement.

        Args:
            step: its number, from 1.
            draw: the next so many problems in the run's order, for lessons on those.
        """
        if self._lessons is None:
            return None
        found: list[T] | None = WHEN[self._lessons.when](self, self._lessons, step, draw)
        return found

    def met(self, id: str, problem: T) -> None:
        """Takes note of a problem that no rollout of a step has solved."""
        if self._lessons is not None and self._lessons.when == "hardest":
            self._waiting.setdefault(id, problem)

    def state_dict(self) -> dict[str, Any]:
        """Ids of the problems that wait. Plain values."""
        return {"waiting": list(self._waiting)}

    def load_state_dict(self, state: Mapping[str, Any], problems: Mapping[str, T]) -> None:
        """Continues where the state was taken.

        Raises:
            CheckpointError: if a problem in it is not among `problems`.
        """
        unknown = [id for id in state["waiting"] if id not in problems]
        if unknown:
            raise CheckpointError(
                f"lessons: expected problems of the run that is resumed, got {unknown[0]!r}"
            )
        self._waiting = {id: problems[id] for id in state["waiting"]}

    def _first(self, lessons: Lessons, step: int, draw: Callable[[int], list[T]]) -> list[T] | None:
        return draw(self._batch) if step <= lessons.until(self._total_steps) else None

    def _hardest(
        self, lessons: Lessons, step: int, draw: Callable[[int], list[T]]
    ) -> list[T] | None:
        size = lessons.prompts or self._batch
        if len(self._waiting) < size:
            return None
        return [self._waiting.pop(id) for id in list(self._waiting)[:size]]


#: Which steps imitate, by name.
WHEN: dict[str, Callable[[Timetable[Any], Lessons, int, Callable[[int], list[Any]]], Any]] = {
    "first": Timetable._first,
    "hardest": Timetable._hardest,
}


def unsolved(one: MixedGroup, delta: float) -> bool:
    """Whether on-policy rollouts were sampled, and none of them is right."""
    rollouts = one.group.policy
    return bool(rollouts) and not any(rollout.reward >= delta for rollout in rollouts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
