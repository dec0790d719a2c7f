"""The actor loss: eq. 5 on policy, by verl's own code, and eq. 10 for expert rows.

A policy loss that is registered with verl sees log-probabilities and advantages, but no further
fields of the batch. What `set_loss_fn` is given sees them all. So `IcpoLoss` is given to it, looks
up which rows are expert ones, and leaves the rest to verl's `ppo_loss`: divergence, entropy,
aggregation. That calls the policy loss registered here, which finds the rows in a context variable.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss, compute_policy_loss_vanilla, register_policy_loss
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.losses import ppo_loss

from icpo.objective.config import LossConfig
from icpo.objective.metrics import LossMetrics
from icpo.ops import policy_loss
from icpo.ops.reference import token_loss
from icpo.verl.checks import LOSS

__all__ = ["EXPERT_FIELD", "IcpoLoss", "take_loss_metrics"]

#: Of each row, whether it is an expert rollout: 0.0 or 1.0.
EXPERT_FIELD = "icpo_expert"

#: Sums travel under names that begin so. verl takes the greatest or smallest of values whose names
#: contain "max" or "min", instead of adding them up; none of `LossMetrics.NAMES` does.
_SUM = "actor/icpo_sum/"


@dataclass
class _MicroBatch:
    """What the policy loss needs to know of a micro-batch, and what it found."""

    expert: Tensor  # (B,) bool
    #: log πold(τ_t | x_exp) of expert rows, as the rollout engine gave it.
    behavior_logp: Tensor  # (B, T)
    config: LossConfig
    sums: list[float] = field(default_factory=list)


_micro_batch: ContextVar[_MicroBatch] = ContextVar("icpo micro-batch")


@dataclass(frozen=True)
class IcpoLoss:
    """The loss of a micro-batch. Travels to the workers by pickle."""

    #: verl's ActorConfig.
    actor: Any
    #: Ratio, shaping and clip of expert tokens.
    config: LossConfig

    def __call__(
        self, model_output: dict[str, Any], data: Any, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss, and what verl logs of it."""
        rows = _MicroBatch(
            expert=data[EXPERT_FIELD].bool(),
            behavior_logp=data.select("rollout_log_probs").to_padded_tensor()["rollout_log_probs"],
            config=self.config,
        )
        token = _micro_batch.set(rows)
        try:
            loss, metrics = ppo_loss(self.actor, model_output, data, dp_group)
        finally:
            _micro_batch.reset(token)
        # verl averages over ranks what it adds up over micro-batches.
        for name, value in zip(LossMetrics.NAMES, rows.sums, strict=True):
            metrics[_SUM + name] = Metric(AggregationType.SUM, value * data["dp_size"])
        return loss, metrics


@register_policy_loss(LOSS)  # type: ignore[untyped-decorator]  # verl is not typed
def icpo_policy_loss(
    old_log_prob: Tensor,  # (B, T)
    log_prob: Tensor,  # (B, T)
    advantages: Tensor,  # (B, T)
    response_mask: Tensor,  # (B, T) bool
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The policy term. Modes of aggregation add up over rows, so each side can go its own way."""
    rows = _micro_batch.get()
    expert = rows.expert.unsqueeze(-1) & response_mask
    loss, metrics = compute_policy_loss_vanilla(
        old_log_prob,
        log_prob,
        advantages,
        response_mask & ~expert,
        loss_agg_mode,
        config,
        rollout_is_weights,
    )
    if rows.expert.any():
        each = token_loss(
            log_prob.float(),
            old_log_prob.float(),
            advantages,
            expert,
            rows.behavior_logp.float(),
            rows.config,
        )
        loss = loss + agg_loss(each, expert, loss_agg_mode, **config.global_batch_info)
    rows.sums = _sums(old_log_prob, log_prob, advantages, response_mask, rows)
    return loss, metrics


@torch.no_grad()
def _sums(
    old_log_prob: Tensor, log_prob: Tensor, advantages: Tensor, mask: Tensor, rows: _MicroBatch
) -> list[float]:
    """What `LossMetrics` divides, for both sides."""
    _, metrics = policy_loss(
        log_prob.detach().float(),
        old_log_prob.float(),
        advantages.float(),
        mask,
        rows.expert,
        behavior_logp=rows.behavior_logp.float(),
        config=rows.config,
        check=False,
    )
    sums: list[float] = metrics.sums.tolist()
    return sums


def take_loss_metrics(metrics: dict[str, Any], updates: int) -> LossMetrics:
    """Takes the sums out of what verl reports of a step, which averages over its updates."""
    return LossMetrics(
        np.array([metrics.pop(_SUM + name) * updates for name in LossMetrics.NAMES], np.float64)
    )
