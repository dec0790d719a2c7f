"""Fisher-weighted logit matching, and why it controls the policy (Theorem 4.1).

The loss compares scores, ½ ‖Proj(ŝ − s)‖²_Γ. Proj takes off the mean, which no softmax sees. The
Fisher information Γ = diag(p) − p pᵀ of the teacher's policy weighs each action by how much its
score moves the policy, so ‖v‖²_Γ is the variance of v under p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.errors import ConfigError
from icpo.theory.loop import Histories, Scores
from icpo.theory.policy import mixed_policy
from icpo.theory.teacher import Teacher

__all__ = [
    "Lessons",
    "fisher",
    "fisher_residual",
    "kl",
    "kl_constant",
    "kl_constant_by_squares",
    "loss",
    "policy_error",
    "project",
    "quadratic",
]


def project(vector: Tensor) -> Tensor:
    """Proj v: without its mean; (..., K)."""
    return vector - vector.mean(-1, keepdim=True)


def fisher(policy: Tensor) -> Tensor:
    """Γ = diag(p) − p pᵀ of policies (..., K)."""
    return torch.diag_embed(policy) - policy[..., :, None] * policy[..., None, :]  # (..., K, K)


def fisher_residual(difference: Tensor, policy: Tensor) -> Tensor:
    """e with Σ_a e_a² = ‖Proj v‖²_Γ: deviations from the mean under p, weighed by √p; (..., K)."""
    centred = project(difference)
    return policy.sqrt() * (centred - (policy * centred).sum(-1, keepdim=True))


def quadratic(difference: Tensor, policy: Tensor) -> Tensor:
    """½ ‖Proj v‖²_Γ, half the variance of v under p; (...)."""
    return fisher_residual(difference, policy).square().sum(-1) / 2


@dataclass(frozen=True)
class Lessons:
    """What the teacher would do after every round of histories."""

    moments: Tensor  # (N, T, d+1, d+1)
    features: Tensor  # (N, 1, K, d)
    rounds: Tensor  # (T,)
    scores: Tensor  # (N, T, K)
    policy: Tensor  # (N, T, K)
    exploration: float

    @classmethod
    def of(cls, histories: Histories, teacher: Teacher) -> Lessons:
        """Scores and policies of the teacher on these histories."""
        features = histories.bandits.features[:, None]
        rounds = torch.arange(1, histories.length + 1)
        scores = teacher.scores(histories.moments, features, rounds)
        policy = mixed_policy(scores, teacher.exploration)
        return cls(histories.moments, features, rounds, scores, policy, teacher.exploration)

    def residual(self, student: Scores) -> Tensor:
        """Of each score, such that half their squares, summed over a history, are its loss."""
        found = student(self.moments, self.features, self.rounds)
        return fisher_residual(found - self.scores, self.policy)  # (N, T, K)


def loss(student: Scores, lessons: Lessons) -> Tensor:
    """½ E Σ_t ‖Proj(ŝ_{t+1} − s_{t+1})‖²_Γ, the expectation being the mean over histories."""
    return lessons.residual(student).square().sum((1, 2)).mean() / 2  # ()


def policy_error(student: Scores, lessons: Lessons) -> Tensor:
    """‖p̂ − p‖₁ after each round of each history; (N, T)."""
    scores = student(lessons.moments, lessons.features, lessons.rounds)
    return (mixed_policy(scores, lessons.exploration) - lessons.policy).abs().sum(-1)


##### Theorem 4.1


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) of policies with no zeros, (..., K)."""
    # The terms q − p sum to 0. With them all terms are positive, so nothing cancels.
    return (q - p - p * torch.log1p((q - p) / p)).sum(-1)


def kl_constant_by_squares(exploration: float, arms: int) -> float:
    """C with KL(p‖p̂) ≤ C · ½‖Proj(ŝ − s)‖²_Γ, by way of χ²: (K/γ)² (1 − γ)²/2.

    KL ≤ Σ (p − p̂)²/p̂ ≤ (K/γ)‖p − p̂‖², since p̂ ≥ γ/K. Softmax is ½-Lipschitz (Lemma A.2), so
    ‖p − p̂‖ ≤ (1 − γ)/2 ‖Proj(ŝ − s)‖, and ‖Proj v‖² ≤ (K/γ)‖v‖²_Γ, since p ≥ γ/K (Lemma A.1).
    """
    _check(exploration, arms)
    return (arms / exploration * (1 - exploration)) ** 2 / 2


def kl_constant(exploration: float, arms: int) -> float:
    """C with KL(p‖p̂) ≤ C · ½‖Proj(ŝ − s)‖²_Γ: the lesser of two, mostly (1 − γ)K/(2γ).

    KL is convex, so KL(p‖p̂) ≤ (1 − γ) KL(π‖π̂) for the softmaxes π, π̂ that are mixed. Of these it
    is ∫₀¹ (1 − τ) Var_τ(ŝ − s) dτ along the line from s to ŝ, and no variance exceeds
    ½‖Proj(ŝ − s)‖². So KL ≤ (1 − γ)/4 ‖Proj(ŝ − s)‖², and Lemma A.1 does the rest. The other one
    is less for γ > K/(K + 1).
    """
    squares = kl_constant_by_squares(exploration, arms)
    return min((1 - exploration) * arms / (2 * exploration), squares)


def _check(exploration: float, arms: int) -> None:
    if not 0 < exploration < 1:
        raise ConfigError(f"exploration: expected a number between 0 and 1, got {exploration!r}")
    if arms < 2:
        raise ConfigError(f"arms: expected at least 2, got {arms!r}")
