"""Which gold answers no response could ever be verified against, and why."""

from __future__ import annotations

from collections.abc import Sequence

from icpo.reward.checker import Checker, Verdict
from icpo.types import Problem

__all__ = ["unverifiable"]


def unverifiable(problems: Sequence[Problem], checker: Checker) -> dict[int, str]:
    """The problems whose answer no response could be verified against, by place, and why.

    An answer that can be verified equals itself: in a box or, if it is a whole solution, as it
    stands. Of several answers one is enough.
    """
    golds = [_answers(problem) for problem in problems]
    boxed = ["\\boxed{" + answers[0] + "}" for answers in golds]
    verdicts = checker.check_many(boxed, golds)
    faults = {}
    for place, (answers, verdict) in enumerate(zip(golds, verdicts, strict=True)):
        if not _tells(verdict, answers[0]) and not any(
            _tells(checker.check(answer, text), answer)
            for answer in answers
            for text in ("\\boxed{" + answer + "}", answer)
        ):
            faults[place] = _why(verdict, answers)
    return faults


def _answers(problem: Problem) -> tuple[str, ...]:
    return (problem.answer,) if isinstance(problem.answer, str) else problem.answer


def _tells(verdict: Verdict, answer: str) -> bool:
    # Signs that mean nothing, such as "-" or "?", equal themselves as text. They stand for a
    # missing answer, and nobody should be rewarded for repeating them.
    return verdict.equal and (
        verdict.rule != "text" or any(character.isalnum() for character in answer)
    )


def _why(verdict: Verdict, answers: Sequence[str]) -> str:
    shown = " or ".join(f"{answer!r:.80}" for answer in answers)
    if verdict.outcome == "not_equal":
        return f"answer {shown} does not equal itself in a box"
    if verdict.outcome == "unknown" and verdict.reason not in ("gold", "response"):
        return f"answer {shown}: it could not be told whether it equals itself ({verdict.reason})"
    return f"answer {shown}: nothing in it can be read as an answer"
