"""Word problems with two- and three-digit numbers, and worked solutions that end in a box."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

__all__ = ["KINDS", "WordProblem", "distinct"]


@dataclass(frozen=True)
class WordProblem:
    """A question, how to work it out, and what comes out."""

    #: Which of `KINDS`.
    kind: str
    question: str
    solution: str
    answer: int


#: The numbers of a problem by the names that its texts use; ``answer`` is one of them.
Numbers = dict[str, int]

NAMES = ("Ada", "Bram", "Chloe", "Dev", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Mira")
THINGS = ("apples", "bricks", "buttons", "cards", "coins", "eggs", "marbles", "pencils", "shells")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def _two_digits(rng: random.Random) -> int:
    return rng.randint(12, 59)


def _three_digits(rng: random.Random) -> int:
    # The last two are 00 or 50: others are beyond what the model can begin with.
    return 50 * rng.randint(2, 8)


def _sum(number: Callable[[random.Random], int], rng: random.Random) -> Numbers:
    a, b = number(rng), number(rng)
    return {"a": a, "b": b, "answer": a + b}


def _sum_of_three(rng: random.Random) -> Numbers:
    a, b, c = (_two_digits(rng) for _ in range(3))
    return {"a": a, "b": b, "c": c, "ab": a + b, "answer": a + b + c}


def _difference(rng: random.Random) -> Numbers:
    b, answer = _two_digits(rng), _two_digits(rng)
    return {"a": b + answer, "b": b, "answer": answer}


def _product(rng: random.Random) -> Numbers:
    a, b = rng.randint(2, 9), rng.randint(12, 59)
    return {"a": a, "b": b, "answer": a * b}


@dataclass(frozen=True)
class Kind:
    """Problems that differ in their numbers, and in who and what they are about."""

    numbers: Callable[[random.Random], Numbers]
    question: str
    #: The steps, before "The answer is". Bare equations: with sentences around them, one answer in
    #: twelve was right instead of one in five.
    steps: str


#: One wording each, so that a demonstration of the same kind shows the way, not the numbers.
KINDS: dict[str, Kind] = {
    "sum, two digits": Kind(
        partial(_sum, _two_digits),
        "{name} has {a} {things} and gets {b} more. How many {things} does {name} have?",
        "{a} + {b} = {answer}.",
    ),
    "sum, three digits": Kind(
        partial(_sum, _three_digits),
        "{name} sold {a} {things} on {day} and {b} later. How many {things} did {name} sell?",
        "{a} + {b} = {answer}.",
    ),
    "sum of three": Kind(
        _sum_of_three,
        "{name} has {a} {things}, gets {b} more and finds {c}. How many {things} does {name} have?",
        "{a} + {b} = {ab}. {ab} + {c} = {answer}.",
    ),
    "difference": Kind(
        _difference,
        "{name} had {a} {things} and gave {b} to {other}. How many {things} are left?",
        "{a} - {b} = {answer}.",
    ),
    "product": Kind(
        _product,
        "{name} has {a} bags with {b} {things} in each bag. How many {things} does {name} have?",
        "{a} * {b} = {answer}.",
    ),
}


def distinct(rng: random.Random) -> Iterator[WordProblem]:
    """Problems without end, no question twice; the kinds take turns."""
    seen: set[str] = set()
    while True:
        for kind in KINDS:
            problem = _draw(rng, kind)
            while problem.question in seen:
                problem = _draw(rng, kind)
            seen.add(problem.question)
            yield problem


def _draw(rng: random.Random, kind: str) -> WordProblem:
    form = KINDS[kind]
    numbers = form.numbers(rng)
    name, other = rng.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": rng.choice(THINGS), "day": rng.choice(DAYS)}
    answer = numbers["answer"]
    return WordProblem(
        kind,
        form.question.format(**words, **numbers),
        f"{form.steps.format(**words, **numbers)} The answer is \\boxed{{{answer}}}.",
        answer,
    )
