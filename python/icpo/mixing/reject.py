"""Expert region reject sampling: which expert rollouts are good enough to learn from."""

from __future__ import annotations

from icpo.types import Rollout

__all__ = ["accept"]


def accept(rollout: Rollout, delta: float = 1.0) -> bool:
    """Eq. 8 and 9: R(τ) ≥ δ, and verified.

    R is the reward as checked. The bonus on accepted rollouts comes later, so it can not be what
    gets one accepted. An answer about which the checker could not tell is not verified, whatever
    its reward.
    """
    return rollout.reward >= delta and rollout.outcome == "equal"
