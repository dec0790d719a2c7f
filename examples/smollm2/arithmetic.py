"""Small problems of one step, which SmolLM2-135M-Instruct solves by itself now and then."""

from __future__ import annotations

import itertools
import json
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icpo.errors import ConfigError

__all__ = ["KINDS", "Problem", "distinct", "write"]

NAMES = ("Ada", "Bram", "Chloe", "Dev", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Mira")
THINGS = ("apples", "bricks", "buttons", "cards", "coins", "eggs", "marbles", "pencils", "shells")


@dataclass(frozen=True)
class Problem:
    """A question, and what comes out."""

    #: Which of `KINDS`.
    kind: str
    question: str
    answer: int


@dataclass(frozen=True)
class Kind:
    """Problems that differ in their numbers, and in who and what they are about."""

    question: str
    #: From two numbers to the answer.
    answer: Callable[[int, int], int]
    first: Sequence[int]
    second: Sequence[int]


#: Chosen before any search with them was run, of 34 kinds: some that the model gets right in 15 to
#: 50 % of all attempts, behind the two worked exercises of solve.py. README.md has the figures.
KINDS: dict[str, Kind] = {
    "sum": Kind(
        "{name} has {a} {things} and gets {b} more. How many {things} does {name} have?",
        operator.add,
        range(12, 60),
        range(12, 60),
    ),
    "few more": Kind(
        "{name} has {a} {things} and buys {b} more. How many {things} does {name} have?",
        operator.add,
        range(12, 90),
        range(2, 10),
    ),
    "difference": Kind("What is {a} - {b}?", operator.sub, range(12, 60), range(2, 10)),
    "bags": Kind(
        "{name} has {a} bags with {b} {things} in each bag. How many {things} does {name} have?",
        operator.mul,
        range(2, 10),
        range(12, 60),
    ),
    "rows": Kind(
        "There are {a} rows of {b} seats. How many seats are there?",
        operator.mul,
        range(6, 10),
        range(11, 20),
    ),
    "cost": Kind(
        "A pen costs {a} dollars. How much do {b} pens cost?",
        operator.mul,
        range(11, 31),
        range(3, 10),
    ),
}


def distinct(rng: random.Random) -> Iterator[Problem]:
    """Problems, no numbers twice in a kind. The kinds take turns until one has no more."""
    pairs = {
        name: rng.sample(every, len(every))
        for name, kind in KINDS.items()
        for every in [list(itertools.product(kind.first, kind.second))]
    }
    for turn in range(min(map(len, pairs.values()))):
        for name, kind in KINDS.items():
            a, b = pairs[name][turn]
            words = {"name": rng.choice(NAMES), "things": rng.choice(THINGS)}
            yield Problem(name, kind.question.format(a=a, b=b, **words), kind.answer(a, b))


def write(file: Path, size: int, seed: int) -> None:
    """So many problems as rows that `icpo solve` reads."""
    problems = list(itertools.islice(distinct(random.Random(seed)), size))
    if len(problems) < size:
        raise ConfigError(f"size: expected at most {len(problems)}, got {size}")
    rows = [
        {
            "id": f"{problem.kind} {number}",
            "subject": problem.kind,
            "question": problem.question,
            "answer": str(problem.answer),
        }
        for number, problem in enumerate(problems, 1)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
