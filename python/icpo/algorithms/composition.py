"""An algorithm: what is sampled, what is rewarded on top, and the loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError
from icpo.mixing.bonus import Bonus
from icpo.mixing.plan import Plan
from icpo.objective.config import LossConfig

__all__ = ["Algorithm"]

_PLAN = tuple(field.name for field in dataclasses.fields(Plan))
_BONUS = tuple(field.name for field in dataclasses.fields(Bonus))


@dataclass(frozen=True)
class Algorithm:
    """A composition of parts that exist by themselves."""

    name: str
    plan: Plan
    loss: LossConfig
    #: Of accepted expert rollouts; None: none.
    bonus: Bonus | None = None
    #: Settings of the plan without which it would be another algorithm. They can not be changed:
    #: a file made for one algorithm would silently turn another one into the first.
    defining: tuple[str, ...] = ()

    def replace(
        self,
        *,
        loss: LossConfig | str | Mapping[str, Any] | None = None,
        bonus: Bonus | Mapping[str, Any] | None = None,
        **plan: Any,
    ) -> Algorithm:
        """The same with some parts changed.

        Args:
            loss: a loss, the name of a preset, or fields to change, of the preset called
                ``preset`` if that is among them and of this algorithm's loss otherwise.
            bonus: a bonus, or fields to change of this algorithm's; without one, of the default.
            plan: fields of `Plan` to change.

        Raises:
            ConfigError: if a field does not exist, defines the algorithm, or is out of range.
        """
        for name, value in plan.items():
            if name not in _PLAN:
                known = ", ".join((*_PLAN, "bonus", "loss"))
                raise ConfigError(f"{name}: expected one of {known} as setting of {self.name!r}")
            own = getattr(self.plan, name)
            if name in self.defining and value != own:
                raise ConfigError(
                    f"{name}: expected {own!r}, which algorithm {self.name!r} is defined by, "
                    f"got {value!r}"
                )
        return dataclasses.replace(
            self,
            plan=dataclasses.replace(self.plan, **plan),
            loss=_changed_loss(self.loss, loss),
            bonus=_changed_bonus(self.bonus, bonus),
        )


def _changed_loss(
    own: LossConfig, change: LossConfig | str | Mapping[str, Any] | None
) -> LossConfig:
    if change is None:
        return own
    if isinstance(change, LossConfig):
        return change
    if isinstance(change, str):
        return LossConfig.preset(change)
    if not isinstance(change, Mapping):
        raise ConfigError(f"loss: expected a preset or fields of the loss, got {change!r}")
    fields = dict(change)
    if "preset" in fields:
        return LossConfig.preset(fields.pop("preset"), **fields)
    if "off_ratio" in fields:  # λ and the clip on f follow it, unless given
        fields = {"lam": None, "off_clip": None, **fields}
    return own.replace(**fields)


def _changed_bonus(own: Bonus | None, change: Bonus | Mapping[str, Any] | None) -> Bonus | None:
    if change is None or isinstance(change, Bonus):
        return own if change is None else change
    if not isinstance(change, Mapping):
        raise ConfigError(f"bonus: expected fields of the bonus, got {change!r}")
    for name in change:
        if name not in _BONUS:
            raise ConfigError(f"{name}: expected one of {', '.join(_BONUS)} as setting of bonus")
    return dataclasses.replace(own or Bonus(), **change)
