"""How many rollouts a prompt gets, and from which of its two prompts (implicit expert forcing)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError, MissingArgumentError
from icpo.mixing.rules import GROUPS, SOURCES, TARGETS

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What is sampled for each prompt. The defaults are the paper's.

    >>> Plan().policy_rollouts, Plan(group="reserve").policy_rollouts
    (8, 7)
    >>> hardest = Plan(target="non_pass")
    >>> hardest.expert_rollouts([0.0, 0.0]), hardest.expert_rollouts([0.0, 1.0])
    (1, 0)
    """

    #: N, rollouts in a group.
    n: int = 8
    #: N_off, expert rollouts. 0: plain GRPO.
    n_off: int = 1
    #: How these join the group: ``replace``, ``reserve``, ``always``, ``beside`` or ``alone``; see
    #: `GROUPS`.
    group: str = "replace"
    #: Prompts that get them: ``all``, ``non_pass`` or ``some_pass``; see `TARGETS`.
    target: str = "all"
    #: δ of eq. 8: the reward that an accepted expert rollout has at least, and that makes an
    #: on-policy one count as right.
    delta: float = 1.0
    #: Where expert rollouts come from: ``demonstrations``, ``stored`` or ``prefix``; see `SOURCES`.
    source: str = "demonstrations"

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _check_count("n", self.n, 1)
        _check_count("n_off", self.n_off, 0)
        for name, table in (("group", GROUPS), ("target", TARGETS), ("source", SOURCES)):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in table:
                known = " or ".join(repr(key) for key in table)
                raise ConfigError(f"{name}: expected {known}, got {getattr(self, name)!r}")
        if isinstance(self.delta, bool) or not (
            isinstance(self.delta, (int, float)) and math.isfinite(self.delta)
        ):
            raise ConfigError(f"delta: expected a finite number, got {self.delta!r}")
        if self.n_off > self.n:
            raise ConfigError(f"n_off: expected at most n = {self.n}, got {self.n_off}")
        if self.policy_rollouts == 0:
            self._check_expert_rollouts_alone()

    def _check_expert_rollouts_alone(self) -> None:
        """Checks that something is learnt without on-policy rollouts."""
        rule = GROUPS[self.group]
        if rule.policy_rollouts(self.n, 0) == 0:
            never = f"because group {self.group!r} has no on-policy rollouts"
            if self.n_off == 0:
                raise ConfigError(f"n_off: expected at least 1, {never}, got 0")
            if self.needs_rewards_first:
                raise ConfigError(f"target: expected 'all', {never}, got {self.target!r}")
            return
        if self.needs_rewards_first:
            raise ConfigError(
                f"n_off: expected less than n = {self.n}, because target {self.target!r} looks at "
                f"on-policy rollouts and group {self.group!r} would sample none, got {self.n_off}"
            )
        if rule.counts and not rule.enters(False):
            raise ConfigError(
                f"n_off: expected less than n = {self.n}, because group {self.group!r} would be of "
                "accepted expert rollouts alone, of which none is better than another, got "
                f"{self.n_off}"
            )

    @property
    def shows_demos(self) -> bool:
        """Whether any rollout is sampled from a prompt with demonstrations."""
        return self.n_off > 0 and SOURCES[self.source].demos

    @property
    def needs_solutions(self) -> bool:
        """Whether problems have to come with stored solutions."""
        return self.n_off > 0 and SOURCES[self.source].solutions

    @property
    def policy_rollouts(self) -> int:
        """On-policy rollouts to sample for each prompt."""
        return GROUPS[self.group].policy_rollouts(self.n, self.n_off)

    @property
    def needs_rewards_first(self) -> bool:
        """Whether expert rollouts have to wait until on-policy ones are checked."""
        return self.n_off > 0 and TARGETS[self.target].needs_rewards

    def expert_rollouts(self, policy_rewards: Sequence[float] | None = None) -> int:
        """Expert rollouts to sample for a prompt whose on-policy rollouts got these rewards.

        Raises:
            MissingArgumentError: if the target depends on the rewards, and there are none.
        """
        target = TARGETS[self.target]
        if policy_rewards is None:
            if self.needs_rewards_first:
                raise MissingArgumentError(f"policy_rewards: target {self.target!r} needs them")
            policy_rewards = ()
        right = sum(reward >= self.delta for reward in policy_rewards)
        return self.n_off if target.wants(right, len(policy_rewards)) else 0


def _check_count(name: str, value: Any, least: int) -> None:
    """Checks a whole number. True is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}: expected a whole number from {least}, got {value!r}")
