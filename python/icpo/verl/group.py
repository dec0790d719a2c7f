"""One group, from what the rollout engine gave to the rows that are trained on.

Knows nothing of verl: a response is whatever has the attributes of verl's ``AgentLoopOutput``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icpo.errors import DataError
from icpo.mixing import Bonus, MixedGroup, Plan, StepMetrics, accept, assemble, mix, step_metrics
from icpo.objective.config import LossConfig
from icpo.types import Problem, Rollout, RolloutGroup, Tokens

__all__ = ["GroupRows", "GroupRules", "Response", "Row", "form_group", "is_right", "outcome_of"]

_NONE: Tokens = np.empty(0, np.int64)

_VERDICTS = ("equal", "not_equal", "unknown")


@dataclass(frozen=True, eq=False)
class Response:
    """What came back for one request, scored."""

    #: As the agent loop returned it; the last one carries the reward.
    outputs: list[Any]
    #: Whether it is an expert rollout.
    expert: bool = False
    #: Ids of the demonstrations that were shown.
    demos: tuple[str, ...] = ()
    #: Tokens of the response that were given, the first ones.
    given: int = 0

    @property
    def final(self) -> Any:
        """The output that carries the reward."""
        return self.outputs[-1]

    @property
    def reward(self) -> float:
        """R."""
        return float(self.final.reward_score)

    @property
    def details(self) -> Mapping[str, Any]:
        """What the reward function returned beside the score."""
        found: Mapping[str, Any] = self.final.extra_fields.get("reward_extra_info") or {}
        return found


def outcome_of(details: Mapping[str, Any], reward: float) -> str:
    """The verdict that acceptance asks for, from whatever the reward function tells.

    ``verdict`` is that of `icpo.verl.reward`. Other functions may tell an accuracy, as verl's own
    do; if they tell nothing, the reward alone decides.

    Raises:
        DataError: if there is a verdict of another meaning; nothing would ever be accepted by it.
    """
    if "verdict" in details:
        verdict = details["verdict"]
        if verdict not in _VERDICTS:
            raise DataError(
                f"verdict: expected one of {', '.join(_VERDICTS)} from the reward function, got "
                f"{verdict!r}; with another meaning it needs another name"
            )
        return str(verdict)
    accuracy = details.get("acc")
    right = accuracy is None or float(accuracy) > 0
    return "equal" if right else "not_equal"


@dataclass(frozen=True)
class GroupRules:
    """How groups are formed, and what a row is worth."""

    plan: Plan
    loss: LossConfig
    bonus: Bonus | None
    #: T of the bonus.
    total_steps: float
    #: A response of so many tokens has been cut off.
    response_length: int


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the batch."""

    response: Response
    expert: bool
    accepted: bool
    #: Â, by the conventions of `LossConfig`, from rewards with the bonus.
    advantage: float
    #: R' - R.
    bonus: float


@dataclass(frozen=True, eq=False)
class GroupRows:
    """What of a group is trained on, what is not, and the sums of both."""

    rows: list[Row]
    #: Expert rollouts that were rejected, and on-policy ones that made room.
    left_out: list[Response]
    metrics: StepMetrics


def is_right(response: Response, rules: GroupRules) -> bool:
    """Whether a response is right, verified, and came to an end by itself."""
    rollout = _rollout(response, rules)
    return rollout.finished and accept(rollout, rules.plan.delta)


def form_group(
    problem: Problem,
    policy: Sequence[Response],
    expert: Sequence[Response],
    rules: GroupRules,
    step: int,
    rng: np.random.Generator,
) -> GroupRows:
    """Rejection, replacement and bonus (eq. 8, 9 and 12; Algorithm 1).

    Args:
        problem: what was asked.
        policy: the on-policy responses; fewer than planned, if requests failed.
        expert: the expert ones, if any.
        rules: how groups are formed.
        step: of verl, whose first one is 1.
        rng: decides which on-policy rollouts make room.
    """
    plan = _of_so_many(rules.plan, len(policy))
    expert, surplus = expert[: plan.n_off], list(expert[plan.n_off :])
    group = RolloutGroup(
        problem,
        _NONE,
        tuple(_rollout(response, rules) for response in policy),
        tuple(_rollout(response, rules) for response in expert),
    )
    mixed = mix(group, plan, rng)
    batch = assemble(
        [mixed],
        loss=rules.loss,
        bonus=rules.bonus,
        step=step - 1,
        total_steps=rules.total_steps,
    )
    responses = _by_rollout(group, policy, expert)
    rows = [
        Row(responses[id(rollout)], rollout.expert, accepted, float(advantage), float(bonus))
        for rollout, accepted, advantage, bonus in zip(
            mixed.members,
            mixed.member_accepted,
            batch.advantage,
            batch.shaped_rewards - batch.rewards,
            strict=True,
        )
    ]
    left_out = _left_out(mixed, responses) + surplus
    return GroupRows(rows, left_out, step_metrics([mixed], batch, plan))


def _of_so_many(plan: Plan, policy: int) -> Plan:
    """The plan of a group in which only so many on-policy requests gave a response."""
    missing = plan.policy_rollouts - policy
    if not missing:
        return plan
    n = plan.n - missing
    # Where expert rollouts take the places of others, there are no more than places.
    return replace(plan, n=n, n_off=min(plan.n_off, n))


def _rollout(response: Response, rules: GroupRules) -> Rollout:
    length = len(response.final.response_ids)
    return Rollout(
        prompt=_NONE,
        # Mixing looks at lengths only, and converting ids would cost more than everything else.
        tokens=np.broadcast_to(np.int64(0), (length,)),
        logp=np.broadcast_to(np.float32(0), (length,)),
        text="",
        finished=length < rules.response_length,
        reward=response.reward,
        outcome=outcome_of(response.details, response.reward),
        expert=response.expert,
        demos=response.demos,
        given=response.given,
    )


def _by_rollout(
    group: RolloutGroup, policy: Sequence[Response], expert: Sequence[Response]
) -> dict[int, Response]:
    rollouts, responses = (*group.policy, *group.expert), (*policy, *expert)
    return {id(rollout): of for rollout, of in zip(rollouts, responses, strict=True)}


def _left_out(mixed: MixedGroup, responses: Mapping[int, Response]) -> list[Response]:
    made_room = [mixed.group.policy[place] for place in mixed.replaced]
    rejected = [
        rollout
        for rollout, entered in zip(mixed.group.expert, mixed.entered, strict=True)
        if not entered
    ]
    return [responses[id(rollout)] for rollout in (*made_room, *rejected)]
