"""The repetition penalty: tokens that occurred before become less likely.

The definition is that of transformers and vLLM: prompt and completion both count, and how often a
token occurred does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from icpo.types import Tokens

__all__ = ["penalised", "seen_in"]


def seen_in(prompts: Sequence[Tokens], vocabulary: int, device: torch.device) -> Tensor:
    """Which tokens occur in each prompt, (B, V); padding is no part of a prompt."""
    rows = np.repeat(np.arange(len(prompts)), [len(prompt) for prompt in prompts])
    tokens = np.concatenate(prompts).astype(np.int64)
    # Some models read tokens, of images say, that they have no logits for.
    known = tokens < vocabulary
    seen = torch.zeros((len(prompts), vocabulary), dtype=torch.bool, device=device)
    seen[torch.from_numpy(rows[known]).to(device), torch.from_numpy(tokens[known]).to(device)] = (
        True
    )
    return seen


def penalised(
    scores: Tensor,  # (B, V)
    seen: Tensor,  # (B, V)
    penalty: float,
) -> Tensor:
    """Scores of which those of seen tokens are lower, if the penalty is above 1."""
    # Dividing a negative score would raise it.
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)
