"""What verl's workers need on a CPU; verl imports it as `actor_rollout_ref.model.external_lib`.

It registers the rollout engine `torch_cpu`, and keeps FSDP from pinning memory.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.fsdp import CPUOffloadPolicy
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplicaRegistry

__all__: list[str] = []


def _load_replica() -> type[Any]:
    from icpo.verl.cpu.rollout import CpuReplica

    return CpuReplica


def _unpinned(pin_memory: bool) -> CPUOffloadPolicy:
    """Pinning is CUDA's, and the reference model is always offloaded to pinned memory."""
    del pin_memory
    return CPUOffloadPolicy(pin_memory=False)


# verl has a registry of replicas, and for the workers' side this table.
base._ROLLOUT_REGISTRY["torch_cpu", "async"] = "icpo.verl.cpu.rollout.CpuRollout"
RolloutReplicaRegistry.register("torch_cpu", _load_replica)
transformer_impl.CPUOffloadPolicy = _unpinned
