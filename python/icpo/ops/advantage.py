"""Rewards to advantages (eq. 4 and 6), where the rewards are."""

from __future__ import annotations

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import ConfigError, ShapeError
from icpo.ops.backend import backend, check_device
from icpo.ops.tensors import check_floats, check_integers, check_tensors, working_dtype

__all__ = ["group_advantages"]


@torch.library.custom_op("icpo::group_advantages", mutates_args=())
def _group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    expert_mask: Tensor | None,
    keep_mask: Tensor | None,
    std: str,
    baseline: str,
    eps: float,
    check: bool,
) -> Tensor:
    advantages = backend(rewards).group_advantages(
        rewards.to(torch.float64), group_ids, expert_mask, keep_mask, std, baseline, eps, check
    )
    return advantages.to(working_dtype(rewards))


@_group_advantages.register_fake
def _(rewards: Tensor, *_: object) -> Tensor:
    return rewards.new_empty(rewards.shape, dtype=working_dtype(rewards))


def group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    *,
    std: str = "unbiased",
    baseline: str = "mixed",
    expert_mask: Tensor | None = None,
    keep_mask: Tensor | None = None,
    eps: float = 1e-6,
    check: bool = True,
) -> Tensor:
    """Â of each rollout: its reward against the others of its group.

    Args:
        rewards: (B,) rewards, after any bonus.
        group_ids: (B,) integers; rollouts of one prompt share one. Any order, any sizes.
        std: ``unbiased`` divides by the sample standard deviation plus ``eps``, as verl's GRPO
            does; ``none`` does not (Dr. GRPO, LUFFY).
        baseline: ``mixed`` takes mean and deviation over the whole group (eq. 6), ``on_policy``
            over its policy rollouts alone.
        expert_mask: (B,) which rollouts are expert ones; None: none.
        keep_mask: (B,) rollouts left out have no part in the statistics and advantage 0; None: all
            are kept.
        eps: added to the deviation.
        check: whether a kept reward that is not finite is an error; if not, the advantages of its
            group mean nothing.

    Returns:
        (B,), float32 (float64 if ``rewards`` is), without gradient. Conventions for small groups
        are those of `icpo.objective.group_advantages`.

    Raises:
        ShapeError, DTypeError, DeviceError, ConfigError, NonFiniteError.
    """
    others = {"group_ids": group_ids, "expert_mask": expert_mask, "keep_mask": keep_mask}
    check_tensors({"rewards": rewards, **others})
    check_floats({"rewards": rewards})
    check_integers("group_ids", group_ids)
    if rewards.dim() != 1:
        raise ShapeError(f"rewards: expected shape (B,), got {tuple(rewards.shape)}")
    for argument, tensor in others.items():
        if tensor is not None and tensor.shape != rewards.shape:
            raise ShapeError(
                f"{argument}: expected shape {tuple(rewards.shape)}, one value for each of the "
                f"rollouts, got {tuple(tensor.shape)}"
            )
    for argument, choice, known in (
        ("std", std, _core.STDS),
        ("baseline", baseline, _core.BASELINES),
    ):
        if choice not in known:
            expected = " or ".join(repr(name) for name in known)
            raise ConfigError(f"{argument}: expected {expected}, got {choice!r}")
    if not 0.0 <= eps < float("inf"):
        raise ConfigError(f"eps: expected a finite number >= 0, got {eps}")
    check_device({"rewards": rewards, **others})
    advantages: Tensor = _group_advantages(
        rewards.detach(), group_ids, expert_mask, keep_mask, std, baseline, eps, check
    )
    return advantages
