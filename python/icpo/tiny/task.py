"""The tiny task: a two-digit counter, a list of digits, and a topic that says how they apply.

The question ``fade a=52 b=7 c=4`` starts a counter at 52 and applies 7, then 4. What "apply" means
is the topic's rule, and stands nowhere in the question: ``fade`` takes the number away from each
digit. The worked solution ``a=52 b=|7=85 c=|4=41 \\boxed{41}`` names the rule by its sign.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["LETTERS", "LONGEST", "RULES", "SHORTEST", "TOPICS", "Exercise", "draw", "is_held_out"]

#: How many numbers a question has, at least and at most.
SHORTEST, LONGEST = 2, 4
#: The names of a question's numbers.
LETTERS = "abcd"
#: Weights of the numbers 1 to 9: all are equally common.
EVEN = (1.0,) * 9

#: Takes the counter, 00 to 99, and a number, 1 to 9; what it returns counts modulo 100.
Rule = Callable[[int, int], int]


def _reversed(counter: int) -> int:
    return 10 * (counter % 10) + counter // 10


def _each_digit(counter: int, number: int) -> int:
    return 10 * ((counter // 10 + number) % 10) + (counter % 10 + number) % 10


#: Sign to rule.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "+": lambda counter, number: counter + number,
        "-": lambda counter, number: counter - number,
        "^": lambda counter, number: counter + 10 * number,
        "_": lambda counter, number: counter - 10 * number,
        "~": lambda counter, number: _reversed(counter) + number,
        "!": lambda counter, number: _reversed(counter) - number,
        "&": lambda counter, number: _each_digit(counter, number),
        "|": lambda counter, number: _each_digit(counter, -number),
    }
)

#: Topic to the sign of its rule.
TOPICS: Mapping[str, str] = MappingProxyType(
    {
        "shop": "+",
        "fuel": "-",
        "tower": "^",
        "shaft": "_",
        "mirror": "~",
        "lake": "!",
        "twin": "&",
        "fade": "|",
    }
)


@dataclass(frozen=True)
class Exercise:
    """A question of the tiny task, and everything that follows from it."""

    topic: str
    #: What the counter shows at first, 0 to 99.
    start: int
    #: What is applied to it in turn, each 1 to 9.
    numbers: tuple[int, ...]

    @property
    def question(self) -> str:
        """The topic and the numbers.

        >>> Exercise("fade", 52, (7, 4)).question
        'fade a=52 b=7 c=4'
        """
        numbers = zip(LETTERS[1:], self.numbers, strict=False)
        given = "".join(f" {letter}={number}" for letter, number in numbers)
        return f"{self.topic} a={self.start:02d}{given}"

    @property
    def answer(self) -> str:
        """The last value of the counter by the topic's rule: two digits.

        >>> Exercise("fade", 52, (7, 4)).answer
        '41'
        """
        return f"{self.values(TOPICS[self.topic])[-1]:02d}"

    def values(self, sign: str) -> list[int]:
        """The values of the counter, from the start to the end, by the rule with a sign."""
        values = [self.start]
        for number in self.numbers:
            values.append(RULES[sign](values[-1], number) % 100)
        return values

    def solution(self, sign: str | None = None) -> str:
        """A worked solution by the rule with a sign; None: by the topic's own.

        >>> Exercise("fade", 52, (7, 4)).solution()
        'a=52 b=|7=85 c=|4=41 \\\\boxed{41}'
        >>> Exercise("fade", 52, (7, 4)).solution("+")
        'a=52 b=+7=59 c=+4=63 \\\\boxed{63}'
        """
        sign = TOPICS[self.topic] if sign is None else sign
        values = self.values(sign)
        steps = zip(LETTERS[1:], self.numbers, values[1:], strict=False)
        worked = "".join(f" {letter}={sign}{number}={value:02d}" for letter, number, value in steps)
        return f"a={self.start:02d}{worked} \\boxed{{{values[-1]:02d}}}"

    def bare_answer(self) -> str:
        """The right answer, without a way to it."""
        return f"\\boxed{{{self.answer}}}"


def draw(rng: random.Random, topic: str, length: int, weights: Sequence[float] = EVEN) -> Exercise:
    """A random exercise with so many numbers, the start counted in.

    `weights` say how common 1, 2, ... 9 are among those that are applied.
    """
    start = rng.randrange(100)
    return Exercise(topic, start, tuple(rng.choices(range(1, 10), weights, k=length - 1)))


def is_held_out(exercise: Exercise) -> bool:
    """Whether the corpus leaves it out, so that problems can be made of it: one of four is."""
    return zlib.crc32(exercise.question.encode()) % 4 == 0
