"""How a model is talked to about one question: prompts within their limit, and what answers say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from icpo.errors import DataError
from icpo.evaluation.judge import judge, votes
from icpo.evaluation.majority import maj_at_k
from icpo.evaluation.prompts import said
from icpo.generation.text import Message, TextCompletion, seed_of
from icpo.test_time.config import SearchConfig
from icpo.test_time.forms import Idea
from icpo.test_time.search import Call, Fits, Point, Solution, Spending, Task
from icpo.test_time.votes import consensus

__all__ = ["Read", "Talk", "point", "visible"]

#: Ends what a reasoning model thinks; what it says follows.
_THOUGHTS_END = "</think>"

#: Surrogates that stand alone.
_HALVES = re.compile("[\ud800-\udfff]")

#: Marks of emphasis that an answer may bring along.
_EMPHASIS = "*_ "


def visible(text: str) -> str:
    """What a response says after its thoughts."""
    return text.rpartition(_THOUGHTS_END)[2].strip()


@dataclass(frozen=True)
class Read:
    """What some responses say."""

    texts: tuple[str, ...]  # (N,)
    #: The number of the answer of each, the same for equal ones; -1: none.
    votes: tuple[int, ...]  # (N,)
    #: The answer of each as it was found; None: none.
    answers: tuple[str | None, ...]  # (N,)
    #: Whether each is right; None: there is no gold answer.
    right: tuple[bool, ...] | None  # (N,)

    @property
    def mean(self) -> float | None:
        """The share of right ones."""
        return None if self.right is None else sum(self.right) / len(self.right)

    def majority(self, k: int | None = None) -> float | None:
        """The chance that the majority of so many of them, or of all, is right."""
        if self.right is None:
            return None
        return maj_at_k(self.votes, self.right, len(self.votes) if k is None else k)


class Talk:
    """Makes the calls of a search, and reads what comes back."""

    def __init__(self, task: Task, config: SearchConfig, fits: Fits) -> None:
        """About this question, as the configuration has it.

        Raises:
            DataError: the bare question exceeds the limit on prompts.
        """
        self.task, self.config = task, config
        self.form, self.checker = config.form, config.checker
        self._within = fits
        self._asked = task.question.problem.question
        self.require(self.form.ask(self._asked, [], rewards=False))

    def require(self, prompt: str) -> None:
        """Refuses a question that a prompt has no room for: all else is shortened, it never is."""
        if not self._fits(prompt):
            raise DataError(
                f"problem {self.task.question.problem.id!r}: expected prompts of at most "
                f"{self.config.prompt_tokens} tokens (prompt_tokens), got a longer one that "
                "has nothing in it but the question"
            )

    def ask(self, key: str, ideas: Sequence[Idea], *, rewards: bool, times: int) -> list[Call]:
        """The question, after the latest ideas that the limit leaves room for."""
        config = self.config
        kept = list(ideas)
        while not self._fits(text := self.form.ask(self._asked, kept, rewards=rewards)):
            del kept[0]
        return [
            Call(f"{key} {number}", self._said(text), config.sampling, config.stop)
            for number in range(times)
        ]

    def will_summarise(self) -> None:
        """Refuses a question for which there is no room beside a response."""
        self.require(self.form.summarise(self._asked, ""))

    def will_refine(self) -> None:
        """Likewise, for criticism and what follows it."""
        self.require(self.form.criticise(self._asked, ""))
        self.require(self.form.refine(self._asked, "", ""))

    def summarise(self, key: str, response: str) -> Call:
        """Asks for a summary of a response, or of as much of its end as the limit allows."""
        text = self._shortened(lambda part: self.form.summarise(self._asked, part), response)
        return Call(key, self._said(text), self.config.summary_sampling, self.config.stop)

    def criticise(self, key: str, response: str) -> Call:
        """Asks what is wrong with a response."""
        text = self._shortened(lambda part: self.form.criticise(self._asked, part), response)
        return Call(key, self._said(text), self.config.sampling, self.config.stop)

    def refine(self, key: str, response: str, critique: str) -> Call:
        """Asks for a better one."""
        text = self._shortened(
            lambda part, said: self.form.refine(self._asked, part, said), response, critique
        )
        return Call(key, self._said(text), self.config.sampling, self.config.stop)

    def idea(self, summary: str, answer: str) -> str:
        """What enters the history of a summary."""
        # On one line: it becomes an entry of a list.
        return self.form.concluded(" ".join(visible(summary).split()), answer.strip(_EMPHASIS))

    def votes(self, completions: Sequence[TextCompletion]) -> list[int]:
        """The number of the answer of each response, the same for equal ones; -1: none."""
        return votes(self.task.question, [one.text for one in completions], self.checker)

    def read(self, completions: Sequence[TextCompletion]) -> Read:
        """The answers of some responses."""
        texts = tuple(one.text for one in completions)
        numbers = self.votes(completions)
        if not self.task.has_gold:
            found = [self.checker.extract(text) for text in texts]
            return Read(texts, tuple(numbers), _valid(found, numbers), None)
        judged = [judge(self.task.question, text, self.checker) for text in texts]
        return Read(
            texts,
            tuple(numbers),
            _valid([one.answer for one in judged], numbers),
            tuple(one.right for one in judged),
        )

    def solution(
        self,
        completions: Sequence[TextCompletion],
        spent: Spending,
        curve: Sequence[Point],
        trace: Sequence[dict[str, Any]],
    ) -> Solution:
        """What the final responses come to."""
        read = self.read(completions)
        winner = consensus(read.votes, self.seed("answer"))
        answer = None if winner is None else read.answers[read.votes.index(winner)]
        return Solution(
            answer,
            read.texts,
            read.votes,
            read.right,
            read.mean,
            read.majority(),
            spent,
            tuple(curve),
            tuple(trace),
        )

    def seed(self, key: str) -> int:
        """Of something that is drawn, not sampled."""
        problem = self.task.question.problem.id
        return seed_of(self.task.seed, self.task.benchmark, problem, "draw", key)

    def _said(self, text: str) -> str | tuple[Message, ...]:
        # Halves of characters, which some servers send and none takes.
        return said(_HALVES.sub("\N{REPLACEMENT CHARACTER}", text), self.form.chat)

    def _fits(self, text: str) -> bool:
        return self._within(self._said(text), self.config.prompt_tokens)

    def _shortened(self, prompt: Callable[..., str], *responses: str) -> str:
        """The prompt with the longest ends of responses that it has room for.

        The ends, because that is where answers stand.
        """
        texts = [visible(response) for response in responses]

        def ends(most: int) -> str:
            """With so many characters of each at most."""
            return prompt(*(text[max(0, len(text) - most) :].lstrip() for text in texts))

        few, too_many = 0, max(map(len, texts))
        if self._fits(whole := ends(too_many)):
            return whole
        # The number of tokens grows with that of characters.
        while too_many - few > 1:
            middle = (few + too_many) // 2
            if self._fits(ends(middle)):
                few = middle
            else:
                too_many = middle
        return ends(few)


def _valid(answers: Sequence[str | None], votes: Sequence[int]) -> tuple[str | None, ...]:
    return tuple(answer if vote >= 0 else None for answer, vote in zip(answers, votes, strict=True))


def point(name: str, spent: Spending, read: Read) -> Point:
    """The accuracy of some responses, which are the last thing that was paid for."""
    return Point(name, spent.calls, spent.tokens, spent.prompt_tokens, read.mean, read.majority())
