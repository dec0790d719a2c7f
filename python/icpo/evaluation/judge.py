"""Whether a response is right, and which responses give the same answer."""

from __future__ import annotations

import re
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
        numbers = checker.cluster(texts)
        return [
            number if readable else -1
            for number, readable in zip(numbers, _readable(texts, checker), strict=True)
        ]
    chosen = (question.options.chosen(text, checker) for text in texts)
    return [-1 if option is None else option for option in chosen]


#: Reasons for which a response has no answer, or none that means something.
_NOT_READ = frozenset({"response", "syntax", "too_large"})

#: A gold answer to read responses against.
_NUMBER = "0"

#: A label, which is read as one only where a label is asked for.
_LABEL = re.compile(r"\W*([A-Za-z])\W*")


def _readable(texts: Sequence[str], checker: Checker) -> list[bool]:
    """Whether an answer can be read in each response. A cluster takes any words for one."""
    # One thread: they are few, and waking others takes longer.
    verdicts = checker.check_many(texts, _NUMBER, threads=1)
    found = [verdict.reason not in _NOT_READ for verdict in verdicts]
    for place, verdict in enumerate(verdicts):
        label = _LABEL.fullmatch(verdict.extracted or "")
        if label and not found[place]:
            found[place] = checker.verify(label[1], texts[place])
    return found
