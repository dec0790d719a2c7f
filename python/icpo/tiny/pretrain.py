"""Pretraining of the tiny model, from random weights, in minutes on one core.

The number of steps decides when it ends, never a clock, and all randomness comes from the seed:
the same recipe gives the same weights, bit for bit, on the same machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from icpo.errors import ConfigError
from icpo.tiny.batches import IGNORED, draw_batches
from icpo.tiny.corpus import BOOKS_ONLY, Mixture
from icpo.tiny.model import make_model

__all__ = ["Recipe", "pretrain"]


@dataclass(frozen=True)
class Recipe:
    """How the tiny model is pretrained."""

    #: Batches, each one step of the optimizer.
    steps: int = 4500
    seed: int = 0
    mixture: Mixture = field(default_factory=Mixture)
    #: Share of the steps, at the beginning, that see only books.
    books_only: float = 0.5
    #: Tokens of a batch. Few: the skill needs many steps rather than many tokens.
    batch_tokens: int = 800
    #: Documents drawn at once and sorted by length, so that batches have little padding.
    drawn_at_once: int = 2000
    learning_rate: float = 2e-3
    warmup: int = 50
    #: Share of the learning rate that is left at the end.
    last_rate: float = 0.03

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("steps", "batch_tokens", "drawn_at_once", "warmup"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected a number from 0, got {self.seed}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate: expected a number above 0, got {self.learning_rate}")
        for name in ("books_only", "last_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, got {getattr(self, name)}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first of which is 0.

        Warm-up, constant for the first half, then half a cosine.
        """
        decayed = max(0.0, 2 * step / self.steps - 1)
        cosine = 0.5 * (1 + math.cos(math.pi * decayed))
        warm = min(1.0, (step + 1) / self.warmup)
        return self.learning_rate * warm * (self.last_rate + (1 - self.last_rate) * cosine)


def pretrain(
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    progress: Callable[[int, float], None] | None = None,
) -> Qwen3ForCausalLM:
    """A pretrained model.

    `progress` is called after every step with the steps done and the loss of the last one.
    """
    with _one_thread():
        return _pretrain(tokenizer, recipe, progress)


@contextmanager
def _one_thread() -> Iterator[None]:
    # The weights depend on it, since sums are split among threads; and work as small as this is
    # slower with more.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pretrain(
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    progress: Callable[[int, float], None] | None,
) -> Qwen3ForCausalLM:
    model = make_model(tokenizer, recipe.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    batches = _batches(tokenizer, recipe)
    model.train()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        tokens, targets = next(batches)
        # No attention mask: padding stands behind every real token, which looks only ahead of it.
        logits = model(input_ids=tokens, use_cache=False).logits  # (B, T, V)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(step + 1, loss.item())
    return model.eval()


def _batches(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    rng = random.Random(recipe.seed)
    drawn = 0
    while True:
        batches = draw_batches(
            tokenizer,
            rng,
            BOOKS_ONLY if drawn < recipe.books_only * recipe.steps else recipe.mixture,
            documents=recipe.drawn_at_once,
            batch_tokens=recipe.batch_tokens,
        )
        drawn += len(batches)
        yield from batches
