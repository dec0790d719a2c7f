"""From logits to log-probabilities and to the loss, where the logits are.

On the CPU and on CUDA devices by this package's operators, the loss in place. On devices that these
do not know, torch makes the log-probabilities, which are few, and only they come home for the rest.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from icpo import ops
from icpo.objective import LossConfig, LossMetrics
from icpo.ops.backend import BACKENDS

__all__ = ["logp_entropy", "loss_by_torch", "loss_in_place", "policy_loss"]


def logp_entropy(logits: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens, and entropies: (B, T) each, from (B, T, V)."""
    known = logits.device.type in BACKENDS
    operator = ops.logp_entropy if known else ops.reference.logp_entropy
    return operator(logits if known else logits.float(), ids.to(logits.device), temperature)


def policy_loss(
    logits: Tensor, ids: Tensor, *batch: Tensor, **settings: Any
) -> tuple[Tensor, LossMetrics]:
    """The loss of logits (B, T, V), which may be gone afterwards; the rest lies on the CPU.

    Arguments are those of `icpo.ops.fused_policy_loss`.
    """
    known = logits.device.type in BACKENDS
    return (loss_in_place if known else loss_by_torch)(logits, ids, *batch, **settings)


def loss_in_place(
    logits: Tensor, ids: Tensor, *batch: Tensor, **settings: Any
) -> tuple[Tensor, LossMetrics]:
    """The gradient takes the place of the logits; only sums come home."""

    def there(value: Any) -> Any:
        return value.to(logits.device) if isinstance(value, Tensor) else value

    loss, metrics = ops.fused_policy_loss(
        logits,
        there(ids),
        *map(there, batch),
        inplace=True,
        **{name: there(value) for name, value in settings.items()},
    )
    return loss, LossMetrics(metrics.sums.cpu())


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
