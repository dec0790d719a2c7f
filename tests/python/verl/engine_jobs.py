"""Updates that verl's engine is to make: what the tests ask for, and what comes back.

`engine_runs` makes them in processes of its own, `engine_truth` recomputes them in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

__all__ = ["LEARNING_RATE", "Job", "Outcome", "Row", "Rows", "adapter_value", "make_model"]

#: Of plain SGD, whose steps show an error of a gradient as large as it is.
LEARNING_RATE = 0.02

#: Logarithms of ratios are drawn from these, with either sign. What lies between them are the
#: logarithms of the clips (0.8, 0.9, 1.2, 1.28, 3) and of what f takes there, so that no token is
#: clipped in float32 and not in float64.
BANDS = ((0.03, 0.08), (0.3, 0.6), (1.2, 2.0))
EXPERT_BANDS = (*BANDS, (3.5, 8.0))


@dataclass
class Row:
    """A rollout as verl keeps it, and its log-probabilities under other policies."""

    prompt: Tensor  # (P,)
    response: Tensor  # (R,)
    mask: Tensor  # (R,) bool
    expert: bool
    advantage: float
    old_logp: Tensor  # (R,)
    #: Those of the rollout engine: for expert rows, of the behaviour.
    rollout_logp: Tensor  # (R,)
    ref_logp: Tensor  # (R,)


@dataclass
class Job:
    """One call of verl's `update_actor`, with the weights that the model began with."""

    rows: list[Row]
    #: Settings below ``icpo``; None: verl's own loss.
    icpo: dict[str, Any] | None = field(default_factory=dict)
    #: Settings below ``actor_rollout_ref.actor``.
    actor: dict[str, Any] = field(default_factory=dict)
    #: Which of the workers of `engine_runs`.
    worker: str = "packed"
    #: Synthetic rows that verl adds.
    padding: int = 0
    #: Rows of an update, over all ranks; None: all.
    mini_batch: int | None = None
    epochs: int = 1
    #: Rows of a micro-batch on each rank ...
    micro_batch: int = 2
    #: ... or its tokens, with dynamic batches.
    tokens: int | None = None
    temperature: float = 1.0

    @property
    def update_rows(self) -> int:
        """Rows of an update, over all ranks."""
        return self.mini_batch or len(self.rows) + self.padding

    @property
    def updates(self) -> int:
        """How often the optimiser steps."""
        return (len(self.rows) + self.padding) // self.update_rows * self.epochs


@dataclass
class Outcome:
    """What one rank saw of a job."""

    #: As the driver gets them, averaged over updates.
    metrics: dict[str, Any]
    #: The same, with the sums behind ICPO's figures made into figures; empty with verl's own loss.
    figures: dict[str, float]
    #: Of each update, by name.
    gradients: list[dict[str, Tensor]]
    #: In the end.
    parameters: dict[str, Tensor]
    #: How many micro-batches the loss was called for.
    calls: int


def make_model() -> Qwen3ForCausalLM:
    """Two layers, whose random weights are large enough that probabilities differ."""
    config = Qwen3Config(
        vocab_size=61,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config)


def adapter_value(name: str, shape: torch.Size) -> Tensor:
    """Weights of a part of a LoRA adapter: half begin as 0, and hide gradients of the others."""
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(crc32(name.encode())))


class Rows:
    """Draws rows, around what a model in float64 says of them."""

    def __init__(self, model: Qwen3ForCausalLM, seed: int) -> None:
        self.model = model
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, experts: str, temperature: float = 1.0) -> list[Row]:
        """One row for each letter: ``e`` for an expert one, ``o`` for an on-policy one."""
        return [self._row(letter == "e", temperature) for letter in experts]

    def _row(self, expert: bool, temperature: float) -> Row:
        prompt, response = self._ids(1, 9), self._ids(1, 12)
        ids = torch.cat([prompt, response])
        with torch.no_grad():
            logits = self.model(ids[None]).logits[0, len(prompt) - 1 : -1] / temperature
        logp = torch.log_softmax(logits, -1).gather(-1, response[:, None])[:, 0]
        mask = torch.ones(len(response), dtype=torch.bool)
        if len(response) > 4:
            mask[self._integer(0, len(response))] = False
        advantage = 2 * torch.rand((), generator=self.generator).item() - 1
        return Row(
            prompt,
            response,
            mask,
            expert,
            advantage + (0.1 if advantage > 0 else -0.1),
            old_logp=(logp - self._shifts(BANDS, len(logp))).float(),
            rollout_logp=(
                logp - self._shifts(EXPERT_BANDS if expert else BANDS, len(logp))
            ).float(),
            ref_logp=(logp - 0.5 * torch.randn(len(logp), generator=self.generator)).float(),
        )

    def _integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=self.generator))

    def _ids(self, least: int, most: int) -> Tensor:
        size = (self._integer(least, most + 1),)
        return torch.randint(2, self.model.config.vocab_size, size, generator=self.generator)

    def _shifts(self, bands: tuple[tuple[float, float], ...], count: int) -> Tensor:
        low, high = torch.tensor(bands, dtype=torch.float64)[
            torch.randint(len(bands), (count,), generator=self.generator)
        ].unbind(-1)
        size = low + (high - low) * torch.rand(count, generator=self.generator, dtype=torch.float64)
        return size * (2 * torch.randint(2, (count,), generator=self.generator) - 1)
