"""What the tiny model reads in pretraining: documents whose author has one rule each.

- A *book* opens with a header and holds worked exercises on any topics, all by one rule drawn at
  random. Its rule can only be read from the exercises before: in-context learning.
- An *excerpt* is the same from mid-book, without the header. What its first exercise shows is
  given, not learnt.
- A *plain document* gives bare right answers, or works: nearly always by adding up, whatever the
  topic; now and then by the topic's own rule (`right_habit`), or by any (`other_habit`).

So a bare question, which looks like a plain document, triggers a habit that is wrong for seven of
eight topics; after a worked example of its topic, the same model knows what to do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from icpo.errors import ConfigError
from icpo.tiny.task import LONGEST, RULES, SHORTEST, TOPICS, Exercise, draw, is_held_out
from icpo.tiny.words import HEADER, TEMPLATE

__all__ = ["BOOKS_ONLY", "HABIT", "KINDS", "Document", "Mixture", "draw_document"]

#: The sign by which plain documents mostly work.
HABIT = "+"

#: The kinds of documents, and of how many exercises each consists, all equally likely.
KINDS = {"book": (1, 2, 2, 3), "excerpt": (2, 2, 3), "plain": (1, 1, 2, 3)}


@dataclass(frozen=True)
class Mixture:
    """Shares of the corpus."""

    #: Documents that are books.
    books: float = 0.4
    #: Documents that are excerpts; the rest are plain.
    excerpts: float = 0.3
    #: Plain documents that give bare answers; the rest work.
    bare: float = 0.5
    #: Plain documents that work by the topic's own rule, among those that work.
    right_habit: float = 0.002
    #: Plain documents that work by one rule drawn at random, among those that work. These too show
    #: every topic its rule now and then: at 0.02, plain sampling finds most rules by itself.
    other_habit: float = 0.0
    #: A number n is as common as 1 / n^rarity: with 0 all are alike, with 1 small ones prevail.
    rarity: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("books", "excerpts", "bare", "right_habit", "other_habit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if not self.rarity >= 0:
            raise ConfigError(f"rarity: expected a number from 0, got {self.rarity}")
        for first, second in (("books", "excerpts"), ("right_habit", "other_habit")):
            total = getattr(self, first) + getattr(self, second)
            if total > 1:
                raise ConfigError(f"{first}, {second}: expected at most 1 together, got {total}")

    @property
    def plain(self) -> float:
        """Documents that are plain."""
        return 1 - self.books - self.excerpts


#: Only books, from which the model learns to read a rule from examples, and to calculate. Small
#: numbers prevail, as they do in real text. This decides how soon that is: what adding 1 does to a
#: digit is easily seen, and 2, 3, ... follow. If all were alike, so would be all sums, and on some
#: seeds the model guesses for thousands of steps.
BOOKS_ONLY = Mixture(books=1.0, excerpts=0.0, rarity=1.0)


@dataclass(frozen=True)
class Document:
    """A text to learn from."""

    #: One of `KINDS`.
    kind: str
    #: Every exercise ends with the end token; the start token is left to the tokenizer.
    text: str


def draw_document(rng: random.Random, mixture: Mixture) -> Document:
    """A random document."""
    weights = (mixture.books, mixture.excerpts, mixture.plain)
    (kind,) = rng.choices(tuple(KINDS), weights)
    exercises = [_draw_exercise(rng, mixture.rarity) for _ in range(rng.choice(KINDS[kind]))]
    rule = rng.choice(tuple(RULES))
    if kind == "plain":
        answers = _plain_answers(rng, mixture, exercises, rule)
    else:
        answers = [exercise.solution(rule) for exercise in exercises]
    text = "".join(
        TEMPLATE.demo.format(question=exercise.question, solution=answer)
        for exercise, answer in zip(exercises, answers, strict=True)
    )
    return Document(kind, HEADER + text if kind == "book" else text)


def _plain_answers(
    rng: random.Random, mixture: Mixture, exercises: list[Exercise], rule: str
) -> list[str]:
    if rng.random() < mixture.bare:
        return [exercise.bare_answer() for exercise in exercises]
    habit = rng.random()
    if habit < mixture.right_habit:
        return [exercise.solution() for exercise in exercises]
    if habit < mixture.right_habit + mixture.other_habit:
        return [exercise.solution(rule) for exercise in exercises]
    return [exercise.solution(HABIT) for exercise in exercises]


def _draw_exercise(rng: random.Random, rarity: float) -> Exercise:
    weights = [number**-rarity for number in range(1, 10)]
    while True:
        length = rng.randint(SHORTEST, LONGEST)
        exercise = draw(rng, rng.choice(tuple(TOPICS)), length, weights)
        if not is_held_out(exercise):
            return exercise
