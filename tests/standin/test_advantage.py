"""The advantage kernel against the operator of the CPU, and against statistics group by group."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

from icpo import _core
from icpo.objective import group_advantages
from icpo.ops.tensors import view

SIZES = [0, 1, 2, 3, 31, 32, 33, 65, 130, 300]


def run(
    stream: _core.CudaStream,
    rewards: list[float],
    ids: list[int],
    *,
    std: str = "unbiased",
    baseline: str = "mixed",
    expert: list[bool] | None = None,
    keep: list[bool] | None = None,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Advantages and status."""
    rollouts = len(rewards)
    values = torch.tensor(rewards, dtype=torch.float64)
    groups = torch.tensor(ids, dtype=torch.int64)
    experts = None if expert is None else torch.tensor(expert, dtype=torch.bool)
    kept = None if keep is None else torch.tensor(keep, dtype=torch.bool)
    advantages = torch.full((rollouts,), math.nan, dtype=torch.float64)
    status = torch.full((rollouts,), 77, dtype=torch.uint8)
    stream.group_advantages(
        view(values),
        view(groups),
        view(advantages),
        expert=None if experts is None else view(experts),
        keep=None if kept is None else view(kept),
        status=view(status),
        unbiased=std == "unbiased",
        on_policy=baseline == "on_policy",
        eps=eps,
    )
    return advantages, status


def random_rollouts(
    seed: int, rollouts: int
) -> tuple[list[float], list[int], list[bool], list[bool]]:
    """Groups of any size in any order, some without spread, some of one, some all experts."""
    rng = random.Random(seed)
    names = [rng.randint(-(2**62), 2**62) for _ in range(rng.choice([1, 3, max(1, rollouts // 4)]))]
    levels = {name: rng.choice([[0.0, 1.0], [0.1], [-2.0, 0.5, 1 / 3]]) for name in names}
    experts = {name: rng.choice([0.0, 0.2, 1.0]) for name in names}
    ids = [rng.choice(names) for _ in range(rollouts)]
    rewards = [rng.choice(levels[name]) + rng.choice([0.0, 0.0, rng.random()]) for name in ids]
    expert = [rng.random() < experts[name] for name in ids]
    keep = [rng.random() < 0.8 for _ in ids]
    return rewards, ids, expert, keep


@pytest.mark.parametrize("std", _core.STDS)
@pytest.mark.parametrize("baseline", _core.BASELINES)
def test_random_groups_meet_the_cpu(stream, std, baseline):
    for seed, rollouts in enumerate(SIZES * 2):
        rewards, ids, expert, keep = random_rollouts(seed, rollouts)
        eps = (1e-6, 0.0, 0.1)[seed % 3]
        masks = itertools.product((expert, None), (keep, None))
        for experts, kept in masks:
            settings = {"std": std, "baseline": baseline, "eps": eps}
            ours, status = run(stream, rewards, ids, expert=experts, keep=kept, **settings)
            truth = group_advantages(
                rewards,
                np.array(ids, np.int64),
                expert_mask=None if experts is None else np.array(experts, bool),
                keep_mask=None if kept is None else np.array(kept, bool),
                **settings,
            )
            np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-12, atol=1e-12)
            assert (status == 0).all()


def test_statistics_group_by_group(stream):
    rng = random.Random(0)
    rewards = [rng.random() for _ in range(300)]
    ids = [rng.choice([-(2**63), -1, 0, 2**40, 2**40 + 2**32, 2**63 - 1]) for _ in rewards]
    ours, _ = run(stream, rewards, ids, eps=0.0)
    for name in set(ids):
        group = [reward for reward, other in zip(rewards, ids, strict=True) if other == name]
        mean, deviation = statistics.fmean(group), statistics.stdev(group)
        expected = [(reward - mean) / deviation for reward in group]
        got = [float(x) for x, other in zip(ours, ids, strict=True) if other == name]
        assert got == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_groups_without_spread_have_no_advantage_at_all(stream):
    for reward in (0.1, 1 / 3, 1e30, -1e-300):
        ours, _ = run(stream, [reward] * 37, [4] * 37, eps=0.0)
        assert (ours == 0).all()
    # An expert that beats a uniform baseline gets the plain difference.
    expert = [False, False, True]
    ours, _ = run(stream, [0.0, 0.0, 1.0], [0] * 3, baseline="on_policy", expert=expert)
    assert ours.tolist() == [0.0, 0.0, 1.0]


def test_the_schedule_does_not_show(stream, standin):
    rewards, ids, expert, keep = random_rollouts(3, 300)
    first, _ = run(stream, rewards, ids, expert=expert, keep=keep)
    for seed in range(5):
        standin.set("seed", seed)
        again, _ = run(stream, rewards, ids, expert=expert, keep=keep)
        assert torch.equal(first, again)


def test_bad_rewards(stream):
    for bad in (math.nan, math.inf, -math.inf):
        rewards, ids = [1.0, bad, 0.0, 1.0, 0.0], [1, 1, 1, 2, 2]
        ours, status = run(stream, rewards, ids)
        assert status.tolist() == [0, 1, 0, 0, 0]
        assert ours[:3].isnan().all() and ours[3] == -ours[4] > 0
        # Left out, it is not looked at.
        ours, status = run(stream, rewards, ids, keep=[True, False, True, True, True])
        assert (status == 0).all() and ours[1] == 0 and ours[0] == -ours[2] > 0
