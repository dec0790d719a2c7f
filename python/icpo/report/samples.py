"""What was sampled, counted by kind, and a few examples that nobody has picked.

Examples are problems of the first and of the last step that was recorded: in the order of the file,
each that shows a kind which those before it did not. Of each kind its first rollout is shown.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from icpo.analysis.runs import Response
from icpo.errors import DataError
from icpo.report.html import cut
from icpo.report.numbers import Leaf, Number
from icpo.report.runs import Run

__all__ = [
    "ANY",
    "KINDS",
    "Count",
    "Example",
    "Moment",
    "Samples",
    "Shown",
    "kind_of",
    "read_samples",
]

#: Where a rollout comes from, and how each may have come out, in the order in which they are shown.
SOURCES = {
    "plain prompt": ("right", "wrong"),
    "expert prompt": ("accepted", "rejected", "right", "wrong"),
    # As LUFFY takes them, whole.
    "stored solution": ("accepted", "rejected", "right", "wrong"),
    # Continued by the policy, as in Prefix-RFT.
    "begun solution": ("accepted", "rejected", "right", "wrong"),
}

#: Kinds of rollouts.
KINDS = tuple(f"{source}, {end}" for source, ends in SOURCES.items() for end in ends)

#: All of them together.
ANY = "any kind"

#: Problems of a step that are shown at most.
PROBLEMS = 4

#: Problems of a step that are remembered; of those behind them, only what shows a new kind.
HELD = 1000


def kind_of(response: Response) -> str:
    """One of `KINDS`. Right is what has the verdict ``equal``; without verdicts, a reward of 1."""
    if response.accepted is None or not response.expert:
        end = "right" if response.right else "wrong"
    else:
        end = "accepted" if response.accepted else "rejected"
    return f"{_source(response)}, {end}"


def _source(response: Response) -> str:
    if not response.expert:
        return "plain prompt"
    if not response.given:
        return "expert prompt"
    is_whole = response.tokens is not None and response.given >= response.tokens
    return "stored solution" if is_whole else "begun solution"


@dataclass
class Count:
    """Of the responses of a kind."""

    number: int = 0
    reward: float = 0.0
    tokens: int = 0
    #: Those of which `tokens` is known.
    with_tokens: int = 0
    unfinished: int = 0
    #: Those of which it is known how they ended.
    with_ending: int = 0
    unknown: int = 0

    def add(self, response: Response) -> None:
        """Counts one more."""
        self.number += 1
        self.reward += response.reward
        self.unknown += response.outcome == "unknown"
        if response.tokens is not None:
            self.tokens += response.tokens
            self.with_tokens += 1
        if response.finished is not None:
            self.unfinished += not response.finished
            self.with_ending += 1


@dataclass(frozen=True)
class Shown:
    """A response whose texts are short enough for a page."""

    response: Response
    kind: str
    #: Characters that were left out of its text.
    left_out: int
    #: What follows the gap.
    end: str


@dataclass
class Example:
    """A problem at a step: of each kind its first rollout, and how many there are."""

    problem: str
    step: int | None
    shown: dict[str, Shown] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, response: Response, kind: str, most: int) -> None:
        """Takes one more rollout."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind not in self.shown:
            text, left_out, end = cut(response.text, most)
            short = replace(
                response,
                text=text,
                prompt=_short(response.prompt, most),
                expert_prompt=_short(response.expert_prompt, most),
            )
            self.shown[kind] = Shown(short, kind, left_out, end)


@dataclass
class Moment:
    """The examples of a step, or of a benchmark."""

    step: int | None
    benchmark: str | None = None
    problems: dict[str, Example] = field(default_factory=dict)

    def add(self, response: Response, kind: str, most: int) -> None:
        """Takes one more rollout."""
        example = self.problems.get(response.problem)
        if example is None:
            known = any(kind in one.shown for one in self.problems.values())
            if len(self.problems) >= HELD and known:
                return
            example = Example(response.problem, response.step)
            self.problems[response.problem] = example
        example.add(response, kind, most)

    def chosen(self) -> list[Example]:
        """Problems in the order of the file, each with a kind that those before it did not show."""
        seen: set[str] = set()
        kept = []
        for example in self.problems.values():
            if not seen.issuperset(example.shown):
                kept.append(example)
                seen |= set(example.shown)
        return kept[:PROBLEMS]


@dataclass
class Samples:
    """What the files of a run hold."""

    run: Run
    counts: dict[str, Count] = field(default_factory=dict)
    #: The first and the last step on record; of an evaluation, every benchmark.
    moments: list[Moment] = field(default_factory=list)
    #: Accepted expert rollouts that are not right, which eq. 9 forbids: how many, and the first.
    accepted_wrong: int = 0
    first_accepted_wrong: str = ""

    def moment(self, response: Response) -> Moment:
        """Where a response belongs; a new step takes the place of the last but the first."""
        key = response.step, response.benchmark
        for moment in self.moments:
            if (moment.step, moment.benchmark) == key:
                return moment
        if response.benchmark is None:
            del self.moments[1:]
        self.moments.append(Moment(*key))
        return self.moments[-1]

    def absent(self, shown: Collection[str]) -> list[str]:
        """The kinds that a reader would look for, and that are not among those shown."""
        ends = ("accepted", "rejected") if self.run.record.kind != "eval" else ("right", "wrong")
        sources = [one for one in SOURCES if any(kind.startswith(one) for kind in self.counts)]
        expected = [f"plain prompt, {end}" for end in ("right", "wrong")]
        expected += [f"{one}, {end}" for one in sources if one != "plain prompt" for end in ends]
        return [kind for kind in expected if kind not in shown]

    def counted(self, kind: str) -> Number:
        """How many there are of a kind, or of `ANY`."""
        return self._number(kind, "count", "reward", float(self._count(kind).number))

    def reward(self, kind: str) -> Number:
        """Their mean reward."""
        one = self._count(kind)
        return self._number(kind, "mean", "reward", _over(one.reward, one.number))

    def tokens(self, kind: str) -> Number:
        """Their mean length, of those of which it is known."""
        one = self._count(kind)
        return self._number(kind, "mean", "tokens", _over(one.tokens, one.with_tokens))

    def unfinished(self, kind: str) -> Number:
        """The share that was cut off at the limit, of those of which it is known."""
        one = self._count(kind)
        return self._number(kind, "mean", "unfinished", _over(one.unfinished, one.with_ending))

    def unknown(self, kind: str) -> Number:
        """The share that the checker could not judge."""
        one = self._count(kind)
        return self._number(kind, "mean", "unknown", _over(one.unknown, one.number))

    def wrong_ones(self) -> Number:
        """How many accepted rollouts are not right."""
        where = "accepted, not right"
        return self._number(where, "count", "reward", float(self.accepted_wrong))

    @property
    def files(self) -> str:
        """As traces name them: the file, or the first and the last of many."""
        names = [self.run.relative(file) for file in self.run.record.response_files]
        return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"

    def _count(self, kind: str) -> Count:
        if kind != ANY:
            return self.counts.get(kind) or Count()
        every = Count()
        for one in self.counts.values():
            for name in vars(every):
                setattr(every, name, getattr(every, name) + getattr(one, name))
        return every

    def _number(self, kind: str, operation: str, key: str, value: float) -> Number:
        return Number(value, Leaf(operation, self.run.name, self.files, (), key, where=kind))


def read_samples(run: Run, most: int) -> Samples:
    """Reads all responses of a run once, a step at a time.

    What can not be read goes to `run.damage`, and nothing behind it is read.

    Args:
        run: it.
        most: characters of a text that are kept.
    """
    samples = Samples(run)
    for response in _readable(run):
        kind = kind_of(response)
        samples.counts.setdefault(kind, Count()).add(response)
        if response.accepted and not response.right:
            samples.accepted_wrong += 1
            samples.first_accepted_wrong = samples.first_accepted_wrong or response.place
        samples.moment(response).add(response, kind, most)
    return samples


def _readable(run: Run) -> Iterator[Response]:
    try:
        yield from run.record.responses()
    except DataError as error:
        run.damage.append(f"{error}; nothing behind this line is counted or shown")


def _short(text: str | None, most: int) -> str | None:
    if text is None:
        return None
    start, left_out, end = cut(text, most)
    return f"{start} […{left_out:,} characters left out…] {end}" if left_out else text


def _over(above: float, below: int) -> float:
    return above / below if below else math.nan
