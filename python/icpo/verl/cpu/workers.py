"""What verl's workers need on a CPU; verl imports it as `actor_rollout_ref.model.external_lib`.

It registers the rollout engine `torch_cpu`, and keeps FSDP from pinning memory.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.fsdp import CPUOffloadPolicy
from verl.utils.device import get_device_name
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplicaRegistry

from icpo.verl.cpu.platform import CpuPlatform

__all__: list[str] = []


def _load_replica() -> type[Any]:
    from icpo.verl.cpu.rollout import CpuReplica

    return CpuReplica


def _offload_policy(pin_memory: bool) -> CPUOffloadPolicy:
    """verl pins the memory of each reference model, which takes CUDA."""
    return CPUOffloadPolicy(pin_memory=pin_memory and get_device_name() != CpuPlatform.device_name)


# verl has a registry of replicas, and for the workers' side this table.
base._ROLLOUT_REGISTRY["torch_cpu", "async"] = "icpo.verl.cpu.rollout.CpuRollout"
RolloutReplicaRegistry.register("torch_cpu", _load_replica)
transformer_impl.CPUOffloadPolicy = _offload_policy
