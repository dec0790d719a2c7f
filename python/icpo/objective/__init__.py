"""The objective on numpy arrays: no torch needed, gradients returned beside values."""

from icpo.objective.advantage import group_advantages
from icpo.objective.bonus import bonus_gamma, reward_bonus
from icpo.objective.config import PRESETS, LossConfig
from icpo.objective.loss import (
    FusedLoss,
    LinearLoss,
    PolicyLoss,
    TokenStats,
    fused_policy_loss,
    linear_policy_loss,
    logp_entropy,
    policy_loss,
    token_rank,
)
from icpo.objective.metrics import LossMetrics, RolloutMetrics
from icpo.objective.rollouts import rollout_metrics

__all__ = [
    "PRESETS",
    "FusedLoss",
    "LinearLoss",
    "LossConfig",
    "LossMetrics",
    "PolicyLoss",
    "RolloutMetrics",
    "TokenStats",
    "bonus_gamma",
    "fused_policy_loss",
    "group_advantages",
    "linear_policy_loss",
    "logp_entropy",
    "policy_loss",
    "reward_bonus",
    "rollout_metrics",
    "token_rank",
]
