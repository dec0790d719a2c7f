"""How many rollouts of which kind: against a table worked by hand."""

from __future__ import annotations

import itertools

import pytest

from icpo.errors import ConfigError, MissingArgumentError
from icpo.mixing import GROUPS, SOURCES, TARGETS, Plan


@pytest.mark.parametrize(
    ("group", "n", "n_off", "policy"),
    [
        ("replace", 8, 1, 8),
        ("replace", 8, 3, 8),
        ("replace", 1, 1, 1),
        ("reserve", 8, 1, 7),
        ("reserve", 8, 3, 5),
        ("reserve", 2, 1, 1),
        ("always", 8, 1, 7),
        ("always", 8, 8, 0),
        ("replace", 8, 0, 8),
        ("reserve", 8, 0, 8),
        ("always", 8, 0, 8),
        ("beside", 8, 3, 8),
        ("beside", 8, 8, 8),
        ("beside", 8, 0, 8),
        ("alone", 8, 3, 0),
        ("alone", 1, 1, 0),
    ],
)
def test_policy_rollouts(group, n, n_off, policy):
    assert Plan(n=n, n_off=n_off, group=group).policy_rollouts == policy


@pytest.mark.parametrize(
    ("target", "rewards", "wanted"),
    [
        ("all", [0.0, 0.0], True),
        ("all", [1.0, 1.0], True),
        ("all", [0.0, 1.0], True),
        ("non_pass", [0.0, 0.0], True),
        ("non_pass", [0.0, 1.0], False),
        ("non_pass", [1.0, 1.0], False),
        ("some_pass", [0.0, 0.0], False),
        ("some_pass", [0.0, 1.0], True),
        ("some_pass", [1.0, 1.0], False),
    ],
)
def test_expert_rollouts(target, rewards, wanted):
    for n_off in (0, 1, 2):
        plan = Plan(n=2, n_off=n_off, target=target)
        assert plan.expert_rollouts(rewards) == (n_off if wanted else 0)


def test_right_means_a_reward_of_delta():
    rewards = [0.5, 0.2]
    assert Plan(target="non_pass", delta=1.0).expert_rollouts(rewards) == 1
    assert Plan(target="non_pass", delta=0.5).expert_rollouts(rewards) == 0
    assert Plan(target="some_pass", delta=0.5).expert_rollouts(rewards) == 1
    assert Plan(target="some_pass", delta=0.2).expert_rollouts(rewards) == 0


def test_rewards_are_needed_first_only_where_something_depends_on_them():
    assert not Plan().needs_rewards_first
    assert Plan(target="non_pass").needs_rewards_first
    assert Plan(target="some_pass").needs_rewards_first
    assert not Plan(target="some_pass", n_off=0).needs_rewards_first
    assert Plan().expert_rollouts() == 1
    assert Plan(target="some_pass", n_off=0).expert_rollouts() == 0
    with pytest.raises(MissingArgumentError, match="policy_rewards: target 'non_pass'"):
        Plan(target="non_pass").expert_rollouts()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 0}, "n: expected a whole number from 1, got 0"),
        ({"n": 8.0}, "n: expected a whole number from 1, got 8.0"),
        ({"n": True}, "n: expected a whole number from 1, got True"),
        ({"n": "8"}, "n: expected a whole number from 1, got '8'"),
        ({"n_off": -1}, "n_off: expected a whole number from 0, got -1"),
        ({"n": 2, "n_off": 3}, "n_off: expected at most n = 2, got 3"),
        (
            {"group": "swap"},
            "group: expected 'replace' or 'reserve' or 'always' or 'beside' or 'alone', got 'swap'",
        ),
        (
            {"source": "web"},
            "source: expected 'demonstrations' or 'stored' or 'prefix', got 'web'",
        ),
        ({"target": "some"}, "target: expected 'all' or 'non_pass' or 'some_pass', got 'some'"),
        ({"group": ["replace"]}, r"group: expected .*, got \['replace'\]"),
        ({"delta": float("nan")}, "delta: expected a finite number, got nan"),
        ({"delta": None}, "delta: expected a finite number, got None"),
        (
            {"n": 2, "n_off": 2, "group": "reserve", "target": "non_pass"},
            "n_off: expected less than n = 2, because target 'non_pass' looks at on-policy",
        ),
        (
            {"n": 2, "n_off": 2, "group": "always", "target": "some_pass"},
            "n_off: expected less than n = 2, because target 'some_pass' looks at on-policy",
        ),
        (
            {"n": 2, "n_off": 2, "group": "reserve"},
            "n_off: expected less than n = 2, because group 'reserve' would be of accepted expert "
            "rollouts alone, of which none is better than another, got 2",
        ),
        (
            {"group": "alone", "n_off": 0},
            "n_off: expected at least 1, because group 'alone' has no on-policy rollouts, got 0",
        ),
        (
            {"group": "alone", "target": "non_pass"},
            "target: expected 'all', because group 'alone' has no on-policy rollouts, "
            "got 'non_pass'",
        ),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Plan(**fields)


#: Without on-policy rollouts none can be looked at.
MEANINGLESS = {("alone", "non_pass"), ("alone", "some_pass")}


def test_every_combination_of_the_tables_makes_a_plan():
    policy = {"replace": 4, "reserve": 2, "always": 2, "beside": 4, "alone": 0}
    assert policy.keys() == GROUPS.keys()
    for group, target, source in itertools.product(GROUPS, TARGETS, SOURCES):
        if (group, target) in MEANINGLESS:
            continue
        plan = Plan(n=4, n_off=2, group=group, target=target, source=source)
        assert plan.policy_rollouts == policy[group]
        assert plan.expert_rollouts([0.0, 1.0]) in (0, 2)


@pytest.mark.parametrize(
    ("source", "demos", "solutions"),
    [("demonstrations", True, False), ("stored", False, True), ("prefix", False, True)],
)
def test_what_a_source_needs(source, demos, solutions):
    plan = Plan(source=source)
    assert (plan.shows_demos, plan.needs_solutions) == (demos, solutions)
    none = Plan(source=source, n_off=0)
    assert not none.shows_demos and not none.needs_solutions
