"""The policy loss straight from hidden states, the logits never whole.

Three matrix products a chunk of tokens and no recomputation: the logits of the chunk, which become
their own gradient in place, and from that the gradients of hidden states and weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import ConfigError, DTypeError, ShapeError
from icpo.objective.config import LossConfig
from icpo.objective.metrics import LossMetrics
from icpo.ops.backend import backend, check_device
from icpo.ops.tensors import (
    LOGIT_DTYPES,
    Batch,
    Temperature,
    check_integers,
    check_temperature,
    check_tensors,
)

__all__ = ["check_linear", "linear_policy_loss"]


@torch.library.custom_op("icpo::linear_policy_loss", mutates_args=())
def _linear(
    hidden: Tensor,
    weight: Tensor,
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
    chunk: int,
    hidden_moves: bool,
    weight_moves: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    heat, settings = Temperature(temperature, temperatures), LossConfig.from_spec(config)
    device = backend(hidden)
    chunks = device.chunked_loss(ids, heat, batch, settings, denominator, check)
    states = hidden.reshape(-1, hidden.shape[-1])  # (N, H)
    tokens = len(states)
    d_hidden = states.new_empty(states.shape if hidden_moves else (0,))
    # Chunks add up in float32, whatever the weights are kept in.
    d_weight = weight.new_zeros(weight.shape if weight_moves else (0,), dtype=torch.float32)
    buffer = states.new_empty((min(chunk, tokens), len(weight)))
    for first in range(0, tokens, chunk):
        part = states[first : first + chunk]
        logits = torch.mm(part, weight.t(), out=buffer[: len(part)])
        chunks.add(logits, first)
        dlogits = logits  # in place
        if hidden_moves:
            torch.mm(dlogits, weight, out=d_hidden[first : first + chunk])
        if weight_moves:
            device.add_product(d_weight, dlogits, part)
    loss, sums = chunks.result()
    if hidden_moves:
        d_hidden = d_hidden.reshape(hidden.shape)
    return loss, sums, d_hidden, d_weight.to(weight.dtype)


@_linear.register_fake
def _(hidden: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden_moves, weight_moves = rest[-2:]
    return (
        hidden.new_empty((), dtype=torch.float32),
        hidden.new_empty((len(_core.LOSS_SUMS),), dtype=torch.float64),
        hidden.new_empty(hidden.shape if hidden_moves else (0,)),
        weight.new_empty(weight.shape if weight_moves else (0,)),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, sums, d_hidden, d_weight = output
    ctx.hidden_moves, ctx.weight_moves = inputs[16], inputs[17]
    ctx.save_for_backward(d_hidden, d_weight)
    ctx.mark_non_differentiable(sums, d_hidden, d_weight)


def _backward(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    d_hidden, d_weight = ctx.saved_tensors
    return (
        d_hidden * d_loss if ctx.hidden_moves else None,
        d_weight * d_loss if ctx.weight_moves else None,
        *[None] * 16,
    )


_linear.register_autograd(_backward, setup_context=_setup)


def linear_policy_loss(
    hidden: Tensor,
    weight: Tensor,
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
    chunk: int = 4096,
    check: bool = True,
) -> tuple[Tensor, LossMetrics]:
    """The loss of logits ``hidden @ weight.T``, differentiable in both, in chunks of tokens.

    Args:
        hidden: (B, T, H), or (N, H) with ``cu_seqlens``: the last hidden states, in float32,
            bfloat16 or float16.
        weight: (V, H) of the head, same dtype.
        ids: (B, T) or (N,) the selected tokens; see `fused_policy_loss`, as for all that follows.
        old_logp: see `policy_loss`.
        advantage: see `policy_loss`.
        loss_mask: see `policy_loss`.
        expert_mask: see `policy_loss`.
        temperature: divides the logits; a number, or a tensor with one for each token.
        behavior_logp: see `policy_loss`.
        ref_logp: see `policy_loss`.
        cu_seqlens: see `policy_loss`.
        config: the loss.
        denominator: see `policy_loss`.
        chunk: how many rows of logits exist at a time.
        check: see `policy_loss`.

    Returns:
        The loss, float32, and `LossMetrics`.

    Raises:
        ShapeError, DTypeError, DeviceError, TokenIdError, ConfigError, MissingArgumentError,
        NonFiniteError.
    """
    check_linear(hidden, weight, ids, chunk)
    heat = check_temperature(temperature, ids)
    batch = Batch(old_logp, advantage, loss_mask, expert_mask, behavior_logp, ref_logp, cu_seqlens)
    batch.check("ids", tuple(ids.shape))
    tensors = {"hidden": hidden, "weight": weight, "ids": ids, "temperature": heat.each}
    check_device({**tensors, **batch.named()})
    loss, sums, _, _ = _linear(
        hidden,
        weight,
        ids,
        *batch.arguments(),
        heat.number,
        heat.each,
        config.spec,
        denominator,
        check,
        chunk,
        hidden.requires_grad,
        weight.requires_grad,
    )
    return loss, LossMetrics(sums)


def check_linear(hidden: Tensor, weight: Tensor, ids: Tensor, chunk: int) -> None:
    """Checks that hidden states, head and ids fit each other and the core."""
    check_tensors({"hidden": hidden, "weight": weight, "ids": ids})
    check_integers("ids", ids)
    if hidden.dtype not in LOGIT_DTYPES or weight.dtype != hidden.dtype:
        raise DTypeError(
            "hidden, weight: expected one dtype of float32, bfloat16 and float16, got "
            f"{hidden.dtype} and {weight.dtype}"
        )
    if hidden.dim() not in (2, 3) or tuple(hidden.shape[:-1]) != tuple(ids.shape):
        raise ShapeError(
            f"hidden: expected shape (*{tuple(ids.shape)}, H) to go with ids, got "
            f"{tuple(hidden.shape)}"
        )
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1]:
        raise ShapeError(
            f"weight: expected shape (V, {hidden.shape[-1]}), got {tuple(weight.shape)}"
        )
    if chunk < 1:
        raise ConfigError(f"chunk: expected a number of tokens > 0, got {chunk}")
