"""Imported by verl's processes as `model.external_lib`: a rollout server that fails on purpose.

It is the rollout engine `faulty_cpu`. What it does to a request depends on the task in the prompt:
see `FAULTS`. Also saves what updates are given, as `run_spy` does.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import run_spy  # noqa: F401
from transformers import AutoTokenizer
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplicaRegistry, TokenOutput

from icpo.verl.cpu.rollout import CpuReplica
from icpo.verl.cpu.server import CpuServer

#: Number of a task; whether its expert requests, or the first of its on-policy ones; and what
#: becomes of them.
FAULTS = {
    (16, True): "error",
    (17, True): "empty",
    (18, False): "error",
    (19, False): "empty",
    (23, True): "silence",
}


class FaultyServer(CpuServer):
    """Answers most requests."""

    def __init__(self, model_path: str, **settings: Any) -> None:
        super().__init__(model_path, **settings)
        self._tokenizer = AutoTokenizer.from_pretrained(model_path)
        self._asked: Counter[tuple[int, bool]] = Counter()

    async def generate(self, prompt_ids: Sequence[int], *args: Any, **kwargs: Any) -> TokenOutput:
        text = self._tokenizer.decode(prompt_ids)
        (task,) = re.findall(r"Task (\d+):", text)
        request = int(task), "Question:" in text
        self._asked[request] += 1
        if self._asked[request] > 1 or request not in FAULTS:
            return await super().generate(prompt_ids, *args, **kwargs)
        if FAULTS[request] == "silence":
            await asyncio.Event().wait()
        if FAULTS[request] == "error":
            raise RuntimeError(f"the server has no answer to task {task}")
        return TokenOutput(
            token_ids=[], log_probs=[], stop_reason="completed", extra_fields={"global_steps": 2}
        )


class FaultyReplica(CpuReplica):
    """Starts it."""

    server_class = FaultyServer


base._ROLLOUT_REGISTRY["faulty_cpu", "async"] = "icpo.verl.cpu.rollout.CpuRollout"
RolloutReplicaRegistry.register("faulty_cpu", lambda: FaultyReplica)
