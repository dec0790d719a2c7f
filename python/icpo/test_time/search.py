"""What a search for an answer is: a generator that asks, is answered, and ends with a solution.

A search knows nothing of engines, journals, or other problems. It yields all that it wants to ask
at once, is sent the answers in the same order, and so on; whoever runs it may batch its questions
with those of others, answer them from a journal, or stop for good at any point. The same answers
make the same solution.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from icpo.evaluation.benchmarks import Question
from icpo.generation import Sampling
from icpo.generation.text import Message, TextCompletion
from icpo.test_time.config import SearchConfig

__all__ = ["Call", "Fits", "Method", "Point", "Search", "Solution", "Spending", "Task"]

#: Whether a prompt has at most so many tokens, or nobody here can tell.
Fits = Callable[["str | tuple[Message, ...]", int], bool]


@dataclass(frozen=True, eq=False)
class Task:
    """A question to be answered."""

    question: Question
    #: What tells it from the questions of other benchmarks with the same id.
    benchmark: str
    #: Of all that is sampled or drawn for it.
    seed: int
    #: Whether the question's answer is known. If not, nothing may look at it.
    has_gold: bool = True


@dataclass(frozen=True)
class Call:
    """Something to ask the model."""

    #: Unique in a search: ``round 2/candidate 7/probe 0``. The seed follows from it.
    key: str
    prompt: str | tuple[Message, ...]
    sampling: Sampling
    stop: tuple[str, ...] = ()


@dataclass
class Spending:
    """What a search has cost so far."""

    calls: int = 0
    #: Sampled; None: the server does not say.
    tokens: int | None = 0
    #: Read, prompts that several calls share counted for each; None likewise.
    prompt_tokens: int | None = 0

    def add(self, answers: Iterable[TextCompletion]) -> None:
        """Counts these, too."""
        for answer in answers:
            self.calls += 1
            self.tokens = _plus(self.tokens, answer.tokens)
            self.prompt_tokens = _plus(self.prompt_tokens, answer.prompt_tokens)


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more


@dataclass(frozen=True)
class Point:
    """How good answers are that have cost so much."""

    #: ``round 2``: with two ideas in the history.
    name: str
    #: See `Spending`, of the answers themselves and everything before them. Not always whole: the
    #: average over choices of some of the samples.
    calls: float
    tokens: float | None
    prompt_tokens: float | None
    #: The share of right answers; None: there is no gold answer.
    mean: float | None
    #: The chance that the majority is right; None likewise.
    majority: float | None


@dataclass(frozen=True)
class Solution:
    """What a search has found. Plain values."""

    #: The answer, as the first response that gives it has it; None: no response has one.
    answer: str | None
    #: The final responses.
    texts: tuple[str, ...]  # (K,)
    #: The number of the answer that each gives, the same for equal ones; -1: none.
    votes: tuple[int, ...]  # (K,)
    #: Whether each gives the gold answer; None: there is none.
    right: tuple[bool, ...] | None  # (K,)
    #: The share of right ones (mean@K); None likewise.
    mean: float | None
    #: The chance that the majority is right (maj@K), ties broken evenly; None likewise.
    majority: float | None
    spent: Spending
    #: Accuracy against cost, cheapest first; the last one is that of the final responses.
    curve: tuple[Point, ...]
    #: What was done, step by step, in plain values that JSON can hold.
    trace: tuple[dict[str, Any], ...] = field(default=())


#: Yields what it asks, is sent the answers, returns what it found.
Search = Generator[Sequence[Call], Sequence[TextCompletion], Solution]

#: Begins a search.
Method = Callable[[Task, SearchConfig, Fits], Search]
