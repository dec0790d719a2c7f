"""Selection: right distributions, right subjects, never one's own question, exact continuation."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest

from icpo.demos import DIFFICULTIES, STRATEGIES, DemoPool, DemoSampler, Strategy
from icpo.demos.buckets import SUBJECT
from icpo.demos.select import anywhere, subset
from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.types import Demo, Problem

SUBJECTS = ("sums", "products", "limits")


def demos(count: int) -> list[Demo]:
    """Of three subjects and three difficulties, which go together, and of three lengths."""
    return [
        Demo(
            f"d{number}",
            f"question {number}",
            f"solution {number}" + "!" * (number % 3),
            SUBJECTS[number % 3],
            DIFFICULTIES[number % 3],
        )
        for number in range(count)
    ]


def problems(count: int) -> list[Problem]:
    return [problem_of(f"p{number}", f"problem {number}", number) for number in range(count)]


def problem_of(id: str, question: str, number: int) -> Problem:
    return Problem(
        id,
        question,
        "1",
        subject=SUBJECTS[number % 3],
        difficulty=DIFFICULTIES[number % 3],
        length=number % 7,
    )


def shown(batch: list[tuple[Demo, ...]]) -> list[tuple[str, ...]]:
    return [tuple(demo.id for demo in prompt) for prompt in batch]


def assert_uniform(counts: Counter, outcomes: list) -> None:
    """Chi-square: within four standard deviations, of too uneven and of too even alike."""
    assert set(counts) <= set(outcomes)
    expected = counts.total() / len(outcomes)
    assert expected >= 20, "too few draws for the test to mean anything"
    statistic = sum((counts[outcome] - expected) ** 2 for outcome in outcomes) / expected
    freedom = len(outcomes) - 1
    # Wilson and Hilferty: the cube root is close to normal.
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    assert abs(z) < 4, f"chi-square {statistic:.1f} with {freedom} degrees of freedom"


def test_the_chi_square_test_can_fail():
    rng = np.random.default_rng(0)
    fair, biased, even = (
        Counter(rng.integers(10, size=4000).tolist()),
        Counter((rng.integers(11, size=4000) % 10).tolist()),
        Counter(list(range(10)) * 400),
    )
    assert_uniform(fair, list(range(10)))
    for counts in (biased, even):
        with pytest.raises(AssertionError):
            assert_uniform(counts, list(range(10)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_random_shows_every_sequence_of_different_ones_equally_often(k):
    pool = DemoPool(demos(6))
    sampler = DemoSampler(pool, "random", k=k, seed=1)
    counts = Counter(
        itertools.chain.from_iterable(shown(sampler.draw(problems(150))) for _ in range(40))
    )
    assert_uniform(counts, list(itertools.permutations([demo.id for demo in pool], k)))


def test_prompts_and_batches_are_independent():
    pool = DemoPool(demos(5))
    sampler = DemoSampler(pool, "random", seed=2)
    neighbours, successors = Counter(), Counter()
    before = None
    for _ in range(3000):
        first, second = shown(sampler.draw(problems(2)))
        neighbours[first + second] += 1
        if before is not None:
            successors[before + first] += 1
        before = first
    pairs = list(itertools.product([demo.id for demo in pool], repeat=2))
    assert_uniform(neighbours, pairs)
    assert_uniform(successors, pairs)


def test_random_m_uses_one_part_of_the_pool_for_the_whole_run():
    pool = DemoPool(demos(100))
    sampler = DemoSampler(pool, "random-m", seed=3)
    counts = Counter(
        itertools.chain.from_iterable(shown(sampler.draw(problems(100))) for _ in range(20))
    )
    assert len(counts) == 32
    assert_uniform(counts, list(counts))


def test_the_part_of_a_run_is_uniform_over_seeds():
    pool = DemoPool(demos(5))
    counts = Counter()
    for seed in range(1000):
        seen = set(shown(DemoSampler(pool, "random-m", m=2, seed=seed).draw(problems(40))))
        counts[frozenset(id for (id,) in seen)] += 1
    assert_uniform(
        counts, [frozenset(pair) for pair in itertools.combinations([d.id for d in pool], 2)]
    )


def test_batch_m_uses_a_fresh_part_for_each_batch():
    pool = DemoPool(demos(60))
    sampler = DemoSampler(pool, "batch-m", seed=4)
    parts = [set(shown(sampler.draw(problems(200)))) for _ in range(50)]
    assert {len(part) for part in parts} == {10}
    assert len(set.union(*parts)) == 60


def test_the_part_of_a_batch_is_uniform_and_so_is_the_pick_in_it():
    pool = DemoPool(demos(5))
    sampler = DemoSampler(pool, "batch-m", m=2, seed=5)
    parts, prompts = Counter(), Counter()
    for _ in range(1000):
        batch = shown(sampler.draw(problems(40)))
        parts[frozenset(id for (id,) in batch)] += 1
        prompts[batch[0]] += 1
    ids = [demo.id for demo in pool]
    assert_uniform(parts, [frozenset(pair) for pair in itertools.combinations(ids, 2)])
    assert_uniform(prompts, [(id,) for id in ids])


def test_subject_shows_the_problems_own_equally_often():
    pool = DemoPool(demos(16))
    sampler = DemoSampler(pool, "subject", k=2, seed=6)
    counts: dict[str, Counter] = {subject: Counter() for subject in SUBJECTS}
    for _ in range(40):
        batch = problems(90)
        for problem, prompt in zip(batch, sampler.draw(batch), strict=True):
            assert {demo.subject for demo in prompt} == {problem.subject}
            counts[problem.subject][tuple(demo.id for demo in prompt)] += 1
    for subject in SUBJECTS:
        ids = [demo.id for demo in pool.by_subject[subject]]
        assert_uniform(counts[subject], list(itertools.permutations(ids, 2)))


def sampler_of(name: str, *, count: int = 40, k: int = 2, seed: int = 7) -> DemoSampler:
    """One that knows `problems`."""
    sampler = DemoSampler(DemoPool(demos(count)), name, k=k, seed=seed)
    sampler.check(problems(20))
    return sampler


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_sequence(name):
    first, second, other = sampler_of(name), sampler_of(name), sampler_of(name, seed=8)
    batches = [problems(9) for _ in range(5)]
    sequence = [shown(first.draw(batch)) for batch in batches]
    assert sequence == [shown(second.draw(batch)) for batch in batches]
    assert sequence != [shown(other.draw(batch)) for batch in batches]
    assert len({json.dumps(batch) for batch in sequence}) == 5


@pytest.mark.parametrize("name", STRATEGIES)
def test_resuming_continues_the_sequence(name):
    rng = np.random.default_rng(9)
    batches = [problems(int(size)) for size in rng.integers(1, 20, size=30)]
    whole = sampler_of(name)
    sequence, states = [], []
    for batch in batches:
        states.append(json.dumps(whole.state_dict()))
        sequence.append(shown(whole.draw(batch)))
    for stop in {0, 29, *rng.integers(0, 30, size=6).tolist()}:
        resumed = sampler_of(name)
        resumed.draw(problems(3))  # wherever it stood before
        resumed.load_state_dict(json.loads(states[stop]))
        assert json.dumps(resumed.state_dict()) == states[stop]
        assert [shown(resumed.draw(batch)) for batch in batches[stop:]] == sequence[stop:]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (sampler_of("subject"), "strategy 'subject', this run has 'random-m'"),
        (sampler_of("random-m", k=3), "k 3, this run has 2"),
        (sampler_of("random-m", seed=8), "seed 8, this run has 7"),
        (sampler_of("random-m", count=41), "pool '[0-9a-f]{64}', this run has '[0-9a-f]{64}'"),
        (DemoSampler(DemoPool(demos(40)), "random-m", m=31, k=2, seed=7), "m 31, this run has 32"),
    ],
)
def test_the_state_of_another_sequence_is_refused(other, message):
    sampler = sampler_of("random-m")
    before = sampler.state_dict()
    with pytest.raises(CheckpointError, match=f"the checkpoint was made with {message}"):
        sampler.load_state_dict(other.state_dict())
    assert sampler.state_dict() == before


def test_what_is_no_state_is_refused():
    sampler = sampler_of("random")
    with pytest.raises(
        CheckpointError, match="expected a state with strategy, m, k, seed, pool, b"
    ):
        sampler.load_state_dict({"batches": 3})
    for batches in (-1, "3", 1.5, None):
        with pytest.raises(CheckpointError, match="batches: expected a number from 0, got"):
            sampler.load_state_dict({**sampler.state_dict(), "batches": batches})


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_problem_never_sees_its_own_question(name):
    pool = DemoPool(
        [
            *demos(15),
            # The same questions in other layouts and with other solutions.
            *(
                dataclasses.replace(
                    demo, id=f"again{number}", question=f" question  {number}\n", solution="other"
                )
                for number, demo in enumerate(demos(6))
            ),
        ]
    )
    asked = [problem_of(f"p{number}", f"question {number}", number) for number in range(15)]
    sampler = DemoSampler(pool, name, k=2, m=STRATEGIES[name].m and 10, seed=10)
    sampler.check(asked)
    for _ in range(100):
        for problem, prompt in zip(asked, sampler.draw(asked), strict=True):
            assert problem.question not in {" ".join(demo.question.split()) for demo in prompt}


def test_the_other_questions_are_shown_equally_often():
    pool = DemoPool(demos(5))
    own = Problem("p", "question 2", "1")
    sampler = DemoSampler(pool, "random", k=2, seed=11)
    counts = Counter(shown(sampler.draw([own] * 2000)))
    assert_uniform(counts, list(itertools.permutations(["d0", "d1", "d3", "d4"], 2)))


def test_check_neither_draws_nor_disturbs():
    checked, unchecked = (DemoSampler(DemoPool(demos(40)), "batch-m", k=2) for _ in range(2))
    checked.check(problems(20))
    assert checked.state_dict() == unchecked.state_dict()
    assert shown(checked.draw(problems(5))) == shown(unchecked.draw(problems(5)))


def test_a_subject_without_demonstrations_is_found_early():
    sampler = sampler_of("subject")
    sampler.check(problems(5))
    strange = Problem("p9", "why?", "1", "history")
    message = (
        r"expected 2 demonstrations for problem 'p9' \(subject 'history'\), got 0 from strategy "
        "'subject'"
    )
    with pytest.raises(DataError, match=message):
        sampler.check([*problems(5), strange])
    with pytest.raises(DataError, match=message):
        sampler.draw([strange])


def test_a_subject_with_too_few_demonstrations_is_found_early():
    sampler = DemoSampler(DemoPool(demos(7)), "subject", k=3)  # 3, 2 and 2 of the subjects
    sampler.check(problems(1))
    with pytest.raises(DataError, match=r"problem 'p1' \(subject 'products'\), got 2 from"):
        sampler.check(problems(2))


def test_no_subject_at_all_is_not_a_subject():
    pool = DemoPool([Demo("a", "x", "y"), Demo("b", "z", "y")])
    with pytest.raises(DataError, match=r"problem 'p' \(subject None\), got 0"):
        DemoSampler(pool, "subject").check([Problem("p", "why?", "1")])


def test_too_few_without_ones_own_question_is_found_early():
    sampler = DemoSampler(DemoPool(demos(2)), "random", k=2)
    sampler.check(problems(3))
    message = "got 1 from strategy 'random', beside 1 with its own question"
    with pytest.raises(DataError, match=message):
        sampler.check([Problem("p", "question 1", "1")])
    alone = DemoSampler(DemoPool(demos(1)), "random")
    with pytest.raises(DataError, match="got 0 from strategy 'random', beside 1 with its own"):
        alone.check([Problem("p", "question 0", "1")])


def test_a_batch_that_might_leave_too_few_is_found_early():
    # A batch of 2 may hold the problem's own question, which leaves 1.
    own = Problem("p", "question 1", "1")
    sampler = DemoSampler(DemoPool(demos(9)), "batch-m", m=2, k=2)
    with pytest.raises(DataError, match="got 1 from strategy 'batch-m', beside 1"):
        sampler.check([own])
    DemoSampler(DemoPool(demos(9)), "batch-m", m=3, k=2).check([own])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "best"}, "strategy: expected one of random, .*, got 'best'"),
        ({"k": 0}, "k: expected at least 1, got 0"),
        ({"k": 41}, "k: expected at most 40, since strategy 'random' chooses among 40 of 40"),
        ({"strategy": "random-m", "k": 33}, "k: expected at most 32, since .* among 32 of 40"),
        ({"strategy": "batch-m", "k": 11}, "k: expected at most 10, since .* among 10 of 40"),
        ({"strategy": "batch-m", "m": 3, "k": 4}, "k: expected at most 3"),
        ({"strategy": "batch-m", "m": 0}, "m: expected at least 1, got 0"),
        ({"m": 5}, "m: expected none, since strategy 'random' has none, got 5"),
        ({"strategy": "subject", "m": 5}, "m: expected none, since strategy 'subject' has none"),
        ({"seed": -1}, "seed: expected a number from 0, got -1"),
        ({"strategy": Strategy("mine", pick=anywhere, run=subset)}, "m: expected a number, since"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DemoSampler(**{"pool": DemoPool(demos(40)), "strategy": "random", **arguments})


def test_m_may_exceed_the_pool():
    sampler = DemoSampler(DemoPool(demos(4)), "random-m", seed=12)
    assert len(set(shown(sampler.draw(problems(200))))) == 4


def test_a_strategy_of_ones_own():
    # Likeness: the k demonstrations with the most words in common.
    def alike(pool, problem, k, rng):
        words = set(problem.question.split())
        return sorted(pool, key=lambda demo: -len(words & set(demo.question.split())))[:k]

    sampler = DemoSampler(DemoPool(demos(40)), Strategy("alike", pick=alike))
    assert shown(sampler.draw([Problem("p", "a question with 17", "1")])) == [("d17",)]


def test_parts_and_picks_combine():
    both = Strategy("subject of a part", pick=anywhere, buckets=SUBJECT, run=subset, m=20)
    sampler = DemoSampler(DemoPool(demos(90)), both, seed=13)
    batch = problems(300)
    prompts = sampler.draw(batch) + sampler.draw(batch)
    assert len({demo.id for prompt in prompts for demo in prompt}) == 20
    for problem, (demo,) in zip(batch * 2, prompts, strict=True):
        assert demo.subject == problem.subject
