"""The actor loss: eq. 5 on policy, by verl's own code; eq. 10 and the likelihood for expert rows.

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
from icpo.verl.metrics import loss_figures

__all__ = ["EXPERT_FIELD", "IcpoLoss", "take_loss_figures"]

#: Of each row, whether it is an expert rollout: 0.0 or 1.0.
EXPERT_FIELD = "icpo_expert"

#: Sums travel under names that begin so. verl takes the greatest or smallest of values whose names
#: contain "max" or "min", instead of adding them up; none of `LossMetrics.NAMES` does.
_SUM = "actor/icpo_sum/"

#: Σ |p - p'| over on-policy tokens, of the rollout engine's probabilities and the actor's, and the
#: greatest. verl's own figures of these would take expert rows for errors of the engine.
_DIFFERENCE, _GREATEST = "rollout_difference", "actor/icpo_rollout_difference_max"


@dataclass
class _MicroBatch:
    """What the policy loss needs to know of a micro-batch, and what it found."""

    expert: Tensor  # (B,) bool
    #: log πold(τ_t | x_exp) of expert rows, as the rollout engine gave it.
    behavior_logp: Tensor  # (B, T)
    config: LossConfig
    sums: dict[str, float] = field(default_factory=dict)
    greatest: float = 0.0


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
        for name, value in rows.sums.items():
            metrics[_SUM + name] = Metric(AggregationType.SUM, value * data["dp_size"])
        metrics[_GREATEST] = Metric(AggregationType.MAX, rows.greatest)
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
        if rows.config.sft_coef:
            each = each - rows.config.sft_coef * log_prob.float()
        loss = loss + agg_loss(each, expert, loss_agg_mode, **config.global_batch_info)
    _observe(rows, old_log_prob, log_prob, advantages, response_mask)
    return loss, metrics


@torch.no_grad()
def _observe(
    rows: _MicroBatch, old_log_prob: Tensor, log_prob: Tensor, advantages: Tensor, mask: Tensor
) -> None:
    """What `LossMetrics` divides, for both sides, and how far the rollout engine is off."""
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
    on = mask & ~rows.expert.unsqueeze(-1)
    difference = (rows.behavior_logp.float().exp() - old_log_prob.float().exp()).abs() * on
    total, greatest = torch.stack([difference.double().sum(), difference.max().double()]).tolist()
    rows.sums = dict(zip(LossMetrics.NAMES, metrics.sums.tolist(), strict=True))
    rows.sums[_DIFFERENCE] = total
    rows.greatest = greatest


def take_loss_figures(metrics: dict[str, Any], updates: int) -> dict[str, float]:
    """Takes the sums out of what verl reports of a step, and makes figures of them.

    verl averages over the updates of a step, of which there were `updates`.
    """
    sums = {name: metrics.pop(_SUM + name) * updates for name in (*LossMetrics.NAMES, _DIFFERENCE)}
    difference = sums.pop(_DIFFERENCE)
    seen = LossMetrics(np.array(list(sums.values()), np.float64))
    tokens = seen.total("on_tokens")
    return {
        **loss_figures(seen),
        "icpo/rollout_probs_difference": difference / tokens if tokens else float("nan"),
        "icpo/rollout_probs_difference_max": metrics.pop(_GREATEST),
    }
