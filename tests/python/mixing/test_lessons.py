"""Which steps imitate, against lists worked by hand and a queue of one's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rollout_cases import group

from icpo.errors import CheckpointError, ConfigError
from icpo.mixing import LESSON_LOSS, LESSON_PLAN, Lessons, Plan, Timetable, assemble, mix
from icpo.mixing.lessons import unsolved


def nothing(count: int) -> list[str]:
    pytest.fail("drawn from the run's order")


def endless():
    numbers = iter(range(1000))
    return lambda count: [f"next {next(numbers)}" for _ in range(count)]


@pytest.mark.parametrize(
    ("share", "steps", "lessons"),
    [(0.5, 10, 5), (0.25, 400, 100), (0.01, 10, 1), (0.99, 10, 10), (0.5, 1, 1), (0.3, 7, 2)],
)
def test_first(share, steps, lessons):
    """The first steps, on the next problems of the run's order."""
    timetable, draw = (
        Timetable(Lessons("first", share=share), total_steps=steps, batch=3),
        endless(),
    )
    found = [timetable.lesson(step, draw) for step in range(1, steps + 1)]
    assert [lesson is not None for lesson in found] == [step < lessons for step in range(steps)]
    flat = [problem for lesson in found if lesson for problem in lesson]
    assert flat == [f"next {i}" for i in range(3 * lessons)]


def test_without_lessons_there_are_none():
    timetable = Timetable(None, total_steps=3, batch=2)
    for step in (1, 2, 3):
        assert timetable.lesson(step, nothing) is None
        timetable.met("a", "a")
    assert timetable.state_dict() == {"waiting": []}


@pytest.mark.parametrize("prompts", [None, 1, 3, 8])
def test_hardest_is_a_queue(prompts):
    """A lesson as soon as there are enough, first met first taught, each once until met again."""
    rng, size = np.random.default_rng(prompts or 0), prompts or 4
    timetable = Timetable(Lessons("hardest", prompts=prompts), total_steps=60, batch=4)
    queue: list[str] = []
    taught = 0
    for step in range(1, 61):
        lesson = timetable.lesson(step, nothing)
        if len(queue) >= size:
            assert lesson == [name.upper() for name in queue[:size]]
            del queue[:size]
            taught += 1
            continue
        assert lesson is None
        for name in (f"p{number}" for number in rng.integers(20, size=rng.integers(4))):
            timetable.met(name, name.upper())
            if name not in queue:
                queue.append(name)
        assert list(timetable.waiting) == queue
    assert taught > 2


def test_the_queue_goes_on_where_it_stood():
    problems = {name: name.upper() for name in "abcdef"}
    first = Timetable(Lessons("hardest"), total_steps=9, batch=3)
    for name in "dbe":
        first.met(name, problems[name])
    state = json.loads(json.dumps(first.state_dict()))
    again = Timetable(Lessons("hardest"), total_steps=9, batch=3)
    again.load_state_dict(state, problems)
    assert again.lesson(2, nothing) == first.lesson(2, nothing) == ["D", "B", "E"]
    assert again.state_dict() == first.state_dict() == {"waiting": []}
    with pytest.raises(CheckpointError, match=r"expected problems of the run .*, got 'd'"):
        again.load_state_dict(state, {"b": "B", "e": "E"})


@pytest.mark.parametrize(
    ("policy", "delta", "wanted"),
    [
        ([0.0, 0.0], 1.0, True),
        ([0.0, 1.0], 1.0, False),
        ([0.5, 0.0], 1.0, True),
        ([0.5, 0.0], 0.5, False),
        ([], 1.0, False),  # nothing was asked
    ],
)
def test_unsolved(policy, delta, wanted):
    rng = np.random.default_rng(0)
    plan = Plan(n=2, n_off=0) if policy else LESSON_PLAN
    sampled = group(rng, policy, [] if policy else [0.0])
    assert unsolved(mix(sampled, plan, rng), delta) is wanted


def test_an_expert_rollout_does_not_solve_a_problem():
    rng = np.random.default_rng(0)
    sampled = group(rng, [0.0, 0.0], [1.0])
    assert unsolved(mix(sampled, Plan(n=2, group="beside", source="stored"), rng), 1.0)


def test_a_lesson_has_no_advantages():
    """Whatever the checker says about the solutions."""
    rng = np.random.default_rng(0)
    mixed = [mix(group(rng, [], [reward]), LESSON_PLAN, rng) for reward in (0.0, 1.0, 1.0)]
    batch = assemble(mixed, loss=LESSON_LOSS)
    assert batch.expert_mask.all() and not batch.advantage.any() and len(batch) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"when": "last"}, "when: expected 'first' or 'hardest', got 'last'"),
        ({"when": ["first"]}, r"when: expected 'first' or 'hardest', got \['first'\]"),
        ({"share": 0}, "share: expected a number between 0 and 1, got 0"),
        ({"share": 1.0}, "share: expected a number between 0 and 1, got 1.0"),
        ({"share": float("nan")}, "share: expected a number between 0 and 1, got nan"),
        ({"share": True}, "share: expected a number between 0 and 1, got True"),
        ({"prompts": 0}, "prompts: expected a whole number from 1, got 0"),
        ({"prompts": 2.0}, "prompts: expected a whole number from 1, got 2.0"),
        ({"lr": 0.0}, "lr: expected a number above 0, got 0.0"),
        ({"lr": float("inf")}, "lr: expected a number above 0, got inf"),
    ],
)
def test_lessons_that_make_no_sense(fields, message):
    with pytest.raises(ConfigError, match=message):
        Lessons(**fields)
