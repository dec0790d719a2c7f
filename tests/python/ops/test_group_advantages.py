"""Advantages of tensors against those of arrays, which have tests of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import icpo
from icpo import objective, ops


@pytest.mark.parametrize("std", ["unbiased", "none"])
@pytest.mark.parametrize("baseline", ["mixed", "on_policy"])
def test_equal_to_those_of_arrays(std, baseline):
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        rollouts = [0, 1, 2, 17, 300][seed % 5]
        dtype = [torch.float32, torch.float64][seed % 2]
        rewards = torch.rand(rollouts, generator=generator, dtype=dtype).round(decimals=seed % 3)
        groups = torch.randint(-3, 5, (rollouts,), generator=generator)
        masks = [torch.rand(rollouts, generator=generator) < 0.6 for _ in range(2)]
        settings = {"std": std, "baseline": baseline, "eps": [0.0, 1e-6][seed % 2]}
        ours = ops.group_advantages(
            rewards, groups, expert_mask=masks[0], keep_mask=masks[1], **settings
        )
        theirs = objective.group_advantages(
            rewards.numpy(),
            groups.numpy(),
            expert_mask=masks[0].numpy(),
            keep_mask=masks[1].numpy(),
            **settings,
        )
        assert ours.dtype == dtype and np.array_equal(ours.numpy(), theirs)


def test_kinds_of_tensors():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0], requires_grad=True)
    for groups in (torch.zeros(4, dtype=torch.int32), torch.zeros(8).long()[::2]):
        advantages = ops.group_advantages(rewards, groups, eps=0.0)
        assert advantages.tolist() == [1.5, -0.5, -0.5, -0.5] and not advantages.requires_grad
    half = ops.group_advantages(rewards.bfloat16(), torch.zeros(4).long(), eps=0.0)
    assert half.dtype == torch.float32 and half.tolist() == [1.5, -0.5, -0.5, -0.5]
    kept = ops.group_advantages(
        rewards, torch.zeros(4).long(), keep_mask=torch.tensor([1, 1, 0, 0])
    )
    assert (kept[2:] == 0).all() and kept[0] > 0


def test_unchecked_rewards():
    rewards = torch.tensor([1.0, torch.nan, 0.0, 1.0])
    groups, keep = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, True])
    advantages = ops.group_advantages(rewards, groups, keep_mask=keep, check=False, eps=0.0)
    assert advantages[:2].isnan().all() and advantages[2:].isfinite().all()
    keep[1] = False
    assert ops.group_advantages(rewards, groups, keep_mask=keep).isfinite().all()


ZEROS, GROUP = torch.zeros(3), torch.zeros(3, dtype=torch.long)
MISTAKES = {
    "a list": ([0.0], GROUP, {}, icpo.DTypeError, "rewards: expected a tensor, got list"),
    "integers": (GROUP, GROUP, {}, icpo.DTypeError, "rewards: expected a floating-point"),
    "float groups": (ZEROS, ZEROS, {}, icpo.DTypeError, "group_ids: expected an integer tensor"),
    "two axes": (ZEROS[None], GROUP, {}, icpo.ShapeError, r"rewards: expected shape \(B,\)"),
    "other length": (ZEROS, GROUP[:2], {}, icpo.ShapeError, r"group_ids: expected shape \(3,\)"),
    "std": (ZEROS, GROUP, {"std": "no"}, icpo.ConfigError, "std: expected 'unbiased' or 'none'"),
    "baseline": (ZEROS, GROUP, {"baseline": ""}, icpo.ConfigError, "baseline: expected 'mixed' or"),
    "eps": (ZEROS, GROUP, {"eps": -1.0}, icpo.ConfigError, "eps: expected a finite number >= 0"),
    "NaN": (ZEROS / 0, GROUP, {}, icpo.NonFiniteError, r"rewards\[0\]: .* got NaN"),
    "odd mask": (
        ZEROS,
        GROUP,
        {"keep_mask": torch.tensor([1, 2, 0])},
        icpo.NonFiniteError,
        r"keep_mask\[1\]: expected True or False",
    ),
    "meta": (
        ZEROS,
        GROUP.to("meta"),
        {},
        icpo.DeviceError,
        "group_ids: expected a tensor on cpu, where rewards is, got one on meta",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake):
    rewards, groups, settings, expected, message = MISTAKES[mistake]
    with pytest.raises(expected, match=message):
        ops.group_advantages(rewards, groups, **settings)
