"""Groups against brute force: who is a row, what it is worth, what is counted."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import verl_fakes as fakes

from icpo.errors import DataError
from icpo.mixing import GROUPS, TARGETS, Bonus, Plan
from icpo.objective.config import LossConfig
from icpo.ops import reference
from icpo.types import Problem
from icpo.verl.group import GroupRules, Response, form_group, outcome_of
from icpo.verl.metrics import RequestMetrics, packed, rollout_figures

pytestmark = pytest.mark.verl

assert fakes  # skips this module where verl is not installed

PROBLEM = Problem("p", "1 + 1?", "2")
CUT_OFF = 6


@dataclass
class Output:
    """As much of verl's AgentLoopOutput as groups look at."""

    reward_score: float
    response_ids: list[int]
    extra_fields: dict[str, Any] = field(default_factory=dict)


def response(rng, reward, demos=(), **details):
    length = int(rng.integers(1, CUT_OFF + 1))
    fields = {"reward_extra_info": details} if details else {}
    return Response([Output(reward, list(range(length)), fields)], bool(demos), demos)


def rules(plan, *, bonus=None, **loss):
    return GroupRules(plan, LossConfig.preset("paper", **loss), bonus, 10.0, CUT_OFF)


def sampled(rng, plan, *, failed=0, rewards=(0.0, 1.0)):
    """What the engine gave, as the plan asks for it; `failed` on-policy requests gave nothing."""
    policy = [response(rng, rng.choice(rewards)) for _ in range(plan.policy_rollouts - failed)]
    wanted = plan.expert_rollouts([one.reward for one in policy])
    expert = [response(rng, rng.choice(rewards), ("d1", "d2")) for _ in range(wanted)]
    return policy, expert


SIZES = [(2, 1), (5, 1), (5, 2), (5, 4), (8, 3)]
PLANS = [
    Plan(n, n_off, group, target)
    for (n, n_off), group, target in itertools.product(SIZES, GROUPS, TARGETS)
    if GROUPS[group].policy_rollouts(n, n_off) or target == "all"
]
#: Groups in which expert rollouts enter, right or wrong.
EVERYBODY = ("always", "beside", "alone")
#: And in which they have no advantage.
IMITATED = ("beside", "alone")
#: On-policy rollouts, of N and N_off.
SAMPLED = {
    "replace": lambda n, n_off: n,
    "reserve": lambda n, n_off: n - n_off,
    "always": lambda n, n_off: n - n_off,
    "beside": lambda n, n_off: n,
    "alone": lambda n, n_off: 0,
}


def expert_rows(found):
    return [row.response for row in found.rows if row.expert]


def policy_rows(found):
    return [row.response for row in found.rows if not row.expert]


##### Who is in the group


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_members(plan):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        policy, expert = sampled(rng, plan)
        found = form_group(PROBLEM, policy, expert, rules(plan), 1, np.random.default_rng(seed))
        right = [one for one in expert if one.reward >= 1]
        entering = expert if plan.group in EVERYBODY else right
        assert sorted(map(id, expert_rows(found))) == sorted(map(id, entering))
        stayed = policy_rows(found)
        assert len(set(map(id, stayed))) == len(stayed)
        assert set(map(id, stayed)) <= set(map(id, policy))
        if plan.group == "replace":
            assert len(found.rows) == plan.n
            assert len(stayed) == plan.n - len(right)
        else:
            assert len(stayed) == SAMPLED[plan.group](plan.n, plan.n_off)
            assert len(found.rows) == len(stayed) + len(entering)
        # Everything that was sampled is either trained on or told to be left out, once.
        everything = [row.response for row in found.rows] + found.left_out
        assert sorted(map(id, everything)) == sorted(map(id, [*policy, *expert]))
        for row in found.rows:
            assert row.accepted is (row.expert and row.response.reward >= 1)


def test_those_that_stay_keep_their_places():
    plan = Plan(6, 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        policy, expert = sampled(rng, plan)
        found = form_group(PROBLEM, policy, expert, rules(plan), 1, rng)
        for place, row in enumerate(found.rows):
            assert row.expert or row.response is policy[place]


def test_every_on_policy_rollout_may_make_room():
    plan, rng = Plan(4, 1), np.random.default_rng(0)
    policy = [response(rng, 1.0 if place < 2 else 0.0) for place in range(4)]
    expert = [response(rng, 1.0, ("d",))]
    gone = [
        policy.index(form_group(PROBLEM, policy, expert, rules(plan), 1, rng).left_out[0])
        for _ in range(400)
    ]
    counts = np.bincount(gone, minlength=4)
    assert (counts > 60).all()  # 100 each, were it exact; 60 is 4.6 deviations off


def test_choice_is_the_generators():
    plan = Plan(8, 1)
    policy, expert = sampled(np.random.default_rng(3), plan, rewards=(1.0,))

    def gone(seed):
        found = form_group(PROBLEM, policy, expert, rules(plan), 1, np.random.default_rng(seed))
        return id(found.left_out[0])

    assert [gone(seed) for seed in range(9)] == [gone(seed) for seed in range(9)]
    assert len({gone(seed) for seed in range(9)}) > 1


@pytest.mark.parametrize(
    ("details", "reward", "outcome"),
    [
        ({}, 0.0, "equal"),  # the reward alone decides
        ({"acc": 1.0}, 0.0, "equal"),
        ({"acc": 0.0}, 1.0, "not_equal"),
        ({"acc": True}, 1.0, "equal"),
        ({"acc": False, "verdict": "equal"}, 1.0, "equal"),
        ({"acc": 1.0, "verdict": "unknown"}, 1.0, "unknown"),
        ({"verdict": "not_equal"}, 1.0, "not_equal"),
        ({"acc": None}, 1.0, "equal"),  # which tells nothing
    ],
)
def test_outcome(details, reward, outcome):
    assert outcome_of(details, reward) == outcome


@pytest.mark.parametrize("verdict", ["correct", True, 1.0, None])
def test_verdict_of_another_meaning_is_refused(verdict):
    """Nothing would ever be accepted, and the run would be one of GRPO."""
    with pytest.raises(DataError, match=r"^verdict: expected one of equal, not_equal, unknown"):
        outcome_of({"acc": 1.0, "verdict": verdict}, 1.0)


@pytest.mark.parametrize(
    ("delta", "reward", "details", "accepted"),
    [
        (1.0, 1.0, {}, True),
        (1.0, 0.999, {}, False),
        (0.5, 0.5, {}, True),
        (0.5, 0.7, {"acc": 0.0}, False),  # rewarded for its form, say, but wrong
        (0.5, 0.2, {"acc": 1.0}, False),
        (1.0, 1.0, {"verdict": "unknown"}, False),
        (-1.0, -1.0, {"verdict": "equal"}, True),
    ],
)
def test_acceptance_asks_for_reward_and_verdict(delta, reward, details, accepted):
    plan, rng = Plan(3, 1, delta=delta), np.random.default_rng(0)
    policy = [response(rng, 0.0) for _ in range(3)]
    expert = [response(rng, reward, ("d",), **details)]
    found = form_group(PROBLEM, policy, expert, rules(plan), 1, rng)
    assert [row.accepted for row in found.rows].count(True) == accepted
    assert (found.left_out[0] is expert[0]) is not accepted


##### Requests that failed


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("n", "n_off"), SIZES)
def test_rest_of_the_group_is_used(group, n, n_off):
    plan = Plan(n, n_off, group)
    for failed, lost in itertools.product(range(plan.policy_rollouts), range(n_off + 1)):
        rng = np.random.default_rng(failed)
        policy, expert = sampled(rng, plan, failed=failed, rewards=(1.0,))
        expert = expert[lost:]
        found = form_group(PROBLEM, policy, expert, rules(plan), 1, rng)
        everything = [row.response for row in found.rows] + found.left_out
        assert sorted(map(id, everything)) == sorted(map(id, [*policy, *expert]))
        if group in ("replace", "beside"):
            # There are no more expert rollouts than on-policy ones, whose places they take or
            # beside which they stand.
            assert len(expert_rows(found)) == min(len(expert), len(policy))
            stayed = len(policy) - (len(expert_rows(found)) if group == "replace" else 0)
            assert len(policy_rows(found)) == stayed
        else:
            assert len(found.rows) == len(policy) + len(expert)


##### What rows are worth

CONVENTIONS = [
    {"advantage_std": std, "advantage_baseline": baseline}
    for std, baseline in itertools.product(("unbiased", "none"), ("mixed", "on_policy"))
]


@pytest.mark.parametrize("conventions", CONVENTIONS, ids=lambda kinds: "-".join(kinds.values()))
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_advantages_are_those_of_the_reference(group, conventions, alpha):
    plan = Plan(6, 2, group)
    bonus = Bonus(alpha) if alpha else None
    seen = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        policy, expert = sampled(rng, plan, rewards=(0.0, 0.25, 1.0, 1.5))
        step = 1 + seed % 10
        rows = form_group(
            PROBLEM, policy, expert, rules(plan, bonus=bonus, **conventions), step, rng
        ).rows
        # verl counts steps from 1, the bonus from 0: the first step has all of it.
        left = alpha * (1 - (step - 1) / 10)
        rewards = [row.response.reward + left * row.accepted for row in rows]
        # Those that are imitated only have no part in it.
        counts = np.array([group not in IMITATED or not row.expert for row in rows])
        expected = np.zeros(len(rows))
        expected[counts] = reference.group_advantages(
            torch.tensor(rewards, dtype=torch.float64)[counts],
            torch.zeros(counts.sum(), dtype=torch.int64),
            std=conventions["advantage_std"],
            baseline=conventions["advantage_baseline"],
            expert_mask=torch.tensor([row.expert for row in rows])[counts],
        )
        np.testing.assert_allclose([row.advantage for row in rows], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            [row.bonus for row in rows], [left * row.accepted for row in rows], rtol=0, atol=1e-12
        )
        seen += sum(row.accepted for row in rows)
    assert seen > 10


def test_bonus_fades_over_the_steps():
    plan, rng = Plan(2, 1, "always"), np.random.default_rng(0)
    policy, expert = [response(rng, 0.0)], [response(rng, 1.0, ("d",))]

    def bonus(step, schedule, tau=None):
        of = rules(plan, bonus=Bonus(2.0, schedule, tau))
        return form_group(PROBLEM, policy, expert, of, step, rng).rows[1].bonus

    for step in range(1, 11):
        gone = (step - 1) / 10
        assert bonus(step, "linear") == pytest.approx(2 * (1 - gone), abs=1e-12)
        assert bonus(step, "cosine") == pytest.approx(1 + math.cos(math.pi * gone), abs=1e-12)
        assert bonus(step, "exp", 3.0) == pytest.approx(2 * math.exp(-(step - 1) / 3), abs=1e-12)


def test_bonus_is_for_accepted_ones():
    plan, rng = Plan(3, 2, "always"), np.random.default_rng(0)
    policy = [response(rng, 1.0)]
    expert = [response(rng, 1.0, ("d",)), response(rng, 0.0, ("d",))]
    rows = form_group(PROBLEM, policy, expert, rules(plan, bonus=Bonus(1.0)), 1, rng).rows
    assert [row.bonus for row in rows] == [0.0, 1.0, 0.0]


def test_group_without_spread_is_worth_nothing():
    plan, rng = Plan(4, 1), np.random.default_rng(0)
    for reward, conventions in itertools.product((0.0, 1.0, 0.1), CONVENTIONS):
        policy, expert = sampled(rng, plan, rewards=(reward,))
        rows = form_group(PROBLEM, policy, expert, rules(plan, **conventions), 1, rng).rows
        assert [row.advantage for row in rows] == [0.0] * 4


##### What is counted


def brute_force(groups, plan):
    """The figures, from all that was sampled and what became of it."""
    policy = [one for policy, *_ in groups for one in policy]
    expert = [one for _, expert, _ in groups for one in expert]
    rows = [row for *_, found in groups for row in found.rows]
    gone = [one for *_, found in groups for one in found.left_out if not one.demos]
    passes = [sum(one.reward >= plan.delta for one in policy) for policy, *_ in groups]
    kinds = [
        "non_pass" if right == 0 else "all_pass" if right == len(policy) else "some_pass"
        for right, (policy, *_) in zip(passes, groups, strict=True)
        if policy
    ]

    def mean(values):
        return sum(values) / len(values) if values else math.nan

    return {
        "prompts": len(groups),
        **{f"prompts/{kind}": kinds.count(kind) for kind in ("non_pass", "some_pass", "all_pass")},
        "on/reward": mean([one.reward for one in policy]),
        "off/reward": mean([one.reward for one in expert]),
        "on/response_length": mean([len(one.final.response_ids) for one in policy]),
        "off/response_length": mean([len(one.final.response_ids) for one in expert]),
        "on/unfinished": mean([len(one.final.response_ids) == CUT_OFF for one in policy]),
        "off/unfinished": mean([len(one.final.response_ids) == CUT_OFF for one in expert]),
        "expert/accepted": mean([one.reward >= plan.delta for one in expert]),
        "expert/rollouts": len(expert),
        "expert/entered": sum(row.expert for row in rows),
        "expert/replaced": len(gone),
        "expert/replaced_right": mean([one.reward >= plan.delta for one in gone]),
        "expert/demos": mean([len(one.demos) for one in expert]),
        "batch/rows": len(rows),
        "batch/expert_rows": mean([row.expert for row in rows]),
        "batch/reward": mean([row.response.reward for row in rows]),
        "batch/shaped_reward": mean([row.response.reward + row.bonus for row in rows]),
        "batch/zero_advantage": mean([row.advantage == 0 for row in rows]),
    }


COUNTS = [
    {"requests": 2, "failed": 1, "demos_dropped": 3, "policy_requests": 6},
    {"requests": 1, "timed_out": 1, "bare": 1, "policy_requests": 6, "policy_failed": 2},
    {"requests": 2, "empty": 1, "policy_requests": 6},
]


@pytest.mark.parametrize("group", GROUPS)
def test_sums_of_groups_are_the_figures_of_all(group):
    plan = Plan(6, 2, group)
    rng = np.random.default_rng(1)
    groups = []
    for _ in range(12):
        policy, expert = sampled(rng, plan)
        found = form_group(PROBLEM, policy, expert, rules(plan, bonus=Bonus(0.5)), 3, rng)
        groups.append((policy, expert, found))
    sums = [
        packed(found.metrics, RequestMetrics.of(COUNTS[number % 3]))
        for number, (*_, found) in enumerate(groups)
    ]
    figures = rollout_figures(sums)
    for name, expected in brute_force(groups, plan).items():
        assert figures[f"icpo/{name}"] == pytest.approx(expected, rel=1e-12, nan_ok=True), name
    assert figures["icpo/expert/requests"] == 4 * (2 + 1 + 2)
    assert figures["icpo/expert/failed"] == figures["icpo/expert/timed_out"] == 4
    assert figures["icpo/expert/empty"] == figures["icpo/expert/prompts_bare"] == 4
    assert figures["icpo/expert/demos_dropped"] == 12
    assert figures["icpo/policy/requests"] == 72
    assert figures["icpo/policy/failed"] == 8
    # In whatever order and portions they come.
    again = rollout_figures(sums[::-1])
    assert again.keys() == figures.keys()
    for name in figures:
        assert again[name] == pytest.approx(figures[name], rel=1e-12, nan_ok=True), name


def test_keys_are_always_the_same():
    plan, rng = Plan(4, 1), np.random.default_rng(0)
    policy, expert = sampled(rng, plan)
    requests = RequestMetrics.of({})
    none = rollout_figures([])
    keys = []
    for experts in (expert, []):
        found = form_group(PROBLEM, policy, experts, rules(plan), 1, rng)
        keys.append(list(rollout_figures([packed(found.metrics, requests)])))
    assert keys == [list(none)] * 2
    assert all(name.startswith("icpo/") for name in none)


def test_what_travels_is_plain_lists():
    plan, rng = Plan(4, 1), np.random.default_rng(0)
    found = form_group(PROBLEM, *sampled(rng, plan), rules(plan), 1, rng)
    for sums in packed(found.metrics, RequestMetrics.of({"failed": 1})):
        assert isinstance(sums, list)
        assert {type(value) for value in sums} == {float}


def test_names_are_not_taken_for_extrema():
    """verl takes the greatest of what has "max" in its name, and the smallest with "min"."""
    from verl.trainer.ppo.v1.utils import MetricsAggregator

    aggregator = MetricsAggregator()
    for name in rollout_figures([]):
        assert aggregator._get_aggregation_type(name) == "weighted_avg", name
