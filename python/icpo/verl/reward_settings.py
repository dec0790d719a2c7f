"""What verl's key ``reward`` asks of the answer checker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icpo.errors import ConfigError
from icpo.reward.checker import Checker

__all__ = ["check_reward", "checker_of"]

#: How verl's configuration names the reward function and the reward manager of this package.
FUNCTION, MANAGER = "pkg://icpo.verl.reward", "icpo"


def check_reward(config: Any) -> None:
    """Refuses settings that reward workers would refuse, when a failed score is only logged.

    Rewards from elsewhere are not looked at.

    Raises:
        ConfigError: naming the setting of verl that is wrong, and what would be right.
    """
    function = config.reward.custom_reward_function
    if config.reward.reward_manager.name == MANAGER:
        checker_of(config)
    elif function.path == FUNCTION:
        _checker("reward.custom_reward_function.reward_kwargs", function.get("reward_kwargs"))


def checker_of(config: Any) -> Checker:
    """The checker of the reward manager ``icpo``.

    Raises:
        ConfigError: if a setting is misspelt, or verl would take its scores from somewhere else.
    """
    reward = config.reward
    beside = f"beside reward.reward_manager.name={MANAGER}, which scores by itself"
    function = reward.custom_reward_function.path
    if function is not None:
        raise ConfigError(
            f"reward.custom_reward_function.path: expected null {beside}, got {function!r}"
        )
    if reward.reward_model.enable:
        raise ConfigError(f"reward.reward_model.enable: expected False {beside}, got True")
    return _checker("reward.reward_kwargs", reward.get("reward_kwargs"))


def _checker(key: str, settings: Any) -> Checker:
    if settings is None:
        return Checker()
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{key}: expected a mapping, got {settings!r}")
    try:
        return Checker(**settings)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from error
