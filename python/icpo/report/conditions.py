"""Which runs are repetitions of each other: those whose settings differ in nothing but luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icpo.report.runs import Run

__all__ = ["LUCK", "Condition", "conditions", "deciding", "differing"]

#: Settings that decide neither what is learned nor how it is measured, or only by chance: as keys,
#: or as beginnings of keys.
LUCK = (
    "seed",
    "out",
    "threads",
    "micro_tokens",
    "generation.batch",
    "checkpoint.",
    "log.",
    "model.device",
    "data.seed",
    "trainer.experiment_name",
    "trainer.default_local_dir",
    "trainer.rollout_data_dir",
    "settings.out",
)

#: A name made of more settings than these would not be read.
NAMED = 3


@dataclass(frozen=True, eq=False)
class Condition:
    """Runs that repeat each other."""

    name: str
    #: From 0, in the order of the command line; decides the colour.
    number: int
    runs: tuple[Run, ...]


def conditions(runs: Sequence[Run]) -> list[Condition]:
    """The runs by condition, both in the order given. A run without settings stands alone."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        settings = tuple(sorted(deciding(run).items()))
        groups.setdefault((run.record.kind, settings) if settings else run.name, []).append(run)
    members = list(groups.values())
    return [
        Condition(name, number, tuple(group))
        for number, (name, group) in enumerate(zip(_names(members), members, strict=True))
    ]


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that have not the same value everywhere, or are missing somewhere; in their order."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one.get(key) for one in settings}) > 1]


def deciding(run: Run) -> dict[str, str]:
    """The settings of a run that are not in `LUCK`."""
    return {
        key: setting.text
        for key, setting in run.settings.items()
        if not any(key == luck or (luck.endswith(".") and key.startswith(luck)) for luck in LUCK)
    }


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """The algorithm; where that is not enough, what else differs; else the first run's name."""
    firsts = [group[0] for group in groups]
    algorithms = [run.setting("algorithm.name") or "" for run in firsts]
    names = []
    for run, algorithm in zip(firsts, algorithms, strict=True):
        alike = [
            deciding(other)
            for other, name in zip(firsts, algorithms, strict=True)
            if name == algorithm
        ]
        keys = differing(alike)
        own = deciding(run)
        parts = [f"{key}={own[key]}" for key in keys if key in own]
        short = len(parts) <= NAMED and all(len(part) <= 40 for part in parts)
        known = bool(algorithm) and (len(parts) > 0 or len(alike) == 1)
        names.append(", ".join([algorithm, *parts]) if known and short else run.name)
    return names if len({*names}) == len(names) else [run.name for run in firsts]
