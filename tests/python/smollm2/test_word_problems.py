"""The word problems: every equation holds, and the answer follows from the question alone."""

from __future__ import annotations

import itertools
import operator
import random
import re

import pytest

from icpo.reward import Checker

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

#: What a reader does with the numbers of a question, in their order.
READINGS = {
    "sum, two digits": lambda a, b: a + b,
    "sum, three digits": lambda a, b: a + b,
    "sum of three": lambda a, b, c: a + b + c,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
}


@pytest.fixture(scope="module")
def problems(example):
    word_problems = example("word_problems")
    return list(itertools.islice(word_problems.distinct(random.Random(15)), 3000))


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_the_kinds_take_turns(example, problems):
    kinds = list(example("word_problems").KINDS)
    assert kinds == list(READINGS)
    assert [problem.kind for problem in problems] == kinds * (3000 // len(kinds))


def test_the_answer_follows_from_the_question(problems):
    for problem in problems:
        assert problem.answer == READINGS[problem.kind](*numbers(problem.question))


def test_every_equation_holds_and_leads_to_the_answer(problems):
    for problem in problems:
        known = numbers(problem.question)
        equations = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", problem.solution)
        assert len(equations) == len(known) - 1
        for left, sign, right, result in equations:
            # Steps use what the question gives or what an earlier step found.
            assert int(left) in known and int(right) in known
            assert OPERATORS[sign](int(left), int(right)) == int(result)
            known.append(int(result))
        assert known[-1] == problem.answer
        assert problem.solution.endswith(f" The answer is \\boxed{{{problem.answer}}}.")


def test_the_checker_finds_the_answer(problems):
    verdicts = Checker().check_many(
        [problem.solution for problem in problems], [str(problem.answer) for problem in problems]
    )
    assert {verdict.outcome for verdict in verdicts} == {"equal"}


def test_two_and_three_digits(problems):
    for problem in problems:
        given = numbers(problem.question)
        if problem.kind == "product":
            assert 2 <= given.pop(0) <= 9
        assert all(10 <= number <= 999 for number in [*given, problem.answer])


def test_questions_are_distinct_and_complete(problems):
    assert len({problem.question for problem in problems}) == len(problems)
    for problem in problems:
        assert problem.question.endswith("?")
        assert not set("{}") & set(problem.question)


def test_two_people_are_two(example, problems):
    names = set(example("word_problems").NAMES)
    for problem in problems:
        people = {word for word in re.findall(r"\w+", problem.question) if word in names}
        assert len(people) <= 2
        if problem.kind == "difference":
            assert len(people) == 2


def test_same_seed_same_problems(example):
    def first(seed: int) -> list:
        return list(itertools.islice(example("word_problems").distinct(random.Random(seed)), 50))

    assert first(3) == first(3)
    assert first(3) != first(4)
