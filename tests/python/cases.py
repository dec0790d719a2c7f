"""Random batches, and the oracle's answer to them."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from icpo import LossConfig
from icpo.ops import reference

#: Other numbers than usual, for a search by hand.
SEED = int(os.environ.get("ICPO_TEST_SEED", "0"))

OFF_RATIOS = ["behavior", "policy", "none"]
AGGREGATIONS = [
    "token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum-norm",
]
KLS = ["none", "k1", "k2", "k3"]


class AmbiguousBatch(Exception):
    """As many rows as tokens, but not one each: by row or by token can not be told apart."""


@dataclass
class Case:
    """A padded batch with everything that a loss may need, values in float32."""

    logits: Tensor  # (B, T, V)
    ids: Tensor  # (B, T)
    temperature: float | Tensor
    old_logp: Tensor  # (B, T)
    advantage: Tensor  # (B,)
    loss_mask: Tensor  # (B, T)
    expert_mask: Tensor  # (B,)
    behavior_logp: Tensor  # (B, T)
    ref_logp: Tensor  # (B, T)
    config: LossConfig

    def shared(self) -> dict[str, Any]:
        """The arguments that every operator takes."""
        return {
            "old_logp": self.old_logp,
            "advantage": self.advantage,
            "loss_mask": self.loss_mask,
            "expert_mask": self.expert_mask,
            "behavior_logp": self.behavior_logp,
            "ref_logp": self.ref_logp,
            "config": self.config,
        }

    def packed(self) -> tuple[dict[str, Any], Tensor, Tensor]:
        """The same batch with the masked end of each row cut off, and ids and logits to go with
        it."""
        rows, length = self.ids.shape
        lengths = [
            int(self.loss_mask[row].nonzero().max()) + 1 if self.loss_mask[row].any() else 0
            for row in range(rows)
        ]
        keep = torch.arange(length) < torch.tensor(lengths)[:, None]
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        arguments = self.shared()
        for name in ("old_logp", "loss_mask", "behavior_logp", "ref_logp"):
            arguments[name] = arguments[name][keep]
        # By token, where that can not be mistaken for by row.
        if sum(lengths) != rows:
            counts = torch.tensor(lengths)
            for name in ("advantage", "expert_mask"):
                arguments[name] = arguments[name].repeat_interleave(counts)
        elif any(length != 1 for length in lengths):
            raise AmbiguousBatch
        arguments["cu_seqlens"] = offsets
        return arguments, self.ids[keep], self.logits[keep]

    def reference(self, logits: Tensor) -> Tensor:
        """The oracle's loss of these logits, in their dtype."""
        temperature = self.temperature
        logp, entropy = reference.logp_entropy(logits, self.ids, temperature)
        return self.reference_of(logp, entropy)

    def reference_of(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """The oracle's loss of these log-probabilities."""
        return reference.policy_loss(
            logp,
            self.old_logp.to(logp.dtype),
            self.advantage.to(logp.dtype)[:, None],
            self.loss_mask,
            self.expert_mask[:, None],
            behavior_logp=self.behavior_logp.to(logp.dtype),
            ref_logp=self.ref_logp.to(logp.dtype),
            entropy=entropy,
            config=self.config,
        )


def random_config(rng: random.Random, seed: int) -> LossConfig:
    """Walks through every mode × aggregation × divergence, and draws the rest."""
    kl = KLS[seed // 12 % 4]
    return LossConfig(
        off_ratio=OFF_RATIOS[seed % 3],
        aggregation=AGGREGATIONS[seed // 3 % 4],
        kl=kl,
        kl_coef=0.0 if kl == "none" else rng.choice([0.001, 0.3]),
        off_clip=rng.random() < 0.5,
        clip_low=rng.choice([0.2, 0.1, float("inf")]),
        clip_high=rng.choice([0.2, 0.28, float("inf")]),
        dual_clip=rng.choice([None, 1.5, 3.0]),
        entropy_coef=rng.choice([0.0, 0.01, -0.02]),
        sft_coef=rng.choice([0.0, 0.5]),
        norm_constant=rng.choice([None, 17.0]),
        log_ratio_clamp=rng.choice([20.0, 2.0, None]),
    )


def random_case(seed: int, dtype: torch.dtype = torch.float32) -> Case:
    """A batch of awkward shape: T from 1, odd V, empty rows, all or no experts."""
    fresh = seed + 1_000_000 * SEED
    rng, generator = random.Random(fresh), torch.Generator().manual_seed(fresh)
    rows, length = rng.randint(1, 4), rng.choice([1, 1, 2, 5, 9])
    vocabulary = rng.choice([2, 3, 7, 63, 64, 65, 127, 501, 1023, 2047, 2049, 4099])
    shape = (rows, length)

    def normal(*size: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*size, generator=generator)

    logits = normal(*shape, vocabulary, scale=rng.choice([0.3, 3.0, 10.0])).to(dtype)
    ids = torch.randint(vocabulary, shape, generator=generator)
    if rng.random() < 0.3:  # some tokens ruled out, none of them selected
        ruled_out = torch.rand(logits.shape, generator=generator) < 0.2
        ruled_out.scatter_(-1, ids[..., None], False)
        logits = logits.masked_fill(ruled_out, float("-inf"))
    temperature: float | Tensor = rng.choice([1.0, 1.0, 0.1, 0.6, 5.0])
    if rng.random() < 0.2:
        temperature = 0.1 + 4 * torch.rand(shape, generator=generator)
    logp, _ = reference.logp_entropy(logits.double(), ids, temperature)
    config = random_config(rng, seed)
    return Case(
        logits,
        ids,
        temperature,
        old_logp=(logp + normal(*shape, scale=0.3)).float(),
        advantage=rng.choice([normal(rows), torch.zeros(rows), -torch.ones(rows)]),
        loss_mask=torch.rand(shape, generator=generator) < rng.choice([0.0, 0.6, 0.6, 1.0]),
        expert_mask=torch.rand(rows, generator=generator) < rng.choice([0.0, 0.4, 1.0]),
        behavior_logp=(logp + normal(*shape, scale=1.0) + 1.0).float(),
        ref_logp=(logp + normal(*shape, scale=0.3)).float(),
        config=config,
    )


def relative_norm(ours: Tensor, truth: Tensor) -> float:
    """‖ours - truth‖ / ‖truth‖; what the oracle loses in 1 - p, for p near 1, is no error."""
    difference = (ours.double() - truth.double()).norm().item()
    oracle = 1e-14
    if difference <= oracle:
        return 0.0
    return difference / max(truth.double().norm().item(), oracle)
