"""Log-probability, entropy and rank of selected tokens, in one pass over the logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from icpo.errors import IcpoError, ShapeError
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


@torch.library.custom_op("icpo::logp_entropy_backward_", mutates_args={"logits"})
def logp_entropy_backward_(
    logits: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
) -> None:
    """The same in place: the logits become their gradient."""
    heat = Temperature(temperature, temperatures)
    backend(logits).logp_entropy_backward_(logits, ids, heat, saved, d_logp, d_entropy)


@logp_entropy_backward_.register_fake
def _(logits: Tensor, *_: Any) -> None:
    return None


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
    gradients = double(d_logp, ids), double(d_entropy, ids)
    dlogits = logp_entropy_backward(logits, ids, ctx.temperature, temperatures, saved, *gradients)
    return dlogits, None, None, None, None


_logp_entropy.register_autograd(_backward, setup_context=_setup)


def double(gradient: Tensor | None, ids: Tensor) -> Tensor:
    """The gradient of values of which there is one for each id, as backends take it."""
    if gradient is None:
        return torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
    return gradient.double()


class _Overwriting(torch.autograd.Function):
    """The operator whose backward pass leaves the gradient in the memory of the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        ids: Tensor,
        temperature: float,
        temperatures: Tensor | None,
        check: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logp, entropy, rank, saved = _logp_entropy(logits, ids, temperature, temperatures, check)
        ctx.temperature, ctx.spent = temperature, False
        ctx.save_for_backward(logits, ids, temperatures, saved)
        ctx.mark_non_differentiable(rank)
        ctx.set_materialize_grads(False)
        return logp, entropy, rank

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_logp: Tensor | None, d_entropy: Tensor | None, _: Any
    ) -> tuple[Tensor | None, None, None, None, None]:
        if d_logp is None and d_entropy is None:
            return None, None, None, None, None
        if ctx.spent:
            raise IcpoError(
                "backward: the logits hold their gradient since an earlier backward pass; use "
                "overwrite_logits=False to differentiate several times"
            )
        # Raises if somebody has written to the logits meanwhile. Writing to them here makes
        # autograd raise for whoever still needs them: detached, they share a version counter.
        logits, ids, temperatures, saved = ctx.saved_tensors
        dlogits, ctx.spent = logits.detach(), True
        gradients = double(d_logp, ids), double(d_entropy, ids)
        logp_entropy_backward_(dlogits, ids, ctx.temperature, temperatures, saved, *gradients)
        return dlogits, None, None, None, None


def _check_overwritable(logits: Tensor) -> None:
    """Checks that logits are values in passing, each in memory of its own."""
    base = logits._base if logits._is_view() else logits
    if base is None or base.is_leaf:
        raise IcpoError(
            "overwrite_logits: expected logits that were computed, got a tensor that a gradient is "
            "asked for (a leaf), which would be lost"
        )
    axes = zip(logits.shape, logits.stride(), strict=True)
    if any(stride == 0 and size > 1 for size, stride in axes):
        raise ShapeError(
            "overwrite_logits: expected logits without overlapping elements, got strides "
            f"{logits.stride()} for shape {tuple(logits.shape)}"
        )


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
    heat = _checked(logits, ids, temperature)
    logp, entropy, rank, _ = _logp_entropy(logits, ids, heat.number, heat.each, check)
    return TokenStats(logp, entropy, rank)


def logp_entropy(
    logits: Tensor,
    ids: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    check: bool = True,
    overwrite_logits: bool = False,
) -> tuple[Tensor, Tensor]:
    """ln p of selected tokens and entropy in nats, float32 and differentiable.

    Args:
        logits: see `token_stats`, as for all that follows.
        ids: see `token_stats`.
        temperature: see `token_stats`.
        check: see `token_stats`.
        overwrite_logits: whether the backward pass writes the gradient of the logits over them, so
            that there is no second tensor of their size. They have to be computed, not a leaf, and
            one backward pass is possible. If another operation needs them for its own gradient
            afterwards, autograd raises a RuntimeError. Under ``torch.compile`` the compiler decides
            over memory, and this has no effect.

    Raises:
        ShapeError, DTypeError, DeviceError, TokenIdError, ConfigError, NonFiniteError, IcpoError.
    """
    heat = _checked(logits, ids, temperature)
    differentiable = torch.is_grad_enabled() and logits.requires_grad
    if overwrite_logits and differentiable and not torch.compiler.is_compiling():
        _check_overwritable(logits)
        logp, entropy, _ = _Overwriting.apply(logits, ids, heat.number, heat.each, check)
        return logp, entropy
    logp, entropy, _, _ = _logp_entropy(logits, ids, heat.number, heat.each, check)
    return logp, entropy


def token_rank(logits: Tensor, ids: Tensor, *, check: bool = True) -> Tensor:
    """1 + the number of tokens with a greater logit than the selected one, int64 (eq. 13)."""
    return token_stats(logits.detach(), ids, check=check).rank


def _checked(logits: Tensor, ids: Tensor, temperature: float | Tensor) -> Temperature:
    """The temperature, once all arguments are known to fit each other."""
    check_tensors({"logits": logits, "ids": ids})
    check_logits(logits, ids)
    heat = check_temperature(temperature, ids)
    check_device({"logits": logits, "ids": ids, "temperature": heat.each})
    return heat
