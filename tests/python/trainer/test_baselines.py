"""Baselines in whole runs of a toy model: what they sample, imitate, continue, and go on from."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import toy

from icpo import CheckpointError, ConfigError, DataError
from icpo.generation.torch_engine import TorchEngine
from icpo.mixing import Batch
from icpo.trainer import TrainConfig, train
from icpo.trainer.loop import algorithm_1
from icpo.trainer.run import Run
from icpo.trainer.setup import prepare
from icpo.types import RolloutGroup

END = toy.WORDS.index("<eos>")
#: Longer than the toy's own, so that there is something to begin.
TRACE = "so it is so it is so = {answer}"
LIMIT = 14
QUIET: dict[str, Any] = {"eval": {"every": None}, "generation": {"max_new_tokens": LIMIT}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("toy")
    toy.write(place)
    rows = [json.loads(line) for line in (place / "train.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["trace"] = "it " * (number % 4) + TRACE.format(answer=row["answer"])
    # The first problem has two solutions, of which the first one is wrong.
    rows[0]["trace"] = ["it is = 3", rows[0]["trace"]]
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "run")


def tokens(text: str) -> list[int]:
    return [toy.WORDS.index(word) for word in text.split()]


def stored(run: Run) -> dict[str, list[list[int]]]:
    """The solutions of each problem as tokens, with their end."""
    problems = run.order.by_id.values()
    return {
        problem.id: [[*tokens(text), END] for text in problem.solutions] for problem in problems
    }


@dataclass
class Seen:
    """What went through a run, step by step."""

    run: Run
    groups: list[list[RolloutGroup]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    #: The policy before each update.
    policies: list[torch.nn.Module] = field(default_factory=list)
    #: What the loss was computed of, after old log-probs were.
    learnt: list[list[Batch]] = field(default_factory=list)


def watched(config: TrainConfig, **how: Any) -> Seen:
    """A whole run, with a look at its parts."""
    run = prepare(config, **how)
    seen = Seen(run)
    collect, update, backward = run.sampler.collect, run.learner.update, run.learner._backward

    def collected(*args):
        found = collect(*args)
        seen.groups.append(found.groups)
        return found

    def updated(batch, *rest):
        seen.batches.append(batch)
        seen.policies.append(copy.deepcopy(run.model))
        seen.learnt.append([])
        return update(batch, *rest)

    def learnt(batch, *rest):
        seen.learnt[-1].append(batch)
        return backward(batch, *rest)

    object.__setattr__(run.sampler, "collect", collected)
    object.__setattr__(run.learner, "update", updated)
    object.__setattr__(run.learner, "_backward", learnt)
    with run.recorder:
        run.begin()
        algorithm_1(run)
    return seen


##### Imitation


def test_sft_asks_the_engine_nothing(folder, out, monkeypatch):
    monkeypatch.setattr(TorchEngine, "generate", lambda *_: pytest.fail("asked"))
    seen = watched(toy.config(folder, out=out, algorithm={"name": "sft"}, **QUIET))
    texts = stored(seen.run)
    assert len(texts) == 24
    for groups, batch in zip(seen.groups, seen.batches, strict=True):
        assert len(batch) == len(groups) == 4 and batch.expert_mask.all()
        for row, group in enumerate(groups):
            assert not group.policy and len(group.expert) == 1
            assert batch.completions[row].tolist() == texts[group.problem.id][0]
            assert batch.prompts[row].tolist() == [1, *tokens(f"Q {group.problem.question} A")]
            assert batch.sampled_prompts[row] is batch.prompts[row]
    for line in toy.metrics(Path(out)):
        assert line["lesson"] == 1 and line["update/loss/policy"] == 0 and line["on/reward"] is None


def test_sft_learns_what_is_stored(folder, out):
    changes = {**QUIET, "steps": 30, "optim": {"lr": 0.02}, "checkpoint": {"every": None}}
    train(toy.config(folder, out=out, algorithm={"name": "sft"}, **changes))
    lines = toy.metrics(Path(out))
    assert lines[-1]["update/loss/sft"] < 0.3 * lines[0]["update/loss/sft"]


def test_sft_then_rl_has_two_halves(folder, out):
    chosen = {"name": "sft_then_rl", "n": 4, "lessons": {"share": 0.4, "lr": 0.01}}
    train(toy.config(folder, out=out, steps=5, algorithm=chosen, **QUIET))
    lines = toy.metrics(Path(out))
    assert [line["lesson"] for line in lines] == [1, 1, 0, 0, 0]
    assert [line["update/lr"] for line in lines] == [0.01, 0.01, 0.003, 0.003, 0.003]
    assert [line["batch/expert_rows"] for line in lines] == [1, 1, 0, 0, 0]
    assert [line["batch/rows"] for line in lines] == [4, 4, 16, 16, 16]


def test_the_term_of_rl_sft_term_is_beside_the_group(folder, out):
    seen = watched(toy.config(folder, out=out, algorithm={"name": "rl_sft_term", "n": 4}, **QUIET))
    texts = stored(seen.run)
    for groups, batch in zip(seen.groups, seen.batches, strict=True):
        assert len(batch) == 4 * 5 and batch.expert_mask.sum() == 4
        for number, group in enumerate(groups):
            rows = np.flatnonzero(batch.group == number)
            *policy, solution = rows
            assert batch.expert_mask[solution] and not batch.expert_mask[policy].any()
            assert batch.completions[solution].tolist() == texts[group.problem.id][0]
            # Their advantages are those of a group without it.
            alone = seen.run.algorithm.loss.advantages(batch.rewards[policy], [0] * 4)
            assert batch.advantage[policy].tolist() == alone.tolist()
            assert batch.advantage[solution] == 0
    for line in toy.metrics(Path(out)):
        assert line["update/loss/sft"] > 0 and line["update/off/rows"] == 4


##### ReLIFT


def test_relift_imitates_what_had_no_right_rollout_once_each(folder, out):
    chosen = {"name": "relift", "n": 4, "lessons": {"prompts": 3}}
    seen = watched(toy.config(folder, out=out, steps=14, algorithm=chosen, **QUIET))
    lines = toy.metrics(Path(out))
    waiting: list[str] = []
    lessons = 0
    for groups, line in zip(seen.groups, lines, strict=True):
        ids = [group.problem.id for group in groups]
        if len(waiting) >= 3:
            assert line["lesson"] == 1 and ids == waiting[:3]
            waiting, lessons = waiting[3:], lessons + 1
            assert not any(group.policy for group in groups)
            continue
        assert line["lesson"] == 0 and len(ids) == 4
        for group in groups:
            assert not group.expert
            if (
                all(rollout.reward == 0 for rollout in group.policy)
                and group.problem.id not in waiting
            ):
                waiting.append(group.problem.id)
    assert lessons > 2 and lines[-1]["lesson"] in (0, 1)
    assert list(seen.run.timetable.waiting) == waiting
    # Lessons cost no problem its turn: steps of reinforcement have every problem once an epoch.
    asked = [
        group.problem.id
        for groups, line in zip(seen.groups, lines, strict=True)
        for group in groups
        if not line["lesson"]
    ]
    assert len(set(asked[:24])) == 24


def test_lessons_that_could_never_come_are_refused(folder, out):
    chosen = {"name": "relift", "n": 4, "lessons": {"prompts": 25}}
    message = r"algorithm\.lessons\.prompts: expected at most 24, as many as there are problems"
    with pytest.raises(ConfigError, match=message):
        train(toy.config(folder, out=out, algorithm=chosen, **QUIET))


##### LUFFY and Prefix-RFT


def test_luffys_rows_are_stored_tokens_behind_plain_prompts(folder, out):
    seen = watched(
        toy.config(folder, out=out, steps=6, algorithm={"name": "luffy", "n": 4}, **QUIET)
    )
    texts = stored(seen.run)
    for groups, batch in zip(seen.groups, seen.batches, strict=True):
        for number, group in enumerate(groups):
            rows = np.flatnonzero(batch.group == number)
            assert len(rows) == 4 and batch.expert_mask[rows].tolist() == [False] * 3 + [True]
            last = rows[-1]
            assert batch.completions[last].tolist() == texts[group.problem.id][0]
            assert batch.prompts[last].tolist() == [1, *tokens(f"Q {group.problem.question} A")]
            # Right or wrong, with a part in everybody's advantages.
            assert batch.rewards[last] == (0 if group.problem.id == "1" else 1)
            mean = batch.rewards[rows].mean()
            np.testing.assert_allclose(batch.advantage[rows], batch.rewards[rows] - mean)
    met = {group.problem.id for groups in seen.groups for group in groups}
    assert len(met) == 24, "an epoch: the wrong solution was among them"


def test_several_solutions_of_a_problem(folder, out):
    """As many as planned, in their order; fewer, if there are no more."""
    chosen = {"name": "luffy", "n": 4, "n_off": 2}
    seen = watched(toy.config(folder, out=out, steps=6, algorithm=chosen, **QUIET))
    texts = stored(seen.run)
    for groups in seen.groups:
        for group in groups:
            found = [rollout.tokens.tolist() for rollout in group.expert]
            assert found == texts[group.problem.id]
            assert len(found) == (2 if group.problem.id == "1" else 1)


def test_hybrids_begin_with_a_prefix_that_shortens(folder, out):
    chosen = {"name": "prefix_rft", "n": 4}
    seen = watched(toy.config(folder, out=out, steps=12, algorithm=chosen, **QUIET))
    texts, prefix = stored(seen.run), seen.run.algorithm.prefix
    assert prefix is not None
    longest = []
    for step, (groups, batch) in enumerate(zip(seen.groups, seen.batches, strict=True)):
        bound = 0.05 + 0.9 * (1 + math.cos(math.pi * step / 12)) / 2
        for group in groups:
            (hybrid,) = group.expert
            solution = texts[group.problem.id][0]
            assert hybrid.tokens[: hybrid.given].tolist() == solution[: hybrid.given]
            assert hybrid.given <= bound * len(solution)
            assert hybrid.given < len(hybrid.tokens) <= LIMIT
            assert not hybrid.logp[: hybrid.given].any() and (hybrid.logp[hybrid.given :] < 0).all()
            assert hybrid.finished == (hybrid.tokens[-1] == END)
        assert batch.expert_mask.sum() == 4 and len(batch) == 16
        longest.append(max(group.expert[0].given for group in groups))
    assert max(longest[:4]) >= 6 and max(longest[-2:]) <= 1


def test_only_the_least_certain_of_a_prefix_are_trained_on(folder, out):
    """By the entropy of the policy before the step, computed row by row."""
    seen = watched(
        toy.config(folder, out=out, steps=8, algorithm={"name": "prefix_rft", "n": 4}, **QUIET)
    )
    checked = 0
    for policy, batches in zip(seen.policies, seen.learnt, strict=True):
        for batch in batches:
            assert batch.given is not None and batch.trained is not None
            for row in range(len(batch)):
                given, mask = batch.given[row], batch.trained[row]
                assert mask[given:].all() and given * batch.expert_mask[row] == given
                prompt, completion = batch.prompts[row], batch.completions[row]
                ids = torch.tensor(np.concatenate([prompt, completion]))[None]
                with torch.no_grad():
                    logp = policy(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
                entropy = -(logp.exp() * logp).sum(-1)[:given]
                least_certain = entropy.argsort(descending=True)[: math.ceil(given / 5)]
                assert np.flatnonzero(mask[:given]).tolist() == sorted(least_certain.tolist())
                checked += given > 4
    assert checked >= 2


def test_a_limit_cuts_the_continuation_not_the_prefix(folder, out):
    """A policy that never ends: hybrids are as long as any rollout may be, and unfinished."""
    config = toy.config(folder, out=out, algorithm={"name": "prefix_rft", "n": 4}, **QUIET)
    run = prepare(config)
    with torch.no_grad():  # no end token is likely
        run.model.model.embed_tokens.weight[END] *= 0
        run.model.model.norm.weight *= 10
    groups = run.sampler.collect(run.order.draw(24), 1, run.algorithm.plan).groups
    hybrids = [group.expert[0] for group in groups]
    cut = [hybrid for hybrid in hybrids if not hybrid.finished]
    assert len(cut) > 5 and all(len(hybrid.tokens) == LIMIT for hybrid in cut)
    assert all(0 <= hybrid.given < LIMIT for hybrid in hybrids)
    run.recorder.close()


##### The pool's questions


def test_grpo_expert_domain_asks_the_pools_questions(folder, out):
    chosen = {"name": "grpo_expert_domain", "n": 4}
    seen = watched(toy.config(folder, out=out, algorithm=chosen, **QUIET))
    rows = [json.loads(line) for line in (folder / "demos.jsonl").read_text().splitlines()]
    solutions = {row["question"]: row["solution"] for row in rows}
    for groups in seen.groups:
        for group in groups:
            gold = solutions[group.problem.question].split()[-1]
            for rollout in group.policy:
                assert not rollout.expert and not rollout.demos
                numbers = [word for word in rollout.text.split() if word in "0123"]
                assert rollout.reward == (numbers[-1:] == [gold])
    rewards = [rollout.reward for groups in seen.groups for g in groups for rollout in g.policy]
    assert 0 < sum(rewards) < len(rewards)


def test_a_pool_without_answers_can_not_be_trained_on(folder, out, tmp_path):
    demos = tmp_path / "demos.jsonl"
    rows = [
        {"question": "it red", "solution": "so = 1"},
        {"question": "it blue", "solution": "?"},
        {"question": "it is", "solution": "-"},
    ]
    demos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"name": "grpo_expert_domain", "n": 4}
    settings = {**QUIET, "demos": {"path": str(demos)}}
    with pytest.raises(DataError) as raised:
        train(toy.config(folder, out=out, algorithm=chosen, **settings))
    message = str(raised.value)
    assert str(demos) in message and "2 of 3 have none: demonstration '2'" in message
    assert not Path(out).exists()


##### What has to be there


def without(folder: Path, out: str, name: str, **data: Any) -> TrainConfig:
    settings = toy.settings(folder, out=out, algorithm={"name": name}, **QUIET)
    settings["data"] = {**settings["data"], **data}
    return TrainConfig.build(settings)


SOLVED = ["luffy", "sft", "sft_then_rl", "rl_sft_term", "relift", "prefix_rft"]


@pytest.mark.parametrize("name", SOLVED)
def test_without_solutions(folder, out, name):
    message = (
        r"train\.jsonl: line 1: data\.solution: expected a stored solution, but the row has none"
    )
    with pytest.raises(DataError, match=message):
        train(without(folder, out, name, solution=None))
    with pytest.raises(
        DataError, match=r"train\.jsonl: line 1: data\.solution: no column 'traces'"
    ):
        train(without(folder, out, name, solution="traces"))


def test_others_do_not_read_solutions(folder, out):
    train(without(folder, out, "icpo", solution="traces"))


@pytest.mark.parametrize("name", ["luffy", "relift", "prefix_rft"])
def test_too_long_solutions(folder, out, name):
    settings = toy.settings(folder, out=out, algorithm={"name": name, "n": 4}, **QUIET)
    settings["generation"] = {"max_new_tokens": 11}  # of those of 10 to 13
    with pytest.raises(DataError) as raised:
        train(TrainConfig.build(settings))
    message = str(raised.value)
    assert "data.solution: the solution of problem '3' has 12 tokens, expected at most" in message
    assert "generation.max_new_tokens = 11; 12 of 24 problems" in message
    assert "data.overlong=drop leaves them out" in message

    settings["data"]["overlong"] = "drop"
    seen = watched(TrainConfig.build({**settings, "steps": 6}))
    met = {group.problem.id for groups in seen.groups for group in groups}
    assert len(seen.run.order.by_id) == 12 and met <= set(seen.run.order.by_id)
    assert all(int(id) % 4 in (1, 2) for id in met)

    settings["generation"] = {"max_new_tokens": 4}
    with pytest.raises(DataError, match="24 of 24 problems"):
        train(TrainConfig.build({**settings, "out": out + "none"}))


def test_prefixes_need_positions_for_both(folder, out):
    settings = toy.settings(folder, out=out, algorithm={"name": "prefix_rft"}, **QUIET)
    settings["generation"] = {"max_new_tokens": 45}
    message = r"expected at most \(128 - prompt\.max_tokens\) / 2 = 44"
    with pytest.raises(ConfigError, match=message):
        train(TrainConfig.build(settings))
    settings["algorithm"] = {"name": "luffy"}
    prepare(TrainConfig.build(settings)).recorder.close()


@pytest.mark.parametrize(
    "chosen",
    [
        {"name": "prefix_rft"},
        {"name": "luffy", "loss": {"off_ratio": "none"}},
    ],
)
def test_probabilities_of_what_nobody_sampled_are_computed(folder, out, chosen):
    """The sampler's word is taken for what it sampled, and for nothing else."""
    metrics = []
    for way in ("recompute", "sampler"):
        settings = toy.settings(folder, algorithm={**chosen, "n": 4}, old_logp=way, **QUIET)
        train(TrainConfig.build({**settings, "steps": 2, "out": f"{out}-{way}"}))
        metrics.append(toy.metrics(Path(f"{out}-{way}"))[-1])
    recomputed, sampled = metrics
    assert sampled["expert/rollouts"] > 0
    for name in ("update/loss/policy", "update/grad_norm", "update/off/ratio"):
        assert sampled[name] == pytest.approx(recomputed[name], rel=1e-3, abs=1e-6)


##### Stops and goes


class Stopped(BaseException):
    """As a signal would."""


def broken_off(config: TrainConfig, step: int, last: Callable[[Run], None]) -> None:
    """A run that stops in the middle of a step."""
    run = prepare(config, resume=False)
    update, steps = run.learner.update, iter(range(1, 100))

    def stop(*args):
        if next(steps) == step:
            raise Stopped
        return update(*args)

    object.__setattr__(run.learner, "update", stop)
    with run.recorder, pytest.raises(Stopped):
        run.begin()
        algorithm_1(run)
    last(run)


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / f"checkpoints/step-{step:06d}/model.safetensors")


def _waits(run: Run) -> None:
    state = run.checkpoints.latest().state()
    assert state["lessons"]["waiting"], "there is something to forget"


STATEFUL = {
    "relift": ({"n": 4, "lessons": {"prompts": 5}}, _waits),
    "prefix_rft": ({"n": 4}, lambda run: None),
    "sft_then_rl": ({"n": 4, "lessons": {"share": 0.6}}, lambda run: None),
    "sft": ({}, lambda run: None),
}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("step", [4, 6])
def test_broken_off_and_resumed_a_run_ends_as_if_it_had_not_been(folder, tmp_path, name, step):
    changes, look = STATEFUL[name]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {
        "algorithm": {"name": name, **changes},
        "steps": 8,
        "log": {"tensorboard": False, "samples_every": 1, "samples": 4},
        "checkpoint": {"every": 3},
        **QUIET,
    }
    train(toy.config(folder, out=str(whole), **settings))
    broken_off(toy.config(folder, out=str(broken), **settings), step, look)
    train(toy.config(folder, out=str(broken), **settings), resume=True)
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert (broken / file).read_bytes() == (whole / file).read_bytes()
    one, two = weights(whole, 8), weights(broken, 8)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_steps_may_not_change_where_something_depends_on_them(folder, out):
    for name in ("prefix_rft", "sft_then_rl"):
        place = out + name
        train(toy.config(folder, out=place, algorithm={"name": name, "n": 4}, steps=2, **QUIET))
        with pytest.raises(CheckpointError, match="steps was 2, is 3"):
            train(
                toy.config(folder, out=place, algorithm={"name": name, "n": 4}, steps=3, **QUIET),
                resume=True,
            )
    place = out + "relift"
    settings = {"algorithm": {"name": "relift", "n": 4}, "out": place, **QUIET}
    train(toy.config(folder, steps=2, **settings))
    assert train(toy.config(folder, steps=3, **settings), resume=True).checkpoint.name[-1] == "3"
