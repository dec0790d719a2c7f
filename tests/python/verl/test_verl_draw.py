"""What the trainer draws: from seeds, and continued exactly."""

from __future__ import annotations

import itertools
import json

import pytest
import verl_fakes as fakes

from icpo.demos import DIFFICULTIES, STRATEGIES, DemoPool, DemoSampler, Online, solved_demo
from icpo.errors import CheckpointError, IcpoError
from icpo.types import Demo, Problem
from icpo.verl.demos import demo_sampler, load_demonstrations
from icpo.verl.draw import Draws, load_state, save_state
from icpo.verl.settings import DemoSettings

pytestmark = pytest.mark.verl

assert fakes  # skips this module where verl is not installed

DEMOS = [
    Demo(f"d{i}", f"What is {i} + 1?", f"{i + 1}", f"s{i % 3}", DIFFICULTIES[i % 3])
    for i in range(24)
]
#: Sizes of batches: they need not be alike.
SIZES = [4, 1, 7, 4, 3, 4]


def asking(id, question, number):
    """A problem that each strategy can sort."""
    sorts = {"difficulty": DIFFICULTIES[number % 3], "length": number}
    return Problem(id, question, "", f"s{number % 3}", **sorts)


def problems(batch, size):
    return [asking(f"p{batch}-{i}", f"What is {(3 * batch + i) % 24} + 1?", i) for i in range(size)]


def draws(strategy="random", *, k=2, n_off=2, seed=5, demo_seed=3, pool=DEMOS, online=None):
    if not n_off:
        return Draws(None, n_off, seed)
    sampler = DemoSampler(DemoPool(pool), strategy, k=k, seed=demo_seed, online=online)
    if strategy in ("length", "difficulty"):
        sampler.check(asking(demo.id, demo.question, n) for n, demo in enumerate(DEMOS))
    return Draws(sampler, n_off, seed)


def sequence(of, first=0, last=6):
    return [list(of.draw(problems(batch, SIZES[batch]))) for batch in range(first, last)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n_off", [0, 1, 3])
def test_same_seeds_same_sequence(strategy, n_off):
    first, again = (sequence(draws(strategy, n_off=n_off)) for _ in range(2))
    assert first == again
    told = list(itertools.chain(*first))
    assert len(told) == sum(SIZES)
    for one in told:
        assert len(one["demos"]) == n_off
        assert all(len(ids) == len(set(ids)) == 2 for ids in one["demos"])
        assert 0 <= one["seed"] < 2**64
        assert one["pool"] == (DemoPool(DEMOS).fingerprint if n_off else "")
    # Every prompt of every batch has a seed of its own.
    assert len({one["seed"] for one in told}) == len(told)


def test_other_seed_other_draws():
    ours, other = sequence(draws()), sequence(draws(seed=6))
    assert [[one["demos"] for one in batch] for batch in ours] == [
        [one["demos"] for one in batch] for batch in other
    ]
    seeds = {one["seed"] for batch in ours for one in batch}
    assert seeds.isdisjoint({one["seed"] for batch in other for one in batch})
    assert [one["demos"] for one in ours[0]] != [
        one["demos"] for one in sequence(draws(demo_seed=4))[0]
    ]


def test_batches_differ():
    of = draws()
    again = [[one["demos"] for one in of.draw(problems(0, 8))] for _ in range(5)]
    assert len({json.dumps(batch) for batch in again}) == 5


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("at", range(len(SIZES) + 1))
def test_resumed_equals_uninterrupted(strategy, at, tmp_path):
    whole = sequence(draws(strategy))
    stopped = draws(strategy)
    assert sequence(stopped, 0, at) == whole[:at]
    save_state(tmp_path / "global_step_1", stopped)
    resumed = draws(strategy)
    assert load_state(tmp_path / "global_step_1", resumed)
    assert sequence(resumed, at) == whole[at:]
    # Saving what was loaded changes nothing.
    assert sequence(stopped, at) == whole[at:]


@pytest.mark.parametrize("at", range(4))
def test_skipping_equals_drawing(at):
    of = draws()
    of.skip(at)
    assert sequence(of, at) == sequence(draws())[at:]
    without = draws(n_off=0)
    without.skip(at)
    assert sequence(without, at) == sequence(draws(n_off=0))[at:]


def test_drawing_is_done_when_it_is_asked_for():
    """A step that is interrupted half-way has drawn a batch or none, never part of one."""
    of = draws()
    next(of.draw(problems(0, 4)))
    assert of.state_dict()["batches"] == of.state_dict()["demonstrations"]["batches"] == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 6}, "icpo.seed=5"),
        ({"n_off": 1}, "icpo.n_off=2"),
        ({"n_off": 0}, "icpo.n_off=2"),
        ({"demo_seed": 9}, "seed 3"),
        ({"k": 1}, "k 2"),
        ({"strategy": "batch-m"}, "strategy 'random'"),
        ({"pool": DEMOS[:-1]}, "pool"),
        ({"pool": [*DEMOS[:-1], Demo("d23", "What is 23 + 1?", "25", subject="s2")]}, "pool"),
        ({"pool": DEMOS[::-1]}, "pool"),
    ],
)
def test_state_of_other_sequences_is_refused(changes, named, tmp_path):
    saved = draws()
    sequence(saved, 0, 2)
    save_state(tmp_path, saved)
    other = draws(**changes)
    before = other.state_dict()
    with pytest.raises(CheckpointError) as raised:
        load_state(tmp_path, other)
    assert str(raised.value).startswith(str(tmp_path / "icpo.json"))
    assert named in str(raised.value)
    assert other.state_dict() == before


def test_folder_without_a_state(tmp_path):
    of = draws()
    assert load_state(tmp_path, of) is False
    assert load_state(tmp_path / "missing", of) is False
    assert of.state_dict() == draws().state_dict()


GOOD = draws().state_dict()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        json.dumps({**GOOD, "more": 1}),
        json.dumps({key: value for key, value in GOOD.items() if key != "seed"}),
        json.dumps({**GOOD, "batches": "many"}),
        json.dumps({**GOOD, "batches": None}),
        json.dumps({**GOOD, "batches": -1}),
        json.dumps({**GOOD, "batches": 1.5}),
        json.dumps({**GOOD, "demonstrations": None}),
        json.dumps({**GOOD, "demonstrations": {}}),
        json.dumps({**GOOD, "demonstrations": {**GOOD["demonstrations"], "batches": -2}}),
    ],
)
def test_broken_file_is_named(content, tmp_path):
    (tmp_path / "icpo.json").write_text(content)
    of = draws()
    with pytest.raises(CheckpointError) as raised:
        load_state(tmp_path, of)
    assert str(raised.value).startswith(f"{tmp_path / 'icpo.json'}: ")


def test_unreadable_file_is_named(tmp_path):
    (tmp_path / "icpo.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"icpo\.json"):
        load_state(tmp_path, draws())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_prompt_is_shown_its_own_question(strategy):
    """Up to white space, with all of the pool asked again and again."""
    of = draws(strategy, k=3, n_off=3)
    asked = [
        asking(demo.id, f"  {demo.question.replace(' ', '  ')}\n", number)
        for number, demo in enumerate(DEMOS)
    ]
    shown = 0
    for _ in range(10):
        for problem, told in zip(asked, of.draw(asked), strict=True):
            for ids in told["demos"]:
                assert problem.id not in ids
                shown += len(ids)
    assert shown == 10 * 24 * 3 * 3


def test_pool_of_its_own_question_alone_is_refused():
    with pytest.raises(IcpoError, match="its own question"):
        list(draws(k=1, pool=DEMOS[:1]).draw([Problem("p", DEMOS[0].question, "")]))


##### Solved prompts


def joining(of, first=0, last=6):
    """What is drawn where after each batch one of its prompts joins the demonstrations."""
    told = []
    for batch in range(first, last):
        asked = problems(batch, SIZES[batch])
        told.append(list(of.draw(asked)))
        of.join(solved_demo(problem, f"{batch}") for problem in asked)
    return told


def test_solved_prompts_travel_with_what_is_drawn():
    of = draws(pool=DEMOS[:3], online=Online(5))
    of.join(solved_demo(problem, "so") for problem in problems(5, 4))
    told = list(of.draw(problems(0, 40)))
    texts = {}
    for one in told:
        ids = {id for ids in one["demos"] for id in ids}
        rows = {row["id"]: Demo(**row) for row in one["joined"]}
        assert set(rows) == {id for id in ids if id.startswith("solved:")}
        texts |= rows
    assert {demo.question for demo in texts.values()} == {p.question for p in problems(5, 4)}
    assert {demo.solution for demo in texts.values()} == {"so"}


@pytest.mark.parametrize("strategy", [name for name, row in STRATEGIES.items() if row.grows])
@pytest.mark.parametrize("at", range(len(SIZES) + 1))
def test_resumed_equals_uninterrupted_with_solved_prompts(strategy, at, tmp_path):
    online = Online(9, 0.5)
    whole = joining(draws(strategy, k=1, online=online))
    assert any(one["joined"] for batch in whole for one in batch)
    stopped = draws(strategy, k=1, online=online)
    assert joining(stopped, 0, at) == whole[:at]
    save_state(tmp_path, stopped)
    resumed = draws(strategy, k=1, online=online)
    assert load_state(tmp_path, resumed)
    assert joining(resumed, at) == whole[at:]


def test_states_with_and_without_solved_prompts_do_not_mix(tmp_path):
    save_state(tmp_path, draws(online=Online(2)))
    for other in (draws(), draws(online=Online(3)), draws(online=Online(2, 0.5))):
        with pytest.raises(CheckpointError, match=r"icpo\.json: demos: "):
            load_state(tmp_path, other)


##### From the settings


def test_pool_and_strategy_are_those_of_the_settings(tmp_path):
    source = fakes.write_demos(tmp_path / "demos.jsonl")
    settings = DemoSettings(source=(source,), strategy="batch-m", m=5, k=2, seed=11)
    loaded = load_demonstrations(settings)
    sampler = demo_sampler(settings, loaded)
    assert [demo.id for demo in loaded.pool] == [f"d{i}" for i in range(20)]
    expected = {"strategy": "batch-m", "m": 5, "k": 2, "seed": 11, "batches": 0}
    assert expected.items() <= sampler.state_dict().items()
