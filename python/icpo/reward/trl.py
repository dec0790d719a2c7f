"""A reward function for trl's trainers, which are not imported.

GRPOTrainer(..., reward_funcs=accuracy_reward)

Gold answers come from the first column there is of ``solution``, ``answer``, ``ground_truth`` and
``gold``. It must hold answers: a whole solution is prose, which the strict profile only finds equal
to itself. `AccuracyReward` takes another checker or column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icpo.errors import MissingArgumentError
from icpo.reward.checker import Checker

__all__ = ["AccuracyReward", "accuracy_reward"]

#: Columns of a data set that may hold the gold answer, in order of preference.
_COLUMNS = ("solution", "answer", "ground_truth", "gold")


class AccuracyReward:
    """1.0 for completions that give the gold answer, 0.0 for the others.

    With ``unreadable_gold=None`` a row whose gold answer can not be read gets None, which trl
    leaves out of the reward, instead of 0.0.

    >>> AccuracyReward()(["so \\\\boxed{4}", "so \\\\boxed{5}"], solution=["4", "4"])
    [1.0, 0.0]
    """

    #: How trl names the metric.
    __name__ = "accuracy_reward"

    def __init__(
        self,
        checker: Checker | None = None,
        *,
        column: str | None = None,
        unreadable_gold: float | None = 0.0,
    ) -> None:
        """Takes the strict checker, and the first column there is, unless given others."""
        self.checker = checker or Checker()
        self.column = column
        self.unreadable_gold = unreadable_gold

    def __call__(self, completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        """Scores texts, or chats of which the last message counts."""
        columns = (self.column,) if self.column is not None else _COLUMNS
        golds = next((kwargs[name] for name in columns if kwargs.get(name) is not None), None)
        if golds is None:
            raise MissingArgumentError(
                f"{' or '.join(columns)}: expected a column of gold answers, got columns "
                f"{', '.join(sorted(kwargs)) or '(none)'}"
            )
        texts = [_text(completion) for completion in completions]
        verdicts = self.checker.check_many(texts, [_gold(gold) for gold in golds])
        return [
            self.unreadable_gold if verdict.reason == "gold" else float(verdict.equal)
            for verdict in verdicts
        ]


def accuracy_reward(completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
    """`AccuracyReward` with its defaults."""
    return _DEFAULT(completions, **kwargs)


_DEFAULT = AccuracyReward()


def _gold(gold: Any) -> Any:
    return str(gold) if isinstance(gold, int | float) and not isinstance(gold, bool) else gold


def _text(completion: Any) -> Any:
    """The text of a completion: itself, or its last message's."""
    if isinstance(completion, list | tuple):
        completion = completion[-1] if completion else ""
    if isinstance(completion, Mapping):
        completion = completion.get("content") or ""
    if isinstance(completion, list | tuple):  # a message in parts
        parts = (part.get("text", "") for part in completion if isinstance(part, Mapping))
        return "".join(parts)
    return completion
