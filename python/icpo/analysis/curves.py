"""Figures over the steps of training: accuracy, reward, entropy, accepted share, and any other.

Several runs of one label are seeds: their mean, and the standard error of it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icpo.analysis import style
from icpo.analysis.sources import NamedRun, labels
from icpo.analysis.tidy import Row
from icpo.errors import DataError

__all__ = [
    "CURVES",
    "Curve",
    "curves",
    "draw_curves",
    "is_known",
    "mean_curve",
    "series",
    "summary",
]


@dataclass(frozen=True)
class Curve:
    """Something that is known of every step, under whatever name a run has it."""

    title: str
    #: Names of figures, as regular expressions: the first that fits counts, and of what it fits
    #: the mean.
    names: tuple[str, ...]
    #: Values are shares, 0 to 1.
    is_share: bool = False


#: By the names that the command line knows.
CURVES: dict[str, Curve] = {
    "accuracy": Curve(
        "Accuracy on test problems",
        (r"eval/avg@\d+", r"eval/greedy", r"val-core/.+/acc/mean@\d+", r"val-core/.+/mean@\d+"),
        is_share=True,
    ),
    "reward": Curve(
        "Reward of policy rollouts", (r"on/reward", r"icpo/on/reward", r"critic/score/mean")
    ),
    "entropy": Curve(
        "Entropy of the policy, nats a token", (r"on/surprise", r"actor/entropy", r"update/entropy")
    ),
    "accepted": Curve(
        "Expert rollouts accepted", (r"expert/accepted", r"icpo/expert/accepted"), is_share=True
    ),
    "expert-reward": Curve("Reward of expert rollouts", (r"off/reward", r"icpo/off/reward")),
    "ratio": Curve(
        "Ratio of expert tokens (eq. 7)", (r"update/off/ratio", r"icpo/update/off/ratio")
    ),
    "guidance": Curve(
        "Gradient weight f(1 - f) of expert tokens",
        (r"update/off/gradient_weight", r"icpo/update/off/gradient_weight"),
    ),
    "length": Curve(
        "Length of policy rollouts, tokens",
        (r"on/response_length", r"icpo/on/response_length", r"response_length/mean"),
    ),
}


def curves(runs: Sequence[NamedRun], wanted: Sequence[str]) -> list[Row]:
    """Every value of every run, with the line of the file that it is from.

    Args:
        runs: those with figures.
        wanted: names in `CURVES`, or regular expressions for names of figures.

    Raises:
        DataError: if no run has one of them.
    """
    rows: list[Row] = []
    for name in wanted:
        curve = CURVES.get(name, Curve(name, (name,)))
        found = [row for one in runs for row in _values(name, curve, one)]
        if not found:
            there = sorted({key for one in runs for row in one.run.metrics for key in row})
            raise DataError(
                f"figure: expected one that a run has, got {name!r}; there are "
                f"{', '.join([*CURVES, *there])}"
            )
        rows += found
    return rows


def is_known(runs: Sequence[NamedRun], name: str) -> bool:
    """Whether any run has a figure of `CURVES`."""
    return any(True for one in runs for _ in _values(name, CURVES[name], one))


def _values(name: str, curve: Curve, one: NamedRun) -> Iterator[Row]:
    metrics = one.run.metrics
    keys = sorted({key for row in metrics for key in row if row[key] is not None})
    fitting = next(
        (fit for pattern in curve.names if (fit := [k for k in keys if re.fullmatch(pattern, k)])),
        [],
    )
    for index, row in enumerate(metrics):
        values = [row[key] for key in fitting if row.get(key) is not None]
        if values:
            yield {
                "label": one.label,
                "run": str(one.run.folder),
                "figure": name,
                "keys": " ".join(fitting),
                "step": row["step"],
                "value": float(np.mean(values)),
                "line": index + 1,
            }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for each figure and label: its first and last value, means over seeds."""
    found: list[Row] = []
    for name, label in dict.fromkeys((row["figure"], row["label"]) for row in rows):
        seeds = list(series(rows, figure=name, label=label).values())
        steps, mean, error = mean_curve(seeds)
        if steps:
            found.append(
                {
                    "figure": name,
                    "label": label,
                    "seeds": len(seeds),
                    "first_step": steps[0],
                    "first": mean[0],
                    "last_step": steps[-1],
                    "last": mean[-1],
                    "standard_error": None if error is None else error[-1],
                }
            )
    return found


def series(rows: Sequence[Row], **of: Any) -> dict[Any, Mapping[int, float]]:
    """Values by step of each run among the rows that have these values."""
    found: dict[Any, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if all(row[column] == value for column, value in of.items()):
            found[row["run"]][row["step"]] = row["value"]
    return dict(found)


def mean_curve(
    seeds: Sequence[Mapping[int, float]],
) -> tuple[list[int], list[float], list[float] | None]:
    """Steps that all seeds have, the mean at each, and its standard error; of one seed None."""
    steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
    values = np.array([[seed[step] for step in steps] for seed in seeds])  # (seeds, steps)
    mean = [float(value) for value in values.mean(0)]
    if len(seeds) == 1:
        return steps, mean, None
    error = values.std(0, ddof=1) / np.sqrt(len(seeds))
    return steps, mean, [float(value) for value in error]


def draw_curves(
    rows: Sequence[Row], runs: Sequence[NamedRun], stem: Path, window: int = 1
) -> tuple[Path, ...]:
    """A panel for each figure, a line for each label.

    Args:
        rows: of `curves`.
        runs: as they were given there; their order is that of the legend.
        stem: of the files.
        window: lines are running means of so many steps; the rows stay as they are.
    """
    names = list(dict.fromkeys(row["figure"] for row in rows))
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    with style.sheet(4.4 * columns, 2.9 * lines, lines, columns) as (figure, axes):
        panels = np.atleast_1d(axes).ravel()
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        for panel, name in zip(panels, names, strict=False):
            curve = CURVES.get(name, Curve(name, (name,)))
            for index, label in enumerate(labels(runs)):
                seeds = [
                    _smooth(values, window)
                    for values in series(rows, figure=name, label=label).values()
                ]
                if seeds:
                    steps, mean, error = mean_curve(seeds)
                    style.line(panel, index, steps, mean, label, error=error)
            panel.set_title(curve.title)
            style.steps(panel)
            if curve.is_share:
                style.shares(panel)
        everybody = max(panels[: len(names)], key=lambda panel: len(panel.get_lines()))
        style.legend(everybody, figure)
        return style.save(figure, stem)


def _smooth(values: Mapping[int, float], window: int) -> Mapping[int, float]:
    """Means of the nearest `window` values, of fewer at the ends."""
    steps = sorted(values)
    told = np.array([values[step] for step in steps])
    ones = np.ones(min(window, len(told)))
    means = np.convolve(told, ones, "same") / np.convolve(np.ones(len(told)), ones, "same")
    return dict(zip(steps, means.tolist(), strict=True))
