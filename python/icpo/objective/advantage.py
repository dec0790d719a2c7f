"""Rewards to advantages (eq. 4 and 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo import _core
from icpo.errors import ShapeError
from icpo.objective.memory import as_array, as_bools, as_floats, as_integers, check_length, view

__all__ = ["group_advantages"]


def _group_numbers(group_ids: ArrayLike) -> NDArray[np.int64]:
    """Group ids as integers. Strings (verl's uids) and other objects are numbered."""
    array = np.asarray(group_ids)
    if array.dtype.kind in "iu":
        return as_integers("group_ids", array)
    if array.ndim != 1:
        raise ShapeError(f"group_ids: expected shape (B,), got {array.shape}")
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in array.tolist()], np.int64)


def group_advantages(
    rewards: ArrayLike,
    group_ids: ArrayLike,
    *,
    std: str = "unbiased",
    baseline: str = "mixed",
    expert_mask: ArrayLike | None = None,
    keep_mask: ArrayLike | None = None,
    eps: float = 1e-6,
) -> NDArray[np.floating]:
    """Â of each rollout: its reward against the others of its group.

    Args:
        rewards: (B,) rewards, after any bonus.
        group_ids: (B,) integers or strings; rollouts of one prompt share one. Any order, any sizes.
        std: ``unbiased`` divides by the sample standard deviation plus ``eps``, as verl's GRPO
            does; ``none`` does not (Dr. GRPO, LUFFY).
        baseline: ``mixed`` takes mean and deviation over the whole group (eq. 6), ``on_policy``
            over its policy rollouts alone.
        expert_mask: (B,) which rollouts are expert ones; needed for ``on_policy``.
        keep_mask: (B,) rollouts left out have no part in the statistics and advantage 0.
        eps: added to the deviation.

    Returns:
        (B,), float32 for float32 rewards, else float64. Statistics over one rollout or none are
        mean 0, deviation 1; over equal rewards, that reward and deviation 1. A group without
        spread therefore has advantage 0 everywhere.

    >>> group_advantages([1.0, 0.0, 0.0, 0.0], ["a"] * 4, eps=0.0).tolist()
    [1.5, -0.5, -0.5, -0.5]
    """
    array = as_array("rewards", rewards)
    if array.ndim != 1:
        raise ShapeError(f"rewards: expected shape (B,), got {array.shape}")
    rollouts = len(array)
    values = as_floats("rewards", array, np.float64)
    ids = _group_numbers(group_ids)
    expert = (
        np.zeros(rollouts, bool) if expert_mask is None else as_bools("expert_mask", expert_mask)
    )
    keep = np.ones(rollouts, bool) if keep_mask is None else as_bools("keep_mask", keep_mask)
    for argument, other in (("group_ids", ids), ("expert_mask", expert), ("keep_mask", keep)):
        check_length(argument, other, rollouts, "rollouts")
    out = np.empty(rollouts, np.float64)
    _core.group_advantages(
        view(values),
        view(ids),
        view(expert),
        view(keep),
        std=std,
        baseline=baseline,
        eps=eps,
        out=view(out),
    )
    return out.astype(np.float32) if array.dtype == np.float32 else out
