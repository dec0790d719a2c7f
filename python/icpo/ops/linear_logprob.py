"""Log-probability and entropy straight from hidden states, the logits never whole.

The backward pass makes the logits of each chunk of tokens once more and turns them into their
gradient in place: four matrix products a chunk in all, one chunk of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from icpo.errors import IcpoError, NonFiniteError
from icpo.ops.backend import backend, check_device
from icpo.ops.checks import (
    Check,
    check_number,
    ids_check,
    index_in,
    raise_first,
    spelled,
    temperature_checks,
)
from icpo.ops.linear import check_linear
from icpo.ops.logprob import double
from icpo.ops.tensors import Temperature, check_temperature

__all__ = ["linear_logp_entropy"]


class _Chunk(NamedTuple):
    """Some tokens at a time, n of them."""

    #: Their places.
    some: slice
    #: (n, H).
    states: Tensor
    #: (n, V), in memory that the next chunk takes.
    logits: Tensor
    ids: Tensor
    temperature: Temperature


def _chunks(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    chunk: int,
) -> Iterator[_Chunk]:
    states, ids = hidden.reshape(-1, hidden.shape[-1]), ids.reshape(-1)  # (N, H), (N,)
    each = None if temperatures is None else temperatures.reshape(-1)
    buffer = states.new_empty((min(chunk, len(states)), len(weight)))
    for first in range(0, len(states), chunk):
        some = slice(first, first + chunk)
        part = states[some]
        logits = torch.mm(part, weight.t(), out=buffer[: len(part)])
        heat = Temperature(temperature, None if each is None else each[some])
        yield _Chunk(some, part, logits, ids[some], heat)


@torch.library.custom_op("icpo::linear_logp_entropy", mutates_args=())
def _linear(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    check: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    if check:
        _check_values(ids, len(weight), Temperature(temperature, temperatures))
    logp, entropy = (ids.new_empty(ids.numel(), dtype=torch.float32) for _ in range(2))
    saved = ids.new_empty((ids.numel(), 4), dtype=torch.float64)
    device = backend(hidden)
    for part in _chunks(hidden, weight, ids, temperature, temperatures, chunk):
        found = device.logp_entropy(part.logits, part.ids, part.temperature, False)
        logp[part.some], entropy[part.some], _, saved[part.some] = found
    if check:
        _check_found(logp, ids.shape)
    return logp.view(ids.shape), entropy.view(ids.shape), saved


@_linear.register_fake
def _(hidden: Tensor, weight: Tensor, ids: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return (
        ids.new_empty(ids.shape, dtype=torch.float32),
        ids.new_empty(ids.shape, dtype=torch.float32),
        ids.new_empty((ids.numel(), 4), dtype=torch.float64),
    )


@torch.library.custom_op("icpo::linear_logp_entropy_backward", mutates_args=())
def _linear_backward(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    chunk: int,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
    hidden_moves: bool,
    weight_moves: bool,
) -> tuple[Tensor, Tensor]:
    device, d_logp, d_entropy = backend(hidden), d_logp.reshape(-1), d_entropy.reshape(-1)
    d_hidden = hidden.new_empty((ids.numel(), hidden.shape[-1]) if hidden_moves else (0,))
    # Several chunks add up in float32, whatever the weights are kept in. One needs no such copy.
    alone = 0 < ids.numel() <= chunk
    d_weight = weight.new_zeros(
        weight.shape if weight_moves and not alone else (0,), dtype=torch.float32
    )
    for part in _chunks(hidden, weight, ids, temperature, temperatures, chunk):
        device.logp_entropy_backward_(
            part.logits,
            part.ids,
            part.temperature,
            saved[part.some],
            d_logp[part.some],
            d_entropy[part.some],
        )
        dlogits = part.logits  # in place
        if hidden_moves:
            torch.mm(dlogits, weight, out=d_hidden[part.some])
        if weight_moves and alone:
            d_weight = torch.mm(dlogits.t(), part.states)
        elif weight_moves:
            device.add_product(d_weight, dlogits, part.states)
    if hidden_moves:
        d_hidden = d_hidden.view(hidden.shape)
    return d_hidden, d_weight.to(weight.dtype)


@_linear_backward.register_fake
def _(hidden: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    hidden_moves, weight_moves = rest[-2:]
    return (
        hidden.new_empty(hidden.shape if hidden_moves else (0,)),
        weight.new_empty(weight.shape if weight_moves else (0,)),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, ids, ctx.temperature, temperatures, _, ctx.chunk = inputs
    saved = output[2]
    ctx.save_for_backward(hidden, weight, ids, temperatures, saved)
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, d_logp: Tensor | None, d_entropy: Tensor | None, _: Any
) -> tuple[Tensor | None, ...]:
    hidden, weight, ids, temperatures, saved = ctx.saved_tensors
    hidden_moves, weight_moves = ctx.needs_input_grad[:2]
    if d_logp is None and d_entropy is None:
        return (None,) * 7
    d_hidden, d_weight = _linear_backward(
        hidden,
        weight,
        ids,
        ctx.temperature,
        temperatures,
        ctx.chunk,
        saved,
        double(d_logp, ids),
        double(d_entropy, ids),
        hidden_moves,
        weight_moves,
    )
    gradients = (d_hidden if hidden_moves else None, d_weight if weight_moves else None)
    return (*gradients, *[None] * 5)


_linear.register_autograd(_backward, setup_context=_setup)


def linear_logp_entropy(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    chunk: int = 4096,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """`logp_entropy` of logits ``hidden @ weight.T``, differentiable in both, in chunks of tokens.

    Args:
        hidden: (N, H) or (B, T, H) the last hidden states, in float32, bfloat16 or float16.
        weight: (V, H) of the head, same dtype.
        ids: (N,) or (B, T) the selected tokens, any integer dtype.
        temperature: divides the logits; a number, or a tensor with one for each token.
        chunk: how many rows of logits exist at a time.
        check: see `token_stats`.

    Returns:
        ln p of selected tokens and entropy in nats, float32.

    Raises:
        ShapeError, DTypeError, DeviceError, TokenIdError, ConfigError, NonFiniteError.
    """
    check_linear(hidden, weight, ids, chunk)
    heat = check_temperature(temperature, ids)
    check_device({"hidden": hidden, "weight": weight, "ids": ids, "temperature": heat.each})
    logp, entropy, _ = _linear(hidden, weight, ids, heat.number, heat.each, check, chunk)
    return logp, entropy


def _check_values(ids: Tensor, vocabulary: int, temperature: Temperature) -> None:
    """Of what a chunk would name by its place in the chunk."""
    check_number(temperature)
    all_ids, place = ids.reshape(-1), index_in(ids.shape)
    used = torch.ones_like(all_ids, dtype=torch.bool)
    checks = [ids_check(all_ids, vocabulary, used, place), *temperature_checks(temperature, used)]
    raise_first(checks)


def _check_found(logp: Tensor, shape: torch.Size) -> None:
    def error(token: int) -> IcpoError:
        return NonFiniteError(
            f"hidden[{index_in(shape)(token)}]: expected a state that gives the selected token a "
            f"finite log-probability, got {spelled(logp[token].item())}"
        )

    raise_first([Check(~logp.isfinite(), error)])
