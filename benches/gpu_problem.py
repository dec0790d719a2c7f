"""What the contestants of the GPU benchmark are given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from icpo import LossConfig

TEMPERATURE = 0.7
#: Sequences of a packed batch.
SEQUENCES = 8
#: The clipped loss as most runs have it, and with a bonus for entropy.
CONFIG = LossConfig.preset("grpo")
CONFIG_ENTROPY = LossConfig.preset("grpo", entropy_coef=0.01)

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


@dataclass(frozen=True)
class Size:
    """How large a problem is, and whether the peers take part."""

    tokens: int
    vocabulary: int
    dtype: str
    peers: bool = False

    def __str__(self) -> str:
        return f"T={self.tokens} V={self.vocabulary} {self.dtype}"

    @property
    def bytes(self) -> int:
        """Of the logits."""
        return self.tokens * self.vocabulary * DTYPES[self.dtype].itemsize


@dataclass
class Problem:
    """Logits and all that a loss needs, for one size."""

    size: Size
    logits: Tensor  # (N, V), read only
    work: Tensor  # (N, V), to be overwritten
    ids: Tensor  # (N,)
    old_logp: Tensor  # (N,) float32
    advantage: Tensor  # (N,) float32
    offsets: Tensor  # (B + 1,)

    def restore(self) -> None:
        """Makes the logits that a contestant has overwritten new."""
        self.work.copy_(self.logits)


def problem_of(size: Size, device: torch.device, seed: int = 0) -> Problem:
    """Random logits, tokens that are mostly likely ones, and ratios around 1."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (size.tokens, size.vocabulary)
    logits = torch.empty(shape, dtype=DTYPES[size.dtype], device=device)
    logits.normal_(0.0, 3.0, generator=generator)
    ids = torch.randint(size.vocabulary, (size.tokens,), generator=generator, device=device)
    # A quarter of the tokens stands out, as nearly certain ones do in text.
    certain = torch.arange(0, size.tokens, 4, device=device)
    logits[certain, ids[certain]] = 20.0
    noise, advantage = (
        torch.empty(size.tokens, device=device).normal_(generator=generator) for _ in range(2)
    )
    old = torch.empty(size.tokens, device=device)
    for start in range(0, size.tokens, 1024):  # small parts: this is not what is measured
        some = slice(start, start + 1024)
        log_p = torch.log_softmax(logits[some].float() / TEMPERATURE, -1)
        old[some] = log_p.gather(-1, ids[some, None])[:, 0]
    offsets = torch.linspace(0, size.tokens, SEQUENCES + 1, device=device).long()
    work = torch.empty_like(logits)
    return Problem(size, logits, work, ids, old + 0.1 * noise, advantage, offsets)
