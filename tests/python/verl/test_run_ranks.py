"""Two ranks, each with a rollout server of its own, and two workers of each kind beside them.

The run asks for expert rollouts only where some on-policy ones are right, in a second wave. Its
first step has the policy, the prompts and the seeds of the run that asks everywhere, in one
process; so the rollouts of the two must be the same where both have them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from run_laptop import Laptop, RepeatedRuns, without_uids

pytestmark = pytest.mark.verl

#: Of laptop.sh: an on-policy rollout is right from this reward on.
DELTA = 0.05

Lines = list[dict[str, Any]]


def groups(run: Laptop) -> dict[str, Lines]:
    """The lines of the first step, by prompt."""
    found: dict[str, Lines] = defaultdict(list)
    for line in without_uids(run.dump(1)):
        found[line["input"]].append(line)
    return found


def policy_rollouts(lines: Lines) -> list[tuple[str, float]]:
    return sorted((line["output"], line["reward"]) for line in lines if not line["expert"])


def test_rollouts_are_those_of_one_rank(repeated: RepeatedRuns) -> None:
    one, two = groups(repeated.uninterrupted), groups(repeated.two_ranks)
    assert list(one) == list(two)
    asked = 0
    for prompt, lines in one.items():
        rewards = [reward for _, reward in policy_rollouts(lines)]
        assert len(rewards) == 4
        right = sum(reward >= DELTA for reward in rewards)
        if 0 < right < 4:
            asked += 1
            assert two[prompt] == lines
        else:
            assert policy_rollouts(two[prompt]) == policy_rollouts(lines)
            assert all(line["trained"] and not line["expert"] for line in two[prompt])
    assert 0 < asked < len(one)
    assert repeated.two_ranks.metrics()[1]["icpo/expert/requests"] == asked


def test_both_servers_have_the_weights_of_each_step(repeated: RepeatedRuns) -> None:
    metrics = repeated.two_ranks.metrics()
    assert sorted(metrics) == [1, 2]
    for figures in metrics.values():
        assert figures["icpo/prompts"] == 8
        assert figures["icpo/batch/rows"] == 32
        assert figures["actor/grad_norm"] > 0
        # verl's comparison of rollout and training would be as far off as the weights are.
        assert figures["icpo/rollout_probs_difference_max"] < 1e-6
