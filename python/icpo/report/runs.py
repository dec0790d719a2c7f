"""The runs of a report: each with a name of its own, and curves that know their lines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from icpo.analysis.runs import RunRecord, open_run
from icpo.errors import ConfigError
from icpo.report.numbers import Leaf, Number

__all__ = ["Curve", "Run", "Setting", "open_runs"]

TIMINGS, VERSIONS, RESULTS = "timings.jsonl", "versions.json", "results.json"


@dataclass(frozen=True)
class Setting:
    """One value of a configuration or the like."""

    #: As JSON, but for texts, which stand as they are.
    text: str
    file: str
    #: From 1; None: the file does not say.
    line: int | None


@dataclass(frozen=True)
class Curve:
    """A figure over the steps, where it has a value."""

    run: str
    file: str
    key: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    #: Of the file, from 1.
    lines: tuple[int, ...]

    def __bool__(self) -> bool:
        """Whether there is any value."""
        return bool(self.values)

    def at(self, place: int) -> Number:
        """The value at a place, which may count from the end; none in an empty curve."""
        if not self.values:
            return Number(math.nan, self._leaf("value", ()))
        return Number(self.values[place], self._leaf("value", (self.lines[place],)))

    def step_at(self, place: int) -> Number:
        """The step of a value."""
        leaf = Leaf("value", self.run, self.file, (self.lines[place],), "step")
        return Number(float(self.steps[place]), leaf)

    def last(self, steps: int) -> Curve:
        """The part that lies in the last so many steps."""
        after = max(self.steps, default=0) - steps
        return self.where(lambda step: step > after)

    def where(self, wanted: Callable[[int], bool]) -> Curve:
        """The part at some steps."""
        kept = [place for place, step in enumerate(self.steps) if wanted(step)]
        return Curve(
            self.run,
            self.file,
            self.key,
            tuple(self.steps[place] for place in kept),
            tuple(self.values[place] for place in kept),
            tuple(self.lines[place] for place in kept),
        )

    def mean(self) -> Number:
        """Of all values; none if there are none."""
        value = math.fsum(self.values) / len(self.values) if self.values else math.nan
        return Number(value, self._leaf("mean", self.lines))

    def sum(self) -> Number:
        """Of all values; none if there are none."""
        value = math.fsum(self.values) if self.values else math.nan
        return Number(value, self._leaf("sum", self.lines))

    def least(self) -> Number:
        """The least value; none if there are none."""
        return Number(min(self.values, default=math.nan), self._leaf("least", self.lines))

    def most(self) -> Number:
        """The greatest value; none if there are none."""
        return Number(max(self.values, default=math.nan), self._leaf("most", self.lines))

    def count(self) -> Number:
        """How many values there are."""
        return Number(float(len(self.values)), self._leaf("count", self.lines))

    def _leaf(self, operation: str, lines: tuple[int, ...]) -> Leaf:
        return Leaf(operation, self.run, self.file, lines, self.key)


@dataclass(frozen=True, eq=False)
class Run:
    """A run, as the report calls it."""

    name: str
    record: RunRecord
    #: What of its files could not be read, in words. Grows as they are.
    damage: list[str] = field(default_factory=list)
    _curves: dict[str, Curve] = field(default_factory=dict)

    def curve(self, key: str) -> Curve:
        """A figure of metrics.jsonl."""
        found = self._curves.get(key)
        if found is None:
            found = _curve(self.name, self.metrics_name, key, self.record.metrics)
            self._curves[key] = found
        return found

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """All figures that any step names, sorted."""
        return tuple(sorted({key for row in self.record.metrics for key in row} - {"step"}))

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Of the lines of metrics.jsonl, as they stand."""
        return tuple(row["step"] for row in self.record.metrics)

    @property
    def metrics_name(self) -> str:
        """The file of figures, relative to the folder."""
        file = self.record.metrics_file
        return "metrics.jsonl" if file is None else self.relative(file)

    def relative(self, file: Path) -> str:
        """A file as traces name it."""
        folder = self.record.folder
        return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)

    @cached_property
    def times(self) -> tuple[Mapping[str, Any], ...]:
        """Seconds of each step, by part; empty if they were not written down."""
        file = self.record.folder / TIMINGS
        if not file.is_file():
            return ()
        return tuple(self._objects(file))

    def time(self, part: str) -> Curve:
        """Seconds that a part of each step took."""
        return _curve(self.name, TIMINGS, part, self.times)

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """The configuration, by dotted key."""
        file = self.record.config_file
        if file is None:
            return {}
        lines = _yaml_lines(file) if file.suffix == ".yaml" else {}
        return _flat(self.record.config, self.relative(file), lines)

    @cached_property
    def versions(self) -> Mapping[str, Setting]:
        """What it ran with, by dotted key."""
        return _flat(self.record.versions, VERSIONS, {})

    def setting(self, key: str) -> str | None:
        """A setting as text; None if there is none."""
        found = self.settings.get(key)
        return None if found is None else found.text

    def setting_number(self, *keys: str) -> Number:
        """The first of some settings that there is, if it is a number; else none."""
        for key in keys:
            found = self.settings.get(key)
            if found is not None:
                lines = () if found.line is None else (found.line,)
                leaf = Leaf("value", self.name, found.file, lines, key)
                return Number(_number(found.text), leaf)
        return Number(math.nan, Leaf("value", self.name, "config.yaml", (), keys[0]))

    @property
    def planned(self) -> Number:
        """The steps that it is to make; none if its configuration does not say."""
        return self.setting_number("steps", "trainer.total_training_steps")

    @property
    def made(self) -> Number:
        """The step of the last line of metrics.jsonl."""
        return _curve(self.name, self.metrics_name, "step", self.record.metrics).at(-1)

    def _objects(self, file: Path) -> Iterator[Mapping[str, Any]]:
        """The complete lines of a file; the rest, if one can not be read, goes to `damage`."""
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    row = json.loads(line)
                    step = row["step"]
                except (ValueError, RecursionError, TypeError, KeyError) as error:
                    self.damage.append(f"{file.name}: line {number} and after: {error}")
                    return
                yield {**row, "step": step}


def open_runs(folders: Sequence[Path], opened: Callable[[Path], RunRecord] = open_run) -> list[Run]:
    """The runs in some folders, in that order.

    A run is called by the last part of its path, or by as many as tell it from the others.

    Raises:
        ConfigError: if a folder has no run, or is given twice.
        DataError: if a file can not be read.
    """
    if not folders:
        raise ConfigError("RUN: expected at least one folder of a run, got none")
    paths = [folder.resolve() for folder in folders]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise ConfigError(f"RUN: expected each folder once, got {folders[place]} twice")
    return [Run(name, opened(folder)) for name, folder in zip(_names(paths), folders, strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    deepest = max(len(path.parts) for path in paths)
    for depth in range(1, deepest + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len({*names}) == len(names):
            return names
    return [str(path) for path in paths]


def _curve(run: str, file: str, key: str, rows: Sequence[Mapping[str, Any]]) -> Curve:
    told = [
        (row["step"], float(value), line)
        for line, row in enumerate(rows, 1)
        if (value := row.get(key)) is not None and _is_number(value)
    ]
    steps, values, lines = zip(*told, strict=True) if told else ((), (), ())
    return Curve(run, file, key, steps, values, lines)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _flat(values: Mapping[str, Any], file: str, lines: Mapping[str, int]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for key, value in _leaves(values, ()):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        found[key] = Setting(text, file, lines.get(key))
    return found


def _leaves(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not names):
        for name, inner in value.items():
            yield from _leaves(inner, (*names, str(name)))
    else:
        yield ".".join(names), value


def _yaml_lines(file: Path) -> dict[str, int]:
    """The line of each dotted key."""
    from icpo.trainer import yaml_file

    places = yaml_file.read(file).places
    return {key: int(place.rpartition(":")[2]) for key, place in places.items()}
