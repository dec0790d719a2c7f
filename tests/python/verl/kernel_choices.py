"""What ``icpo.kernels`` comes to, in a process of its own: ``pytest kernel_choices.py``.

`test_kernels.py` runs this; pytest does not collect it by itself.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import kernel_engines  # before all others, since it prepares the process
import pytest
import torch
from hydra import compose, initialize_config_module
from tensordict import TensorDict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor
from verl.utils import tensordict_utils
from verl.utils.kernel import linear_cross_entropy as triton_site
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from icpo.errors import ConfigError, DeviceError
from icpo.ops import reference
from icpo.ops.backend import BACKENDS
from icpo.verl import engine, kernels, linear
from icpo.verl.measure import Measured
from icpo.verl.worker import IcpoWorker

OURS = kernels.Choice("auto", True, "they run on cpu under fsdp2")


@pytest.fixture(autouse=True)
def verl_as_it_was(monkeypatch):
    """Undoes what `install` does."""
    monkeypatch.setenv("VERL_ENGINE_VENDOR", "")
    for module, name, _ in linear.SITES:
        kept = __import__(module, fromlist=[name])
        monkeypatch.setattr(kept, name, getattr(kept, name))


@pytest.fixture(scope="module")
def process_group():
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


##### The rule


def test_where_the_operators_run_they_are_chosen():
    for wish in ("auto", "on"):
        assert kernels.choose(wish, "fsdp2") == dataclasses.replace(OURS, wish=wish)
    assert not kernels.choose("off", "fsdp2").ours
    with pytest.raises(
        ConfigError, match=r"icpo.kernels: expected one of auto, on, off, got 'yes'"
    ):
        kernels.choose("yes", "fsdp2")


def refused(reason: str, strategy: str = "fsdp2") -> None:
    """Without the operators, ``auto`` gives way and ``on`` stops, both with the reason."""
    found = kernels.choose("auto", strategy)
    assert not found.ours and reason in found.reason
    assert reason in kernels.describe(found, engine=None)
    with pytest.raises(ConfigError, match=r"icpo.kernels: on, but .* can not be had") as caught:
        kernels.choose("on", strategy)
    assert reason in str(caught.value)
    assert not kernels.choose("off", strategy).ours


def test_other_engines():
    refused("actor.strategy is megatron", "megatron")


def test_other_devices(monkeypatch):
    monkeypatch.delitem(BACKENDS, "cpu")
    refused("the device is cpu, and they run on cuda")


def test_operators_that_fail(monkeypatch):
    class Broken:
        def logp_entropy(self, *_: Any) -> Any:
            raise DeviceError("no image for this device")

    monkeypatch.setitem(BACKENDS, "cpu", Broken())
    refused("no image for this device")


def test_engines_of_a_vendor(monkeypatch):
    class VendorEngine(FSDPEngineWithLMHead):
        pass

    monkeypatch.setitem(
        EngineRegistry._engines["language_model"]["fsdp2"], ("cuda", "other"), VendorEngine
    )
    monkeypatch.setenv("VERL_ENGINE_VENDOR", "other")
    refused("verl takes VendorEngine here")


def test_an_engine_that_knows_more(monkeypatch):
    assert engine.unknown_flags() == set()

    def prepare_model_outputs(self, output, output_args, micro_batch, logits_processor_func):
        return micro_batch.get(key="calculate_something", other_key="pad_mode")

    monkeypatch.setattr(FSDPEngineWithLMHead, "prepare_model_outputs", prepare_model_outputs)
    refused("calculate_something")

    def changed(self, output, output_args, micro_batch):
        return None

    monkeypatch.setattr(FSDPEngineWithLMHead, "prepare_model_outputs", changed)
    refused("prepare_model_outputs takes self, output, output_args, micro_batch in this version")


def test_a_place_that_is_gone(monkeypatch):
    monkeypatch.delattr(triton_site, "linear_cross_entropy")
    refused("no verl.utils.kernel.linear_cross_entropy.linear_cross_entropy")


##### What is said


def test_the_slower_one_is_called_so(monkeypatch):
    for ours, theirs, warned in ((0.003, 0.002, True), (0.002, 0.003, False)):
        found = Measured("5 tokens", ours, theirs)
        monkeypatch.setattr(kernels, "measure", lambda *_, found=found: found)
        said = kernels.describe(OURS, engine=None)
        assert f"5 tokens: icpo's {ours * 1e3:g} ms, verl's {theirs * 1e3:g} ms" in said
        assert ("WARNING: icpo's are slower than verl's" in said) == warned


def test_a_measurement_that_fails_stops_nothing(monkeypatch):
    def measure(*_: Any) -> Measured:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(kernels, "measure", measure)
    said = kernels.describe(OURS, engine=None)
    assert said.endswith("Not measured: RuntimeError: out of memory")


@pytest.mark.parametrize("fused", [None, "torch"])
@pytest.mark.parametrize("packed", [True, False])
def test_measured_block(tmp_path, process_group, packed, fused):
    folder = kernel_engines.model_folder(tmp_path)
    draws = torch.get_rng_state()
    with kernel_engines.own_forward():
        made = kernel_engines.engine(folder, packed, fused=fused, dtype="bf16")
        torch.set_rng_state(draws)
        said = kernels.describe(OURS, made)
    assert torch.equal(torch.get_rng_state(), draws)
    assert "Not measured" not in said
    read = "from 16 hidden values each" if fused else "as they are"
    assert f"1024 tokens of 97 logits, bfloat16, on cpu, {read}" in said


##### Ranks


def test_ranks_agree(monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    theirs = kernels.Choice("auto", False, "no compiler")

    def others(choices: list[Any], own: Any) -> None:
        choices[:] = [own, theirs, own]

    monkeypatch.setattr(torch.distributed, "all_gather_object", others)
    with pytest.raises(ConfigError, match=r"ranks \[1\] can not .* rank 1: no compiler"):
        kernels.require_agreement(OURS)
    kernels.require_agreement(theirs)


##### The worker


def worker_of(folder: str, wish: str, strategy: str = "fsdp2") -> Any:
    """An actor's worker, as Ray would make it."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        precision = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"
        config = compose(
            "ppo_trainer",
            overrides=[
                f"actor_rollout_ref.model.path={folder}",
                "+actor_rollout_ref.model.load_tokenizer=false",
                "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
                f"actor_rollout_ref.actor.strategy={strategy}",
                "actor_rollout_ref.actor.fsdp_config.use_torch_compile=false",
                f"++actor_rollout_ref.actor.fsdp_config.mixed_precision={precision}",
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
                "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
                "actor_rollout_ref.rollout.name=hf",
                f"+actor_rollout_ref.rollout.custom={{icpo: {{kernels: {wish}}}}}",
            ],
        )
    return IcpoWorker(config.actor_rollout_ref, "actor")


@pytest.mark.parametrize("wish", ["auto", "off"])
def test_worker(tmp_path, process_group, capsys, wish):
    worker = worker_of(kernel_engines.model_folder(tmp_path), f"'{wish}'")
    worker.init_model()
    ours = wish != "off"
    expected = engine.IcpoEngine if ours else FSDPEngineWithLMHead
    assert type(worker.actor.engine) is expected
    for module, name, replacement in linear.SITES:
        found = getattr(__import__(module, fromlist=[name]), name)
        assert (found is replacement) == ours
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("icpo.")]
    owner = "icpo's" if ours else "verl's own"
    assert len(said) == 1 and said[0].startswith(f"icpo.kernels={wish}: {owner} log-prob")
    # What WorkerGroup looks for to call it from the driver.
    from verl.single_controller.base.decorator import MAGIC_ATTR

    assert hasattr(IcpoWorker.init_model, MAGIC_ATTR)


def test_worker_refuses(tmp_path, monkeypatch):
    monkeypatch.delitem(BACKENDS, "cpu")
    with pytest.raises(ConfigError, match=r"icpo.kernels: on, but .* the device is cpu"):
        worker_of(kernel_engines.model_folder(tmp_path), "'on'")


##### What is left to verl


def micro_batch(**flags: Any) -> Any:
    ids = torch.nested.as_nested_tensor([torch.arange(4)], layout=torch.jagged)
    made = TensorDict({"input_ids": ids}, batch_size=1)
    tensordict_utils.assign_non_tensor(made, **{"use_remove_padding": True, **flags})
    return made


def test_left_to_verl(monkeypatch, process_group):
    monkeypatch.setattr(
        FSDPEngineWithLMHead, "prepare_model_outputs", lambda *arguments: arguments[1:]
    )
    ours = object.__new__(engine.IcpoEngine)
    ours.use_ulysses_sp = False
    logits = torch.randn(1, 4, 9)
    arguments = {
        "input_ids_rmpad_rolled": torch.arange(4),
        "temperature_rmpad": torch.ones(4),
        "pad_size": 0,
    }
    mesh = init_device_mesh("cpu", (1,))
    sharded = distribute_tensor(logits, mesh, [Replicate()])
    for given, flags in [
        (logits, {"use_fused_kernels": True}),
        (logits, {"calculate_sum_pi_squared": True}),
        (logits, {"distillation_use_topk": True}),
        (logits, {"distillation_only": True}),
        (logits, {"pad_mode": "left_right"}),
        (logits.double(), {}),
        (sharded, {}),
    ]:
        call = (SimpleNamespace(logits=given), arguments, micro_batch(**flags), print)
        assert ours.prepare_model_outputs(*call) == call
    call = (SimpleNamespace(logits=logits), arguments, micro_batch(), print)
    assert set(ours.prepare_model_outputs(*call)) == {"log_probs"}


@pytest.mark.parametrize("layer", ["torch", "triton"])
def test_linear_layers(layer, process_group, monkeypatch):
    """bfloat16 under autocast, weights in float32: products of bfloat16, sums in float32."""
    _, ours = linear.layers(layer)
    hidden, weight = torch.randn(1, 5, 8).bfloat16(), torch.randn(11, 8)
    ids = torch.randint(11, (1, 5))
    half = weight.bfloat16()
    exact = reference.logp_entropy((hidden @ half.T).double(), ids, 0.7)
    weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(hidden, weight, ids, 0.7)
    for mine, truth in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32 and mine.shape == ids.shape
        torch.testing.assert_close(mine.double(), truth, rtol=2e-6, atol=1e-6)
    sum(values.sum() for values in found).backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32

    # A vocabulary in pieces, or operands that do not fit, are verl's.
    sharded = distribute_tensor(half, init_device_mesh("cpu", (1,)), [Replicate()])
    for other in (sharded, half.double()):
        with pytest.raises(Exception) as caught:
            ours(hidden, other, ids, 0.7)
        assert any("/verl/" in str(entry.path) for entry in caught.traceback)
