"""Imported by verl's processes as `model.external_lib`: batches in the order of what is in them.

By itself verl trains on rows in the order in which they were finished, and gives equal requests to
its server in the order in which threads have made them. Both differ between two runs of the same
command: other rows meet in a mini-batch then, and sums are rounded otherwise.
"""

from __future__ import annotations

import functools
from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

import icpo.verl.cpu.workers  # noqa: F401  what laptop.sh names in the place of this module

_balanced = PPOTrainer._balance_batch


@functools.wraps(_balanced)
def _balance_batch(trainer: PPOTrainer, batch: Any, *args: Any, **kwargs: Any) -> Any:
    found = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=["responses", "extra_info"]
    )
    prompts = [getattr(item, "data", item)["index"] for item in found["extra_info"]]
    responses = [response.tolist() for response in found["responses"].unbind()]
    batch.reorder(sorted(range(len(batch)), key=lambda row: (prompts[row], responses[row])))
    return _balanced(trainer, batch, *args, **kwargs)


PPOTrainer._balance_batch = _balance_batch
