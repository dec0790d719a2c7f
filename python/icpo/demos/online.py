"""The online pool: training prompts that the policy has solved become demonstrations.

The authors' code keeps what the policy answered to prompts that it always solves. Here it can be
said how often is enough, and what enters, in which order, follows from the rollouts alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icpo.demos.pool import same_text
from icpo.errors import CheckpointError, ConfigError
from icpo.types import Demo, Problem

__all__ = ["Online", "SolvedDemos", "solved_demo"]


@dataclass(frozen=True)
class Online:
    """Which solved prompts join the pool, and how many stay in it.

    >>> responses = ["wrong", "2, because", "2", "?"]
    >>> Online(size=100, share=0.5).answer([False, True, True, False], responses.__getitem__)
    '2, because'
    >>> Online(size=100).answer([False, True, True, False], responses.__getitem__) is None
    True
    """

    #: At most so many, the newest.
    size: int
    #: The share of a prompt's on-policy rollouts that must be right; 0: one of them.
    share: float = 1.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.size < 1:
            raise ConfigError(f"online.size: expected at least 1, got {self.size}")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"online.share: expected 0 to 1, got {self.share}")

    def answer(self, right: Sequence[bool], text: Callable[[int], str]) -> str | None:
        """The response that solves a prompt: the first right one; None: the prompt is not solved.

        Responses to one prompt are drawn alike, so the first right one is a right one by chance.

        Args:
            right: of each on-policy rollout, whether it is right and came to an end.
            text: of a rollout, by its place.
        """
        if sum(right) < self.share * len(right):
            return None
        texts = (text(place) for place, each in enumerate(right) if each)
        return next((found for found in texts if found.strip()), None)


def solved_demo(problem: Problem, response: str) -> Demo:
    """A solved problem as a demonstration.

    Its id says of which problem it is, and cannot be that of another question: ids of problems may
    repeat where a training set was put together from several files.
    """
    digest = hashlib.sha256(same_text(problem.question).encode("utf-8", "surrogatepass"))
    return Demo(
        id=f"solved:{problem.id}:{digest.hexdigest()[:8]}",
        question=problem.question,
        solution=response.strip(),
        subject=problem.subject,
        difficulty=problem.difficulty,
    )


class SolvedDemos:
    """Solved prompts, oldest first; of each question the newest response.

    >>> kept = SolvedDemos(2)
    >>> kept.add(solved_demo(Problem(str(n), f"{n} + 1?", "?"), f"{n + 1}") for n in (1, 2, 1, 3))
    >>> [demo.question for demo in kept]
    ['1 + 1?', '3 + 1?']
    """

    def __init__(self, size: int) -> None:
        """Holds at most `size`."""
        self._size = size
        self._demos: dict[str, Demo] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._demos)

    def __iter__(self) -> Iterator[Demo]:
        """All, oldest first."""
        return iter(self._demos.values())

    def add(self, demos: Iterable[Demo]) -> None:
        """Lets some enter, in this order; the oldest leave when there is no place."""
        for demo in demos:
            question = same_text(demo.question)
            self._demos.pop(question, None)
            self._demos[question] = demo
            if len(self._demos) > self._size:
                del self._demos[next(iter(self._demos))]

    def state(self) -> list[dict[str, Any]]:
        """All of them, as plain values."""
        return [asdict(demo) for demo in self]

    def load(self, state: Any) -> None:
        """Holds what `state` holds, in its order."""
        if not isinstance(state, list) or len(state) > self._size:
            raise CheckpointError(f"solved: expected at most {self._size} rows, got {state!r:.80}")
        demos = [_demo(row) for row in state]
        self._demos = {}
        self.add(demos)


def _demo(row: Any) -> Demo:
    try:
        if not isinstance(row, Mapping):
            raise TypeError("no mapping")
        return Demo(**row)
    except TypeError as error:
        raise CheckpointError(f"solved: expected a demonstration, got {row!r:.80}") from error
