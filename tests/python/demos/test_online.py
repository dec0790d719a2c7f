"""The online pool: who joins it, in which order, who leaves it, and exact continuation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from icpo.demos import STRATEGIES, DemoPool, DemoSampler, Online, solved_demo
from icpo.demos.online import SolvedDemos
from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.types import Demo, Problem

GROWING = [name for name, row in STRATEGIES.items() if row.grows]


def demos(count: int) -> list[Demo]:
    return [
        Demo(f"d{n}", f"find {n} now", "s" * (n % 5 + 1), f"s{n % 2}", ["easy", "hard"][n % 2])
        for n in range(count)
    ]


def problems(count: int) -> list[Problem]:
    return [
        Problem(f"p{n}", f"what is {n} ?", "1", f"s{n % 2}", (), ["easy", "hard"][n % 2], n % 7)
        for n in range(count)
    ]


##### Who is solved


@pytest.mark.parametrize(
    ("share", "right", "expected"),
    [
        (1.0, "YYYY", 0),
        (1.0, "YYNY", None),
        (0.75, "NYYY", 1),
        (0.75, "NYNY", None),
        (0.5, "NYNY", 1),
        (0.0, "NNNY", 3),
        (0.0, "NNNN", None),
        (1.0, "", None),
    ],
)
def test_the_share_decides_and_the_first_right_one_is_shown(share, right, expected):
    found = Online(9, share).answer([each == "Y" for each in right], "response {}".format)
    assert found == (None if expected is None else f"response {expected}")


def test_a_blank_response_is_no_solution():
    assert Online(9).answer([True, True, True], [" ", "2", "3"].__getitem__) == "2"
    assert Online(9).answer([True], [" \n"].__getitem__) is None


def test_a_solved_problem_as_a_demonstration():
    (problem,) = problems(1)
    demo = solved_demo(problem, " one\n")
    assert (demo.question, demo.solution) == (problem.question, "one")
    assert (demo.subject, demo.difficulty, demo.length) == ("s0", "easy", None)
    assert demo.id.startswith("solved:p0:")
    # Of the same name, but another question; and of the same question in another layout.
    assert solved_demo(Problem("p0", "what is 1 ?", "1"), "one").id != demo.id
    assert solved_demo(Problem("p0", " what is  0 ?", "1"), "other").id == demo.id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "online.size: expected at least 1, got 0"),
        ({"size": 5, "share": 1.1}, "online.share: expected 0 to 1, got 1.1"),
        ({"size": 5, "share": -0.1}, "online.share: expected 0 to 1, got -0.1"),
    ],
)
def test_rules_out_of_range(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Online(**arguments)


##### Who stays


def test_the_newest_stay_against_a_list():
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        kept, expected = SolvedDemos(size), []
        for step in range(60):
            new = [
                solved_demo(Problem("p", f"{n} ?", "1"), f"at {step}")
                for n in rng.integers(0, 12, size=int(rng.integers(0, 5))).tolist()
            ]
            kept.add(new)
            for demo in new:
                expected = [other for other in expected if other.question != demo.question]
                expected = [*expected, demo][-size:]
            assert list(kept) == expected
            assert len(kept) == len(expected)


##### In the pool


@pytest.mark.parametrize("name", GROWING)
def test_a_solved_prompt_is_shown_to_others_and_never_to_itself(name):
    asked = problems(8)
    sampler = DemoSampler(DemoPool(demos(4)), name, seed=1, online=Online(20))
    sampler.check(asked)
    for shown in sampler.draw(asked * 20):
        assert not shown[0].id.startswith("solved")
    sampler.add(solved_demo(problem, "s") for problem in asked)
    shown_to = {problem.id: set() for problem in asked}
    for _ in range(10):
        for problem, (demo,) in zip(asked * 20, sampler.draw(asked * 20), strict=True):
            shown_to[problem.id].add(demo.id)
            assert demo.question != problem.question
    solved = {demo.id for demo in sampler.solved}
    assert len(solved) == 8
    assert set.union(*shown_to.values()) & solved
    if name in ("random", "batch-m"):
        # Nobody is left out, and nobody else is either.
        assert set.union(*shown_to.values()) == {demo.id for demo in demos(4)} | solved


def test_buckets_sort_what_joins():
    asked = problems(8)
    for name, of in (("subject", "subject"), ("difficulty", "difficulty")):
        sampler = DemoSampler(DemoPool(demos(4)), name, seed=2, online=Online(20))
        sampler.check(asked)
        sampler.add(solved_demo(problem, "s") for problem in asked)
        for problem, (demo,) in zip(asked * 20, sampler.draw(asked * 20), strict=True):
            assert getattr(demo, of) == getattr(problem, of)


def test_a_pool_that_did_not_grow_draws_as_one_that_can_not():
    asked = problems(9)
    plain = DemoSampler(DemoPool(demos(6)), "random", k=2, seed=3)
    online = DemoSampler(DemoPool(demos(6)), "random", k=2, seed=3, online=Online(5))
    assert plain.draw(asked) == online.draw(asked)
    online.add([])
    assert plain.draw(asked) == online.draw(asked)


@pytest.mark.parametrize("name", GROWING)
def test_resuming_with_a_pool_that_grew(name):
    asked = problems(10)

    def fresh() -> DemoSampler:
        sampler = DemoSampler(DemoPool(demos(6)), name, seed=4, online=Online(4, 0.5))
        sampler.check(asked)
        return sampler

    whole, states, sequence = fresh(), [], []
    for step in range(12):
        states.append(json.dumps(whole.state_dict()))
        sequence.append(whole.draw(asked))
        whole.add([solved_demo(asked[(3 * step) % 10], f"at {step}")])
    for stop in (0, 1, 5, 11):
        resumed = fresh()
        resumed.add([solved_demo(asked[9], "what is forgotten")])
        resumed.load_state_dict(json.loads(states[stop]))
        assert json.dumps(resumed.state_dict()) == states[stop]
        for step in range(stop, 12):
            assert resumed.draw(asked) == sequence[step]
            resumed.add([solved_demo(asked[(3 * step) % 10], f"at {step}")])


def test_states_of_other_rules_are_refused():
    pool = DemoPool(demos(6))
    plain = DemoSampler(pool, "random")
    online = DemoSampler(pool, "random", online=Online(4))
    with pytest.raises(CheckpointError, match=r"expected a state with .*, online, batches, solved"):
        online.load_state_dict(plain.state_dict())
    with pytest.raises(
        CheckpointError, match=r"expected a state with strategy, m, k, seed, pool, "
    ):
        plain.load_state_dict(online.state_dict())
    other = DemoSampler(pool, "random", online=Online(4, 0.5))
    with pytest.raises(CheckpointError, match=r"made with online \{'size': 4, 'share': 0.5\}, "):
        online.load_state_dict(other.state_dict())
    row = {"id": "a", "question": "b", "solution": "c"}
    for solved in (None, [1], [{**row, "more": 1}], [{"id": "a"}], [row] * 5):
        with pytest.raises(CheckpointError, match="solved: expected"):
            online.load_state_dict({**online.state_dict(), "solved": solved})
    assert online.solved == ()


##### What would go wrong later is found at the start


def test_a_fixed_part_does_not_grow():
    with pytest.raises(ConfigError, match=r"online.size: expected none, .* 'random-m' keeps .* 7"):
        DemoSampler(DemoPool(demos(6)), "random-m", online=Online(7))


def test_nothing_joins_without_a_rule():
    with pytest.raises(ConfigError, match="online: expected a rule for demonstrations that join"):
        DemoSampler(DemoPool(demos(6)), "random").add([solved_demo(problems(1)[0], "s")])


def test_a_problem_that_could_not_be_sorted_once_it_is_solved():
    unknown = Problem("p1", "why?", "1")
    sampler = DemoSampler(DemoPool(demos(6)), "hard", online=Online(4))
    with pytest.raises(DataError, match=r"demonstration 'solved:p1:.*': expected a difficulty, "):
        sampler.check([problems(1)[0], unknown])
    DemoSampler(DemoPool(demos(6)), "hard").check([unknown])


def test_lengths_in_a_unit_that_solved_prompts_do_not_have():
    measured = [Demo(f"d{n}", f"q{n}", "s", length=n) for n in range(4)]
    sampler = DemoSampler(DemoPool(measured), "short", online=Online(4))
    with pytest.raises(
        DataError, match=r"demonstration 'solved:p0:.*': expected the length of its"
    ):
        sampler.check(problems(2))


def test_a_batch_that_a_solved_prompt_might_leave_too_small():
    own = problems(1)
    pool = DemoPool(demos(9))
    DemoSampler(pool, "batch-m", m=2, k=2).check(own)
    with pytest.raises(DataError, match="got 1 from strategy 'batch-m', beside 1 with its own"):
        DemoSampler(pool, "batch-m", m=2, k=2, online=Online(4)).check(own)
    DemoSampler(pool, "batch-m", m=3, k=2, online=Online(4)).check(own)
