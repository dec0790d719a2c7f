"""The policy loss of log-probabilities (eq. 5, 7, 10)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from icpo import _core
from icpo.objective.config import LossConfig
from icpo.objective.metrics import LossMetrics
from icpo.ops.backend import backend, check_device
from icpo.ops.tensors import Batch, check_floats, check_tensors, working_dtype

__all__ = ["policy_loss"]


@torch.library.custom_op("icpo::policy_loss", mutates_args=())
def _policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    loss_mask: Tensor | None,
    expert_mask: Tensor | None,
    behavior_logp: Tensor | None,
    ref_logp: Tensor | None,
    cu_seqlens: Tensor | None,
    entropy: Tensor | None,
    config: str,
    denominator: float | None,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    settings = LossConfig.from_spec(config)
    return backend(logp).policy_loss(logp, entropy, batch, settings, denominator, check)


@_policy_loss.register_fake
def _(logp: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = working_dtype(logp)
    return (
        logp.new_empty((), dtype=dtype),
        logp.new_empty((len(_core.LOSS_SUMS),), dtype=torch.float64),
        logp.new_empty(logp.shape, dtype=dtype),
        logp.new_empty(logp.shape, dtype=dtype),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, sums, d_logp, d_entropy = output
    ctx.save_for_backward(d_logp, d_entropy)
    ctx.mark_non_differentiable(sums, d_logp, d_entropy)
    ctx.dtype, entropy = inputs[0].dtype, inputs[8]
    ctx.entropy_dtype = None if entropy is None else entropy.dtype


def _backward(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    d_logp, d_entropy = ctx.saved_tensors
    gradients: list[Tensor | None] = [None] * 12
    gradients[0] = (d_logp * d_loss).to(ctx.dtype)
    if ctx.entropy_dtype is not None:
        gradients[8] = (d_entropy * d_loss).to(ctx.entropy_dtype)
    return tuple(gradients)


_policy_loss.register_autograd(_backward, setup_context=_setup)


def policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    loss_mask: Tensor | None,
    expert_mask: Tensor | None,
    *,
    behavior_logp: Tensor | None = None,
    ref_logp: Tensor | None = None,
    entropy: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    config: LossConfig,
    denominator: float | None = None,
    check: bool = True,
) -> tuple[Tensor, LossMetrics]:
    """The loss of log-probabilities, to be minimised, differentiable in them and in the entropy.

    Batches are padded, (B, T), or packed, (N,) with ``cu_seqlens``.

    Args:
        logp: (B, T) or (N,) log πθ(τ_t | x).
        old_logp: same shape, log πold(τ_t | x), under the plain prompt.
        advantage: same shape, or (B,): Â of the row.
        loss_mask: same shape, boolean or 0 and 1: which tokens count; None: all. What it leaves
            out is not looked at, be it NaN.
        expert_mask: same shape, or (B,): which rows are expert rollouts; None: none.
        behavior_logp: same shape, log πold(τ_t | x_exp), under the expert prompt. Needed where
            there are expert tokens, unless ``config.off_ratio`` is ``policy``.
        ref_logp: same shape, log πref(τ_t | x). Needed if ``config.kl`` is not ``none``.
        entropy: same shape. Needed if ``config.entropy_coef`` is not 0.
        cu_seqlens: (B + 1,) offsets of the rows of a packed batch.
        config: the loss.
        denominator: number of valid tokens (``token-mean``) or of rows with any (other modes) of
            the whole batch where this is one micro-batch of it. The losses of the micro-batches
            then add up to that of the batch.
        check: whether values that are not finite, at tokens that count, are errors
            (`NonFiniteError`) or pass through. On a GPU a check waits for the device; without one,
            what ids, temperatures, masks and offsets hold is not looked at either, and what is
            wrong with it shows as NaN.

    Returns:
        The loss, float32 (float64 if ``logp`` is), and `LossMetrics`. Without any valid token the
        loss and its gradient are 0.

    Raises:
        ShapeError, DTypeError, DeviceError, ConfigError, MissingArgumentError, NonFiniteError.
    """
    check_tensors({"logp": logp, "entropy": entropy})
    check_floats({"logp": logp, "entropy": entropy})
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    layout = batch.check("logp", tuple(logp.shape))
    layout.check_per_token({"entropy": None if entropy is None else tuple(entropy.shape)})
    check_device({"logp": logp, "entropy": entropy, **batch.named()})
    loss, sums, _, _ = _policy_loss(
        logp,
        old_logp,
        advantage,
        loss_mask,
        expert_mask,
        behavior_logp,
        ref_logp,
        cu_seqlens,
        entropy,
        config.spec,
        denominator,
        check,
    )
    return loss, LossMetrics(sums)
