"""One group of on-policy and expert rollouts, G = G_on ∪ G_off, for each prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icpo.errors import DataError, ShapeError
from icpo.mixing.plan import Plan
from icpo.mixing.reject import accept
from icpo.mixing.rules import GROUPS
from icpo.types import Rollout, RolloutGroup

__all__ = ["MixedGroup", "mix"]


@dataclass(frozen=True, eq=False)
class MixedGroup:
    """What of a group enters the update."""

    #: All that was sampled.
    group: RolloutGroup
    #: What is trained on, and what advantages are relative to.
    members: tuple[Rollout, ...]
    #: Of each member, whether it is an accepted expert rollout, and so gets the bonus.
    member_accepted: tuple[bool, ...]
    #: Of each of ``group.expert``, whether it was accepted (eq. 8 and 9).
    accepted: tuple[bool, ...]
    #: Of each of ``group.expert``, whether it is a member.
    entered: tuple[bool, ...]
    #: Indices of those of ``group.policy`` that made room.
    replaced: tuple[int, ...]
    #: Of each member, whether it has an advantage, and a part in those of others.
    member_counts: tuple[bool, ...]


def mix(group: RolloutGroup, plan: Plan, rng: np.random.Generator) -> MixedGroup:
    """Lets expert rollouts join the on-policy ones, as the plan says.

    A member that takes the place of an on-policy rollout stands where that stood; others come last.

    Raises:
        ShapeError: if there are not as many rollouts as planned.
        DataError: if a rollout is on the wrong side.
    """
    _check(group, plan)
    rule = GROUPS[plan.group]
    accepted = tuple(accept(rollout, plan.delta) for rollout in group.expert)
    entered = tuple(rule.enters(flag) for flag in accepted)
    entering = [i for i, enters in enumerate(entered) if enters]
    replaced = tuple(rule.replaced(len(group.policy), len(entering), rng))

    members = list(group.policy)
    member_accepted = [False] * len(members)
    for turn, i in enumerate(entering):
        if turn < len(replaced):
            members[replaced[turn]] = group.expert[i]
            member_accepted[replaced[turn]] = accepted[i]
        else:
            members.append(group.expert[i])
            member_accepted.append(accepted[i])
    counts = tuple(rule.counts or not rollout.expert for rollout in members)
    return MixedGroup(
        group, tuple(members), tuple(member_accepted), accepted, entered, replaced, counts
    )


def _check(group: RolloutGroup, plan: Plan) -> None:
    name = f"group of problem {group.problem.id!r}"
    if len(group.policy) != plan.policy_rollouts:
        raise ShapeError(
            f"{name}: expected {plan.policy_rollouts} on-policy rollouts, got {len(group.policy)}"
        )
    # Fewer are fine: the prompt may be no target, or too long for any demonstration.
    if len(group.expert) > plan.n_off:
        raise ShapeError(
            f"{name}: expected at most {plan.n_off} expert rollouts, got {len(group.expert)}"
        )
    for side, rollouts, expert in (("policy", group.policy, False), ("expert", group.expert, True)):
        for i, rollout in enumerate(rollouts):
            if rollout.expert is not expert:
                raise DataError(
                    f"{name}: expected {side}[{i}].expert to be {expert}, got {rollout.expert}"
                )
