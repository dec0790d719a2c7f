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

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from icpo.errors import ConfigError
from icpo.tiny.corpus import BOOKS_ONLY, Document, Mixture, draw_document
from icpo.tiny.model import make_model
from icpo.types import Tokens

__all__ = ["Recipe", "pretrain"]

#: Target of a token that is not learnt.
IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """How the tiny model is pretrained."""

    #: Batches, each one step of the optimizer.
    steps: int = 5000
    seed: int = 0
    mixture: Mixture = field(default_factory=Mixture)
    #: Share of the steps, at the beginning, that see only books.
    books_only: float = 0.3
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
        if not 0 <= self.books_only <= 1:
            raise ConfigError(f"books_only: expected 0 to 1, got {self.books_only}")

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


def _batches(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens and their targets, both (B, T), without end."""
    rng = random.Random(recipe.seed)
    done = 0
    while True:
        mixture = BOOKS_ONLY if done < recipe.books_only * recipe.steps else recipe.mixture
        drawn = [draw_document(rng, mixture) for _ in range(recipe.drawn_at_once)]
        texts = _encode(tokenizer, drawn)
        batches = list(_bucket(texts, recipe.batch_tokens))
        rng.shuffle(batches)
        for batch in batches:
            yield _pad(batch, tokenizer.pad_token_id)
        done += len(batches)


@dataclass(frozen=True, eq=False)
class _Text:
    tokens: Tokens  # (L,)
    #: Whether each token is to be predicted.
    learnt: NDArray[np.bool_]  # (L,)


def _encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[_Text]:
    question, answer = tokenizer.convert_tokens_to_ids(["Q:", "\nA:"])
    texts = []
    for document in documents:
        tokens = np.asarray(tokenizer.backend_tokenizer.encode(document.text).ids, dtype=np.int64)
        starts, ends = tokens == question, tokens == answer
        # What stands in a question can not be foreseen.
        learnt = (np.cumsum(starts) == np.cumsum(ends)) | starts
        if document.kind == "excerpt":
            first_end = int(np.argmax(tokens == tokenizer.eos_token_id))
            learnt[: first_end + 1] = False
        texts.append(_Text(tokens, learnt))
    return texts


def _bucket(texts: list[_Text], batch_tokens: int) -> Iterator[list[_Text]]:
    """Batches of texts of like length, each with about so many tokens."""
    batch: list[_Text] = []
    for text in sorted(texts, key=lambda text: len(text.tokens)):
        if batch and (len(batch) + 1) * len(text.tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(text)
    yield batch


def _pad(batch: list[_Text], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(text.tokens) for text in batch)
    tokens = np.full((len(batch), longest), pad, dtype=np.int64)
    targets = np.full((len(batch), longest), IGNORED, dtype=np.int64)
    for row, text in enumerate(batch):
        tokens[row, : len(text.tokens)] = text.tokens
        targets[row, : len(text.tokens)] = np.where(text.learnt, text.tokens, IGNORED)
    return torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(targets[:, 1:].copy())
