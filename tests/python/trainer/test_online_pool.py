"""Solved training prompts as demonstrations: in a step, and over whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file
from test_rollouts import POOL, PROBLEMS, right, sampler, says, stored

from icpo.demos import DemoPool, DemoSampler, Online
from icpo.errors import ConfigError, DataError
from icpo.mixing import LESSON_PLAN, Plan
from icpo.trainer import train
from icpo.trainer.loop import algorithm_1
from icpo.trainer.setup import prepare
from icpo.types import Demo

##### A step

PLAN = Plan(n=4)


def online_sampler(script, share, *, limit=60, pool=POOL, size=9):
    taken = sampler(script, PLAN, limit=limit)
    demos = DemoSampler(pool, "random", seed=0, online=Online(size, share))
    object.__setattr__(taken, "demos", demos)
    return taken


def half_right(prompt, seed):
    """Every problem is answered rightly by some seeds, in words of their own."""
    number = chr(int(prompt[-2]))
    return says(rf"{seed % 97}: \boxed{{{number if seed % 2 else 99}}}")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_solved_prompts_join_with_their_first_right_response(share):
    taken = online_sampler(half_right, share)
    expected = {}
    for step in range(1, 6):
        before = {demo.id for demo in taken.demos.solved}
        groups = taken.collect(PROBLEMS, step, PLAN).groups
        shown = {id for group in groups for rollout in group.expert for id in rollout.demos}
        assert shown <= before | {demo.id for demo in POOL}
        for group in groups:
            texts = [rollout.text for rollout in group.policy if rollout.reward == 1.0]
            if texts and len(texts) >= share * len(group.policy):
                # What joins again stands last.
                expected.pop(group.problem.question, None)
                expected[group.problem.question] = texts[0]
        found = {demo.question: demo.solution for demo in taken.demos.solved}
        assert list(found.items()) == list(expected.items())
    assert expected


def test_they_are_shown_to_others_from_the_next_step_on():
    taken = online_sampler(right, 1.0, pool=DemoPool([Demo("d", "d", "d")]))
    first = taken.collect(PROBLEMS, 1, PLAN).groups
    assert {id for group in first for rollout in group.expert for id in rollout.demos} == {"d"}
    # Without demonstrations the even ones are solved.
    assert [demo.question for demo in taken.demos.solved] == ["0", "2", "4"]
    seen = set()
    for step in range(2, 20):
        for group in taken.collect(PROBLEMS, step, PLAN).groups:
            (rollout,) = group.expert
            (demo,) = rollout.demos
            assert not demo.startswith(f"solved:{group.problem.id}:")
            if demo != "d":
                number = demo[len("solved:p")]
                assert rf"{number}\boxed{{{number}}};".encode() in bytes(
                    rollout.prompt.astype(np.uint8).tobytes()
                )
            seen.add(demo)
    assert len(seen) == 4


def test_what_is_cut_off_or_too_long_stays_out():
    def wordy(prompt, seed):
        number = chr(int(prompt[-2]))
        tail = {"0": "x" * 40, "2": "y" * 9}.get(number, "")
        return says(rf"\boxed{{{number}}}{tail}")

    taken = online_sampler(wordy, 0.0, limit=20)  # responses have 20 tokens at most, prompts too
    taken.collect(PROBLEMS, 1, PLAN)
    # 0 does not end; 2 would have 21 tokens before its own question.
    assert [demo.question for demo in taken.demos.solved] == ["1", "3", "4"]


def test_lessons_solve_nothing():
    taken = online_sampler(right, 0.0)
    object.__setattr__(taken, "encode", stored)
    taken.collect(PROBLEMS, 1, LESSON_PLAN)
    assert taken.demos.solved == ()


##### Whole runs

STEPS, SHARE = 9, 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    toy.write(folder)
    return folder


def settings(folder, out, **demos):
    online = {"size": 4, "share": SHARE}
    return toy.config(
        folder,
        out=str(out),
        steps=STEPS,
        demos={"path": str(folder / "demos.jsonl"), "online": online, **demos},
        data={"train": str(folder / "train.jsonl")},
        generation={"max_new_tokens": 24},
        prompt={**toy.settings(folder)["prompt"], "max_tokens": 60},
        algorithm={"name": "icpo", "n": 5},
        eval={"every": None, "with_demos": False},
        checkpoint={"every": 2},
        log={"tensorboard": False, "samples_every": 1, "samples": 4},
    )


@pytest.fixture(scope="module")
def whole(folder):
    train(settings(folder, folder / "whole"))
    return folder / "whole"


def rows(out: Path):
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def test_the_pool_of_a_run_against_its_samples(folder, whole):
    """Every rollout is in the samples, so the pool can be made again from these."""
    questions = {
        str(number): json.loads(line)["question"]
        for number, line in enumerate((folder / "train.jsonl").read_text().splitlines(), 1)
    }
    pool: dict[str, str] = {}
    shown = 0
    for step, line in zip(range(1, STEPS + 1), toy.metrics(whole), strict=True):
        of_step = [row for row in rows(whole) if row["step"] == step]
        for row in of_step:
            for id in row["demos"]:
                if id.startswith("solved:"):
                    problem = id.split(":")[1]
                    assert problem != row["problem"]
                    example = f"Q {questions[problem]} A {pool[problem]} <eos>"
                    assert " ".join(example.split()) in row["prompt"]
                    shown += 1
        for problem in dict.fromkeys(row["problem"] for row in of_step):
            policy = [r for r in of_step if r["problem"] == problem and not r["expert"]]
            good = [r["response"] for r in policy if r["reward"] == 1.0 and r["finished"]]
            if good and len(good) >= SHARE * len(policy):
                pool.pop(problem, None)
                pool[problem] = good[0]
                pool = dict(list(pool.items())[-4:])
        assert line["expert/demos_solved"] == len(pool)
    assert shown > 3
    assert len(pool) == 4


@pytest.mark.parametrize("dies_at", [3, 8])
def test_a_run_that_dies_goes_on_bit_by_bit(folder, whole, tmp_path, dies_at):
    class Died(Exception):
        pass

    run = prepare(settings(folder, tmp_path))
    finish = run.finish

    def die(step, *rest):
        finish(step, *rest)
        if step == dies_at:  # one step behind its last checkpoint
            raise Died

    run.finish = die
    with pytest.raises(Died), run.recorder:
        algorithm_1(run)
    train(settings(folder, tmp_path), resume=True)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    state, weights = (
        Path("checkpoints") / f"step-{STEPS:06d}" / name
        for name in ("state.json", "model.safetensors")
    )
    ours, theirs = (json.loads((out / state).read_text()) for out in (tmp_path, whole))
    assert ours["run"]["demos"] == theirs["run"]["demos"]
    assert len(ours["run"]["demos"]["solved"]) == 4
    one, two = load_file(tmp_path / weights), load_file(whole / weights)
    assert all(torch.equal(one[key], two[key]) for key in one)


##### What a run needs is found before it starts


def refusal(folder, tmp_path, kind=DataError, **demos):
    with pytest.raises(kind) as caught:
        prepare(settings(folder, tmp_path, **demos))
    return str(caught.value)


def test_what_a_strategy_needs_is_named_with_the_file(folder, tmp_path):
    train_file, demo_file = folder / "train.jsonl", folder / "demos.jsonl"
    said = refusal(folder, tmp_path, strategy="hard")
    assert said.startswith(f"{demo_file}: demonstration '1': expected a difficulty, easy, medium")
    assert "`icpo data passes`" in said
    said = refusal(folder, tmp_path, strategy="length", online={})
    assert said.startswith(f"{train_file}: problem '1': expected the length of its response, got n")
    said = refusal(folder, tmp_path, ConfigError, strategy="random-m")
    assert said.startswith("demos.online.size: expected 0, since strategy 'random-m' keeps")


def test_difficulties_and_lengths_come_from_columns(folder, tmp_path):
    for name, sizes in (("train", (3, 5)), ("demos", (9, 2))):
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        table = [
            {
                **json.loads(line),
                "level": ("easy", "hard")[place % 2],
                "response_length": sizes[place % 2],
            }
            for place, line in enumerate(lines)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))

    def run_of(strategy, column, **data):
        config = toy.settings(
            folder,
            out=str(tmp_path / "run"),
            data={"train": str(tmp_path / "train.jsonl"), **data},
            demos={
                "path": str(tmp_path / "demos.jsonl"),
                "strategy": strategy,
                **({"difficulty": "level"} if column else {}),
            },
            eval={"every": None},
        )
        return prepare(toy.TrainConfig.build(config))

    run = run_of("difficulty", True, difficulty="level")
    for problem in run.order.draw(24):
        (demos,) = run.demos.draw([problem])
        assert demos[0].difficulty == problem.difficulty
    run = run_of("length", False)
    for problem in run.order.draw(24):
        (demos,) = run.demos.draw([problem])
        assert (problem.length, demos[0].length) in ((3, 2), (5, 9))
    with pytest.raises(DataError, match=r"line 1: data.length: expected a number from 0"):
        run_of("length", False, length="subject")
    with pytest.raises(DataError, match=r"train.jsonl: line 1: data.difficulty: no column 'lev'"):
        run_of("difficulty", True, difficulty="lev")
    # Nobody asks for them: whatever they are called, they are left alone.
    assert run_of("random", False, length="lev").order.draw(1)[0].length is None


def test_lengths_of_stored_solutions(folder, tmp_path):
    data = {"train": str(folder / "train.jsonl"), "solution": "trace"}
    config = toy.settings(folder, out=str(tmp_path), data=data, eval={"every": None})
    config["demos"] = {"path": str(folder / "demos.jsonl"), "strategy": "length"}
    # A solution beyond the limit on responses is not trained on, so it is none of its business.
    config["generation"] = {"max_new_tokens": 2}
    run = prepare(toy.TrainConfig.build(config))
    assert all(demos for demos in run.demos.draw(run.order.draw(8)))
