"""Rewards, advantages and prompts of a step's batch, against plain formulas in double precision."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from rollout_cases import group, random_groups, rollout, tokens

from icpo import LossConfig
from icpo.errors import ConfigError, ShapeError
from icpo.mixing import Batch, Bonus, Plan, assemble, mix
from icpo.types import RolloutGroup

LOSS = LossConfig.preset("paper")


def advantages(rewards: list[float], counted: list[float], divided: bool) -> list[float]:
    """Eq. 4 and 6: (R - mean)/(std + 1e-6) with statistics of those counted."""
    if len(counted) < 2:
        return list(rewards)
    mean = math.fsum(counted) / len(counted)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in counted) / (len(counted) - 1))
    if len(set(counted)) == 1 or not divided:
        return [r - mean for r in rewards]
    return [(r - mean) / (std + 1e-6) for r in rewards]


def batch_of(groups, plan, rng, loss=LOSS, **bonus) -> Batch:
    return assemble([mix(one, plan, rng) for one in groups], loss=loss, **bonus)


@pytest.mark.parametrize(
    ("rule", "std", "baseline", "alpha"),
    list(
        itertools.product(
            ["replace", "reserve", "always"],
            ["unbiased", "none"],
            ["mixed", "on_policy"],
            [None, 0.7],
        )
    ),
)
def test_advantages_of_mixed_groups(rule, std, baseline, alpha):
    rng = np.random.default_rng(0)
    plan = Plan(n=6, n_off=2, group=rule)
    loss = LossConfig.preset("paper", advantage_std=std, advantage_baseline=baseline)
    mixed = [mix(one, plan, rng) for one in random_groups(rng, plan, 40)]
    bonus = None if alpha is None else Bonus(alpha=alpha)
    batch = assemble(mixed, loss=loss, bonus=bonus, step=30, total_steps=120)
    start = 0
    for number, one in enumerate(mixed):
        rows = slice(start, start + len(one.members))
        start += len(one.members)
        rewards = [
            member.reward
            + (alpha or 0.0) * 0.75 * (member.expert and member.reward == 1.0)  # eq. 12
            for member in one.members
        ]
        policy = [r for r, member in zip(rewards, one.members, strict=True) if not member.expert]
        counted = rewards if baseline == "mixed" else policy
        wanted = advantages(rewards, counted, std == "unbiased")
        np.testing.assert_allclose(batch.shaped_rewards[rows], rewards, rtol=1e-12)
        np.testing.assert_allclose(batch.advantage[rows], wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(batch.rewards[rows], [m.reward for m in one.members])
        np.testing.assert_array_equal(batch.expert_mask[rows], [m.expert for m in one.members])
        np.testing.assert_array_equal(batch.group[rows], number)
    assert start == len(batch)


def test_a_case_by_hand():
    """Seven wrong and one accepted: mean 1/8, deviation sqrt(1/8)."""
    rng = np.random.default_rng(0)
    batch = batch_of([group(rng, [0.0] * 8, [1.0])], Plan(), rng)
    assert batch.expert_mask.sum() == 1
    np.testing.assert_allclose(batch.advantage[batch.expert_mask], 7 / 8 * math.sqrt(8), rtol=1e-5)
    np.testing.assert_allclose(batch.advantage[~batch.expert_mask], -math.sqrt(8) / 8, rtol=1e-5)


@pytest.mark.parametrize("baseline", ["mixed", "on_policy"])
def test_rejected_ones_leave_a_reserved_group_untouched(baseline):
    """Bit for bit what the group is without them, whatever they look like."""
    loss = LossConfig.preset("paper", advantage_baseline=baseline)
    rng = np.random.default_rng(4)
    plan = Plan(n=8, n_off=2, group="reserve")
    for _ in range(20):
        policy = (rng.random(6) < 0.4).astype(float).tolist()
        sampled = group(rng, policy, [0.0, 0.5])
        without = RolloutGroup(sampled.problem, sampled.prompt, sampled.policy)
        with_rejected = batch_of([sampled], plan, rng, loss)
        alone = batch_of([without], plan, rng, loss)
        for field in dataclasses.fields(Batch):
            ours, theirs = getattr(with_rejected, field.name), getattr(alone, field.name)
            if field.name in ("given", "trained"):
                assert ours is theirs is None
                continue
            assert all(a is b for a, b in zip(ours, theirs, strict=True)) or np.array_equal(
                ours, theirs
            ), field.name
        np.testing.assert_allclose(
            with_rejected.advantage, advantages(policy, policy, True), rtol=1e-9, atol=1e-12
        )


def test_acceptance_sees_the_reward_before_the_bonus():
    """R + α would pass δ where R does not, and does not help."""
    rng = np.random.default_rng(0)
    prompt, longer = tokens(rng, 2), tokens(rng, 5)
    policy = (rollout(rng, prompt), rollout(rng, prompt))
    half = rollout(rng, longer, reward=0.5, outcome="equal", expert=True)
    one = group(rng, [], [])
    sampled = RolloutGroup(one.problem, prompt, policy, (half,))
    bonus = {"bonus": Bonus(alpha=1.0), "step": 0, "total_steps": 10}

    rejected = batch_of([sampled], Plan(n=2), rng, **bonus)
    assert not rejected.expert_mask.any()
    assert rejected.shaped_rewards.tolist() == [0.0, 0.0]

    # Where everything enters, what failed the test still gets no bonus.
    always = batch_of([sampled], Plan(n=3, group="always"), rng, **bonus)
    assert always.expert_mask.tolist() == [False, False, True]
    assert always.accepted.tolist() == [False] * 3
    assert always.shaped_rewards.tolist() == [0.0, 0.0, 0.5]

    # A lower δ lets it pass, on R = 0.5.
    lenient = batch_of([sampled], Plan(n=3, group="always", delta=0.5), rng, **bonus)
    assert lenient.accepted.tolist() == [False, False, True]
    assert lenient.shaped_rewards.tolist() == [0.0, 0.0, 1.5]


def test_policy_rollouts_get_no_bonus():
    rng = np.random.default_rng(0)
    batch = batch_of(
        [group(rng, [1.0, 1.0, 0.0], [1.0])],
        Plan(n=4, group="reserve"),
        rng,
        bonus=Bonus(alpha=0.5),
        step=5,
        total_steps=10,
    )
    assert batch.shaped_rewards.tolist() == [1.0, 1.0, 0.0, 1.25]
    assert batch.rewards.tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("bonus", "step", "gamma"),
    [
        (Bonus(), 0, 1.0),
        (Bonus(), 100, 0.75),
        (Bonus(), 400, 0.0),
        (Bonus(schedule="cosine"), 100, 0.5 * (1 + math.cos(math.pi / 4))),
        (Bonus(schedule="exp", tau=50.0), 100, math.exp(-2)),
    ],
)
def test_the_bonus_fades(bonus, step, gamma):
    assert bonus.gamma(step, 400) == pytest.approx(gamma, abs=1e-12)
    rewards, accepted = np.array([1.0, 1.0]), np.array([True, False])
    shaped = Bonus.shaped(bonus, rewards, accepted, step, 400)
    np.testing.assert_allclose(shaped, [1.0 + gamma, 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": float("inf")}, "alpha: expected a finite number, got inf"),
        ({"alpha": "1"}, "alpha: expected a finite number, got '1'"),
        ({"schedule": "exp"}, "tau: expected a number of steps for schedule 'exp', got None"),
        ({"schedule": "exp", "tau": 0.0}, "tau: expected a number of steps above 0, got 0.0"),
        ({"tau": "a"}, "tau: expected a number of steps above 0, got 'a'"),
        ({"schedule": "step"}, "schedule"),
    ],
)
def test_bonuses_that_make_no_sense(fields, message):
    with pytest.raises(ConfigError, match=message):
        Bonus(**fields)


def test_prompts_are_restored_token_for_token():
    """Whatever a completion was sampled from, it stands behind the bare prompt."""
    rng = np.random.default_rng(5)
    plan = Plan(n=4, n_off=2)
    mixed = [mix(one, plan, rng) for one in random_groups(rng, plan, 30, right=0.8)]
    batch = assemble(mixed, loss=LOSS)
    members = [(one, member) for one in mixed for member in one.members]
    assert len(batch) == len(members) == 30 * 4
    assert batch.expert_mask.sum() > 20
    for row, (one, member) in enumerate(members):
        np.testing.assert_array_equal(batch.prompts[row], one.group.prompt)
        np.testing.assert_array_equal(batch.sampled_prompts[row], member.prompt)
        np.testing.assert_array_equal(batch.completions[row], member.tokens)
        np.testing.assert_array_equal(batch.behavior_logp[row], member.logp)
        if member.expert:
            assert len(batch.sampled_prompts[row]) > len(batch.prompts[row])
    again = batch.as_sampled()
    assert again.prompts is batch.sampled_prompts
    assert again.completions is batch.completions


def test_rows():
    rng = np.random.default_rng(6)
    plan = Plan(n=3)
    batch = batch_of(random_groups(rng, plan, 5), plan, rng)
    assert batch.given is batch.trained is batch.rows([4]).given is batch.rows([4]).trained is None
    masks = [rng.random(length) < 0.5 for length in batch.lengths]
    batch = dataclasses.replace(batch, given=tuple(range(15))).with_trained(masks)
    part = batch.rows([4, 0, 14])
    assert len(part) == 3
    np.testing.assert_array_equal(part.trained_tokens, [masks[i].sum() for i in (4, 0, 14)])
    for ours, row in enumerate([4, 0, 14]):
        for field in dataclasses.fields(Batch):
            assert getattr(part, field.name)[ours] is getattr(batch, field.name)[row] or (
                getattr(part, field.name)[ours] == getattr(batch, field.name)[row]
            )
    assert len(batch.rows([])) == 0
    np.testing.assert_array_equal(part.lengths, [len(batch.completions[i]) for i in (4, 0, 14)])


def test_log_probs_can_be_replaced():
    rng = np.random.default_rng(7)
    plan = Plan(n=3)
    batch = batch_of(random_groups(rng, plan, 2), plan, rng)
    fresh = [np.full(len(t), -row, np.float32) for row, t in enumerate(batch.completions)]
    np.testing.assert_array_equal(batch.trained_tokens, batch.lengths)
    for name in ("old_logp", "behavior_logp", "trained"):
        changed = getattr(batch, f"with_{name}")(fresh)
        for row, values in enumerate(getattr(changed, name)):
            assert values is fresh[row]
        for field in dataclasses.fields(Batch):
            if field.name != name:
                assert getattr(changed, field.name) is getattr(batch, field.name)
        with pytest.raises(ShapeError, match=f"{name}: expected 6 rows, got 5"):
            getattr(batch, f"with_{name}")(fresh[:5])
        wrong = [*fresh[:2], np.zeros(99, np.float32), *fresh[3:]]
        with pytest.raises(ShapeError, match=rf"{name}\[2\]: expected shape .*, got \(99,\)"):
            getattr(batch, f"with_{name}")(wrong)


def test_no_groups_make_an_empty_batch():
    batch = assemble([], loss=LOSS, bonus=Bonus(), step=1, total_steps=2)
    assert len(batch) == 0
    assert batch.advantage.shape == batch.lengths.shape == (0,)
