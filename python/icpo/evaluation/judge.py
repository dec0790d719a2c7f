"""Whether a response is right, and which responses give the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icpo.evaluation.benchmarks import Question
from icpo.reward import Checker

__all__ = ["Judgement", "judge", "votes"]


@dataclass(frozen=True)
class Judgement:
    """What is made of a response."""

    #: ``equal``, ``not_equal``, or ``unknown`` if no answer was found or it could not be told.
    outcome: str
    #: The answer, as it was found: a label, or the text that was read.
    answer: str | None

    @property
    def right(self) -> bool:
        """Whether it gives the gold answer."""
        return self.outcome == "equal"


def judge(question: Question, text: str, checker: Checker) -> Judgement:
    """Compares a response with the gold answer; of multiple choice, the option that it names."""
    options = question.options
    if options is None:
        verdict = checker.check(question.problem.answer, text)
        return Judgement(verdict.outcome, verdict.extracted)
    chosen = options.chosen(text, checker)
    if chosen is None:
        return Judgement("unknown", None)
    outcome = "equal" if chosen == options.gold else "not_equal"
    return Judgement(outcome, options.labels[chosen])


def votes(question: Question, texts: Sequence[str], checker: Checker) -> list[int]:
    """For each response the number of its answer, the same for answers that are equal; -1: none."""
    if question.options is None:
        return checker.cluster(texts)
    chosen = (question.options.chosen(text, checker) for text in texts)
    return [-1 if option is None else option for option in chosen]
