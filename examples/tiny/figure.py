"""The picture of a demonstration: how accuracy grows, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from results import TARGET, Result

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.ticker import PercentFormatter

__all__ = ["draw"]

#: Of Okabe and Ito, told apart by everybody, in the order of use; darker ones first, for print.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("--", "-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

#: Figures of single steps jump: they are averaged over so many steps around each.
WINDOW = 7

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "savefig.dpi": 160,
}

#: A figure of one run over its steps.
Curve = Callable[[Result], tuple[np.ndarray, np.ndarray]]


def draw(results: Mapping[str, Sequence[Result]], path: Path) -> None:
    """Draws all runs, by the names of their methods."""
    with pyplot.rc_context(STYLE):
        sheet = pyplot.figure(figsize=(9.6, 7.0), layout="constrained")
        sheet.suptitle(_title(results), x=0.01, ha="left", fontsize=11)
        cells = sheet.add_gridspec(2, 2, wspace=0.06, hspace=0.08)
        _accuracy(sheet.add_subplot(cells[0, 0]), results)
        _non_pass(sheet.add_subplot(cells[0, 1]), results)
        _entropy(sheet.add_subplot(cells[1, 0]), results)
        halves = cells[1, 1].subgridspec(2, 1, hspace=0.12)
        _expert(sheet.add_subplot(halves[0]), sheet.add_subplot(halves[1]), results)
        sheet.savefig(path)
        pyplot.close(sheet)


def _title(results: Mapping[str, Sequence[Result]]) -> str:
    run = next(iter(results.values()))[0]
    seeds = len(next(iter(results.values())))
    settings = run.settings
    return (
        f"{' and '.join(results) if len(results) < 3 else 'GRPO and variants of ICPO'} on the tiny "
        f"task: {run.steps} steps of {settings['batch']} prompts, learning rate "
        f"{settings['optim']['lr']:g}, {seeds} seed{'s' if seeds > 1 else ''}"
    )


##### Panels


def _accuracy(axes: Any, results: Mapping[str, Sequence[Result]]) -> None:
    several = len(next(iter(results.values()))) > 1
    how = "mean, standard error, each seed" if several else "one seed"
    axes.set_title(f"Zero-shot accuracy on test problems ({how})")
    axes.axhline(TARGET, color="#999999", linewidth=0.8)
    _lines(axes, results, lambda run: run.accuracy, seeds=True)
    _shares(axes)
    axes.set_xlabel("step")


def _non_pass(axes: Any, results: Mapping[str, Sequence[Result]]) -> None:
    def share(run: Result) -> tuple[np.ndarray, np.ndarray]:
        steps, count = run.curve("prompts/non_pass")
        return steps, _smooth(count / run.curve("prompts")[1])

    axes.set_title("Training prompts without a right on-policy rollout")
    _lines(axes, results, share)
    _shares(axes)
    axes.set_xlabel("step")


def _entropy(axes: Any, results: Mapping[str, Sequence[Result]]) -> None:
    axes.set_title("Entropy of the policy, nats a token")
    _lines(axes, results, _smoothed("on/surprise"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")


def _expert(above: Any, below: Any, results: Mapping[str, Sequence[Result]]) -> None:
    shown = {
        name: runs for name, runs in results.items() if runs[0].curve("expert/accepted")[0].size
    }
    styles = _styles(results)
    above.set_title("Expert rollouts accepted")
    _lines(above, shown, _smoothed("expert/accepted"), styles=styles)
    _shares(above)
    above.tick_params(labelbottom=False)
    below.set_title("Their gradient weight f(1 - f), mean over tokens")
    _lines(below, shown, _smoothed("update/off/gradient_weight"), styles=styles)
    below.set_ylim(bottom=0)
    below.set_xlabel("step")
    if not shown:
        for axes in (above, below):
            axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")


##### Lines


def _smoothed(name: str) -> Curve:
    def curve(run: Result) -> tuple[np.ndarray, np.ndarray]:
        steps, values = run.curve(name)
        return steps, _smooth(values)

    return curve


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of `WINDOW` values around each, of fewer at the ends."""
    ones = np.ones(min(WINDOW, len(values)))
    if not ones.size:
        return values
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _styles(results: Mapping[str, Sequence[Result]]) -> dict[str, tuple[str, Any]]:
    """Colour and dashes of each method; what runs out begins again, one after the other."""
    return {
        name: (COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)])
        for number, name in enumerate(results)
    }


def _lines(
    axes: Any,
    results: Mapping[str, Sequence[Result]],
    curve: Curve,
    *,
    seeds: bool = False,
    styles: Mapping[str, tuple[str, Any]] | None = None,
) -> None:
    """A line a method, with a band of its standard error; perhaps a thin one for each seed."""
    styles = _styles(results) if styles is None else styles
    ends: list[tuple[float, str, str]] = []
    last = 0.0
    for name, runs in results.items():
        colour, dashes = styles[name]
        steps, values = _common([curve(run) for run in runs])
        if not steps.size:
            continue
        mean = values.mean(0)
        axes.plot(steps, mean, color=colour, linestyle=dashes, linewidth=2)
        if len(runs) > 1:
            error = values.std(0, ddof=1) / np.sqrt(len(runs))
            axes.fill_between(
                steps, mean - error, mean + error, color=colour, alpha=0.16, linewidth=0
            )
            if seeds:
                axes.plot(steps, values.T, color=colour, linewidth=0.7, alpha=0.55)
        ends.append((float(mean[-1]), name, colour))
        last = max(last, float(steps[-1]))
    axes.set_xlim(0, last or 1)
    _name(axes, ends)


def _common(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which all runs have a value, and the values, a row a run."""
    steps = curves[0][0]
    for other, _ in curves[1:]:
        steps = np.intersect1d(steps, other)
    return steps, np.stack([values[np.isin(at, steps)] for at, values in curves])


def _name(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes each name behind the end of its line, apart from the others."""
    figure = axes.get_figure()
    figure.canvas.draw()
    low, high = axes.get_ylim()
    apart = 0.075 * (high - low)
    place = -np.inf
    for value, name, colour in sorted(ends):
        place = max(value, place + apart)
        axes.annotate(
            name,
            (1.01, place),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
            fontsize=9,
            fontweight="bold",
            annotation_clip=False,
        )


def _shares(axes: Any) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
