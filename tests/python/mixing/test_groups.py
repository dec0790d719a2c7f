"""Who takes whose place, who is rejected, and what nobody touches."""

from __future__ import annotations

import collections
import itertools
import math

import numpy as np
import pytest
from rollout_cases import group, random_groups, rollout, tokens

from icpo.errors import DataError, ShapeError
from icpo.mixing import GROUPS, Plan, accept, mix
from icpo.types import RolloutGroup


def deviation(counts: list[int]) -> float:
    """How far the chi-square statistic of counts lies above that of a uniform draw, in deviations.

    With f degrees of freedom it has mean f and variance 2f.
    """
    expected = sum(counts) / len(counts)
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    freedom = len(counts) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def test_the_chi_square_test_tells_uniform_from_not():
    rng = np.random.default_rng(0)
    fair = np.bincount(rng.integers(8, size=8000), minlength=8)
    assert deviation(fair.tolist()) < 4
    # The first place twice as often as each of the others.
    skewed = np.maximum(rng.integers(-1, 8, size=8000), 0)
    assert deviation(np.bincount(skewed, minlength=8).tolist()) > 50


@pytest.mark.parametrize("n", [1, 2, 8])
def test_one_expert_rollout_takes_any_place_with_equal_chance(n):
    rng = np.random.default_rng(n)
    sampled = group(rng, [0.0] * n, [1.0])
    plan = Plan(n=n)
    places: collections.Counter[int] = collections.Counter()
    for _ in range(1000 * n):
        (place,) = mix(sampled, plan, rng).replaced
        places[place] += 1
    assert set(places) == set(range(n))
    assert n == 1 or deviation(list(places.values())) < 4


def test_two_expert_rollouts_take_any_two_places_with_equal_chance():
    rng = np.random.default_rng(2)
    sampled = group(rng, [0.0] * 6, [1.0, 1.0])
    plan = Plan(n=6, n_off=2)
    places: collections.Counter[tuple[int, int]] = collections.Counter()
    for _ in range(15000):
        mixed = mix(sampled, plan, rng)
        first, second = (
            next(i for i, member in enumerate(mixed.members) if member is expert)
            for expert in sampled.expert
        )
        assert {first, second} == set(mixed.replaced)
        places[first, second] += 1
    assert set(places) == set(itertools.permutations(range(6), 2))
    assert deviation(list(places.values())) < 4


def test_replacement_does_not_look_at_rewards():
    rng = np.random.default_rng(3)
    sampled = group(rng, [1.0, 0.0, 0.0, 0.0], [1.0])
    right = sum(mix(sampled, Plan(n=4), rng).replaced == (0,) for _ in range(4000))
    assert abs(right - 1000) < 4 * math.sqrt(4000 * 1 / 4 * 3 / 4)


@pytest.mark.parametrize("seed", range(5))
def test_replace(seed):
    """N members: each accepted expert rollout in a place of its own, all else as sampled."""
    rng = np.random.default_rng(seed)
    plan = Plan(n=5, n_off=3)
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        accepted = [one for one in sampled.expert if one.reward == 1]
        assert len(mixed.members) == 5
        assert len(mixed.replaced) == len(set(mixed.replaced)) == len(accepted)
        for place, member in enumerate(mixed.members):
            if place in mixed.replaced:
                assert any(member is one for one in accepted)
            else:
                assert member is sampled.policy[place]
        assert len({id(member) for member in mixed.members}) == 5
        assert mixed.accepted == mixed.entered == tuple(one.reward == 1 for one in sampled.expert)
        assert mixed.member_accepted == tuple(member.expert for member in mixed.members)
        assert mixed.group is sampled


@pytest.mark.parametrize("seed", range(5))
def test_reserve(seed):
    """N - N_off on-policy members, all of them, and the accepted expert ones behind."""
    rng = np.random.default_rng(seed)
    plan = Plan(n=5, n_off=2, group="reserve")
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        accepted = [one for one in sampled.expert if one.reward == 1]
        assert list(mixed.members) == [*sampled.policy, *accepted]
        assert mixed.replaced == ()
        assert mixed.entered == mixed.accepted
        assert mixed.member_accepted == (False,) * 3 + (True,) * len(accepted)


@pytest.mark.parametrize("seed", range(5))
def test_always(seed):
    """Everything enters; what failed the test is told from what passed it."""
    rng = np.random.default_rng(seed)
    plan = Plan(n=5, n_off=2, group="always")
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        assert list(mixed.members) == [*sampled.policy, *sampled.expert]
        assert mixed.replaced == ()
        assert mixed.entered == (True, True)
        assert mixed.accepted == tuple(one.reward == 1 for one in sampled.expert)
        assert mixed.member_accepted == (False,) * 3 + mixed.accepted


@pytest.mark.parametrize("seed", range(5))
def test_beside(seed):
    """All on-policy members, and all expert ones behind, which have no part in advantages."""
    rng = np.random.default_rng(seed)
    plan = Plan(n=4, n_off=2, group="beside", source="stored")
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        assert list(mixed.members) == [*sampled.policy, *sampled.expert]
        assert mixed.replaced == ()
        assert mixed.entered == (True, True)
        assert mixed.member_counts == (True,) * 4 + (False,) * 2


@pytest.mark.parametrize("seed", range(5))
def test_alone(seed):
    rng = np.random.default_rng(seed)
    plan = Plan(n=3, n_off=2, group="alone", source="stored")
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        assert list(mixed.members) == list(sampled.expert)
        assert mixed.entered == (True, True)
        assert mixed.member_counts == (False, False)


@pytest.mark.parametrize("name", ["replace", "reserve", "always"])
def test_in_groups_of_both_everyone_counts(name):
    rng = np.random.default_rng(0)
    plan = Plan(n=4, n_off=2, group=name)
    for sampled in random_groups(rng, plan, 20):
        mixed = mix(sampled, plan, rng)
        assert mixed.member_counts == (True,) * len(mixed.members)


@pytest.mark.parametrize("name", [name for name in GROUPS if name != "alone"])
def test_without_expert_rollouts_a_group_stays_as_it_was(name):
    rng = np.random.default_rng(0)
    for plan in (Plan(n=3, n_off=0, group=name), Plan(n=3, group=name, target="non_pass")):
        policy = [1.0] * plan.policy_rollouts
        sampled = group(rng, policy, [])
        assert mix(sampled, plan, rng).members == sampled.policy


def test_eq_8_and_9():
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 3)

    def of(reward: float, outcome: str) -> bool:
        return accept(rollout(rng, prompt, reward=reward, outcome=outcome, expert=True), 1.0)

    assert of(1.0, "equal")
    assert of(1.5, "equal")
    assert not of(np.nextafter(1.0, 0), "equal")
    assert not of(0.0, "not_equal")
    # A reward of 1 for an answer that could not be checked does not make it right.
    assert not of(1.0, "unknown")
    assert not of(1.0, "not_equal")
    assert not of(float("nan"), "equal")


def test_delta_decides():
    rng = np.random.default_rng(0)
    half = rollout(rng, tokens(rng, 3), reward=0.5, outcome="equal", expert=True)
    assert accept(half, 0.5)
    assert not accept(half, 0.51)
    sampled = group(rng, [0.0, 0.0], [])
    sampled = RolloutGroup(sampled.problem, sampled.prompt, sampled.policy, (half,))
    assert mix(sampled, Plan(n=2, delta=0.5), rng).accepted == (True,)
    assert mix(sampled, Plan(n=2, delta=1.0), rng).accepted == (False,)


def test_the_same_generator_mixes_the_same():
    plan = Plan(n=6, n_off=2)
    groups = random_groups(np.random.default_rng(1), plan, 50, right=0.8)

    def places(seed: int) -> list[tuple[int, ...]]:
        rng = np.random.default_rng(seed)
        return [mix(sampled, plan, rng).replaced for sampled in groups]

    assert places(7) == places(7)
    assert places(7) != places(8)


def test_groups_that_do_not_fit_the_plan():
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="problem 'p0': expected 8 on-policy rollouts, got 7"):
        mix(group(rng, [0.0] * 7, [1.0]), Plan(), rng)
    with pytest.raises(ShapeError, match="problem 'p0': expected at most 1 expert rollouts, got 2"):
        mix(group(rng, [0.0] * 8, [1.0, 1.0]), Plan(), rng)
    policy = group(rng, [0.0] * 2, [])
    swapped = RolloutGroup(policy.problem, policy.prompt, policy.policy, policy.policy[:1])
    with pytest.raises(DataError, match=r"expected expert\[0\].expert to be True, got False"):
        mix(swapped, Plan(n=2), rng)
