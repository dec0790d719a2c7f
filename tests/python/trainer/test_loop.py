"""Whole runs of a toy model."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import toy
from transformers import AutoModelForCausalLM

from icpo import CheckpointError, DataError, NonFiniteError
from icpo.algorithms import ALGORITHMS
from icpo.mixing import assemble, mix
from icpo.objective import PRESETS
from icpo.trainer import TrainConfig, train
from icpo.trainer.evaluate import Evaluator
from icpo.trainer.loop import algorithm_1
from icpo.trainer.setup import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("toy")
    toy.write(place)
    return place


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "run")


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / f"checkpoints/step-{step:06d}/model.safetensors")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_trains(folder, out, name):
    chosen = ALGORITHMS[name]()
    changes = {} if "n" in chosen.defining else {"n": 8}
    summary = train(toy.config(folder, algorithm={"name": name, **changes}, out=out))
    lines = toy.metrics(Path(out))
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(line["update/steps"] == 2 for line in lines[1:])
    before = AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
    after = AutoModelForCausalLM.from_pretrained(summary.checkpoint).state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    expert = chosen.plan.n_off > 0 or chosen.lessons is not None
    assert any(line["expert/rollouts"] > 0 for line in lines[1:]) == expert
    assert ("eval_demos/greedy" in lines[0]) and ("eval/greedy" in lines[2])
    assert lines[4]["probe/non_pass"] <= 1


def test_without_evaluation_there_is_no_probe(folder, out, monkeypatch):
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: pytest.fail("evaluated"))
    train(toy.config(folder, out=out, steps=1, eval={"every": None, "probe": 6}))
    (line,) = toy.metrics(Path(out))
    assert not any(name.startswith(("eval", "probe")) for name in line)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_loss_trains_and_resumes(folder, out, preset):
    chosen = {"name": "icpo", "n": 4, "loss": {"preset": preset}}
    train(toy.config(folder, algorithm=chosen, out=out, steps=2))
    summary = train(toy.config(folder, algorithm=chosen, out=out, steps=4), resume=True)
    assert summary.checkpoint.name == "step-000004"


def test_learns_what_is_rewarded(folder, out):
    summary = train(
        toy.config(folder, out=out, steps=30, optim={"lr": 0.02}, eval={"every": 15, "k": 4})
    )
    lines = toy.metrics(Path(out))
    assert summary.metrics["eval/avg@4"] > lines[0]["eval/avg@4"] + 0.3


def test_the_same_seed_gives_the_same_run_and_another_does_not(folder, tmp_path):
    runs = {name: tmp_path / name for name in ("first", "again", "other")}
    train(toy.config(folder, out=str(runs["first"])))
    train(toy.config(folder, out=str(runs["again"])))
    train(toy.config(folder, out=str(runs["other"]), seed=1))
    read = {name: run / "metrics.jsonl" for name, run in runs.items()}
    assert read["first"].read_bytes() == read["again"].read_bytes()
    assert read["first"].read_bytes() != read["other"].read_bytes()
    one, two = weights(runs["first"], 4), weights(runs["again"], 4)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_prompts_are_restored_and_demonstrations_stay_behind(folder, out):
    run = prepare(toy.config(folder, out=out, log={"tensorboard": False, "samples_every": 1}))
    seen = []
    update = run.learner.update

    def watched(batch, *rest):
        seen.append(batch)
        return update(batch, *rest)

    object.__setattr__(run.learner, "update", watched)
    with run.recorder:
        algorithm_1(run)
    rows = [json.loads(line) for line in (Path(out) / "samples.jsonl").read_text().splitlines()]
    assert any(row["expert"] and row["accepted"] for row in rows)
    for row in rows:
        assert ("it" in row["prompt"]) == row["expert"], "only demonstrations say it"
        assert len(row["demos"]) == int(row["expert"])
        assert (row["accepted"] is None) == (not row["expert"])
    words = {index: word for index, word in enumerate(toy.WORDS)}
    for batch in seen:
        assert batch.expert_mask.any() or batch is not seen[0]
        for row, (prompt, sampled) in enumerate(
            zip(batch.prompts, batch.sampled_prompts, strict=True)
        ):
            text = [words[int(token)] for token in prompt]
            assert text[:2] == ["<bos>", "Q"] and text[-1] == "A" and "it" not in text
            # Token for token what the expert prompt ends with, behind the start token.
            assert sampled[len(sampled) - len(prompt) + 1 :].tolist() == prompt[1:].tolist()
            assert (len(sampled) > len(prompt)) == batch.expert_mask[row]


def test_what_the_sampler_says_is_what_training_computes(folder, out):
    """Behaviour log-probs under each row's own prompt, to 1e-5."""
    run = prepare(toy.config(folder, out=out))
    plan = run.algorithm.plan
    sampled = run.sampler.collect(run.order.draw(6), 1, plan)
    rng = np.random.default_rng(0)
    mixed = [mix(group, plan, rng) for group in sampled.groups]
    batch = assemble(mixed, loss=run.algorithm.loss)
    assert batch.expert_mask.any()
    again = run.learner.logp(run.model, batch.as_sampled())
    for mine, theirs in zip(again, batch.behavior_logp, strict=True):
        assert abs(mine - theirs).max() < 1e-5
    run.recorder.close()


@pytest.mark.parametrize("target", ["non_pass", "some_pass"])
def test_targets_ask_in_a_second_round(folder, out, target):
    run = prepare(toy.config(folder, out=out, algorithm={"name": "icpo", "n": 4, "target": target}))
    for step in range(1, 6):
        for group in run.sampler.collect(run.order.draw(4), step, run.algorithm.plan).groups:
            right = sum(rollout.reward >= 1 for rollout in group.policy)
            wanted = right == 0 if target == "non_pass" else 0 < right < len(group.policy)
            assert len(group.expert) == int(wanted)
    run.recorder.close()


def test_a_long_demonstration_costs_the_expert_rollout_not_the_question(folder, out, tmp_path):
    long = {"question": "it " * 30, "solution": "so = 1", "subject": "red"}
    demos = tmp_path / "demos.jsonl"
    lines = (folder / "demos.jsonl").read_text()
    demos.write_text(lines + json.dumps(long) + "\n")
    changed = {"path": str(demos), "strategy": "random", "overlong": "error"}
    with pytest.raises(DataError, match=r"demonstration .* at most max_tokens = 40"):
        train(toy.config(folder, out=out, demos=changed))
    assert not Path(out).exists(), "nothing is written before everything is checked"
    summary = train(toy.config(folder, out=out, demos={**changed, "overlong": "drop"}))
    assert summary.metrics["expert/prompts_without_demos"] == 0


def test_without_expert_rollouts_no_problem_needs_a_demonstration(folder, out, tmp_path):
    alone = tmp_path / "train.jsonl"
    row = {"question": "green 1", "answer": "1", "subject": "green"}
    alone.write_text(json.dumps(row) + "\n" + (folder / "train.jsonl").read_text())
    settings = toy.settings(folder, out=out, steps=1, eval={"every": None})
    settings["data"] = {**settings["data"], "train": str(alone)}
    with pytest.raises(DataError, match="green"):
        train(TrainConfig.build(settings))
    train(TrainConfig.build({**settings, "algorithm": {"name": "grpo"}}))


##### Stops and goes


def test_a_finished_run_resumes_into_nothing(folder, out):
    summary = train(toy.config(folder, out=out))
    before = (Path(out) / "metrics.jsonl").read_bytes()
    again = train(toy.config(folder, out=out), resume=True)
    assert again.metrics == pytest.approx(summary.metrics, rel=0, abs=0, nan_ok=True)
    assert (Path(out) / "metrics.jsonl").read_bytes() == before


def test_resuming_needs_a_checkpoint_and_the_same_settings(folder, out):
    with pytest.raises(CheckpointError, match="expected a checkpoint to resume from"):
        train(toy.config(folder, out=out), resume=True)
    train(toy.config(folder, out=out))
    with pytest.raises(CheckpointError, match=r"optim\.lr was 0\.003, is 0\.1"):
        train(toy.config(folder, out=out, optim={"lr": 0.1}), resume=True)


def test_starting_anew_leaves_nothing_of_the_old_run(folder, out):
    train(toy.config(folder, out=out, steps=6))
    train(toy.config(folder, out=out, steps=4), resume=False)
    assert [line["step"] for line in toy.metrics(Path(out))] == [0, 1, 2, 3, 4]
    names = sorted(entry.name for entry in (Path(out) / "checkpoints").iterdir())
    assert names == ["step-000002", "step-000004"]


def test_what_is_not_finite_stops_and_says_where(folder, out):
    with pytest.raises(NonFiniteError) as caught:
        train(toy.config(folder, out=out, steps=50, optim={"lr": 1e38}))
    message = str(caught.value)
    assert "step " in message and "problems of the step: '" in message
    assert "the last checkpoint is" in message or "there is no checkpoint" in message


def test_a_later_failure_leaves_the_checkpoint_intact(folder, out):
    run = prepare(toy.config(folder, out=out, steps=9))
    finish = run.finish

    def poison(step, *rest):
        finish(step, *rest)
        if step == 5:
            with torch.no_grad():
                run.model.model.norm.weight[0] = float("nan")

    run.finish = poison
    with run.recorder, pytest.raises(NonFiniteError, match=r"step 6: .*step-000004; problems"):
        algorithm_1(run)
    assert run.checkpoints.latest().step == 4
    summary = train(toy.config(folder, out=out, steps=9), resume=True)
    assert [line["step"] for line in toy.metrics(Path(out))] == list(range(1, 10))
    assert summary.checkpoint.name == "step-000009"


def _run(settings) -> None:
    train(TrainConfig.build(settings))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_killed_ten_times_a_run_ends_as_if_it_had_not_been(folder, tmp_path):
    """SIGKILL at random moments: between steps, within one, while a checkpoint is written."""
    # A clean process that has everything loaded, from which every run is forked.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["icpo.trainer.loop", "transformers.models.qwen3"])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # With demonstrations that join on the way.
    demos = {**toy.settings(folder)["demos"], "online": {"size": 6, "share": 0.0}}
    changes = {
        "steps": 40,
        "demos": demos,
        "checkpoint": {"every": 3},
        "eval": {"every": 4, "k": 2, "probe": 6},
    }
    settings = {
        run: toy.settings(folder, out=str(run), **changes, algorithm={"name": "icpo_bonus", "n": 4})
        for run in (whole, broken)
    }
    straight = processes.Process(target=_run, args=(settings[whole],))
    straight.start()
    straight.join()
    assert straight.exitcode == 0

    chance, record, kills = random.Random(0), broken / "metrics.jsonl", 0
    while kills < 10:
        process = processes.Process(target=_run, args=(settings[broken],))
        process.start()
        # A resumed run cuts the record back first, so this counts what was seen, not the file.
        seen, last, wanted = 0, _lines(record), chance.randint(1, 6)
        while seen < wanted and process.is_alive():
            now = _lines(record)
            seen, last = seen + max(now - last, 0), now
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.06)
        process.kill()
        process.join()
        if process.exitcode == 0:
            pytest.fail(f"the run ended after {kills} kills: it has too few steps")
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    final = processes.Process(target=_run, args=(settings[broken],))
    final.start()
    final.join()
    assert final.exitcode == 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert any(line.get("expert/demos_solved") == 6 for line in toy.metrics(whole))
    one, two = weights(whole, 40), weights(broken, 40)
    assert all(torch.equal(one[key], two[key]) for key in one)
