"""The mathematics of the operators in plain torch: the oracle, the fallback, the explanation.

Everything here is differentiable by autograd and works in any float dtype; in float64 it is what
tests, benchmarks and notebooks hold the fast operators against. Losses are minimised. Shapes:
B rows, T tokens, V vocabulary; packed batches are padded first (`pad`), so (B, T) is all there is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from icpo.objective.config import LossConfig

__all__ = [
    "aggregate",
    "group_advantages",
    "kl_divergence",
    "logp_entropy",
    "pad",
    "policy_loss",
    "shaping",
    "token_loss",
    "token_rank",
]


def logp_entropy(
    logits: Tensor,  # (..., V)
    ids: Tensor,  # (...)
    temperature: float | Tensor = 1.0,  # number or (...)
) -> tuple[Tensor, Tensor]:  # (...), (...)
    """ln p of the selected tokens, and -Σ p ln p in nats."""
    if isinstance(temperature, Tensor):
        temperature = temperature.unsqueeze(-1).to(logits.dtype)
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    # 0·ln 0 = 0: a token that is ruled out adds nothing, and gets no gradient.
    finite = log_p.masked_fill(log_p == -torch.inf, 0.0)
    entropy = -(log_p.exp() * finite).sum(-1)
    return log_p.gather(-1, ids.unsqueeze(-1)).squeeze(-1), entropy


def token_rank(logits: Tensor, ids: Tensor) -> Tensor:
    """1 + the number of tokens with a greater logit (eq. 13)."""
    selected = logits.gather(-1, ids.unsqueeze(-1))
    return 1 + (logits > selected).sum(-1)


def shaping(ratio: Tensor, lam: float) -> Tensor:
    """f(x) = x/(x + λ), after eq. 10."""
    return ratio / (ratio + lam)


def kl_divergence(logp: Tensor, ref_logp: Tensor, kind: str, clamp: float | None) -> Tensor:
    """Estimators of the divergence from a reference policy."""
    d = logp - ref_logp
    if kind == "k1":
        return d
    if kind == "k2":
        return 0.5 * d**2
    if kind == "k3":
        d = d if clamp is None else d.clamp(-clamp, clamp)
        return torch.exp(-d) + d - 1
    raise ValueError(f"kind: expected k1, k2 or k3, got {kind!r}")


def _clip(ratio: Tensor, advantage: Tensor, config: LossConfig) -> Tensor:
    """-CLIP(r, Â) = -min(r·Â, clip(r, 1 - ε_low, 1 + ε_high)·Â), in eq. 5."""
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    return torch.maximum(-ratio * advantage, -clipped * advantage)


def token_loss(
    logp: Tensor,  # (B, T)
    old_logp: Tensor,  # (B, T)
    advantage: Tensor,  # (B, T)
    expert: Tensor,  # (B, T) bool
    behavior_logp: Tensor | None,  # (B, T)
    config: LossConfig,
) -> Tensor:  # (B, T)
    """The policy term of each token: eq. 5 on policy, eq. 7 or 10 off policy."""

    def ratio(log_ratio: Tensor) -> Tensor:
        limit = config.log_ratio_clamp
        return torch.exp(log_ratio if limit is None else log_ratio.clamp(-limit, limit))

    # On policy: r = πθ(τ_t | x) / πold(τ_t | x), clipped (eq. 5) ...
    on = _clip(ratio(logp - old_logp), advantage, config)
    # ... and, where Â < 0, bounded by -c·Â (dual clip).
    if config.dual_clip is not None:
        on = torch.where(advantage < 0, torch.minimum(on, -config.dual_clip * advantage), on)
    if not expert.any():
        return on
    # Off policy: r̂ = πθ(τ_t | x) / πold(τ_t | x_exp), or πθ(τ_t | x) alone.
    if config.off_ratio == "policy":
        r_hat = ratio(logp)
    else:
        if behavior_logp is None:
            raise TypeError("behavior_logp: needed for expert tokens")
        r_hat = ratio(logp - behavior_logp)
    # Shaped by f (eq. 10), or as it is (eq. 7).
    if config.off_ratio != "none":
        r_hat = shaping(r_hat, config.lam)
    off = _clip(r_hat, advantage, config) if config.off_clip else -r_hat * advantage
    return torch.where(expert, off, on)


def aggregate(
    values: Tensor,  # (B, T)
    mask: Tensor,  # (B, T) bool
    config: LossConfig,
    denominator: float | None = None,
) -> Tensor:  # ()
    """Token values to one number: Z of eq. 10, and verl's other modes."""
    values = torch.where(mask, values, torch.zeros_like(values))
    per_row, filled = values.sum(-1), (mask.sum(-1) > 0).sum()
    if config.aggregation == "token-mean":
        return values.sum() / (denominator or mask.sum().clamp(min=1))
    rows = denominator or filled.clamp(min=1)
    if config.aggregation == "seq-mean-token-mean":
        per_row = per_row / mask.sum(-1).clamp(min=1)
    if config.aggregation == "seq-mean-token-sum-norm":
        per_row = per_row / (config.norm_constant or max(mask.shape[-1], 1))
    return per_row.sum() / rows


def policy_loss(
    logp: Tensor,  # (B, T)
    old_logp: Tensor,  # (B, T)
    advantage: Tensor,  # (B, T) or (B, 1)
    loss_mask: Tensor,  # (B, T) bool
    expert_mask: Tensor,  # (B, T) or (B, 1) bool
    *,
    behavior_logp: Tensor | None = None,  # (B, T)
    ref_logp: Tensor | None = None,  # (B, T)
    entropy: Tensor | None = None,  # (B, T)
    config: LossConfig,
    denominator: float | None = None,
) -> Tensor:  # ()
    """The loss (eq. 10) with its optional terms."""
    expert = expert_mask.expand_as(logp) & loss_mask

    # What the mask leaves out may be anything, NaN included, and must not reach a product.
    def kept(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.masked_fill(~loss_mask, 0.0)

    logp, old_logp = logp.masked_fill(~loss_mask, 0.0), old_logp.masked_fill(~loss_mask, 0.0)
    behavior_logp, ref_logp, entropy = kept(behavior_logp), kept(ref_logp), kept(entropy)
    advantage = advantage.expand_as(logp).masked_fill(~loss_mask, 0.0)
    loss = token_loss(logp, old_logp, advantage, expert, behavior_logp, config)
    if config.kl != "none" and ref_logp is not None:
        divergence = kl_divergence(logp, ref_logp, config.kl, config.log_ratio_clamp)
        loss = loss + config.kl_coef * divergence
    if config.entropy_coef and entropy is not None:
        loss = loss - config.entropy_coef * entropy
    if config.sft_coef:
        loss = loss - config.sft_coef * torch.where(expert, logp, torch.zeros_like(logp))
    return aggregate(loss, loss_mask, config, denominator)


def group_advantages(
    rewards: Tensor,  # (B,)
    group_ids: Tensor,  # (B,)
    *,
    std: str = "unbiased",
    baseline: str = "mixed",
    expert_mask: Tensor | None = None,  # (B,) bool
    keep_mask: Tensor | None = None,  # (B,) bool
    eps: float = 1e-6,
) -> Tensor:  # (B,)
    """Eq. 4 and 6, one group at a time."""
    keep = torch.ones_like(rewards, dtype=torch.bool) if keep_mask is None else keep_mask
    off = torch.zeros_like(keep) if expert_mask is None else expert_mask
    advantages = torch.zeros_like(rewards)
    for group in torch.unique(group_ids):
        members = (group_ids == group) & keep
        counted = rewards[members if baseline == "mixed" else members & ~off]
        mean, deviation = rewards.new_zeros(()), rewards.new_ones(()) + eps
        if len(counted) > 1:
            flat = bool((counted == counted[0]).all())
            mean = counted[0] if flat else counted.mean()
            deviation = rewards.new_ones(()) if flat else counted.std() + eps
        difference = rewards[members] - mean
        advantages[members] = difference / deviation if std == "unbiased" else difference
    return advantages


def pad(packed: Tensor, cu_seqlens: Tensor, fill: float = 0.0) -> Tensor:
    """(N, ...) with offsets to (B, T, ...), T the longest row."""
    lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
    longest = max(lengths, default=0)
    padded = packed.new_full((len(lengths), longest, *packed.shape[1:]), fill)
    for row, (start, length) in enumerate(zip(cu_seqlens.tolist(), lengths, strict=False)):
        padded[row, :length] = packed[start : start + length]
    return padded
