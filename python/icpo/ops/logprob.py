"""Log-probability, entropy and rank of selected tokens, in one pass over the logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from icpo.ops.backend import backend, check_device
from icpo.ops.tensors import Temperature, check_logits, check_temperature, check_tensors

__all__ = ["TokenStats", "logp_entropy", "token_rank", "token_stats"]


@torch.library.custom_op("icpo::logp_entropy", mutates_args=())
def _logp_entropy(
    logits: Tensor, ids: Tensor, temperature: float, temperatures: Tensor | None, check: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    heat = Temperature(temperature, temperatures)
    return backend(logits).logp_entropy(logits, ids, heat, check)


@_logp_entropy.register_fake
def _(logits: Tensor, ids: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        logits.new_empty(ids.shape, dtype=torch.float32),
        logits.new_empty(ids.shape, dtype=torch.float32),
        logits.new_empty(ids.shape, dtype=torch.int64),
        logits.new_empty((*ids.shape, 4), dtype=torch.float64),
    )


@torch.library.custom_op("icpo::logp_entropy_backward", mutates_args=())
def logp_entropy_backward(
    logits: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
) -> Tensor:
    """The gradient of logits, from gradients of log-probabilities and entropies (float64)."""
    heat = Temperature(temperature, temperatures)
    return backend(logits).logp_entropy_backward(logits, ids, heat, saved, d_logp, d_entropy)


@logp_entropy_backward.register_fake
def _(logits: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, ids, ctx.temperature, temperatures, _ = inputs
    _, _, rank, saved = output
    ctx.save_for_backward(logits, ids, temperatures, saved)
    ctx.mark_non_differentiable(rank, saved)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, d_logp: Tensor | None, d_entropy: Tensor | None, *_: Any
) -> tuple[Tensor | None, None, None, None, None]:
    logits, ids, temperatures, saved = ctx.saved_tensors
    if d_logp is None and d_entropy is None:
        return None, None, None, None, None

    def double(gradient: Tensor | None) -> Tensor:
        if gradient is None:
            return torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
        return gradient.double()

    dlogits = logp_entropy_backward(
        logits,
        ids,
        ctx.temperature,
        temperatures,
        saved,
        double(d_logp),
        double(d_entropy),
    )
    return dlogits, None, None, None, None


_logp_entropy.register_autograd(_backward, setup_context=_setup)


class TokenStats(NamedTuple):
    """What one pass over the logits finds, each of shape (B, T) or (N,)."""

    #: ln p of the selected token, float32, differentiable.
    logp: Tensor
    #: -Σ p ln p in nats, float32, differentiable.
    entropy: Tensor
    #: 1 + the number of tokens with a greater logit, int64 (eq. 13).
    rank: Tensor


def token_stats(
    logits: Tensor,
    ids: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    check: bool = True,
) -> TokenStats:
    """Log-probability, entropy and rank of selected tokens, in one pass over the logits.

    Args:
        logits: (N, V) or (B, T, V) in float32, bfloat16 or float16, read as they are. Rows may lie
            anywhere (a slice ``logits[:, :-1]`` is fine); the vocabulary must be contiguous.
        ids: (N,) or (B, T) the selected tokens, any integer dtype.
        temperature: divides the logits; a number, or a tensor with one for each token.
        check: whether NaN, +inf, rows of nothing but -inf, and selected tokens with a logit of
            -inf are errors (`NonFiniteError`), or give NaN and -inf. On a GPU a check waits for the
            device; without one, ids outside the vocabulary give NaN too.

    Raises:
        ShapeError, DTypeError, DeviceError, TokenIdError, ConfigError, NonFiniteError.
    """
    check_tensors({"logits": logits, "ids": ids})
    check_logits(logits, ids)
    heat = check_temperature(temperature, ids)
    check_device({"logits": logits, "ids": ids, "temperature": heat.each})
    logp, entropy, rank, _ = _logp_entropy(logits, ids, heat.number, heat.each, check)
    return TokenStats(logp, entropy, rank)


def logp_entropy(
    logits: Tensor,
    ids: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """ln p of selected tokens and entropy in nats, float32 and differentiable.

    Arguments are those of `token_stats`.
    """
    stats = token_stats(logits, ids, temperature, check=check)
    return stats.logp, stats.entropy


def token_rank(logits: Tensor, ids: Tensor, *, check: bool = True) -> Tensor:
    """1 + the number of tokens with a greater logit than the selected one, int64 (eq. 13)."""
    return token_stats(logits.detach(), ids, check=check).rank
