"""Named compositions of plans, bonuses and losses: one file each, and this table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icpo.algorithms.composition import Algorithm
from icpo.algorithms.dr_grpo import dr_grpo
from icpo.algorithms.grpo import grpo
from icpo.algorithms.grpo_expert_domain import grpo_expert_domain
from icpo.algorithms.grpo_extra_rollouts import grpo_extra_rollouts
from icpo.algorithms.icpo import icpo
from icpo.algorithms.icpo_always import icpo_always
from icpo.algorithms.icpo_bonus import icpo_bonus
from icpo.algorithms.icpo_non_pass import icpo_non_pass
from icpo.algorithms.icpo_reserve import icpo_reserve
from icpo.algorithms.icpo_some_pass import icpo_some_pass
from icpo.algorithms.luffy import luffy
from icpo.algorithms.prefix_rft import prefix_rft
from icpo.algorithms.relift import relift
from icpo.algorithms.rl_sft_term import rl_sft_term
from icpo.algorithms.sft import sft
from icpo.algorithms.sft_then_rl import sft_then_rl
from icpo.errors import ConfigError
from icpo.mixing.bonus import Bonus
from icpo.mixing.lessons import Lessons
from icpo.mixing.prefix import Prefix

__all__ = ["ALGORITHMS", "Algorithm", "Bonus", "Lessons", "Prefix", "algorithm"]

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "grpo": grpo,
    "grpo_extra_rollouts": grpo_extra_rollouts,
    "grpo_expert_domain": grpo_expert_domain,
    "dr_grpo": dr_grpo,
    "luffy": luffy,
    "sft": sft,
    "sft_then_rl": sft_then_rl,
    "rl_sft_term": rl_sft_term,
    "relift": relift,
    "prefix_rft": prefix_rft,
    "icpo": icpo,
    "icpo_bonus": icpo_bonus,
    "icpo_always": icpo_always,
    "icpo_non_pass": icpo_non_pass,
    "icpo_some_pass": icpo_some_pass,
    "icpo_reserve": icpo_reserve,
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
