"""The policy loss straight from logits.

Two ways. The functional one reads the logits once for the loss and once more in the backward pass,
where their gradient is made; nothing of their size is kept in between. The in-place one reads them
once and leaves the gradient in their memory: half the traffic, and no second buffer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from icpo import _core
from icpo.errors import IcpoError
from icpo.objective.config import LossConfig
from icpo.objective.metrics import LossMetrics
from icpo.ops.backend import backend, check_device
from icpo.ops.logprob import logp_entropy_backward
from icpo.ops.tensors import Batch, Temperature, check_logits, check_temperature, check_tensors

__all__ = ["fused_policy_loss"]


@torch.library.custom_op("icpo::fused_policy_loss", mutates_args=())
def _fused(
    logits: Tensor,
    ids: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    loss_mask: Tensor | None,
    expert_mask: Tensor | None,
    behavior_logp: Tensor | None,
    ref_logp: Tensor | None,
    cu_seqlens: Tensor | None,
    temperature: float,
    temperatures: Tensor | None,
    config: str,
    denominator: float | None,
    check: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    heat, settings = Temperature(temperature, temperatures), LossConfig.from_spec(config)
    return backend(logits).fused_policy_loss(logits, ids, heat, batch, settings, denominator, check)


@_fused.register_fake
def _(logits: Tensor, ids: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    double = torch.float64
    return (
        logits.new_empty((), dtype=torch.float32),
        logits.new_empty((len(_core.LOSS_SUMS),), dtype=double),
        logits.new_empty((*ids.shape, 4), dtype=double),
        logits.new_empty(ids.shape, dtype=double),
        logits.new_empty(ids.shape, dtype=double),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, ids, temperatures = inputs[0], inputs[1], inputs[10]
    ctx.temperature = inputs[9]
    ctx.save_for_backward(logits, ids, temperatures, *output[2:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    logits, ids, temperatures, saved, d_logp, d_entropy = ctx.saved_tensors
    scale = d_loss.double()
    dlogits = logp_entropy_backward(
        logits,
        ids,
        ctx.temperature,
        temperatures,
        saved,
        d_logp * scale,
        d_entropy * scale,
    )
    return (dlogits, *[None] * 13)


_fused.register_autograd(_backward, setup_context=_setup)


@torch.library.custom_op("icpo::fused_policy_loss_", mutates_args={"logits"})
def _fused_(
    logits: Tensor,
    ids: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    loss_mask: Tensor | None,
    expert_mask: Tensor | None,
    behavior_logp: Tensor | None,
    ref_logp: Tensor | None,
    cu_seqlens: Tensor | None,
    temperature: float,
    temperatures: Tensor | None,
    config: str,
    denominator: float | None,
    check: bool,
) -> tuple[Tensor, Tensor]:
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    heat, settings = Temperature(temperature, temperatures), LossConfig.from_spec(config)
    return backend(logits).fused_policy_loss_(
        logits, ids, heat, batch, settings, denominator, check
    )


@_fused_.register_fake
def _(logits: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return (
        logits.new_empty((), dtype=torch.float32),
        logits.new_empty((len(_core.LOSS_SUMS),), dtype=torch.float64),
    )


@torch.library.custom_op("icpo::scale_", mutates_args={"values"})
def _scale_(values: Tensor, factor: Tensor) -> None:
    """Multiplies in place. By one, which is usual, costs no pass over memory."""
    backend(values).scale_(values, factor)


@_scale_.register_fake
def _(values: Tensor, factor: Tensor) -> None:
    return None


class _InPlace(torch.autograd.Function):
    """The in-place operator, with the buffer that it leaves as the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        buffer = logits.detach()  # the same memory, and the same version counter
        loss, sums = _fused_(buffer, *arguments)
        ctx.buffer = buffer
        ctx.mark_non_differentiable(sums)
        return loss, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        if ctx.buffer is None:
            raise IcpoError(
                "backward: the gradient of an in-place loss exists once, and was handed out by an "
                "earlier backward pass; use inplace=False to differentiate several times"
            )
        buffer, ctx.buffer = ctx.buffer, None
        _scale_(buffer, d_loss)
        return (buffer, *[None] * 13)


def fused_policy_loss(
    logits: Tensor,
    ids: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    loss_mask: Tensor | None,
    expert_mask: Tensor | None,
    *,
    temperature: float | Tensor = 1.0,
    behavior_logp: Tensor | None = None,
    ref_logp: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    config: LossConfig,
    denominator: float | None = None,
    inplace: bool = False,
    check: bool = True,
) -> tuple[Tensor, LossMetrics]:
    """The loss of logits, to be minimised, differentiable in them.

    The same as `policy_loss` of `logp_entropy`, with less traffic; rows that the mask leaves out
    are not even read.

    Args:
        logits: (B, T, V), or (N, V) with ``cu_seqlens``, in float32, bfloat16 or float16.
        ids: (B, T) or (N,) the selected tokens. Not looked at where the mask leaves a token out.
        old_logp: see `policy_loss`, as for all that follows.
        advantage: see `policy_loss`.
        loss_mask: see `policy_loss`.
        expert_mask: see `policy_loss`.
        temperature: divides the logits; a number, or a tensor with one for each token.
        behavior_logp: see `policy_loss`.
        ref_logp: see `policy_loss`.
        cu_seqlens: see `policy_loss`.
        config: the loss.
        denominator: see `policy_loss`.
        inplace: whether the gradient takes the place of the logits in memory. They are gone
            afterwards, and one backward pass is possible. If a logit is NaN or +inf, its row is
            left as it was, while others hold their gradient already; all other checks come first.
        check: see `policy_loss`.

    Returns:
        The loss, float32, and `LossMetrics`.

    Raises:
        ShapeError, DTypeError, DeviceError, TokenIdError, ConfigError, MissingArgumentError,
        NonFiniteError.
    """
    check_tensors({"logits": logits, "ids": ids})
    check_logits(logits, ids)
    heat = check_temperature(temperature, ids)
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    batch.check("ids", tuple(ids.shape))
    check_device({"logits": logits, "ids": ids, "temperature": heat.each, **batch.named()})
    settings = (heat.number, heat.each, config.spec, denominator, check)
    if not inplace:
        loss, sums, *_ = _fused(logits, ids, *batch.arguments(), *settings)
    elif torch.is_grad_enabled() and logits.requires_grad:
        loss, sums = _InPlace.apply(logits, ids, *batch.arguments(), *settings)
    else:
        loss, sums = _fused_(logits, ids, *batch.arguments(), *settings)
    return loss, LossMetrics(sums)
