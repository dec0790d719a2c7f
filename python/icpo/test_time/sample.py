"""Plain sampling and the majority vote: K answers to the bare question."""

from __future__ import annotations

from icpo.evaluation.averages import counts_to_report
from icpo.test_time.config import SearchConfig
from icpo.test_time.search import Fits, Point, Search, Spending, Task
from icpo.test_time.talk import Talk

__all__ = ["search"]


def search(task: Task, config: SearchConfig, fits: Fits) -> Search:
    """See `icpo.test_time.search.Method`."""
    talk, spent = Talk(task, config, fits), Spending()
    answers = yield talk.ask("final/answer", [], rewards=False, times=config.answers)
    spent.add(answers)
    read = talk.read(answers)

    def part(k: int) -> Point:
        """A majority of k of them costs as much as k of them, on average."""
        share = k / len(answers)
        return Point(
            f"{k} answers",
            spent.calls * share,
            None if spent.tokens is None else spent.tokens * share,
            None if spent.prompt_tokens is None else spent.prompt_tokens * share,
            read.mean,
            read.majority(k),
        )

    curve = [part(k) for k in dict.fromkeys([1, *counts_to_report(len(answers))])]
    return talk.solution(answers, spent, curve, [])
