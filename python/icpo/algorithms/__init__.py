"""Named compositions of plans, bonuses and losses: one file each, and this table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.grpo import grpo
from icpo.algorithms.grpo_extra_rollouts import grpo_extra_rollouts
from icpo.algorithms.icpo import icpo
from icpo.algorithms.icpo_always import icpo_always
from icpo.algorithms.icpo_bonus import icpo_bonus
from icpo.errors import ConfigError
from icpo.mixing.bonus import Bonus

__all__ = ["ALGORITHMS", "Algorithm", "Bonus", "algorithm"]

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "grpo": grpo,
    "grpo_extra_rollouts": grpo_extra_rollouts,
    "icpo": icpo,
    "icpo_bonus": icpo_bonus,
    "icpo_always": icpo_always,
}


def algorithm(name: str, **changes: Any) -> Algorithm:
    """A named composition, with changes; see `Algorithm.replace`.

    >>> algorithm("icpo", n=4, loss="reference").loss.lam
    0.1

    Raises:
        ConfigError: if there is no such algorithm or setting, or a value is out of range.
    """
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ConfigError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, got {name!r}")
    return ALGORITHMS[name]().replace(**changes)
