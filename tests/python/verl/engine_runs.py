"""Makes the updates that a file asks for, as one rank, by verl's own worker and engine, on a CPU.

``engine_runs.py MODEL JOBS OUT``, with what torchrun puts into the environment.
"""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

if __name__ == "__main__":
    os.environ |= {
        "VERL_USE_EXTERNAL_MODULES": "icpo.verl.cpu",
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
    }

from engine_jobs import LEARNING_RATE, Job, Outcome, Row, adapter_value
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from verl.trainer.config import CheckpointConfig
from verl.trainer.ppo.padding_utils import construct_minimal_padding_template
from verl.utils import tensordict_utils
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict
from verl.workers.config import (
    FSDPActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
    PolicyLossConfig,
    TrainingWorkerConfig,
)
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from icpo.verl import kernels
from icpo.verl.loss import EXPERT_FIELD, IcpoLoss, take_loss_figures
from icpo.verl.settings import IcpoSettings, clips_of

#: What differs between workers: settings of the model, and the dtype that it computes in.
WORKERS: dict[str, tuple[dict[str, Any], str]] = {
    "packed": ({"use_remove_padding": True}, "fp32"),
    "padded": ({"use_remove_padding": False}, "fp32"),
    "lora": ({"use_remove_padding": True, "lora_rank": 3, "lora_alpha": 6}, "fp32"),
    "bf16": ({"use_remove_padding": True}, "bf16"),
    # Last: engines that are made afterwards have icpo's operators too.
    "kernels": ({"use_remove_padding": True}, "fp32"),
}

#: What `ppo_mini_batch_size` and the like say is in the batch, so these only have to be there.
REQUIRED = {"strategy": "fsdp2", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}


def main(model: str, jobs: str, out: str) -> None:
    """The command."""
    torch.set_num_threads(1)
    asked: dict[str, Job] = torch.load(jobs, weights_only=False)
    done = {}
    for name in WORKERS:
        own = {key: job for key, job in asked.items() if job.worker == name}
        if own:
            done |= Bench(name, model).run(own)
    rank = torch.distributed.get_rank()
    torch.save(done, Path(out) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


class Bench:
    """A worker of verl, and a record of what its optimiser gets."""

    def __init__(self, name: str, model: str) -> None:
        settings, dtype = WORKERS[name]
        if name == "kernels":
            kernels.install()
        self.worker = TrainingWorker(
            TrainingWorkerConfig(
                model_type="language_model",
                model_config=HFModelConfig(
                    path=model,
                    load_tokenizer=False,
                    override_config={"attn_implementation": "sdpa"},
                    enable_gradient_checkpointing=False,
                    **settings,
                ),
                engine_config=FSDPEngineConfig(
                    strategy="fsdp2",
                    use_torch_compile=False,
                    mixed_precision={"param_dtype": dtype},
                ),
                # Norms are reported, and nothing is clipped to them.
                optimizer_config=FSDPOptimizerConfig(
                    optimizer="SGD", lr=LEARNING_RATE, weight_decay=0.0, clip_grad=float("inf")
                ),
                checkpoint_config=CheckpointConfig(),
            )
        )
        self.worker.reset()
        self.engine = self.worker.engine
        self._fill_adapters()
        self.initial = {name: local(value).clone() for name, value in self._trained()}
        self.gradients: list[dict[str, Tensor]] = []
        step = self.engine.optimizer_step

        def recorded_step() -> float:
            self.gradients.append({name: whole(value.grad) for name, value in self._trained()})
            return step()

        self.engine.optimizer_step = recorded_step

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        named = self.engine.module.named_parameters()
        return ((name, value) for name, value in named if value.requires_grad)

    @torch.no_grad()
    def _fill_adapters(self) -> None:
        for name, value in self._trained():
            if ".lora_" in name:
                whole = adapter_value(name, value.shape)
                value.copy_(distribute_tensor(whole, value.device_mesh, value.placements))

    def run(self, jobs: dict[str, Job]) -> dict[str, Outcome]:
        """Each from the same weights."""
        return {name: self._run(job) for name, job in jobs.items()}

    def _run(self, job: Job) -> Outcome:
        self.gradients.clear()
        with torch.no_grad():
            for name, value in self._trained():
                local(value).copy_(self.initial[name])
        loss = Counted(loss_of(job))
        self.worker.set_loss_fn(loss)
        output = self.worker.train_mini_batch(batch_of(job))
        # From here on, what verl's and our trainer do with it.
        metrics = reduce_metrics(rename_dict(tensordict_utils.get(output, "metrics"), "actor/"))
        metrics = dict(metrics)
        figures = {} if job.icpo is None else take_loss_figures(metrics, job.updates)
        return Outcome(
            metrics,
            figures,
            list(self.gradients),
            {name: whole(value) for name, value in self._trained()},
            loss.calls,
        )


class Counted:
    """A loss, and how often it was called."""

    def __init__(self, loss: Callable[..., Any]) -> None:
        self.loss, self.calls = loss, 0

    def __call__(self, **arguments: Any) -> Any:
        self.calls += 1
        return self.loss(**arguments)


def loss_of(job: Job) -> Callable[..., Any]:
    """As `icpo.verl.trainer` makes it and Ray brings it, or verl's own."""
    mode = "vanilla" if job.icpo is None else "icpo"
    policy_loss = PolicyLossConfig(loss_mode=mode)
    actor = FSDPActorConfig(**REQUIRED, **job.actor, policy_loss=policy_loss)
    if job.icpo is None:
        return lambda **arguments: ppo_loss(actor, **arguments)
    settings = IcpoSettings.build({"n_off": 0, **job.icpo})
    return pickle.loads(pickle.dumps(IcpoLoss(actor, settings.loss(**clips_of(actor)))))


def batch_of(job: Job) -> TensorDict:
    """This rank's share of the batch, in the fields that verl's trainer has at hand for an update.

    Of each mini-batch every rank has as many rows.
    """
    fields = [rolled_out(row) for row in job.rows]
    if job.padding:
        padding, _ = construct_minimal_padding_template(fields[0], {}, eos_token_id=0)
        fields += [copy.deepcopy(padding) for _ in range(job.padding)]
    for place, row in enumerate(fields):
        row |= computed(job.rows[place] if place < len(job.rows) else None)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    share = job.update_rows // ranks
    mine = [row for place, row in enumerate(fields) if place % job.update_rows // share == rank]
    # Padding has fields beyond these, of which an update knows nothing.
    data = TensorDict(
        {name: joined([row[name] for row in mine]) for name in fields[0]}, batch_size=len(mine)
    )
    tensordict_utils.assign_non_tensor(
        data,
        calculate_entropy=bool(job.actor.get("entropy_coeff")),
        global_batch_size=job.update_rows,
        mini_batch_size=job.update_rows,
        epochs=job.epochs,
        seed=0,
        dataloader_kwargs={"shuffle": False},
        temperature=job.temperature,
        use_dynamic_bsz=job.tokens is not None,
        max_token_len_per_gpu=job.tokens,
        micro_batch_size_per_gpu=job.micro_batch,
    )
    return data


def joined(values: list[Tensor]) -> Tensor:
    """One value a row beside each other; several a row as a nested tensor, as verl has them."""
    if values[0].dim() == 0:
        return torch.stack(values)
    return torch.nested.as_nested_tensor(values, layout=torch.jagged)


def rolled_out(row: Row) -> dict[str, Any]:
    """What a rollout worker puts into the transfer queue."""
    ids = torch.cat([row.prompt, row.response])
    return {
        "prompts": row.prompt,
        "responses": row.response,
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.arange(len(ids)),
        "response_mask": row.mask.to(torch.int64),
        "loss_mask": row.mask.to(torch.int64),
        "rollout_log_probs": row.rollout_logp,
        EXPERT_FIELD: torch.tensor(float(row.expert)),
    }


def computed(row: Row | None) -> dict[str, Tensor]:
    """What the trainer adds; to a row of padding (None), anything: its mask is 0."""
    if row is None:
        odd = torch.tensor([-3.0])
        return {"advantages": 9 * odd, "old_log_probs": odd, "ref_log_prob": odd}
    return {
        "advantages": torch.full_like(row.old_logp, row.advantage),
        "old_log_probs": row.old_logp,
        "ref_log_prob": row.ref_logp,
    }


def local(value: Tensor) -> Tensor:
    """The part on this rank, in place."""
    return value.to_local() if isinstance(value, DTensor) else value


def whole(value: Tensor) -> Tensor:
    """All parts, in a tensor of its own."""
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).clone()


if __name__ == "__main__":
    main(*sys.argv[1:])
