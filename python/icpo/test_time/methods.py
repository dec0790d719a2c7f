"""Ways to search for answers, by name: the algorithm, its ablations, what it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icpo.errors import ConfigError
from icpo.test_time import minimum_entropy, sample, self_refine
from icpo.test_time.config import SearchConfig
from icpo.test_time.rewards import REWARDS
from icpo.test_time.search import Method

__all__ = ["METHODS", "Chosen", "choose"]


@dataclass(frozen=True)
class _Known:
    search: Method
    #: Settings that make it what it is.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it rewards attempts, and may need gold answers for that.
    rewards: bool = True


#: By name.
METHODS: dict[str, _Known] = {
    "me_icpo": _Known(minimum_entropy.search),
    "without_entropy": _Known(minimum_entropy.search, {"select": "random"}),
    "without_reward": _Known(minimum_entropy.search, {"reward": "none"}),
    "reward_only": _Known(minimum_entropy.search, {"select": "reward"}),
    "oracle": _Known(minimum_entropy.search, {"reward": "oracle"}),
    "self_refine": _Known(self_refine.search, rewards=False),
    "sample": _Known(sample.search, rewards=False),
}


@dataclass(frozen=True)
class Chosen:
    """A method with its settings."""

    #: As it was written, and as tables call it.
    name: str
    search: Method
    config: SearchConfig
    #: Whether it can not do without gold answers.
    needs_gold: bool


def choose(text: str, common: SearchConfig) -> Chosen:
    """A method as it is written: ``me_icpo``, or ``me_icpo:rounds=3,select=reward``.

    Args:
        text: a name in `METHODS`, and changes of settings.
        common: the settings that all methods share.

    Raises:
        ConfigError: there is no such method or setting, or it does not take such a value.

    >>> choose("without_entropy:k=4", SearchConfig()).config.k
    4
    """
    name, _, changes = text.partition(":")
    if name not in METHODS:
        raise ConfigError(f"methods: expected one of {', '.join(METHODS)}, got {text!r}")
    known = METHODS[name]
    fields = [one.name for one in dataclasses.fields(SearchConfig)]
    settings = dict(known.settings)
    for change in filter(None, changes.split(",")):
        key, equals, value = change.partition("=")
        if not equals or key not in fields:
            raise ConfigError(
                f"methods: {text}: expected NAME:SETTING=VALUE,... with a setting of "
                f"{', '.join(fields)}, got {change!r}"
            )
        settings[key] = _value(value)
    try:
        config = dataclasses.replace(common, **settings)
    except ConfigError as error:
        raise ConfigError(f"methods: {text}: {error}") from None
    needs_gold = known.rewards and REWARDS[config.reward].needs_gold
    return Chosen(text, known.search, config, needs_gold)


def _value(text: str) -> Any:
    words = {"true": True, "false": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
