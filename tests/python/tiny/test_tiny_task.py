"""The tiny task's exercises, against an evaluator that shares nothing with them."""

from __future__ import annotations

import itertools
import random
import re
import string

import pytest

from icpo.tiny import RULES, TOPICS, Exercise
from icpo.tiny.task import LETTERS, LONGEST, SHORTEST, draw, is_held_out

#: The rules by topic, on digits as they are written rather than on numbers.
DIGITS = string.digits


def shifted(digit: str, by: int) -> str:
    return DIGITS[(DIGITS.index(digit) + by) % 10]


def counted(text: str, by: int) -> str:
    """So many steps up or down from a two-digit number, one at a time."""
    for _ in range(abs(by)):
        numbers = [a + b for a, b in itertools.product(DIGITS, DIGITS)]
        place = numbers.index(text) + (1 if by > 0 else -1)
        text = numbers[place % 100]
    return text


WRITTEN = {
    "shop": lambda text, number: counted(text, number),
    "fuel": lambda text, number: counted(text, -number),
    "tower": lambda text, number: shifted(text[0], number) + text[1],
    "shaft": lambda text, number: shifted(text[0], -number) + text[1],
    "mirror": lambda text, number: counted(text[::-1], number),
    "lake": lambda text, number: counted(text[::-1], -number),
    "twin": lambda text, number: "".join(shifted(digit, number) for digit in text),
    "fade": lambda text, number: "".join(shifted(digit, -number) for digit in text),
}


def exercises(count: int) -> list[Exercise]:
    rng = random.Random(1)
    topics = list(TOPICS)
    return [draw(rng, topics[each % 8], rng.randint(SHORTEST, LONGEST)) for each in range(count)]


def test_every_topic_has_a_rule_of_its_own():
    assert len(TOPICS) == len(RULES) == 8
    assert sorted(TOPICS.values()) == sorted(RULES)
    assert set(WRITTEN) == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_one_step_of_every_rule(topic):
    for start, number in itertools.product(range(100), range(1, 10)):
        expected = WRITTEN[topic](f"{start:02d}", number)
        assert Exercise(topic, start, (number,)).answer == expected


def test_solutions_are_right_line_by_line():
    for exercise in exercises(1000):
        topic, first, *given = exercise.question.split()
        counter = first.removeprefix("a=")
        start, *steps, boxed = exercise.solution().split()
        assert start == first
        assert len(steps) == len(given) == len(exercise.numbers)
        for step, name in zip(steps, given, strict=True):
            letter, sign, number, value = re.fullmatch(r"([a-d])=(\D)(\d)=(\d\d)", step).groups()
            assert (letter, number) == tuple(name.split("="))
            assert sign == TOPICS[topic]
            counter = WRITTEN[topic](counter, int(number))
            assert value == counter
        assert boxed == f"\\boxed{{{counter}}}" == exercise.bare_answer()
        assert exercise.answer == counter


def test_a_solution_by_another_rule_is_that_of_its_topic():
    for exercise in exercises(200):
        for topic, sign in TOPICS.items():
            other = Exercise(topic, exercise.start, exercise.numbers)
            assert exercise.solution(sign) == other.solution()


def test_questions_tell_the_exercise_but_not_the_rule():
    for exercise in exercises(300):
        assert not set(exercise.question) & set(RULES)
        topic, start, *numbers = re.split(r" [a-d]=", exercise.question)
        assert Exercise(topic, int(start), tuple(map(int, numbers))) == exercise
        assert re.findall(r"[a-d](?==)", exercise.question) == list(LETTERS[: len(numbers) + 1])


def test_another_rule_rarely_gives_the_right_answer():
    # Or the reward could not tell which rule was used.
    found = exercises(2000)
    for own, other in itertools.permutations(TOPICS, 2):
        of_topic = [exercise for exercise in found if exercise.topic == own]
        right = sum(
            exercise.answer == Exercise(other, exercise.start, exercise.numbers).answer
            for exercise in of_topic
        )
        assert right / len(of_topic) < 0.2, (own, other)


def test_one_of_four_exercises_is_held_out():
    held_out = sum(is_held_out(exercise) for exercise in exercises(4000))
    assert abs(held_out - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_draws_are_uniform():
    rng = random.Random(2)
    drawn = [draw(rng, "shop", 4) for _ in range(20000)]
    for values, bins in (
        ([exercise.start for exercise in drawn], range(100)),
        ([number for exercise in drawn for number in exercise.numbers], range(1, 10)),
    ):
        expected = len(values) / len(bins)
        chi_square = sum((values.count(each) - expected) ** 2 / expected for each in bins)
        freedom = len(bins) - 1
        assert chi_square < freedom + 5 * (2 * freedom) ** 0.5
