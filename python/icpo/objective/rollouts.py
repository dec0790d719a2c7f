"""Diagnostics of a batch of rollouts, before any of them is trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icpo import _core
from icpo.objective.advantage import _group_numbers
from icpo.objective.memory import as_bools, as_floats, as_integers, check_length, view
from icpo.objective.metrics import RolloutMetrics

__all__ = ["rollout_metrics"]


def rollout_metrics(
    rewards: ArrayLike,
    group_ids: ArrayLike,
    expert_mask: ArrayLike,
    accepted: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    demos: ArrayLike | None = None,
    threshold: float = 1.0,
) -> RolloutMetrics:
    """How the policy does by itself, and what the expert prompt adds.

    Prompts are non-pass, some-pass or all-pass by their policy rollouts alone; a prompt is refined
    if an expert rollout of its was accepted.

    Args:
        rewards: (B,) rewards of all generated rollouts, rejected ones included, before any bonus.
        group_ids: (B,) integers or strings; rollouts of one prompt share one.
        expert_mask: (B,) which were sampled under the expert prompt.
        accepted: (B,) which of those entered the update.
        lengths: (B,) lengths in tokens.
        demos: (B,) how many demonstrations the prompt held.
        threshold: δ; a reward of at least this solves the prompt.
    """
    values = as_floats("rewards", rewards, np.float64)
    ids = _group_numbers(group_ids)
    expert = as_bools("expert_mask", expert_mask)
    taken = as_bools("accepted", accepted)
    length = None if lengths is None else as_integers("lengths", lengths)
    shown = None if demos is None else as_integers("demos", demos)
    rollouts = len(ids)
    check_length("rewards", values, rollouts, "rollouts")
    sums = _core.rollout_sums(
        view(values),
        view(ids),
        view(expert),
        view(taken),
        lengths=None if length is None else view(length),
        demos=None if shown is None else view(shown),
        threshold=threshold,
    )
    return RolloutMetrics(np.array(sums))
