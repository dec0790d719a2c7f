"""A shard of a vocabulary on the CPU, by the core's operators for a whole one."""

from __future__ import annotations

import torch
from torch import Tensor

from icpo.ops.tensors import Temperature

__all__ = ["inverse", "local_ids", "state", "with_first_token"]

#: The reference of a shard of nothing but -inf: any logit exceeds it.
NOTHING = torch.finfo(torch.float32).min


def inverse(temperature: Temperature) -> float | Tensor:
    """1/τ, (...) float64 where there is one a token."""
    if temperature.each is None:
        return 1.0 / temperature.number
    return 1.0 / temperature.each.to(torch.float64)


def local_ids(ids: Tensor, first_id: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids counted within the shard, 0 where another has the token; and where this one has it."""
    local = ids.to(torch.int64) - first_id
    here = (local >= 0) & (local < vocabulary)
    return local.where(here, 0), here


def state(
    logits: Tensor,
    local: Tensor,
    here: Tensor,
    saved: Tensor,  # (..., 4): greatest logit, ln Σ, ln p of token `local`, entropy; of the shard
    temperature: Temperature,
) -> Tensor:  # (..., 4)
    """The shard's state, from what the forward pass over the shard alone has found."""
    greatest, log_sum, logp, entropy = saved.unbind(-1)
    sums = log_sum.exp()
    labels = logits.gather(-1, local.unsqueeze(-1)).squeeze(-1).to(torch.float64)
    # 1 - p without cancellation: the sum over the other tokens keeps its digits.
    rest = torch.where(here, -sums * torch.expm1(logp), sums)
    weighted = (log_sum - entropy) * sums
    log_own = (labels - greatest) * inverse(temperature)
    own = log_own.exp()
    weighted = torch.where(here & (own > 0), weighted - own * log_own, weighted)
    labels = labels.where(here, -torch.inf)
    found = torch.stack([greatest, rest, weighted, labels], dim=-1)
    # A greatest logit of -inf is one of nothing, unless a NaN hides behind it.
    empty = greatest == -torch.inf
    empty[empty.clone()] = ~logits[empty].isnan().any(-1)
    return found.where(~empty.unsqueeze(-1), found.new_tensor([NOTHING, 0.0, 0.0, -torch.inf]))


def with_first_token(
    dlogits: Tensor,
    logits: Tensor,
    here: Tensor,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
    temperature: Temperature,
) -> Tensor:
    """Mends the gradient of token 0, which was taken for the selected one where none is here."""
    reference, log_sum, _, entropy = saved.unbind(-1)
    heat = inverse(temperature)
    log_p = (logits[..., 0].to(torch.float64) - reference) * heat - log_sum
    p = log_p.exp()
    gradient = -heat * (d_logp * p + d_entropy * (torch.xlogy(p, p) + entropy * p))
    moves = (d_logp != 0) | (d_entropy != 0)
    wrong = ~here & moves
    dlogits[..., 0] = torch.where(wrong, gradient.to(dlogits.dtype), dlogits[..., 0])
    return dlogits
