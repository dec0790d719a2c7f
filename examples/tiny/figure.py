"""The picture of a demonstration: how accuracy grows, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from results import TARGET, Result

matplotlib.use("Agg")  # no screen is needed

from matplotlib import pyplot
from matplotlib.ticker import PercentFormatter

__all__ = ["draw"]

#: Of Okabe and Ito, told apart by everybody; in print the dashes help.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("--", "-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

#: What is known of every step jumps, so it is averaged over so many steps around each.
WINDOW = 7

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "savefig.dpi": 160,
}

#: Results by the names of their methods.
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    title: str
    #: Steps and values of one run; empty: it has no such thing.
    curve: Callable[[Result], tuple[np.ndarray, np.ndarray]]
    #: Values are shares, 0 to 1. Otherwise the axis begins at 0 and ends anywhere.
    is_share: bool = False
    #: A thin line for each seed.
    has_seeds: bool = False


def _smoothed(name: str) -> Callable[[Result], tuple[np.ndarray, np.ndarray]]:
    def curve(run: Result) -> tuple[np.ndarray, np.ndarray]:
        steps, values = run.curve(name)
        return steps, _smooth(values)

    return curve


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of `WINDOW` values around each, of fewer at the ends."""
    window = np.ones(min(WINDOW, len(values)))
    if not window.size:
        return values
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _non_pass(run: Result) -> tuple[np.ndarray, np.ndarray]:
    steps, count = run.curve("prompts/non_pass")
    return steps, _smooth(count / run.curve("prompts")[1])


ACCURACY = Panel(
    "Zero-shot accuracy on test problems", lambda run: run.accuracy, is_share=True, has_seeds=True
)
NON_PASS = Panel("Training prompts without a right on-policy rollout", _non_pass, is_share=True)
ENTROPY = Panel("Entropy of on-policy rollouts, nats a token", _smoothed("on/surprise"))
ACCEPTED = Panel("Expert rollouts accepted", _smoothed("expert/accepted"), is_share=True)
WEIGHT = Panel(
    "Gradient weight f(1 - f) of their tokens",
    _smoothed("update/off/gradient_weight"),
)


def draw(results: Results, path: Path) -> None:
    """Draws all runs into a PNG file."""
    with pyplot.rc_context(STYLE):
        sheet = pyplot.figure(figsize=(10, 7.2), layout="constrained")
        sheet.suptitle(_title(results), x=0.01, ha="left", fontsize=11.5)
        cells = sheet.add_gridspec(2, 2, wspace=0.06, hspace=0.08)
        axes = sheet.add_subplot(cells[0, 0])
        axes.axhline(TARGET, color="#888888", linewidth=0.8)
        axes.annotate(
            f"{100 * TARGET:.0f} %",
            (0, TARGET),
            (3, 3),
            textcoords="offset points",
            color="#666666",
        )
        _panel(axes, ACCURACY, results)
        _panel(sheet.add_subplot(cells[0, 1]), NON_PASS, results)
        _panel(sheet.add_subplot(cells[1, 0]), ENTROPY, results)
        halves = cells[1, 1].subgridspec(2, 1, hspace=0.1)
        _panel(sheet.add_subplot(halves[0]), ACCEPTED, results, has_label=False)
        weight = sheet.add_subplot(halves[1])
        forced = [runs for runs in results.values() if WEIGHT.curve(runs[0])[0].size]
        lams = {runs[0].settings["algorithm"]["loss"]["lam"] for runs in forced}
        if len(lams) == 1:
            (lam,) = lams
            _mark(weight, lam / (1 + lam) ** 2, "ratio 1", below=True)
        _panel(weight, WEIGHT, results)
        sheet.supxlabel(_legend(results), x=0.01, ha="left", fontsize=8, color="#444444")
        sheet.savefig(path)
        pyplot.close(sheet)


def _title(results: Results) -> str:
    run = next(iter(results.values()))[0]
    methods = " and ".join(results) if len(results) < 3 else f"{len(results)} methods"
    settings = run.settings
    return (
        f"{methods} on the tiny task: {run.steps} steps of {settings['batch']} prompts, "
        f"learning rate {settings['optim']['lr']:g}"
    )


def _legend(results: Results) -> str:
    runs = next(iter(results.values()))
    seeds = ", ".join(str(run.seed) for run in runs)
    if len(runs) == 1:
        lines = f"One run each, seed {seeds}"
    else:
        lines = (
            f"Thick lines: mean of {len(runs)} seeds ({seeds}); bands: its standard error; "
            "thin lines: each seed"
        )
    return f"{lines}. Accuracy at evaluations; the rest as running means over {WINDOW} steps."


def _mark(axes: Any, height: float, name: str, *, below: bool = False) -> None:
    """A thin line with a name, to compare with."""
    axes.axhline(height, color="#888888", linewidth=0.8)
    axes.annotate(
        name,
        (0, height),
        (3, -3 if below else 3),
        textcoords="offset points",
        va="top" if below else "bottom",
        color="#666666",
    )


def _panel(axes: Any, panel: Panel, results: Results, *, has_label: bool = True) -> None:
    """A line a method, with a band of its standard error."""
    axes.set_title(panel.title)
    if has_label:
        axes.set_xlabel("step")
    else:
        axes.tick_params(labelbottom=False)
    ends: list[tuple[float, str, str]] = []
    for number, (name, runs) in enumerate(results.items()):
        steps, values = _common([panel.curve(run) for run in runs])
        if not steps.size:
            continue
        colour = COLOURS[number % len(COLOURS)]
        dashes = DASHES[(number + number // len(COLOURS)) % len(DASHES)]
        mean = values.mean(0)
        axes.plot(steps, mean, color=colour, linestyle=dashes, linewidth=2)
        ends.append((float(mean[-1]), name, colour))
        if len(runs) > 1:
            error = values.std(0, ddof=1) / np.sqrt(len(runs))
            low, high = mean - error, mean + error
            if panel.is_share:
                low, high = low.clip(0, 1), high.clip(0, 1)
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            if panel.has_seeds:
                axes.plot(steps, values.T, color=colour, linewidth=0.7, alpha=0.6)
    axes.set_xlim(0, max(run.steps for runs in results.values() for run in runs))
    if panel.is_share:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    else:
        axes.set_ylim(bottom=0)
    if ends:
        _name(axes, ends)
    else:
        axes.text(0.5, 0.5, "there are none", transform=axes.transAxes, ha="center", va="center")


def _common(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which all runs have a value, and the values, a row a run."""
    steps = curves[0][0]
    for other, _ in curves[1:]:
        steps = np.intersect1d(steps, other)
    return steps, np.stack([values[np.isin(at, steps)] for at, values in curves])


def _name(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes each name behind the end of its line, apart from the others."""
    low, high = axes.get_ylim()
    inches = (
        axes.get_figure().get_figheight()
        * axes.get_subplotspec().get_position(axes.get_figure()).height
    )
    apart = 0.17 / inches * (high - low)
    ends = sorted(ends)
    for (_, name, colour), place in zip(
        ends, _apart([end[0] for end in ends], apart, high), strict=True
    ):
        axes.annotate(
            name,
            (1.01, place),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )


def _apart(places: Sequence[float], apart: float, highest: float) -> list[float]:
    """Rising places, moved up until they are apart, and down again from the highest one allowed."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + apart) if moved else place)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], highest - apart * (len(moved) - 1 - i))
    return moved
