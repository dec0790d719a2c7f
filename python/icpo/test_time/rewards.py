"""Where the rewards of attempts come from (ALGORITHM of ME-ICPO, 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["REWARDS", "Reward"]


@dataclass(frozen=True)
class Reward:
    """A way to reward attempts."""

    #: From votes, the majority's vote (None: nobody voted) and whether each attempt is right, to
    #: 0 or 1 for each.
    of: Callable[[Sequence[int], int | None, Sequence[bool] | None], list[int]]
    #: Whether prompts tell the rewards.
    shown: bool = True
    #: Whether it looks at the gold answer.
    needs_gold: bool = False


def _majority(votes: Sequence[int], winner: int | None, right: Sequence[bool] | None) -> list[int]:
    """r_j = 1[a_j = â]."""
    return [int(winner is not None and vote == winner) for vote in votes]


def _oracle(votes: Sequence[int], winner: int | None, right: Sequence[bool] | None) -> list[int]:
    assert right is not None  # checked before: it needs a gold answer
    return [int(one) for one in right]


#: By name. ``none``: those of the majority, but the prompts do not tell them.
REWARDS: dict[str, Reward] = {
    "majority": Reward(_majority),
    "oracle": Reward(_oracle, needs_gold=True),
    "none": Reward(_majority, shown=False),
}
