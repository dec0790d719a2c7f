"""The teacher: policy optimisation of follow-the-regularised-leader type.

After t rounds, the leader under entropy regularisation with step η_t is

    argmax_π  η_t Σ_{i ≤ t} ⟨π, r̂_i⟩ + H(π)  =  softmax(η_t Σ_{i ≤ t} r̂_i),

where r̂_i = r_i X A x_i estimates the rewards of all actions from that of one. With η_t = c/t the
scores are c times the mean estimate. A is a preconditioner: for features of covariance Σ that are
chosen uniformly, A = Σ⁻¹ makes the estimate unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.errors import ConfigError, ShapeError
from icpo.theory.policy import mixed_policy

__all__ = ["Teacher", "per_round"]


@dataclass(frozen=True)
class Teacher:
    """Scores s_{t+1} = η_t Σ_{i ≤ t} r_i X A x_i with η_t = c/t."""

    #: c, of the step c/t.
    step: float
    #: γ, the share of uniform exploration.
    exploration: float
    #: A.
    preconditioner: Tensor  # (d, d)

    def __post_init__(self) -> None:
        """Raises ConfigError or ShapeError for settings outside their range."""
        if not 0 < self.step < float("inf"):
            raise ConfigError(f"step: expected a finite positive number, got {self.step!r}")
        if not 0 < self.exploration < 1:
            raise ConfigError(
                f"exploration: expected a number between 0 and 1, got {self.exploration!r}"
            )
        shape = tuple(self.preconditioner.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ShapeError(f"preconditioner: expected (d, d), got {shape}")

    def scores(self, moments: Tensor, features: Tensor, rounds: int | Tensor) -> Tensor:
        """s_{t+1} of histories of `rounds` = t rounds; 0 for an empty one.

        Args:
            moments: M_t, (..., d+1, d+1).
            features: X, (..., K, d).
            rounds: t: one number, or a tensor (...).
        """
        rewarded = moments[..., :-1, -1]  # Σ r_i x_i
        estimate = torch.einsum("...kd,de,...e->...k", features, self.preconditioner, rewarded)
        return self.step * estimate / per_round(rounds)

    def policy(self, moments: Tensor, features: Tensor, rounds: int | Tensor) -> Tensor:
        """p_{t+1} = (1 − γ) softmax(s_{t+1}) + γ/K."""
        return mixed_policy(self.scores(moments, features, rounds), self.exploration)


def per_round(rounds: int | Tensor) -> int | Tensor:
    """What sums over rounds are divided by, beside an axis of actions; 1 for an empty history."""
    return rounds.clamp(min=1)[..., None] if isinstance(rounds, Tensor) else max(rounds, 1)
