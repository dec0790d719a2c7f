"""Advantages, bonus, and what a batch of rollouts looks like."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

import icpo
from icpo import LossConfig
from icpo.objective import bonus_gamma, group_advantages, reward_bonus, rollout_metrics
from icpo.ops import reference


@pytest.mark.parametrize("std", ["unbiased", "none"])
@pytest.mark.parametrize("baseline", ["mixed", "on_policy"])
def test_random_groups_meet_the_oracle(std, baseline):
    for seed in range(200):
        rng = random.Random(seed)
        rollouts = rng.randint(0, 30)
        ids = [rng.randint(-3, 3) for _ in range(rollouts)]
        levels = rng.choice(
            [[0.0, 1.0], [0.1], [0.0, 0.5, 1.0, 2.0], [rng.random() for _ in range(20)]]
        )
        rewards = [rng.choice(levels) for _ in range(rollouts)]
        expert = [rng.random() < rng.choice([0.0, 0.2, 1.0]) for _ in range(rollouts)]
        keep = [rng.random() < 0.8 for _ in range(rollouts)]
        ours = group_advantages(
            rewards,
            np.array(ids, np.int64),
            std=std,
            baseline=baseline,
            expert_mask=np.array(expert, bool),
            keep_mask=np.array(keep, bool),
        )
        truth = reference.group_advantages(
            torch.tensor(rewards, dtype=torch.float64),
            torch.tensor(ids, dtype=torch.long),
            std=std,
            baseline=baseline,
            expert_mask=torch.tensor(expert, dtype=torch.bool),
            keep_mask=torch.tensor(keep, dtype=torch.bool),
        )
        np.testing.assert_allclose(ours, truth.numpy(), rtol=1e-12, atol=1e-12)
        assert np.isfinite(ours).all()


def test_worked_groups():
    rewards = [1.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(
        group_advantages(rewards, [7] * 4), np.array([1.5, -0.5, -0.5, -0.5]), rtol=3e-6
    )
    # A group of one has mean 0 and deviation 1, as in verl.
    np.testing.assert_allclose(group_advantages([1.0, 0.5], ["a", "b"]), [1.0, 0.5], rtol=2e-6)
    # No spread, no advantage, in any number format.
    for reward in (0.1, 1 / 3, 1e30):
        assert (group_advantages([reward] * 7, [0] * 7) == 0).all()
    # An accepted expert in a group that fails, against the policy alone: the plain difference.
    advantages = group_advantages([0, 0, 1], [0] * 3, baseline="on_policy", expert_mask=[0, 0, 1])
    assert advantages.tolist() == [0.0, 0.0, 1.0]


def test_order_and_kind_of_ids_do_not_matter():
    rng = np.random.default_rng(0)
    rewards, ids = rng.random(50), rng.integers(0, 9, 50)
    expected = group_advantages(rewards, ids)
    order = rng.permutation(50)
    np.testing.assert_allclose(
        group_advantages(rewards[order], ids[order]), expected[order], rtol=1e-12
    )
    for other in (
        ids.astype(np.int32),
        [f"uid-{i}" for i in ids],
        np.array([f"u{i}" for i in ids], object),
        ids - 2**40,
    ):
        assert np.array_equal(group_advantages(rewards, other), expected)
    assert group_advantages(rewards.astype(np.float32), ids).dtype == np.float32


def test_presets_bring_their_conventions():
    rewards, ids = [1.0, 0.0, 0.0, 0.0], [0] * 4
    assert LossConfig.preset("dr_grpo").advantages(rewards, ids).tolist() == [
        0.75,
        -0.25,
        -0.25,
        -0.25,
    ]
    assert LossConfig.preset("luffy").advantages(rewards, ids).tolist() == [
        0.75,
        -0.25,
        -0.25,
        -0.25,
    ]
    np.testing.assert_allclose(
        LossConfig.preset("paper").advantages(rewards, ids)[0], 1.5, rtol=3e-6
    )


def test_bad_rewards_and_masks():
    for arguments, changes, expected, message in [
        (([1.0, math.nan], [0, 0]), {}, icpo.NonFiniteError, r"rewards\[1\].*got NaN"),
        (([1.0], [0, 0]), {}, icpo.ShapeError, "group_ids"),
        (([[1.0]], [0]), {}, icpo.ShapeError, "rewards: expected shape"),
        (
            ([1.0], [0]),
            {"std": "biased"},
            icpo.ConfigError,
            "std: expected 'unbiased' or 'none', got 'biased'",
        ),
        (([1.0], [0]), {"baseline": "off"}, icpo.ConfigError, "baseline"),
        (([1.0], [0]), {"keep_mask": [2]}, icpo.NonFiniteError, "keep_mask"),
        (([1.0], [0]), {"expert_mask": [True, False]}, icpo.ShapeError, "expert_mask"),
        (([1.0], [0]), {"eps": -1.0}, icpo.ConfigError, "eps"),
        ((["x"], [0]), {}, icpo.DTypeError, "rewards"),
    ]:
        with pytest.raises(expected, match=message):
            group_advantages(*arguments, **changes)


def test_bonus_schedules():
    for step in (0, 1, 37, 100, 399, 400):
        assert bonus_gamma(step, total_steps=400) == pytest.approx(1 - step / 400)
        cosine = 0.5 * (1 + math.cos(math.pi * step / 400))
        assert bonus_gamma(step, schedule="cosine", total_steps=400) == pytest.approx(
            cosine, abs=1e-15
        )
        assert bonus_gamma(step, schedule="exp", tau=50) == pytest.approx(math.exp(-step / 50))
    assert bonus_gamma(500, total_steps=400) == 0.0
    shaped = reward_bonus([1.0, 1.0, 0.0], [True, False, False], 100, total_steps=400, alpha=2.0)
    assert shaped.tolist() == [2.5, 1.0, 0.0]
    for changes, expected, message in [
        ({"total_steps": None}, icpo.MissingArgumentError, "total_steps"),
        ({"schedule": "exp"}, icpo.MissingArgumentError, "tau"),
        ({"schedule": "linear "}, icpo.ConfigError, "schedule: expected 'linear'"),
        ({"total_steps": 0}, icpo.ConfigError, "total_steps"),
        ({"alpha": math.inf}, icpo.ConfigError, "alpha"),
    ]:
        with pytest.raises(expected, match=message):
            reward_bonus([1.0], [True], 1, **{"total_steps": 10, **changes})
    with pytest.raises(icpo.ConfigError, match="step"):
        bonus_gamma(-1, total_steps=10)


def test_rollout_metrics_count_prompts_by_kind():
    rng = random.Random(1)
    rewards, ids, expert, accepted = [], [], [], []
    expected = dict.fromkeys(("non_pass", "some_pass", "all_pass"), 0)
    refined = dict(expected)
    for prompt in range(40):
        right = [rng.random() < rng.choice([0.0, 0.5, 1.0]) for _ in range(4)]
        helped = rng.random() < 0.5
        kind = "non_pass" if not any(right) else "all_pass" if all(right) else "some_pass"
        expected[kind] += 1
        refined[kind] += helped
        for reward in (*right, helped):
            rewards.append(float(reward))
            ids.append(f"prompt {prompt}")
        expert += [False] * 4 + [True]
        accepted += [False] * 4 + [helped]
    metrics = rollout_metrics(
        rewards, ids, expert, accepted, lengths=[3] * 200, demos=[0, 0, 0, 0, 2] * 40
    )
    figures = metrics.as_dict()
    for kind, count in expected.items():
        assert figures[f"prompts/{kind}"] == count
        assert figures[f"prompts/{kind}_refined"] == pytest.approx(refined[kind] / count)
    assert figures["expert/accepted"] == sum(refined.values()) / 40
    assert figures["expert/demos"] == 2 and figures["on/response_length"] == 3
    half = rollout_metrics(
        rewards[:100],
        ids[:100],
        expert[:100],
        accepted[:100],
        lengths=[3] * 100,
        demos=[0, 0, 0, 0, 2] * 20,
    )
    rest = rollout_metrics(
        rewards[100:],
        ids[100:],
        expert[100:],
        accepted[100:],
        lengths=[3] * 100,
        demos=[0, 0, 0, 0, 2] * 20,
    )
    assert dict(sum([half, rest])) == dict(metrics)
    with pytest.raises(icpo.ShapeError, match="accepted"):
        rollout_metrics([1.0], ["a"], [False], [True])
