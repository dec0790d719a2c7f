"""Logits that are awkward, and what float64 makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOG2E = 1.4426950408889634


@dataclass
class Truth:
    """Log-probability, entropy and rank, each (N,) float64; gradients on demand."""

    logits: Tensor  # (N, V) float64
    ids: Tensor
    temperature: Tensor  # (N, 1)

    def __post_init__(self) -> None:
        logp = torch.log_softmax(self.logits / self.temperature, -1)
        probability = logp.exp()
        self.all_logp = logp
        self.logp = logp.gather(-1, self.ids[:, None])[:, 0]
        self.entropy = -torch.where(probability > 0, probability * logp, 0.0).sum(-1)
        selected = self.logits.gather(-1, self.ids[:, None])
        self.rank = 1 + (self.logits > selected).sum(-1)

    def gradient(self, d_logp: Tensor, d_entropy: Tensor) -> Tensor:
        """(N, V): g·(δ - p)/τ - h·p·(ln p + H)/τ."""
        p = self.all_logp.exp()
        spread = torch.where(p > 0, p * (self.all_logp + self.entropy[:, None]), 0.0)
        own = torch.zeros_like(p).scatter_(-1, self.ids[:, None], 1.0)
        return (d_logp[:, None] * (own - p) - d_entropy[:, None] * spread) / self.temperature


def random_logits(
    rows: int, vocabulary: int, dtype: torch.dtype, seed: int, offset: int = 0, gap: int = 0
) -> Tensor:
    """(rows, vocabulary) with rows `gap` elements apart, the first one `offset` elements behind a
    16-byte boundary. Every third row has one token far above the others, every fourth a third of
    them at -inf."""
    generator = torch.Generator().manual_seed(seed)
    stride = vocabulary + gap
    memory = torch.zeros(offset + rows * stride + 16, dtype=dtype)
    start = -memory.data_ptr() // memory.element_size() % (16 // memory.element_size()) + offset
    logits = memory[start:].as_strided((rows, vocabulary), (stride, 1), start)
    logits.copy_(4 * torch.randn(rows, vocabulary, generator=generator))
    places = torch.randint(vocabulary, (rows,), generator=generator)
    logits[torch.arange(0, rows, 3), places[0::3]] = 21.0
    hidden = torch.rand(rows, vocabulary, generator=generator) < 1 / 3
    hidden[torch.arange(rows), places] = False
    hidden[torch.arange(rows) % 4 != 1] = False
    return logits.masked_fill_(hidden, -torch.inf)


def random_ids(logits: Tensor, seed: int) -> Tensor:
    """(N,) tokens that can be: the first, the last, the greatest, any."""
    generator = torch.Generator().manual_seed(seed)
    rows, vocabulary = logits.shape
    ids = torch.randint(vocabulary, (rows,), generator=generator)
    choices = torch.stack(
        [
            ids,
            torch.zeros_like(ids),
            torch.full_like(ids, vocabulary - 1),
            logits.float().argmax(-1),
        ]
    )
    ids = choices[torch.arange(rows) % 4, torch.arange(rows)]
    possible = logits.gather(-1, ids[:, None])[:, 0] > -torch.inf
    return torch.where(possible, ids, logits.float().argmax(-1))


def scale_of(temperature: float) -> float:
    """log2(e)/τ as the kernels take it."""
    return LOG2E / temperature


def relative_norm(ours: Tensor, truth: Tensor) -> float:
    """How far a gradient is off, in its norm."""
    return ((ours.double() - truth).norm() / truth.norm()).item()
