"""The same updates in float64, row by row, by transformers and `icpo.ops.reference`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from engine_jobs import LEARNING_RATE, Job, Row
from torch import Tensor

from icpo import LossConfig, ops
from icpo.objective.metrics import LossMetrics
from icpo.ops import reference

__all__ = ["Truth", "recompute"]


@dataclass
class Truth:
    """What a job comes to; terms of the loss are means over its updates."""

    loss: float = 0.0
    policy_loss: float = 0.0
    #: Not multiplied by its coefficient.
    kl_loss: float = 0.0
    entropy: float = 0.0
    #: Of each update, by name.
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    #: In the end.
    parameters: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class _Padded:
    """Rows of an update beside each other."""

    logp: Tensor  # (B, T)
    entropy: Tensor  # (B, T)
    old_logp: Tensor  # (B, T)
    rollout_logp: Tensor  # (B, T)
    ref_logp: Tensor  # (B, T)
    mask: Tensor  # (B, T) bool
    advantage: Tensor  # (B, 1)
    expert: Tensor  # (B, 1) bool


def recompute(model: torch.nn.Module, job: Job, config: LossConfig) -> Truth:
    """By the model's weights, which are left as they are.

    Of `config`, the aggregation is not looked at, but the job's.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    initial = {name: value.detach().clone() for name, value in trained.items()}
    truth, sums, differences = Truth(), 0, []
    size = job.update_rows
    for _ in range(job.epochs):
        for start in range(0, len(job.rows), size):
            rows = job.rows[start : start + size]
            data = _padded(model, rows, job)
            loss, terms = _losses(data, job, config)
            model.zero_grad()
            loss.backward()
            truth.gradients.append({name: value.grad.clone() for name, value in trained.items()})
            for name, value in terms.items():
                setattr(truth, name, getattr(truth, name) + value / job.updates)
            sums = sums + _seen(data, config).sums.numpy()
            differences.append(_differences(data))
            with torch.no_grad():
                for value in trained.values():
                    value -= LEARNING_RATE * value.grad
    truth.parameters = {name: value.detach().clone() for name, value in trained.items()}
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(initial[name])
    figures = LossMetrics(np.asarray(sums)).as_dict()
    truth.figures = {f"icpo/update/{name}": value for name, value in figures.items()}
    found = torch.cat(differences)
    truth.figures["icpo/rollout_probs_difference"] = found.mean().item()
    truth.figures["icpo/rollout_probs_difference_max"] = found.max().item() if len(found) else 0.0
    return truth


def _losses(data: _Padded, job: Job, config: LossConfig) -> tuple[Tensor, dict[str, float]]:
    """The loss, and its terms by the names of `Truth`."""
    mode = job.actor.get("loss_agg_mode", "token-mean")
    # Over all ranks and micro-batches; rows of padding are rows.
    denominator = job.update_rows
    if mode == "token-mean":
        denominator = int(data.mask.sum())
    elif mode == "token-sum":
        mode, denominator = "token-mean", 1
    config = config.replace(aggregation=mode, norm_constant=job.actor.get("loss_scale_factor"))
    loss = reference.policy_loss(
        data.logp,
        data.old_logp,
        data.advantage,
        data.mask,
        data.expert,
        behavior_logp=data.rollout_logp,
        ref_logp=data.ref_logp,
        entropy=data.entropy,
        config=config,
        denominator=denominator,
    )

    def term(values: Tensor) -> float:
        return reference.aggregate(values, data.mask, config, denominator).item()

    terms = {"loss": loss.item(), "entropy": term(data.entropy), "kl_loss": 0.0}
    if config.kl != "none":
        terms["kl_loss"] = term(
            reference.kl_divergence(data.logp, data.ref_logp, config.kl, config.log_ratio_clamp)
        )
    terms["policy_loss"] = (
        terms["loss"] - config.kl_coef * terms["kl_loss"] + config.entropy_coef * terms["entropy"]
    )
    return loss, terms


def _seen(data: _Padded, config: LossConfig) -> LossMetrics:
    """Our figures of the whole update at once."""
    _, metrics = ops.policy_loss(
        data.logp.detach(),
        data.old_logp,
        data.advantage[:, 0],
        data.mask,
        data.expert[:, 0],
        behavior_logp=data.rollout_logp,
        config=config.replace(kl="none", kl_coef=0.0, entropy_coef=0.0),
    )
    return metrics


def _differences(data: _Padded) -> Tensor:  # (N,)
    """|p - p'| of on-policy tokens, between rollout engine and actor."""
    return (data.rollout_logp.exp() - data.old_logp.exp()).abs()[data.mask & ~data.expert]


def _padded(model: torch.nn.Module, rows: list[Row], job: Job) -> _Padded:
    computed = [_logp_entropy(model, row, job.temperature) for row in rows]

    def beside(values: list[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)

    return _Padded(
        beside([logp for logp, _ in computed]),
        beside([entropy for _, entropy in computed]),
        beside([row.old_logp.double() for row in rows]),
        beside([row.rollout_logp.double() for row in rows]),
        beside([row.ref_logp.double() for row in rows]),
        beside([row.mask for row in rows]),
        torch.tensor([[row.advantage] for row in rows], dtype=torch.float64),
        # verl's own loss takes all rows for on-policy ones.
        torch.tensor([[row.expert and job.icpo is not None] for row in rows]),
    )


def _logp_entropy(model: torch.nn.Module, row: Row, temperature: float) -> tuple[Tensor, Tensor]:
    """Each row by itself, so that none can leak into another. (R,), (R,)"""
    ids = torch.cat([row.prompt, row.response])
    logits = model(ids[None]).logits[0, len(row.prompt) - 1 : -1]
    return reference.logp_entropy(logits, row.response, temperature)
