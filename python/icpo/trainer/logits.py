"""From logits to log-probabilities and to the loss, where the logits are.

On the CPU by this package's operators, the loss in place. These do not run on other devices yet:
there torch makes the log-probabilities, which are few, and only they come home for the rest.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from icpo import ops
from icpo.objective import LossConfig, LossMetrics

__all__ = ["logp_entropy", "loss_by_torch", "loss_in_place", "policy_loss"]


def logp_entropy(logits: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens, and entropies: (B, T) each, from (B, T, V)."""
    if logits.device.type == "cpu":
        return ops.logp_entropy(logits, ids, temperature)
    return ops.reference.logp_entropy(logits.float(), ids.to(logits.device), temperature)


def policy_loss(
    logits: Tensor, ids: Tensor, *batch: Tensor, **settings: Any
) -> tuple[Tensor, LossMetrics]:
    """The loss of logits (B, T, V), which may be gone afterwards; the rest lies on the CPU.

    Arguments are those of `icpo.ops.fused_policy_loss`.
    """
    on_cpu = logits.device.type == "cpu"
    return (loss_in_place if on_cpu else loss_by_torch)(logits, ids, *batch, **settings)


def loss_in_place(
    logits: Tensor, ids: Tensor, *batch: Tensor, **settings: Any
) -> tuple[Tensor, LossMetrics]:
    """The gradient takes the place of the logits."""
    return ops.fused_policy_loss(logits, ids, *batch, inplace=True, **settings)


def loss_by_torch(
    logits: Tensor,
    ids: Tensor,
    *batch: Tensor,
    temperature: float,
    config: LossConfig,
    **settings: Any,
) -> tuple[Tensor, LossMetrics]:
    """Log-probabilities by torch, on any device; the loss of these on the CPU."""
    logp, entropy = ops.reference.logp_entropy(logits.float(), ids.to(logits.device), temperature)
    if config.entropy_coef == 0:  # a figure, but no part of the loss
        entropy = entropy.detach()
    return ops.policy_loss(logp.cpu(), *batch, entropy=entropy.cpu(), config=config, **settings)
