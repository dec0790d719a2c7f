"""What each strategy of appendix C may show, against naive partitions and orders."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from icpo.demos import DIFFICULTIES, STRATEGIES, DemoPool, DemoSampler, Strategy
from icpo.demos.buckets import DIFFICULTY, LENGTH, halves
from icpo.demos.select import anywhere, most_alike, subset
from icpo.demos.similarity import likeness
from icpo.errors import DataError
from icpo.types import Demo, Problem

WORDS = ["let", "x", "be", "the", "sum", "of", "$n$", "primes", "Find", "find", "x?", "\\frac12"]


def text(rng: np.random.Generator, most: int = 9) -> str:
    """Some of few words, so that questions have words in common."""
    return " ".join(rng.choice(WORDS, size=int(rng.integers(1, most))))


def random_demos(rng: np.random.Generator, count: int, *, lengths: bool = False) -> list[Demo]:
    return [
        Demo(
            f"d{number}",
            f"{text(rng)} {number}",
            "s" * int(rng.integers(1, 9)),
            subject="abc"[number % 3],
            difficulty=str(rng.choice(DIFFICULTIES)),
            length=int(rng.integers(0, 5)) if lengths else None,
        )
        for number in range(count)
    ]


def random_problems(rng: np.random.Generator, count: int, kind: str = "length") -> list[Problem]:
    return [
        Problem(
            f"p{number}",
            f"{text(rng)} {number} ?",
            "1",
            subject="abc"[number % 3],
            difficulty=str(rng.choice(DIFFICULTIES)),
            length=int(rng.integers(0, 9)) if kind == "length" else None,
            solutions=tuple("s" * size for size in rng.integers(1, 9, size=rng.integers(1, 4))),
        )
        for number in range(count)
    ]


def seen_by(sampler: DemoSampler, problem: Problem, draws: int = 400) -> Counter:
    return Counter(demo.id for shown in sampler.draw([problem] * draws) for demo in shown)


def evenly(counts: Counter, ids: set[str]) -> bool:
    """Whether all of these and no others came, none of them far from its share."""
    share = counts.total() / len(ids)
    return set(counts) == ids and all(
        abs(count - share) < 5 * share**0.5 for count in counts.values()
    )


##### Difficulty


def test_difficulty_shows_all_of_the_same_and_no_other_equally_often():
    rng = np.random.default_rng(0)
    pool, problems = DemoPool(random_demos(rng, 24)), random_problems(rng, 6)
    sampler = DemoSampler(pool, "difficulty", seed=1)
    sampler.check(problems)
    for problem in problems:
        same = {demo.id for demo in pool if demo.difficulty == problem.difficulty}
        assert evenly(seen_by(sampler, problem), same)


def test_hard_shows_hard_ones_to_everybody():
    rng = np.random.default_rng(1)
    pool = DemoPool(random_demos(rng, 24))
    sampler = DemoSampler(pool, "hard", seed=1)
    hard = {demo.id for demo in pool if demo.difficulty == "hard"}
    unknown = Problem("p", "who knows?", "1")
    sampler.check([unknown])
    assert 0 < len(hard) < 24
    assert evenly(seen_by(sampler, unknown), hard)


@pytest.mark.parametrize("found", [None, "", "Hard", "3"])
@pytest.mark.parametrize("name", ["difficulty", "hard"])
def test_a_demonstration_of_no_difficulty(name, found):
    demos = random_demos(np.random.default_rng(2), 5)
    demos[3] = dataclasses.replace(demos[3], difficulty=found)
    message = (
        f"demonstration 'd3': expected a difficulty, easy, medium or hard, got {found!r}; "
        "`icpo data passes` measures it"
    )
    with pytest.raises(DataError, match=message):
        DemoSampler(DemoPool(demos), name).check([Problem("p", "?", "1", difficulty="easy")])


def test_a_problem_of_no_difficulty():
    sampler = DemoSampler(DemoPool(random_demos(np.random.default_rng(3), 30)), "difficulty")
    with pytest.raises(DataError, match=r"problem 'p7': expected a difficulty, .* got None; `icpo"):
        sampler.check([Problem("p7", "?", "1")])


def test_no_hard_demonstration():
    demos = [Demo("a", "x", "y", difficulty="easy"), Demo("b", "z", "y", difficulty="medium")]
    message = "expected demonstrations of difficulty 'hard', got none among 2, only 'easy' and"
    with pytest.raises(DataError, match=message):
        DemoSampler(DemoPool(demos), "hard")


##### Length


def naive_halves(lengths: list[float]) -> tuple[list[int], list[int]]:
    """By rank: how many are shorter, or as long and earlier."""
    ranks = [
        sum(
            other < length or (other == length and before < place)
            for before, other in enumerate(lengths)
        )
        for place, length in enumerate(lengths)
    ]
    places = range(len(lengths))
    short = [place for place in places if 2 * ranks[place] < len(lengths)]
    return short, [place for place in places if place not in short]


def test_halves_against_ranks():
    rng = np.random.default_rng(4)
    for count in [*range(0, 8), *rng.integers(8, 60, size=40).tolist()]:
        lengths = rng.integers(0, 6, size=count).tolist()
        short, long = halves(range(count), lengths)
        assert (short, long) == naive_halves(lengths)
        assert len(short) - len(long) in (0, 1)
        assert (
            not short or not long or max(lengths[i] for i in short) <= min(lengths[i] for i in long)
        )


@pytest.mark.parametrize("of_demos", ["column", "solution"])
@pytest.mark.parametrize("of_problems", ["length", "solutions"])
def test_length_shows_the_same_half(of_demos, of_problems):
    rng = np.random.default_rng(5)
    pool = DemoPool(random_demos(rng, 13, lengths=of_demos == "column"))
    problems = random_problems(rng, 15, of_problems)
    sampler = DemoSampler(pool, "length", seed=2)
    sampler.check(problems)
    sizes = [demo.length if of_demos == "column" else len(demo.solution) for demo in pool]
    parts = [{pool[place].id for place in half} for half in naive_halves(sizes)]
    means = [
        problem.length
        if of_problems == "length"
        else sum(map(len, problem.solutions)) / len(problem.solutions)
        for problem in problems
    ]
    for half, places in zip(parts, naive_halves(means), strict=True):
        for place in places:
            assert evenly(seen_by(sampler, problems[place]), half)


def test_short_shows_the_shorter_half_to_everybody():
    pool = DemoPool(random_demos(np.random.default_rng(6), 17))
    sampler = DemoSampler(pool, "short", seed=3)
    short, _ = naive_halves([len(demo.solution) for demo in pool])
    unknown = Problem("p", "who knows?", "1")
    sampler.check([unknown])
    assert evenly(seen_by(sampler, unknown), {pool[place].id for place in short})


def test_a_question_that_comes_twice_has_one_place():
    pool = DemoPool(random_demos(np.random.default_rng(7), 12))
    problems = [
        *(Problem("long", "the  longest", "1", length=9) for _ in range(5)),
        Problem("a", "short", "1", length=1),
        Problem("b", "shorter", "1", length=0),
        Problem("c", "longer", "1", length=8),
    ]
    of_all = LENGTH.problems(problems)
    assert [of_all(problem) for problem in problems] == ["long"] * 5 + ["short", "short", "long"]
    # As in white space, so in place.
    assert of_all(Problem("x", "the longest ", "1")) == "long"
    DemoSampler(pool, "length").check(problems)


def test_lengths_that_are_not_known():
    demos = random_demos(np.random.default_rng(8), 6)
    sampler = DemoSampler(DemoPool(demos), "length")
    for problems in (
        [Problem("p0", "?", "1", length=3), Problem("p1", "??", "1", solutions=("abc",))],
        [Problem("p0", "?", "1", solutions=("abc",)), Problem("p1", "??", "1")],
    ):
        with pytest.raises(DataError, match="problem 'p1': expected the length of its response, "):
            sampler.check(problems)
    demos[2] = dataclasses.replace(demos[2], length=3)
    for name in ("length", "short"):
        with pytest.raises(DataError, match="demonstration 'd0': expected the length of its re"):
            DemoSampler(DemoPool(demos), name).check([Problem("p", "?", "1", length=1)])


def test_a_problem_that_was_not_among_those_checked():
    sampler = DemoSampler(DemoPool(random_demos(np.random.default_rng(9), 6)), "length")
    stranger = Problem("p9", "who?", "1", length=3)
    for known in ([], [Problem("p0", "?", "1", length=3)]):
        sampler.check(known)
        with pytest.raises(DataError, match=f"problem 'p9': expected one of the {len(known)} who"):
            sampler.draw([stranger])


##### Similarity


def naive_likeness(first: str, second: str) -> float:
    ours, theirs = set(first.lower().split()), set(second.lower().split())
    return len(ours & theirs) / len(ours | theirs)


def test_likeness_against_sets():
    rng = np.random.default_rng(10)
    for _ in range(30):
        pool = DemoPool(random_demos(rng, int(rng.integers(1, 20))))
        question = text(rng) if rng.random() < 0.9 else "nothing shared"
        expected = [naive_likeness(question, demo.question) for demo in pool]
        assert likeness(pool, question).tolist() == expected
    assert likeness(pool, " ").tolist() == [0.0] * len(pool)


def test_similarity_shows_the_most_alike_in_their_order():
    rng = np.random.default_rng(11)
    for _ in range(60):
        pool = DemoPool(random_demos(rng, int(rng.integers(1, 25))))
        k = int(rng.integers(1, len(pool) + 3))
        problem = Problem("p", text(rng), "1")
        shown = most_alike(pool, problem, k, rng)
        assert len({demo.id for demo in shown}) == len(shown) == min(k, len(pool))
        found = [naive_likeness(problem.question, demo.question) for demo in shown]
        best = sorted(naive_likeness(problem.question, demo.question) for demo in pool)[::-1]
        assert found == best[:k]


def test_equally_alike_ones_come_equally_often_in_any_order():
    pool = DemoPool([Demo(name, f"find {name}", "s") for name in "abcd"])
    closer = DemoPool([*pool, Demo("e", "find the sum", "s")])
    rng = np.random.default_rng(12)
    problem = Problem("p", "Find the product", "1")
    pairs = Counter(
        tuple(demo.id for demo in most_alike(closer, problem, 3, rng)) for _ in range(2400)
    )
    expected = {("e", *pair) for pair in itertools.permutations("abcd", 2)}
    assert set(pairs) == expected
    assert all(abs(count - 200) < 5 * 200**0.5 for count in pairs.values())


def test_similarity_never_shows_the_question_itself():
    rng = np.random.default_rng(13)
    demos = random_demos(rng, 20)
    sampler = DemoSampler(DemoPool(demos), "similarity", k=3)
    problems = [Problem(demo.id, demo.question + " ", "1") for demo in demos]
    sampler.check(problems)
    for problem, shown in zip(problems, sampler.draw(problems), strict=True):
        others = [
            naive_likeness(problem.question, demo.question)
            for demo in demos
            if demo.id != problem.id
        ]
        found = [naive_likeness(problem.question, demo.question) for demo in shown]
        assert problem.id not in {demo.id for demo in shown}
        assert found == sorted(others)[::-1][:3]


##### Together


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_problem_is_shown_does_not_depend_on_those_behind_it(name):
    rng = np.random.default_rng(14)
    pool, problems = DemoPool(random_demos(rng, 60)), random_problems(rng, 12)
    first, second = (DemoSampler(pool, name, seed=5) for _ in range(2))
    for sampler in (first, second):
        sampler.check(problems)
    assert first.draw(problems[:6]) == second.draw([*problems[:6], *problems[8:]])[:6]


def test_parts_buckets_and_picks_combine():
    rng = np.random.default_rng(15)
    pool, problems = DemoPool(random_demos(rng, 90)), random_problems(rng, 60)
    mixed = Strategy("mixed", most_alike, batch=subset, m=30, buckets=DIFFICULTY)
    sampler = DemoSampler(pool, mixed, seed=6)
    sampler.check(problems)
    shown = [demo for (demo,) in sampler.draw(problems)]
    assert len({demo.id for demo in shown}) <= 30
    assert [demo.difficulty for demo in shown] == [problem.difficulty for problem in problems]
    # Likeness beats chance.
    chance = DemoSampler(pool, Strategy("chance", anywhere, buckets=DIFFICULTY), seed=6)
    other = [demo for (demo,) in chance.draw(problems)]

    def total(demos: list[Demo]) -> float:
        pairs = zip(problems, demos, strict=True)
        return sum(naive_likeness(problem.question, demo.question) for problem, demo in pairs)

    assert total(shown) > total(other)
