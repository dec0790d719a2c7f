"""What evaluations came to, as their ``results.json`` says it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icpo.errors import DataError
from icpo.report.html import Child, Markup, element
from icpo.report.numbers import Leaf, Number, integer, measure, percent, ratio, spread
from icpo.report.runs import RESULTS, Run
from icpo.report.tables import table

__all__ = ["notes", "scores"]

HEADS = (
    "run",
    "benchmark",
    "shots",
    "problems",
    "metric",
    "accuracy",
    "interval",
    "pass@n",
    "maj@n",
    "cut off",
    "no answer",
    "tokens",
)


def scores(runs: Sequence[Run]) -> Markup | None:
    """A line for each benchmark and number of demonstrations; None if nothing is finished."""
    rows = [row for run in runs for row in _rows(run)]
    return table(HEADS, rows, class_="figures scores") if rows else None


def notes(runs: Sequence[Run]) -> list[Markup]:
    """What has to be known to read the table."""
    found = []
    for run in runs:
        results = _results(run)
        if results is None:
            found.append(f"{run.name} is not finished: it has no {RESULTS} yet.")
            continue
        for benchmark in results["benchmarks"]:
            skipped = benchmark["skipped"]
            title = f"{run.name}, {benchmark['title']}"
            if skipped:
                places = "; ".join(f"{one['where']}: {one['why']}" for one in skipped[:SKIPPED])
                more = f"; and {len(skipped) - SKIPPED} more" if len(skipped) > SKIPPED else ""
                found.append(f"{title}: {len(skipped)} rows were skipped: {places}{more}.")
            if benchmark["options_kept_in_order"]:
                found.append(
                    f"{title}: options of {benchmark['options_kept_in_order']} questions speak of "
                    "each other, and were not shuffled."
                )
    return [element("p", text, class_="note place") for text in found]


#: Rows that were skipped are named up to so many.
SKIPPED = 5


def _results(run: Run) -> Mapping[str, Any] | None:
    file = run.record.folder / RESULTS
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        found["benchmarks"], found["averages"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise DataError(f"{file}: expected the results of an evaluation: {error}") from None
    return found  # type: ignore[no-any-return]


def _rows(run: Run) -> Iterator[Sequence[Child]]:
    results = _results(run)
    if results is None:
        return
    for place, benchmark in enumerate(results["benchmarks"]):
        for inner, one in enumerate(benchmark["conditions"]):
            at = _Reader(run, one, f"benchmarks.{place}.conditions.{inner}")
            samples = one["samples"]
            responses = at.number("responses")
            yield [
                run.name,
                element("span", benchmark["title"], class_="called"),
                at.number("shots").shown(integer),
                _Reader(run, benchmark, f"benchmarks.{place}").number("asked").shown(integer),
                element("code", f"avg@{samples}" if samples > 1 else "pass@1"),
                _accuracy(at),
                _interval(at),
                at.number("pass", str(samples)).shown(percent) if samples > 1 else None,
                at.number("majority").shown(percent) if samples > 1 else None,
                ratio(at.number("cut_off"), responses).shown(percent),
                ratio(at.number("unknown"), responses).shown(percent),
                ratio(at.number("tokens"), responses).shown(measure),
            ]
    for place, one in enumerate(results["averages"]):
        at = _Reader(run, one, f"averages.{place}")
        empty = [None] * 5
        names = ", ".join(one["benchmarks"])
        head = element("span", f"mean of {one['group']}", title=names, class_="called")
        yield [
            run.name,
            head,
            at.number("shots").shown(integer),
            None,
            None,
            _accuracy(at),
            _interval(at),
            *empty,
        ]


class _Reader:
    """Numbers of an object in ``results.json``."""

    def __init__(self, run: Run, values: Mapping[str, Any], path: str) -> None:
        self._run = run
        self._values = values
        self._path = path

    def number(self, *names: str) -> Number:
        """The one that some keys lead to; none if it is null."""
        value: Any = self._values
        for name in names:
            value = value[int(name)] if isinstance(value, list) else value[name]
        key = ".".join([self._path, *names])
        leaf = Leaf("value", self._run.name, RESULTS, (), key)
        return Number(math.nan if value is None else float(value), leaf)


def _accuracy(at: _Reader) -> Child:
    return spread(at.number("accuracy"), at.number("standard_error"), percent)


def _interval(at: _Reader) -> Child:
    low, high = at.number("interval", "0"), at.number("interval", "1")
    return [low.shown(percent), " to ", high.shown(percent)]
