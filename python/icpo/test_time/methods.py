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


#: Settings of every search.
_COMMON = frozenset(
    {
        "answers",
        "form",
        "max_new_tokens",
        "profile",
        "prompt_tokens",
        "repetition_penalty",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
)
_ALL = frozenset(one.name for one in dataclasses.fields(SearchConfig))


@dataclass(frozen=True)
class _Known:
    search: Method
    #: Settings that it reads.
    reads: frozenset[str]
    #: Settings that make it what it is.
    settings: Mapping[str, Any] = field(default_factory=dict)


def _in_context(**settings: Any) -> _Known:
    return _Known(minimum_entropy.search, _ALL - {"refinements"}, settings)


#: By name.
METHODS: dict[str, _Known] = {
    "me_icpo": _in_context(),
    "without_entropy": _in_context(select="random"),
    "without_reward": _in_context(reward="none"),
    "reward_only": _in_context(select="reward"),
    "oracle": _in_context(reward="oracle"),
    "self_refine": _Known(self_refine.search, _COMMON | {"refinements"}),
    "sample": _Known(sample.search, _COMMON),
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
    name, colon, changes = text.partition(":")
    if name not in METHODS:
        raise ConfigError(f"methods: expected one of {', '.join(METHODS)}, got {text!r}")
    known = METHODS[name]
    changed: dict[str, Any] = {}
    for change in changes.split(",") if colon else ():
        key, equals, value = change.partition("=")
        if not equals or key not in known.reads:
            raise ConfigError(
                f"methods: {text}: expected {name}:SETTING=VALUE,... with a setting that {name} "
                f"reads ({', '.join(sorted(known.reads))}), got {change!r}"
            )
        if key in changed:
            raise ConfigError(f"methods: {text}: expected {key} once, got it twice")
        changed[key] = _value(value)
    try:
        config = dataclasses.replace(common, **{**known.settings, **changed})
    except ConfigError as error:
        raise ConfigError(f"methods: {text}: {error}") from None
    needs_gold = "reward" in known.reads and REWARDS[config.reward].needs_gold
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
