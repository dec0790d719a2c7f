"""Log-probability and entropy over a vocabulary that lies on several devices, a shard on each.

Every device reads its own logits once, and makes four numbers a token of them. These travel, and
put together they give the log-probabilities and entropies of the whole; with those, every device
makes the gradient of its own logits. So a tensor-parallel head sends 32 bytes a token and device::

    state = ops.vocab_state(logits, ids, first_id=rank * shard)              # (B, T, 4)
    states = torch.stack(all_gather(state))                                  # (S, B, T, 4)
    logp, entropy, saved = ops.merge_vocab_states(states)                    # (B, T), twice
    loss, _ = ops.policy_loss(logp.requires_grad_(), ...)
    loss.backward()
    dlogits = ops.vocab_state_backward(                                      # (B, T, shard)
        logits, ids, saved, logp.grad, torch.zeros_like(logp), first_id=rank * shard
    )
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from icpo.errors import DTypeError, ShapeError
from icpo.ops.backend import backend, check_device
from icpo.ops.tensors import (
    Temperature,
    check_floats,
    check_logits,
    check_temperature,
    check_tensors,
)

__all__ = ["MergedStates", "merge_vocab_states", "vocab_state", "vocab_state_backward"]


@torch.library.custom_op("icpo::vocab_state", mutates_args=())
def _vocab_state(
    logits: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    first_id: int,
) -> Tensor:
    heat = Temperature(temperature, temperatures)
    return backend(logits).vocab_state(logits, ids, heat, first_id)


@_vocab_state.register_fake
def _(logits: Tensor, ids: Tensor, *_: object) -> Tensor:
    return logits.new_empty((*ids.shape, 4), dtype=torch.float64)


@torch.library.custom_op("icpo::vocab_state_backward", mutates_args=())
def _vocab_state_backward(
    logits: Tensor,
    ids: Tensor,
    temperature: float,
    temperatures: Tensor | None,
    first_id: int,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
) -> Tensor:
    heat = Temperature(temperature, temperatures)
    device = backend(logits)
    return device.vocab_state_backward(logits, ids, heat, first_id, saved, d_logp, d_entropy)


@_vocab_state_backward.register_fake
def _(logits: Tensor, *_: object) -> Tensor:
    return logits.new_empty(logits.shape)


class MergedStates(NamedTuple):
    """What the shards of a vocabulary are together, each of shape (B, T) or (N,)."""

    #: ln p of the selected token, float32.
    logp: Tensor
    #: -Σ p ln p in nats, float32.
    entropy: Tensor
    #: (B, T, 4) or (N, 4) float64: what `vocab_state_backward` takes.
    saved: Tensor


def vocab_state(
    logits: Tensor,
    ids: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    first_id: int = 0,
) -> Tensor:
    """What a shard of the vocabulary has to tell the others.

    Args:
        logits: (N, V) or (B, T, V): of the tokens ``first_id`` to ``first_id + V`` alone.
        ids: (N,) or (B, T) the selected tokens, counted in the whole vocabulary.
        temperature: divides the logits; a number, or a tensor with one for each token.
        first_id: the first token of the shard.

    Returns:
        (N, 4) or (B, T, 4) float64: a reference r near the greatest logit, Σ e^((x - r)/τ) and
        Σ e^((x - r)/τ)·(x - r)/τ over all tokens but the selected one, and the selected token's
        logit, -inf where another shard has it. No gradient flows through it: see
        `vocab_state_backward`.

    Raises:
        ShapeError, DTypeError, DeviceError, ConfigError.
    """
    check_tensors({"logits": logits, "ids": ids})
    check_logits(logits, ids)
    heat = check_temperature(temperature, ids)
    check_device({"logits": logits, "ids": ids, "temperature": heat.each})
    state: Tensor = _vocab_state(logits.detach(), ids, heat.number, heat.each, first_id)
    return state


def merge_vocab_states(states: Tensor, temperature: float | Tensor = 1.0) -> MergedStates:
    """Log-probability and entropy, from the states of all shards in any order.

    Where a logit is NaN or +inf, or all are -inf, they are NaN; where no shard has the selected
    token, or has it at -inf, the log-probability is -inf.

    Args:
        states: (S, N, 4) or (S, B, T, 4) float64.
        temperature: as it was for `vocab_state`.

    Raises:
        ShapeError, DTypeError, DeviceError.
    """
    check_tensors({"states": states})
    if states.dtype != torch.float64:
        raise DTypeError(f"states: expected float64, got {states.dtype}")
    if states.dim() not in (3, 4) or states.shape[-1] != 4 or states.shape[0] == 0:
        raise ShapeError(
            f"states: expected shape (S, N, 4) or (S, B, T, 4), got {tuple(states.shape)}"
        )
    heat = check_temperature(temperature, states[0, ..., 0])
    check_device({"states": states, "temperature": heat.each})
    inverse = backend(states).inverse(heat)  # 1/τ
    labels = states[..., 3].amax(0)
    # Nothing exceeds the reference but by a little, so that no exponential overflows.
    reference = torch.maximum(states[..., 0].amax(0), labels)
    shift = (states[..., 0] - reference) * inverse  # (S, ...)
    factor = shift.exp()
    rest = (factor * states[..., 1]).sum(0)
    weighted = (factor * (states[..., 2] + states[..., 1] * shift)).sum(0)
    # The selected token comes in last: a log-probability near 0 keeps its digits.
    log_rest, log_own = rest.log(), (labels - reference) * inverse
    own = log_own.exp()
    logp = -torch.logaddexp(torch.zeros_like(rest), log_rest - log_own)
    log_sum = torch.logaddexp(log_rest, log_own)
    own_weighted = torch.where(own > 0, own * log_own, 0.0)
    entropy = (log_sum - (weighted + own_weighted) / (rest + own)).clamp(min=0.0)
    sound = (rest + own > 0) & (rest + own < torch.inf)
    logp, entropy, log_sum = (x.where(sound, torch.nan) for x in (logp, entropy, log_sum))
    saved = torch.stack([reference, log_sum, logp, entropy], dim=-1)
    return MergedStates(logp.to(torch.float32), entropy.to(torch.float32), saved)


def vocab_state_backward(
    logits: Tensor,
    ids: Tensor,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    first_id: int = 0,
) -> Tensor:
    """The gradient of a shard's logits, from those of log-probabilities and entropies.

    Args:
        logits: as for `vocab_state`, like ``ids``, ``temperature`` and ``first_id``.
        ids: see above.
        saved: of `merge_vocab_states`.
        d_logp: (N,) or (B, T) gradient of the log-probabilities.
        d_entropy: (N,) or (B, T) gradient of the entropies.
        temperature: see above.
        first_id: see above.

    Returns:
        A tensor like ``logits``. Where both gradients are 0, so is it, and logits are not read.

    Raises:
        ShapeError, DTypeError, DeviceError, ConfigError.
    """
    gradients = {"d_logp": d_logp, "d_entropy": d_entropy}
    check_tensors({"logits": logits, "ids": ids, "saved": saved, **gradients})
    check_logits(logits, ids)
    check_floats(gradients)
    heat = check_temperature(temperature, ids)
    for argument, tensor in gradients.items():
        if tensor.shape != ids.shape:
            raise ShapeError(
                f"{argument}: expected shape {tuple(ids.shape)}, got {tuple(tensor.shape)}"
            )
    if saved.dtype != torch.float64 or saved.shape != (*ids.shape, 4):
        raise ShapeError(
            f"saved: expected float64 of shape {(*ids.shape, 4)}, got {saved.dtype} of shape "
            f"{tuple(saved.shape)}"
        )
    placed = {"logits": logits, "ids": ids, "temperature": heat.each, "saved": saved}
    check_device({**placed, **gradients})
    dlogits: Tensor = _vocab_state_backward(
        logits.detach(),
        ids,
        heat.number,
        heat.each,
        first_id,
        saved,
        d_logp.detach().to(torch.float64),
        d_entropy.detach().to(torch.float64),
    )
    return dlogits
