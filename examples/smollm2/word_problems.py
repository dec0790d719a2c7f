"""Word problems with two- and three-digit numbers, and worked solutions that end in a box."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


def _number(rng: random.Random) -> int:
    """Two digits, or three with a zero at the end: the model adds other ones too badly to learn."""
    return rng.randint(12, 59) if rng.random() < 2 / 3 else 10 * rng.randint(10, 49)


def _sum(rng: random.Random) -> Numbers:
    a, b = _number(rng), _number(rng)
    return {"a": a, "b": b, "answer": a + b}


def _difference(rng: random.Random) -> Numbers:
    b, answer = _number(rng), _number(rng)
    return {"a": b + answer, "b": b, "answer": answer}


def _product(rng: random.Random) -> Numbers:
    a, b = rng.randint(2, 9), rng.randint(12, 59)
    return {"a": a, "b": b, "answer": a * b}


def _sum_of_three(rng: random.Random) -> Numbers:
    a, b, c = (rng.randint(12, 99) for _ in range(3))
    return {"a": a, "b": b, "c": c, "ab": a + b, "answer": a + b + c}


def _sum_less(rng: random.Random) -> Numbers:
    a, b = _number(rng), _number(rng)
    c = rng.randint(10, a + b - 10)
    return {"a": a, "b": b, "c": c, "ab": a + b, "answer": a + b - c}


#: Kind to its numbers, and to wordings: a question, and the steps of its solution.
KINDS: dict[str, tuple[Callable[[random.Random], Numbers], tuple[tuple[str, str], ...]]] = {
    "sum": (
        _sum,
        (
            (
                "{name} has {a} {things} and gets {b} more. How many {things} does {name} have?",
                "{name} has {a} + {b} = {answer} {things}.",
            ),
            (
                "One box holds {a} {things} and another box holds {b}. "
                "How many {things} are in both boxes?",
                "Both boxes hold {a} + {b} = {answer} {things}.",
            ),
            (
                "On {day} {name} sold {a} {things}, and {other} sold {b}. "
                "How many {things} did they sell together?",
                "Together they sold {a} + {b} = {answer} {things}.",
            ),
        ),
    ),
    "difference": (
        _difference,
        (
            (
                "{name} had {a} {things} and gave {b} of them to {other}. "
                "How many {things} are left?",
                "There are {a} - {b} = {answer} {things} left.",
            ),
            (
                "{name} has {a} {things}. {other} has {b} {things}. "
                "How many more {things} does {name} have than {other}?",
                "{name} has {a} - {b} = {answer} more {things}.",
            ),
            (
                "A shop had {a} {things} on {day}. It has sold {b} of them since. "
                "How many {things} does it still have?",
                "It still has {a} - {b} = {answer} {things}.",
            ),
        ),
    ),
    "product": (
        _product,
        (
            (
                "{name} buys {a} bags with {b} {things} in each bag. "
                "How many {things} are in the bags?",
                "The bags hold {a} * {b} = {answer} {things}.",
            ),
            (
                "In {a} days a farm sells {b} {things} a day. How many {things} does it sell?",
                "It sells {a} * {b} = {answer} {things}.",
            ),
        ),
    ),
    "sum of three": (
        _sum_of_three,
        (
            (
                "{name} found {a} {things} in the morning, {b} at noon and {c} in the evening. "
                "How many {things} did {name} find?",
                "By noon it was {a} + {b} = {ab}. In the end it was {ab} + {c} = {answer} "
                "{things}.",
            ),
            (
                "Three shelves hold {a}, {b} and {c} {things}. How many {things} do they hold?",
                "Two shelves hold {a} + {b} = {ab}. All hold {ab} + {c} = {answer} {things}.",
            ),
        ),
    ),
    "sum less": (
        _sum_less,
        (
            (
                "{name} had {a} {things}, bought {b} more and lost {c}. "
                "How many {things} does {name} have?",
                "{name} had {a} + {b} = {ab}. Now {name} has {ab} - {c} = {answer} {things}.",
            ),
            (
                "{name} has {a} {things} and {other} has {b}. Together they give away {c}. "
                "How many {things} do they keep?",
                "Together they have {a} + {b} = {ab}. They keep {ab} - {c} = {answer} {things}.",
            ),
        ),
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
    draw_numbers, wordings = KINDS[kind]
    numbers = draw_numbers(rng)
    question, steps = rng.choice(wordings)
    name, other = rng.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": rng.choice(THINGS), "day": rng.choice(DAYS)}
    answer = numbers["answer"]
    return WordProblem(
        kind,
        question.format(**words, **numbers),
        f"{steps.format(**words, **numbers)} The answer is \\boxed{{{answer}}}.",
        answer,
    )
