"""Every operator, unchecked, as a function of one problem: to run again, elsewhere, or captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from icpo import LossConfig, ops


def problem(
    vocabulary: int, tokens: int = 64, dtype: torch.dtype = torch.bfloat16, device: str = "cuda"
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Logits (1, T, V), ids (1, T), and the rest of a batch, on a device."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(1, tokens, vocabulary, generator=generator)
    ids = torch.randint(vocabulary, (1, tokens), generator=generator)
    mask = torch.rand(1, tokens, generator=generator) < 0.8
    batch = {
        "old_logp": torch.full((1, tokens), -12.0),
        "advantage": torch.randn(1, tokens, generator=generator),
        "loss_mask": mask,
        "expert_mask": torch.zeros(1, dtype=torch.bool),
    }
    batch = {name: value.to(device) for name, value in batch.items()}
    batch["config"] = LossConfig(entropy_coef=0.01)
    return logits.to(device, dtype), ids.to(device), batch


#: Everything there is, as functions of logits, ids and a batch that give tensors.
OPERATORS: dict[str, Callable[..., tuple[Tensor, ...]]] = {}


def operator(function: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Puts a function into the table."""
    OPERATORS[function.__name__] = function
    return function


@operator
def stats(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(ops.token_stats(logits, ids, 0.7, check=False))


@operator
def in_place(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    gradient = logits.clone()
    loss, metrics = ops.fused_policy_loss(gradient, ids, inplace=True, check=False, **batch)
    return loss, metrics.sums, gradient


@operator
def functional(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    leaf = logits.detach().requires_grad_(True)
    loss, metrics = ops.fused_policy_loss(leaf, ids, check=False, **batch)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), metrics.sums, gradient


@operator
def linear(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    hidden = logits[..., :64].detach().requires_grad_(True)
    weight = logits[0, :64].T.contiguous().requires_grad_(True)
    loss, metrics = ops.linear_policy_loss(hidden, weight, ids, chunk=24, check=False, **batch)
    return loss.detach(), metrics.sums, *torch.autograd.grad(loss, (hidden, weight))


@operator
def overwritten(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    leaf = logits.detach().requires_grad_(True)
    logp, entropy = ops.logp_entropy(leaf * 1, ids, 0.7, check=False, overwrite_logits=True)
    (gradient,) = torch.autograd.grad((logp + entropy).sum(), leaf)
    return logp.detach(), entropy.detach(), gradient


@operator
def linear_logp(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    hidden = logits[..., :64].detach().requires_grad_(True)
    weight = logits[0, :64].T.contiguous().requires_grad_(True)
    logp, entropy = ops.linear_logp_entropy(hidden, weight, ids, chunk=24, check=False)
    gradients = torch.autograd.grad((logp + entropy).sum(), (hidden, weight))
    return logp.detach(), entropy.detach(), *gradients


@operator
def advantages(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    rewards, groups = batch["advantage"][0], ids[0] % 7
    return (ops.group_advantages(rewards, groups, check=False),)


@operator
def shard(logits: Tensor, ids: Tensor, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    half = logits.shape[-1] // 2
    parts = (logits[..., :half], logits[..., half:])
    states = [
        ops.vocab_state(part, ids, first_id=first)
        for part, first in zip(parts, (0, half), strict=True)
    ]
    return tuple(ops.merge_vocab_states(torch.stack(states)))


def same_bits(name: str, arguments: tuple[Any, ...]) -> None:
    once = OPERATORS[name](*arguments)
    for _ in range(2):
        assert all(map(torch.equal, OPERATORS[name](*arguments), once))
