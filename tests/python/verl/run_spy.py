"""Imported by verl's processes as `model.external_lib`: saves what each update is given.

One file a step, in the folder that the environment variable ICPO_SPY names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from verl.trainer.ppo.v1 import PPOTrainerSync

import icpo.verl.cpu.workers  # noqa: F401  what laptop.sh names in the place of this module

FIELDS = (
    "prompts",
    "responses",
    "input_ids",
    "response_mask",
    "loss_mask",
    "entropy",
    "rollout_log_probs",
    "old_log_probs",
    "ref_log_prob",
    "advantages",
    "rm_scores",
    "icpo_expert",
    "icpo_given",
)

_given = PPOTrainerSync._update_actor


def _update_actor(trainer: PPOTrainerSync, batch: Any, metrics: dict[str, Any]) -> Any:
    found = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=[*FIELDS, "extra_info"]
    )
    rows = {field: list(found[field].unbind()) for field in FIELDS if field in found}
    questions = [getattr(item, "data", item)["index"] for item in found["extra_info"]]
    file = Path(os.environ["ICPO_SPY"]) / f"{trainer.global_steps}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"keys": batch.keys, "tags": batch.tags, "index": questions, **rows}, file)
    return _given(trainer, batch, metrics)


PPOTrainerSync._update_actor = _update_actor
