"""An algorithm: what is sampled, what is rewarded on top, and the loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError
from icpo.mixing.bonus import Bonus
from icpo.mixing.lessons import LESSON_LOSS, LESSON_PLAN, Lessons
from icpo.mixing.plan import Plan
from icpo.mixing.prefix import Prefix
from icpo.mixing.rules import GROUPS, SOURCES
from icpo.objective.config import LossConfig

__all__ = ["PARTS", "PROBLEMS", "Algorithm", "Step"]

_PLAN = tuple(field.name for field in dataclasses.fields(Plan))

#: What a run is trained on: the problems of its training file, or the questions of its pool.
PROBLEMS = ("train", "demos")

#: Parts of an algorithm that may be missing.
PARTS: dict[str, type[Bonus] | type[Lessons] | type[Prefix]] = {
    "bonus": Bonus,
    "lessons": Lessons,
    "prefix": Prefix,
}


@dataclass(frozen=True)
class Step:
    """What a step does: its plan, its bonus and its loss."""

    plan: Plan
    loss: LossConfig
    bonus: Bonus | None


@dataclass(frozen=True)
class Algorithm:
    """A composition of parts that exist by themselves."""

    name: str
    plan: Plan
    loss: LossConfig
    #: Of accepted expert rollouts; None: none.
    bonus: Bonus | None = None
    #: Steps that imitate stored solutions instead; None: none.
    lessons: Lessons | None = None
    #: What is given of stored solutions, with ``source`` ``prefix``; None otherwise.
    prefix: Prefix | None = None
    #: Which questions are asked: a name in `PROBLEMS`.
    problems: str = "train"
    #: Settings of the plan without which it would be another algorithm. They can not be changed:
    #: a file made for one algorithm would silently turn another one into the first.
    defining: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that the parts go together."""
        continued = SOURCES[self.plan.source].continued
        if continued and self.prefix is None:
            raise ConfigError(
                f"prefix: expected settings of it, because the source of expert rollouts is "
                f"{self.plan.source!r}, got none"
            )
        if self.prefix is not None and not continued:
            raise ConfigError(
                f"prefix: expected none, because the source of expert rollouts is "
                f"{self.plan.source!r}, got {self.prefix}"
            )
        if self.plan.n_off and not GROUPS[self.plan.group].counts and not self.loss.sft_coef:
            raise ConfigError(
                f"loss.sft_coef: expected a number above 0, because nothing else is learnt from "
                f"expert rollouts in group {self.plan.group!r}, got {self.loss.sft_coef:g}"
            )

    @property
    def reinforcement(self) -> Step:
        """What a step does that is no lesson."""
        return Step(self.plan, self.loss, self.bonus)

    @property
    def lesson(self) -> Step:
        """What a step does that imitates."""
        return Step(LESSON_PLAN, LESSON_LOSS, None)

    @property
    def needs_solutions(self) -> bool:
        """Whether problems have to come with stored solutions."""
        return self.plan.needs_solutions or self.lessons is not None

    def replace(
        self,
        *,
        loss: LossConfig | str | Mapping[str, Any] | None = None,
        bonus: Bonus | Mapping[str, Any] | None = None,
        lessons: Lessons | Mapping[str, Any] | None = None,
        prefix: Prefix | Mapping[str, Any] | None = None,
        **plan: Any,
    ) -> Algorithm:
        """The same with some parts changed.

        Args:
            loss: a loss, the name of a preset, or fields to change, of the preset called
                ``preset`` if that is among them and of this algorithm's loss otherwise.
            bonus: a bonus, or fields to change of this algorithm's; without one, of the default.
            lessons: likewise.
            prefix: likewise.
            plan: fields of `Plan` to change.

        Raises:
            ConfigError: if a field does not exist, defines the algorithm, or is out of range.
        """
        for name, value in plan.items():
            if name not in _PLAN:
                known = ", ".join((*_PLAN, "bonus", "lessons", "loss", "prefix"))
                raise ConfigError(f"{name}: expected one of {known} as setting of {self.name!r}")
            own = getattr(self.plan, name)
            if name in self.defining and value != own:
                raise ConfigError(
                    f"{name}: expected {own!r}, which algorithm {self.name!r} is defined by, "
                    f"got {value!r}"
                )
        parts = {"loss": loss, "bonus": bonus, "lessons": lessons, "prefix": prefix}
        return dataclasses.replace(
            self,
            plan=dataclasses.replace(self.plan, **plan),
            **{name: self.part(name, change) for name, change in parts.items()},
        )

    def part(self, name: str, change: Any) -> Any:
        """What a part would be with a change, as `replace` takes it; the others stay unasked."""
        own = getattr(self, name)
        if name == "loss":
            return _changed_loss(own, change)
        return _changed(name, PARTS[name], own, change)


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


def _changed(key: str, kind: type[Any], own: Any, change: Any) -> Any:
    if change is None or isinstance(change, kind):
        return own if change is None else change
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(change, Mapping):
        raise ConfigError(f"{key}: expected fields of the {key}, got {change!r}")
    for name in change:
        if name not in known:
            raise ConfigError(f"{name}: expected one of {', '.join(known)} as setting of {key}")
    return dataclasses.replace(own or kind(), **change)
