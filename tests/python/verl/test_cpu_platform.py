"""verl on a CPU, as a process of a run finds it: in a process of its own, for verl asks once."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.verl

if not (os.environ.get("CI") or importlib.util.find_spec("verl")):
    pytest.skip("verl is not installed", allow_module_level=True)

PROBE = """
import json, logging, os, sys
import verl
early = sorted(name for name in sys.modules if name.startswith("icpo.verl.cpu"))
import torch
from verl.utils import device, distributed
found = {
    "early": early,
    "names": [device.get_device_name(), device.get_device_id(), device.get_nccl_backend()],
    "device": str(torch.zeros(2).to(device.get_device_id()).device),
}
distributed.initialize_global_process_group_ray(timeout_second=60)
total = torch.ones(3)
torch.distributed.all_reduce(total)
found["sum"] = total.tolist()

import icpo.verl.cpu.workers
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout.base import get_rollout_class
from verl.workers.rollout.replica import get_rollout_replica_class
found["rollout"] = [
    get_rollout_class("torch_cpu").__name__,
    get_rollout_replica_class("torch_cpu").__name__,
]
found["engine"] = EngineRegistry.get_engine_cls("language_model", "fsdp2").__module__
layer = torch.nn.Linear(3, 2)
rows = torch.ones(4, 3)
expected = layer(rows).tolist()
fully_shard(
    layer,
    mesh=init_device_mesh("cpu", (1,)),
    offload_policy=transformer_impl.CPUOffloadPolicy(pin_memory=True),
)
found["sharded"] = layer(rows).tolist()
found["expected"] = expected
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What a process of verl says of itself."""
    environment = os.environ | {
        "VERL_USE_EXTERNAL_MODULES": "icpo.verl.cpu",
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "FOUND" in line)
    return json.loads(line.partition("FOUND")[2])


def test_verl_takes_the_platform(found):
    assert found["names"] == ["cpu", "cpu", "gloo"]
    assert found["device"] == "cpu"


def test_what_is_imported_inside_verl_is_little(found):
    assert "icpo.verl.cpu.platform" in found["early"]
    assert "icpo.verl.cpu.workers" not in found["early"]
    assert "icpo.verl.cpu.rollout" not in found["early"]


def test_the_process_group_is_joined(found):
    assert found["sum"] == [1.0, 1.0, 1.0]


def test_rollout_and_engine_are_found(found):
    assert found["rollout"] == ["CpuRollout", "CpuReplica"]
    assert found["engine"] == "verl.workers.engine.fsdp.transformer_impl"


def test_an_offloaded_model_computes_without_cuda(found):
    assert found["sharded"] == found["expected"]


def test_gpus_keep_their_process_group(monkeypatch):
    import icpo.verl.cpu as cpu

    joined = []
    monkeypatch.setattr(cpu, "_join", lambda **settings: joined.append(settings))
    monkeypatch.setattr(cpu, "get_device_name", lambda: "cuda")
    cpu._join_once(timeout_second=5)
    monkeypatch.setattr(cpu, "get_device_name", lambda: "cpu")
    cpu._join_once(timeout_second=5)
    assert [settings["backend"] for settings in joined] == [None, "gloo"]


def test_the_device_has_all_that_verls_fsdp_asks_of_it():
    from verl.utils import device as names
    from verl.utils import fsdp_utils
    from verl.utils.checkpoint import checkpoint_manager, fsdp_checkpoint_manager
    from verl.utils.profiler import performance
    from verl.workers import engine_workers
    from verl.workers.engine.fsdp import transformer_impl

    from icpo.verl.cpu import device

    modules = (
        checkpoint_manager,
        engine_workers,
        fsdp_checkpoint_manager,
        fsdp_utils,
        names,
        performance,
        transformer_impl,
    )
    asked = {
        name
        for module in modules
        for name in re.findall(r"get_torch_device\(\)\.(\w+)", inspect.getsource(module))
    }
    assert {"empty_cache", "max_memory_allocated", "synchronize"} <= asked
    assert sorted(name for name in asked if not hasattr(device, name)) == []


def test_random_numbers_continue_with_a_checkpoint():
    from icpo.verl.cpu import device

    device.manual_seed(3)
    state = device.get_rng_state()
    first = torch.rand(4)
    device.set_rng_state(state)
    assert torch.equal(torch.rand(4), first)
