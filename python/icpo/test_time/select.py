"""Which candidate enters the history, and which idea leaves it (ALGORITHM of ME-ICPO, 5 and 6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["SELECTIONS", "Selection"]


@dataclass(frozen=True)
class Selection:
    """A way to choose."""

    #: Whether the entropy that each choice would leave has to be measured.
    measures: bool
    #: From rewards, entropies (None: not measured) and luck to the place of the candidate.
    choose: Callable[[Sequence[int], Sequence[float] | None, random.Random], int]
    #: Likewise from the rewards of all ideas, and the entropies that their removal leaves, to the
    #: place of the one that leaves.
    remove: Callable[[Sequence[int], Sequence[float] | None, random.Random], int]


def _least(rewards: Sequence[int], entropies: Sequence[float] | None, luck: random.Random) -> int:
    """The first of those with the least entropy: attempts are exchangeable, so this is fair."""
    assert entropies is not None  # this selection measures
    return min(range(len(entropies)), key=entropies.__getitem__)


def _any(rewards: Sequence[int], entropies: Sequence[float] | None, luck: random.Random) -> int:
    return luck.randrange(len(rewards))


def _rewarded(
    rewards: Sequence[int], entropies: Sequence[float] | None, luck: random.Random
) -> int:
    best = max(rewards)
    return luck.choice([place for place, reward in enumerate(rewards) if reward == best])


def _unrewarded(
    rewards: Sequence[int], entropies: Sequence[float] | None, luck: random.Random
) -> int:
    least = min(rewards)
    return luck.choice([place for place, reward in enumerate(rewards) if reward == least])


#: By name.
SELECTIONS: dict[str, Selection] = {
    "entropy": Selection(True, _least, _least),
    "reward": Selection(False, _rewarded, _unrewarded),
    "random": Selection(False, _any, _any),
}
