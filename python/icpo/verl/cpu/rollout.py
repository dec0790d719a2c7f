"""The rollout engine `torch_cpu` as verl sees it: a replica starts a server, a worker feeds it.

Replica i serves what rank i trains (tensor parallelism is 1), so each rank sends its weights to
the server of its own number.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable

import ray
from torch import Tensor
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutMode, RolloutReplica

from icpo.errors import ConfigError
from icpo.verl.cpu.server import CpuServer

__all__ = ["CpuReplica", "CpuRollout"]


def _actor_name(replica: int) -> str:
    return f"torch_cpu_{replica}"


class CpuReplica(RolloutReplica):  # type: ignore[misc]
    """One server, in the driver's eyes."""

    #: What the Ray actor is made of. A subclass may have another, if it keeps the methods.
    server_class: type[CpuServer] = CpuServer

    async def launch_servers(self) -> None:
        """Starts the server; its weights come later, from the rank of its number."""
        if self.rollout_mode is not RolloutMode.HYBRID:
            raise ConfigError(
                "rollout.name: torch_cpu serves the synchronous trainer only, as its weights come "
                f"from the actor itself; got the mode {self.rollout_mode.value}"
            )
        if self.world_size != 1:
            raise ConfigError(
                "rollout: torch_cpu expects tensor_model_parallel_size, data_parallel_size and "
                f"pipeline_model_parallel_size of 1, got a product of {self.world_size}"
            )
        name = _actor_name(self.replica_rank)
        server = (
            ray.remote(self.server_class)
            .options(name=name, num_cpus=0, max_concurrency=self.max_concurrency)
            .remote(
                self.model_config.path,
                prompt_length=self.config.prompt_length,
                response_length=self.config.response_length,
                max_model_len=self.config.max_model_len,
                max_num_seqs=self.config.max_num_seqs,
                dtype=self.config.dtype,
                seed=self.config.seed,
                replica=self.replica_rank,
                ignore_eos=self.config.ignore_eos,
                trust_remote_code=self.model_config.trust_remote_code,
            )
        )
        self.servers = [server]
        self._server_handle, self._server_address = server, f"ray:{name}"


class CpuRollout(BaseRollout):  # type: ignore[misc]
    """The actor worker's side: hands its weights to the server."""

    async def resume(self, tags: list[str]) -> None:
        """Nothing: the server gave no memory away."""

    async def release(self) -> None:
        """Nothing: the server's memory is no device's."""

    async def update_weights(
        self,
        weights: Generator[tuple[str, Tensor], None, None],
        wire_format: str = "named_tensors",
        peft_config: object = None,
        base_sync_done: bool = True,
        global_steps: int | None = None,
    ) -> None:
        """Sends all weights, and returns once the server uses them."""
        del base_sync_done  # tells adapters from what they sit on; both come merged
        if wire_format != "named_tensors":
            raise ConfigError(f"wire_format: torch_cpu expects named_tensors, got {wire_format}")
        if peft_config is not None:
            raise ConfigError(
                "actor_rollout_ref.model.lora.merge: torch_cpu expects true, as it has no adapters "
                "of its own"
            )
        server = ray.get_actor(_actor_name(int(os.environ["RANK"])))
        await server.load_weights.remote(_detached(weights), global_steps)


def _detached(weights: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu() for name, weight in weights}
