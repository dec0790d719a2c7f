"""Prompts of different length in one batch: padded on the left, positions counted from the first
real token, padding masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icpo.types import Tokens

__all__ = ["LeftPadded", "Mask", "additive_mask", "left_padded", "mask_for", "token_mask"]

#: From padding (B,), first query, and keys to what the model takes as `attention_mask`; the last
#: axis are the keys.
Mask = Callable[[Tensor, range, int, torch.dtype], Tensor]


@dataclass(frozen=True)
class LeftPadded:
    """A batch of prompts."""

    ids: Tensor  # (B, P)
    #: 0 at padding and at the first token.
    positions: Tensor  # (B, P)
    #: Padding in front of each row.
    padding: Tensor  # (B,)


def left_padded(prompts: Sequence[Tokens], pad_id: int, device: torch.device) -> LeftPadded:
    """Prompts as one batch, as long as the longest."""
    width = max(map(len, prompts))
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
    padding = np.array([width - len(prompt) for prompt in prompts], dtype=np.int64)
    positions = np.maximum(np.arange(width) - padding[:, None], 0)
    arrays = (ids, positions, padding)
    return LeftPadded(*(torch.from_numpy(array).to(device) for array in arrays))


def additive_mask(padding: Tensor, queries: range, keys: int, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores, (B, 1, queries, keys).

    Made here, as transformers would make it anew for each token.
    """
    key = torch.arange(keys, device=padding.device)
    query = torch.arange(queries.start, queries.stop, device=padding.device)[:, None]
    # Padding sees itself: a row of scores without any key has no softmax.
    visible = (key <= query) & ((key >= padding[:, None, None]) | (key == query))
    lowest = torch.finfo(dtype).min
    return torch.zeros(visible.shape, dtype=dtype, device=padding.device).masked_fill_(
        ~visible, lowest
    )[:, None]


def token_mask(padding: Tensor, queries: range, keys: int, dtype: torch.dtype) -> Tensor:
    """1 at tokens and 0 at padding, (B, keys): transformers makes of it what the model needs."""
    del queries, dtype
    return (torch.arange(keys, device=padding.device) >= padding[:, None]).long()


#: Kinds of attention that take a mask as it is.
_MASKS: dict[str, Mask] = {"eager": additive_mask, "sdpa": additive_mask}


def mask_for(config: Any) -> Mask:
    """The mask for a model, by its configuration."""
    # Of windows and chunks transformers knows more than this module.
    windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    windowed = windows or getattr(config, "sliding_window", None)
    return token_mask if windowed else _MASKS.get(config._attn_implementation, token_mask)
