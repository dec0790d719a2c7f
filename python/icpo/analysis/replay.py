"""What a model makes of texts that are there already: log-probability, entropy, rank of each token.

One pass over the logits finds all three (`icpo.ops`). Texts of similar lengths share a forward
pass; how they are divided changes no more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icpo import ops
from icpo.errors import ConfigError, DataError
from icpo.ops.backend import BACKENDS
from icpo.types import Tokens

__all__ = ["Continuation", "Replayed", "replay"]


@dataclass(frozen=True, eq=False)
class Continuation:
    """A text, and what it is the continuation of."""

    prompt: Tokens  # (P,), P > 0
    tokens: Tokens  # (L,)
    #: Names it in errors.
    place: str


@dataclass(frozen=True, eq=False)
class Replayed:
    """What the model says of each token of a continuation."""

    #: ln p(token | what stands before it).
    logp: NDArray[np.float32]  # (L,)
    #: Of the distribution that the token is from, in nats.
    entropy: NDArray[np.float32]  # (L,)
    #: 1 + how many tokens have a greater logit (eq. 13).
    rank: NDArray[np.int64]  # (L,)


def replay(
    model: Any,
    texts: Sequence[Continuation],
    *,
    micro_tokens: int = 4096,
    autocast: torch.dtype | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Replayed]:
    """Takes texts through a causal model of transformers.

    Args:
        model: in evaluation mode, on its device.
        texts: what to look at.
        micro_tokens: of a forward pass, with padding; a longer text goes alone.
        autocast: what to compute in; None: as parameters are.
        progress: is told how many texts are done, and how many there are.

    Raises:
        ConfigError: if a text has more tokens than the model has positions.
        DataError: if there is nothing before a text.
    """
    if micro_tokens < 1:
        raise ConfigError(f"micro_tokens: expected at least 1, got {micro_tokens}")
    _check(model, texts)
    empty = np.empty(0, np.float32)
    found = [Replayed(empty, empty, np.empty(0, np.int64))] * len(texts)
    done = 0
    for part in _parts(texts, micro_tokens):
        for place, one in zip(part, _pass(model, [texts[i] for i in part], autocast), strict=True):
            found[place] = one
        done += len(part)
        if progress is not None:
            progress(done, len(texts))
    return found


def _check(model: Any, texts: Sequence[Continuation]) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    for text in texts:
        if not len(text.prompt):
            raise DataError(f"{text.place}: expected a prompt before the text, got none")
        length = len(text.prompt) + len(text.tokens)
        if positions is not None and length > positions:
            raise ConfigError(
                f"{text.place}: expected at most {positions} tokens, which is what the model has "
                f"positions for, got {length}"
            )


def _parts(texts: Sequence[Continuation], micro_tokens: int) -> list[list[int]]:
    """Numbers of the texts of each forward pass. Those without a token need none."""
    order = [place for place, text in enumerate(texts) if len(text.tokens)]
    order.sort(key=lambda place: (len(texts[place].tokens), len(texts[place].prompt), place))
    parts: list[list[int]] = []
    prompt = 0
    for place in order:
        prompt = max(prompt, len(texts[place].prompt))
        width = prompt + len(texts[place].tokens)
        if not parts or (len(parts[-1]) + 1) * width > micro_tokens:
            parts.append([])
            prompt = len(texts[place].prompt)
        parts[-1].append(place)
    return parts


@torch.no_grad()
def _pass(model: Any, texts: Sequence[Continuation], dtype: torch.dtype | None) -> list[Replayed]:
    before = max(len(text.prompt) for text in texts)
    after = max(len(text.tokens) for text in texts)
    # Prompts on the left, continuations on the right: these begin in one column, and the model
    # makes logits for them alone.
    ids = np.zeros((len(texts), before + after), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        whole = slice(before - len(text.prompt), before + len(text.tokens))
        ids[row, whole] = np.concatenate([text.prompt, text.tokens])
        mask[row, whole] = 1
    device = next(model.parameters()).device
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": np.maximum(mask.cumsum(1) - 1, 0),
    }
    tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    heat = nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
    with heat:
        logits: Tensor = model(**tensors, use_cache=False, logits_to_keep=after + 1).logits
    # (B, T) each.
    said = _stats(logits[:, :-1], tensors["input_ids"][:, before:])
    logp, entropy, rank = (array.cpu().numpy() for array in said)
    return [
        Replayed(*(array[row, : len(text.tokens)].copy() for array in (logp, entropy, rank)))
        for row, text in enumerate(texts)
    ]


def _stats(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By this package's operator, or on devices that it does not know by torch."""
    if logits.device.type in BACKENDS:
        return ops.token_stats(logits, ids)
    logits = logits.float()
    return *ops.reference.logp_entropy(logits, ids), ops.reference.token_rank(logits, ids)
