"""Who is in a group, which prompts get expert rollouts, and where these come from: three tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["GROUPS", "SOURCES", "TARGETS", "GroupRule", "Source", "Target"]


@dataclass(frozen=True)
class GroupRule:
    """How expert rollouts join a group of N rollouts."""

    #: On-policy rollouts to sample, from N and N_off.
    policy_rollouts: Callable[[int, int], int]
    #: Whether an expert rollout enters, from whether it was accepted.
    enters: Callable[[bool], bool]
    #: On-policy rollouts that make room, from their number, the number of expert rollouts that
    #: enter, and a generator.
    replaced: Callable[[int, int, np.random.Generator], Sequence[int]]
    #: Whether expert rollouts have advantages, and a part in those of others. If not, only the
    #: likelihood term of the loss concerns them.
    counts: bool = True


def _all(n: int, n_off: int) -> int:
    return n


def _room_left(n: int, n_off: int) -> int:
    return n - n_off


def _none(n: int, n_off: int) -> int:
    return 0


def _if_accepted(accepted: bool) -> bool:
    return accepted


def _in_any_case(accepted: bool) -> bool:
    return True


def _nobody(policy: int, entering: int, rng: np.random.Generator) -> Sequence[int]:
    return ()


def _at_random(policy: int, entering: int, rng: np.random.Generator) -> Sequence[int]:
    places: list[int] = rng.choice(policy, size=entering, replace=False).tolist()
    return places


GROUPS: dict[str, GroupRule] = {
    # Algorithm 1: N on-policy rollouts; each accepted expert one takes the place of one of them.
    "replace": GroupRule(_all, _if_accepted, _at_random),
    # Section 5, "1 off-policy and 7 on-policy": N_off places are kept free for accepted ones.
    "reserve": GroupRule(_room_left, _if_accepted, _nobody),
    # The ablation without rejection, and the authors' code: right or wrong, they enter.
    "always": GroupRule(_room_left, _in_any_case, _nobody),
    # They stand beside a full group, to be imitated.
    "beside": GroupRule(_all, _in_any_case, _nobody, counts=False),
    # They are imitated, and there is nothing else.
    "alone": GroupRule(_none, _in_any_case, _nobody, counts=False),
}


@dataclass(frozen=True)
class Target:
    """Which prompts get expert rollouts (Table 14)."""

    #: Whether a prompt does, from the number of right on-policy rollouts and of all.
    wants: Callable[[int, int], bool]
    #: Whether that can be known only once on-policy rollouts are checked.
    needs_rewards: bool


def _every(right: int, rollouts: int) -> bool:
    return True


def _none_right(right: int, rollouts: int) -> bool:
    return right == 0


def _some_right(right: int, rollouts: int) -> bool:
    return 0 < right < rollouts


TARGETS: dict[str, Target] = {
    "all": Target(_every, needs_rewards=False),
    "non_pass": Target(_none_right, needs_rewards=True),
    "some_pass": Target(_some_right, needs_rewards=True),
}


@dataclass(frozen=True)
class Source:
    """Where expert rollouts come from."""

    #: Whether they are sampled from a prompt with demonstrations.
    demos: bool
    #: Whether they are made of solutions that are stored beside the problems.
    solutions: bool
    #: Whether these are only begun, and continued by the policy.
    continued: bool = False


SOURCES: dict[str, Source] = {
    # The policy itself, shown worked examples: implicit expert forcing.
    "demonstrations": Source(demos=True, solutions=False),
    # Somebody else's solution of the same problem, as it is: LUFFY, and whoever imitates.
    "stored": Source(demos=False, solutions=True),
    # The beginning of such a solution, which the policy continues: Prefix-RFT.
    "prefix": Source(demos=False, solutions=True, continued=True),
}
