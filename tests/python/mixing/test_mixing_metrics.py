"""Figures of a step against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rollout_cases import group, random_groups, rollout

from icpo import LossConfig
from icpo.mixing import Bonus, MixedGroup, Plan, StepMetrics, assemble, mix, step_metrics
from icpo.types import Rollout, RolloutGroup

LOSS = LossConfig.preset("paper")


def step(seed: int, plan: Plan, prompts: int = 30) -> tuple[list[MixedGroup], StepMetrics]:
    """A step with rollouts that did not end, and some that could not be checked."""
    rng = np.random.default_rng(seed)

    def spoilt(one: Rollout) -> Rollout:
        return rollout(
            rng,
            one.prompt,
            reward=one.reward,
            outcome="unknown" if one.reward == 0 and rng.random() < 0.3 else None,
            expert=one.expert,
            finished=bool(rng.random() < 0.8),
        )

    mixed = []
    for number in range(prompts):
        (sampled,) = random_groups(rng, plan, 1, right=[0.0, 0.3, 0.7, 1.0][number % 4])
        policy = tuple(spoilt(one) for one in sampled.policy)
        expert = tuple(spoilt(one) for one in sampled.expert)
        spoilt_group = RolloutGroup(sampled.problem, sampled.prompt, policy, expert)
        mixed.append(mix(spoilt_group, plan, rng))
    batch = assemble(mixed, loss=LOSS, bonus=Bonus(), step=1, total_steps=4)
    return mixed, step_metrics(mixed, batch, plan)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def by_hand(mixed: list[MixedGroup]) -> dict[str, float]:
    on = [one for group in mixed for one in group.group.policy]
    off = [one for group in mixed for one in group.group.expert]
    members = [one for group in mixed for one in group.members]
    right = {
        "non_pass": lambda share: share == 0,
        "some_pass": lambda share: 0 < share < 1,
        "all_pass": lambda share: share == 1,
    }
    figures: dict[str, float] = {"prompts": len(mixed)}
    for kind, belongs in right.items():
        of_kind = [
            group
            for group in mixed
            if belongs(mean([float(one.reward >= 1) for one in group.group.policy]))
        ]
        figures[f"prompts/{kind}"] = len(of_kind)
        figures[f"prompts/{kind}_refined"] = mean([float(any(g.accepted)) for g in of_kind])
    for side, rollouts in (("on", on), ("off", off)):
        figures[f"{side}/reward"] = mean([one.reward for one in rollouts])
        figures[f"{side}/response_length"] = mean([len(one.tokens) for one in rollouts])
        figures[f"{side}/unfinished"] = mean([float(not one.finished) for one in rollouts])
        figures[f"{side}/unknown"] = mean([float(one.outcome == "unknown") for one in rollouts])
    passed = [one.reward == 1 and one.outcome == "equal" for one in off]
    entered = [any(one is member for member in members) for one in off]
    gone = [one for one in on if not any(one is member for member in members)]
    figures["expert/rollouts"] = len(off)
    figures["expert/accepted"] = mean([float(flag) for flag in passed])
    figures["expert/demos"] = mean([len(one.demos) for one in off])
    figures["expert/entered"] = sum(entered)
    figures["expert/replaced"] = len(gone)
    figures["expert/replaced_right"] = mean([float(one.reward == 1) for one in gone])
    figures["batch/rows"] = len(members)
    figures["batch/expert_rows"] = mean([float(one.expert) for one in members])
    figures["batch/reward"] = mean([one.reward for one in members])
    figures["batch/shaped_reward"] = mean(
        [one.reward + 0.75 * (one.expert and one.reward == 1) for one in members]
    )
    flat = 0
    for group_members in [one.members for one in mixed]:
        rewards = {one.reward + 0.75 * (one.expert and one.reward == 1) for one in group_members}
        flat += len(group_members) if len(rewards) == 1 else 0
    figures["batch/zero_advantage"] = flat / len(members)
    return figures


@pytest.mark.parametrize("rule", ["replace", "reserve", "always"])
@pytest.mark.parametrize("target", ["all", "non_pass", "some_pass"])
def test_figures(rule, target):
    mixed, metrics = step(0, Plan(n=4, n_off=2, group=rule, target=target))
    figures, wanted = metrics.as_dict(), by_hand(mixed)
    assert set(figures) == set(wanted)
    for name, value in wanted.items():
        assert figures[name] == pytest.approx(value, nan_ok=True), name


def test_without_expert_rollouts():
    mixed, metrics = step(1, Plan(n=4, n_off=0))
    figures = metrics.as_dict()
    assert set(figures) == set(by_hand(mixed))
    assert figures["expert/rollouts"] == 0
    assert math.isnan(figures["off/reward"])
    assert math.isnan(figures["expert/accepted"])


def test_what_counts_as_right_is_delta():
    rng = np.random.default_rng(0)
    plan = Plan(n=2, delta=0.5)
    sampled = group(rng, [0.5, 0.0], [0.0])
    mixed = [mix(sampled, plan, rng)]
    figures = step_metrics(mixed, assemble(mixed, loss=LOSS), plan).as_dict()
    assert (figures["prompts/some_pass"], figures["prompts/non_pass"]) == (1, 0)
    strict = step_metrics(mixed, assemble(mixed, loss=LOSS), Plan(n=2)).as_dict()
    assert (strict["prompts/some_pass"], strict["prompts/non_pass"]) == (0, 1)


def test_steps_add_up():
    plan = Plan(n=4, n_off=2)
    first, one = step(2, plan)
    second, two = step(3, plan, prompts=7)
    figures = (one + two).as_dict()
    for name, value in by_hand([*first, *second]).items():
        assert figures[name] == pytest.approx(value, nan_ok=True), name
    with pytest.raises(TypeError):
        one + 1  # type: ignore[operator]
