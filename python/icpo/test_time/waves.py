"""Many searches at once: all that they ask at a time is one batch, and no answer is lost.

Searches go in step. In each wave every open one says what it wants to ask; what several ask alike
is asked once; every answer is in the journal before anybody sees it. So a wave depends on the
answers of the waves before and on nothing else, and a journal makes the same waves again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icpo.evaluation.journal import Journal
from icpo.evaluation.progress import Progress
from icpo.evaluation.settings import digest
from icpo.generation.text import (
    EngineError,
    Message,
    TextCompletion,
    TextEngine,
    TextRequest,
    seed_of,
)
from icpo.test_time.search import Call, Search, Solution, Task

__all__ = ["NAMES", "Job", "Shows", "Wave", "plain", "run_all"]

#: The key of a response in the journal.
NAMES = ("request",)


@dataclass(eq=False)
class Job:
    """A search that is under way."""

    #: As tables call it.
    method: str
    seed: int
    task: Task
    search: Search
    #: Tells apart requests that are alike but are asked of others; None: of whom is known.
    asked_of: str | None = None
    #: What it wants to know next; empty: it has ended.
    asks: Sequence[Call] = ()
    solution: Solution | None = None
    #: Seconds that it has waited for answers, as far as they are known.
    seconds: float = 0.0
    #: The same as an engine takes it, each by what is unique among all searches.
    requests: list[tuple[str, TextRequest]] = field(default_factory=list)

    def start(self) -> None:
        """Runs up to its first question."""
        self._go_on(lambda: next(self.search))

    def answer(self, answers: Sequence[TextCompletion]) -> None:
        """Runs up to its next question, or its end."""
        self._go_on(lambda: self.search.send(answers))

    def _go_on(self, step: Callable[[], Sequence[Call]]) -> None:
        try:
            self.asks = step()
            while not self.asks:  # nothing to wait for
                self.asks = self.search.send([])
        except StopIteration as end:
            self.asks, self.solution = (), end.value
        self.requests = self._made()

    def _made(self) -> list[tuple[str, TextRequest]]:
        problem = self.task.question.problem.id
        # Most calls differ in their seed alone.
        common: dict[Any, str] = {}
        made = []
        for call in self.asks:
            seed = seed_of(self.task.seed, self.task.benchmark, problem, call.key)
            what = (call.prompt, call.sampling, call.stop)
            if what not in common:
                sampling = dataclasses.asdict(call.sampling)
                other = [] if self.asked_of is None else [self.asked_of]
                common[what] = digest([plain(call.prompt), sampling, list(call.stop), *other])
            request = TextRequest(call.prompt, call.sampling, seed, call.stop)
            # The same for the same request, whoever makes it.
            made.append((f"{common[what]}{seed:016x}", request))
        return made


def plain(prompt: str | tuple[Message, ...]) -> str | list[list[str]]:
    """A prompt as JSON has it."""
    return prompt if isinstance(prompt, str) else [list(message) for message in prompt]


@dataclass(frozen=True)
class Wave:
    """What is asked at a time."""

    #: From 1.
    number: int
    #: What it is about: ``round 2`` of the first search that goes on.
    name: str
    #: Searches that go on.
    open: int


#: Shows how a wave of so many requests goes, some of which were answered before.
Shows = Callable[[Wave, int, int], Progress]


def run_all(jobs: Sequence[Job], engine: TextEngine, journal: Journal, shows: Shows) -> None:
    """Runs searches to their ends; their `solution` is set then.

    Raises:
        EngineError: an answer could not be had. What was answered is in the journal.
    """
    for job in jobs:
        job.start()
    asked: set[str] = set()
    number = 0
    while still := [job for job in jobs if job.asks]:
        number += 1
        wave = Wave(number, still[0].asks[0].key.partition("/")[0], len(still))
        requests = {key: request for job in still for key, request in job.requests}
        # A request of an earlier wave is in the journal, and is no part of a group any more.
        fresh = {key: one for key, one in requests.items() if key not in asked}
        asked |= fresh.keys()
        rows = _asked(wave, fresh, engine, journal, shows)
        for key in requests.keys() - rows.keys():
            rows[key] = journal.read((key,))
        for job in still:
            own = [rows[key] for key, _ in job.requests]
            job.seconds += max(row["seconds"] for row in own)
            job.answer([_completion(row) for row in own])


def _asked(
    wave: Wave,
    requests: Mapping[str, TextRequest],
    engine: TextEngine,
    journal: Journal,
    shows: Shows,
) -> dict[str, dict[str, Any]]:
    """Asks what is not in the journal; the rows of what was asked."""
    # An engine of tokens computes together what is sampled alike.
    samplings = {one.sampling: place for place, one in reversed(list(enumerate(requests.values())))}
    keys = sorted(requests, key=lambda key: samplings[requests[key].sampling])
    # Whole groups, so that a resumed run computes what one that was never stopped computes.
    groups = [
        keys[start : start + engine.together] for start in range(0, len(keys), engine.together)
    ]
    missing = [
        key for group in groups if any((key,) not in journal for key in group) for key in group
    ]
    rows: dict[str, dict[str, Any]] = {}
    if not missing:
        return rows
    began = time.monotonic()
    with shows(wave, len(keys), len(keys) - len(missing)) as progress:

        def done(place: int, answer: TextCompletion) -> None:
            key = missing[place]
            if (key,) not in journal:
                rows[key] = {
                    "wave": wave.number,
                    "text": answer.text,
                    "finished": answer.finished,
                    "tokens": answer.tokens,
                    "prompt_tokens": answer.prompt_tokens,
                    "seconds": round(time.monotonic() - began, 3),
                }
                journal.add((key,), rows[key])
            progress.add(answer.tokens)

        try:
            answers = engine.complete([requests[key] for key in missing], done)
        except EngineError as error:
            raise EngineError(
                f"{error}; every answer so far is in the journal, --resume continues"
            ) from error
        # What an engine has returned, but not told.
        for place, answer in enumerate(answers):
            if (missing[place],) not in journal:
                done(place, answer)
    return rows


def _completion(row: Mapping[str, Any]) -> TextCompletion:
    return TextCompletion(row["text"], row["finished"], row["tokens"], row["prompt_tokens"])
