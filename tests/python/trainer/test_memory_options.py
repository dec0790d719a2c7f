"""What saves memory trains the same policy, and is restored as exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
import toy

from icpo.trainer import train
from icpo.trainer.loop import algorithm_1
from icpo.trainer.setup import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("toy")
    toy.write(place)
    return place


def trained(config) -> dict[str, torch.Tensor]:
    summary = train(config)
    (file,) = summary.checkpoint.glob("*.safetensors")
    return safetensors.torch.load_file(file)


def model(folder, **changes):
    return {"path": str(folder / "model"), **changes}


def test_gradient_checkpointing_and_micro_batches_change_rounding_only(folder, tmp_path):
    plain = trained(toy.config(folder, out=str(tmp_path / "plain")))
    for name, changes in {
        "checkpointing": {"model": model(folder, gradient_checkpointing=True)},
        "micro": {"micro_tokens": 30},
    }.items():
        other = trained(toy.config(folder, out=str(tmp_path / name), **changes))
        for key, value in plain.items():
            # AdamW divides by the gradient's size: where that is tiny, its rounding shows.
            assert (other[key] - value).abs().mean() < 1e-4, (name, key)


def test_adapters_alone_are_trained_saved_and_restored(folder, tmp_path):
    lora = {"rank": 2, "alpha": 8.0}
    settings = {"model": model(folder, lora=lora), "steps": 6, "optim": {"lr": 0.02}}
    straight = trained(toy.config(folder, out=str(tmp_path / "whole"), **settings))
    assert straight and all(".lora_" in name for name in straight)
    assert any(value.abs().max() > 0 for name, value in straight.items() if "lora_B" in name)

    run = prepare(toy.config(folder, out=str(tmp_path / "broken"), **settings))
    finish = run.finish

    def stopped(step, *rest):
        finish(step, *rest)
        if step == 3:
            raise KeyboardInterrupt

    run.finish = stopped
    with run.recorder, pytest.raises(KeyboardInterrupt):
        run.begin()
        algorithm_1(run)
    resumed = trained(toy.config(folder, out=str(tmp_path / "broken"), **settings))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    whole, broken = tmp_path / "whole/metrics.jsonl", tmp_path / "broken/metrics.jsonl"
    assert whole.read_bytes() == broken.read_bytes()


def test_bfloat16_computes_but_does_not_keep(folder, tmp_path):
    settings = {"model": model(folder, dtype="bfloat16"), "old_logp": "recompute"}
    run = prepare(toy.config(folder, out=str(tmp_path / "run"), **settings))
    with run.recorder:
        algorithm_1(run)
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    # Sampler and learner round alike, so ratios of the first mini-batch stay near 1.
    assert run.metrics["update/on/ratio"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.gpu
def test_a_run_on_a_gpu(folder, tmp_path):
    on_gpu = model(folder, device="cuda", dtype="bfloat16")
    summary = train(toy.config(folder, out=str(tmp_path / "run"), model=on_gpu))
    assert summary.metrics["update/steps"] >= 1
