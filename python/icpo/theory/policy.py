"""Policies over K actions: scores, softmax, and a share of uniform exploration (section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inverse_cdf", "mixed_policy"]


def mixed_policy(scores: Tensor, exploration: float) -> Tensor:
    """p = (1 − γ) softmax(s) + γ/K: every action keeps a probability of at least γ/K.

    Args:
        scores: s, (..., K).
        exploration: γ.
    """
    # Written out: torch's softmax goes row by row, which takes longer for rows as short as these.
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    uniform = exploration / scores.shape[-1]
    return (1 - exploration) * weights / weights.sum(-1, keepdim=True) + uniform  # (..., K)


def inverse_cdf(policy: Tensor, uniform: Tensor) -> Tensor:
    """The action that a uniform number chooses: the first whose cumulative probability is above it.

    Two policies given the same number differ in their action only if it lies between their
    cumulative probabilities, which is what couples them in Definition 4.7.

    Args:
        policy: (..., K).
        uniform: in [0, 1), (...).
    """
    # The last of these sums is 1 up to rounding and decides nothing, so it is left out.
    below = policy.cumsum(-1)[..., :-1] <= uniform[..., None]
    return torch.as_tensor(below.sum(-1))
