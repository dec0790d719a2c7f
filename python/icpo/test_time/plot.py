"""Accuracy against tokens: what a method makes of what it spends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icpo.analysis.style import legend, line, look, save, shares, sheet
from icpo.test_time.results import MEASURES

__all__ = ["draw"]

_TITLES = {"mean": "mean@K", "majority": "maj@K"}
_COSTS = {"tokens": "tokens sampled a problem", "calls": "calls a problem"}

#: Where a logarithmic axis has numbers within a decade, by how many decades it shows.
_NUMBERED = (
    (3.0, (1.0,)),
    (1.5, (1.0, 3.0)),
    (0.8, (1.0, 2.0, 5.0)),
    (0.0, (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0)),
)


def draw(results: Mapping[str, Any], stem: Path) -> tuple[Path, ...]:
    """Writes ``stem.png`` and ``stem.svg``: a row a benchmark, a series a method.

    Where somebody does not tell how many tokens there were, calls take their place. Bars are
    standard errors over problems, and stand at what a method comes to in the end.

    Args:
        results: see `icpo.test_time.results.results`.
        stem: the files' names without their endings.

    Returns:
        What was written: nothing, if no question has a gold answer.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    benchmarks = results["benchmarks"]
    if not benchmarks:
        return ()
    with sheet(7.0, 2.9 * len(benchmarks), rows=len(benchmarks), columns=2) as (figure, axes):
        rows = axes.reshape(len(benchmarks), 2)
        for benchmark, row in zip(benchmarks, rows, strict=True):
            cost = _cost(benchmark["methods"])
            for panel, measure in zip(row, MEASURES, strict=True):
                _panel(panel, benchmark, measure, cost)
        legend(rows[0, 0], figure)
        return save(figure, stem)


def _cost(methods: Sequence[Mapping[str, Any]]) -> str:
    spent = [point["tokens"] for row in methods for point in row["curve"]]
    # A logarithm wants more than nothing.
    return "tokens" if all(one is not None and one > 0 for one in spent) else "calls"


def _panel(axes: Any, benchmark: Mapping[str, Any], measure: str, cost: str) -> None:
    for place, row in enumerate(benchmark["methods"]):
        x = [point[cost] for point in row["curve"]]
        y = [point[measure] for point in row["curve"]]
        line(axes, place, x, y, row["method"])
        error = row["curve"][-1][f"{measure}_error"]
        if error is not None:
            axes.errorbar(x[-1], y[-1], error, color=look(place).colour, capsize=2.5, linewidth=1)
    # A dollar would begin a formula.
    title = str(benchmark["title"]).replace("$", r"\$")
    axes.set_title(f"{title}: {_TITLES[measure]}")
    axes.set_xlabel(_COSTS[cost])
    shares(axes)
    _logarithmic(axes, [point[cost] for row in benchmark["methods"] for point in row["curve"]])


def _logarithmic(axes: Any, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    # Room for a number also where all points stand in one place.
    low, high = min(values) / 1.25, max(values) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = math.log10(high / low)
    numbered = next(subs for least, subs in _NUMBERED if decades >= least)
    axes.xaxis.set_major_locator(LogLocator(subs=numbered))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
