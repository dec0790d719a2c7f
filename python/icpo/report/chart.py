"""Line charts as inline SVG: no library, no script, and every point says where it comes from.

Colours are classes, so that the style sheet decides them for light, dark and paper; dashes tell
lines apart without colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from icpo.analysis.style import COLOURS, look
from icpo.report.html import Markup, element
from icpo.report.numbers import Format, percent
from icpo.report.runs import Curve

__all__ = ["Line", "Scale", "chart", "colour", "colours", "running_mean", "sample", "ticks"]

#: Of a thick line; the style counts dashes in such widths.
THICK = 2.25

#: Per cent of a colour that are left of it on a dark page.
LIGHTENED = 72

#: In the units of the picture, which are pixels at its natural size.
WIDTH, HEIGHT = 384, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 92, 8, 22

#: Points of a whole chart that can be pointed at; more make pages that no browser likes.
HOVERED = 600

#: Points of a whole chart beyond which thin lines would hide the thick ones.
DENSE = 1500

#: The end of a line is named by so many characters at most.
NAME = 12

#: Between names of lines.
APART = 13


@dataclass(frozen=True)
class Line:
    """The runs of a condition in a chart."""

    name: str
    #: From 0; decides colour and dashes.
    number: int
    #: Of each run.
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scale:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def chart(title: str, lines: Sequence[Line], form: Format, *, whole: bool, window: int) -> Markup:
    """A chart: values of each run thin, the mean over a condition's runs thick.

    Args:
        title: for those who can not see it.
        lines: one of them has a value at least.
        form: writes values on the axis.
        whole: whether the axis goes to 1, if values do not go beyond it.
        window: steps of the running mean that the thick line shows; 1: there is none.
    """
    curves = [curve for line in lines for curve in line.curves if curve]
    last = max(1, *(max(curve.steps) for curve in curves))
    steps = ticks(0, last, 6)
    lowest = min(0.0, *(min(curve.values) for curve in curves))
    highest = max(max(curve.values) for curve in curves)
    values = ticks(lowest, 1.0 if whole and highest <= 1 else highest, 5)
    x = Scale(0, last, LEFT, WIDTH - RIGHT)
    y = Scale(values[0], values[-1], HEIGHT - BOTTOM, TOP)
    hovered = max(2, HOVERED // max(1, len(curves)))
    ends, thin, thick_lines = [], [], []
    for line in lines:
        thick = [running_mean(curve, window) for curve in line.curves if curve]
        if not thick:
            continue
        alone = len(thick) == 1 and window == 1
        drawn = [_run(curve, x, y, form, hovered, thin=not alone) for curve in line.curves]
        thin.append(element("g", *drawn, class_=colour(line.number)))
        thick_lines.append(
            element("g", *_thick(line, thick, x, y, window), class_=colour(line.number))
        )
        ends.append((y(_mean(thick)[1][-1]), line))
    return element(
        "svg",
        element("title", title),
        _axes(steps, values, last, x, y, form),
        *thin,
        *thick_lines,
        *_names(ends),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart dense" if sum(len(one.values) for one in curves) > DENSE else "chart",
        data_x=f"{x.low!r} {x.high!r} {x.start!r} {x.end!r}",
        data_y=f"{y.low!r} {y.high!r} {y.start!r} {y.end!r}",
    )


def sample(number: int) -> Markup:
    """A short piece of a line, for a legend."""
    line = element("path", d="M0 5H40", class_="thick", stroke_dasharray=_dashes(number))
    return element("svg", line, viewBox="0 0 40 10", class_=colour(number), aria_hidden="true")


def colour(number: int) -> str:
    """The class of a line of this number, from 0."""
    return f"c{number % len(COLOURS)}"


def _dashes(number: int) -> str | None:
    """None: the line is drawn through."""
    dash = look(number).dash
    return None if dash == "-" else " ".join(f"{THICK * part:g}" for part in dash[1])


def colours() -> Markup:
    """The style sheet's variables: each colour, and a lighter one for dark pages."""
    named = {f"--c{number}": value for number, value in enumerate(COLOURS)}
    light = "".join(f"{name}: {value}; " for name, value in named.items())
    dark = "".join(
        f"{name}: color-mix(in oklab, {value} {LIGHTENED}%, white); "
        for name, value in named.items()
    )
    on_screen = "@media screen and (prefers-color-scheme: dark)"
    return Markup(f":root {{ {light}}}\n{on_screen} {{ :root {{ {dark}}} }}\n")


def running_mean(curve: Curve, window: int) -> dict[int, float]:
    """By step, the mean of `window` values around each; of fewer at the ends."""
    values, half = curve.values, window // 2
    return {
        step: math.fsum(around) / len(around)
        for place, step in enumerate(curve.steps)
        for around in [values[max(0, place - half) : place + half + 1]]
    }


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers that enclose two others, at most `most` + 1 or so.

    >>> ticks(0, 0.93, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        high = low + max(abs(low), 1.0)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [
        round(place * step, 12 - math.floor(math.log10(step))) for place in range(first, last + 1)
    ]


##### Parts


def _axes(
    steps: Sequence[float], values: Sequence[float], last: int, x: Scale, y: Scale, form: Format
) -> Markup:
    grid, words = [], []
    for value, written in zip(values, _written(values, form), strict=True):
        grid.append(element("path", d=f"M{x.start:g} {y(value):.1f}H{x.end:g}"))
        words.append(
            element("text", written, x=f"{x.start - 6:g}", y=f"{y(value) + 3.5:.1f}", class_="y")
        )
    for step in steps:
        if step <= last and step == round(step):
            grid.append(element("path", d=f"M{x(step):.1f} {y.start:g}v4"))
            words.append(
                element(
                    "text", f"{step:,.0f}", x=f"{x(step):.1f}", y=f"{y.start + 15:g}", class_="x"
                )
            )
    words.append(element("text", "step", x=f"{x.end + 24:g}", y=f"{y.start + 15:g}", class_="name"))
    return element("g", element("g", *grid, class_="grid"), *words, class_="axes")


def _written(values: Sequence[float], form: Format) -> list[str]:
    """Values of an axis, with as few decimals as tell all of them."""
    scale, unit = (100.0, percent(0)[-2:]) if form is percent else (1.0, "")
    scaled = [value * scale for value in values]
    for decimals in range(5):
        if all(math.isclose(value, round(value, decimals), rel_tol=1e-9) for value in scaled):
            shown = [f"{value:,.{decimals}f}{unit}" for value in scaled]
            return [text.replace("-", "\N{MINUS SIGN}") for text in shown]
    return list(map(form, values))


def _run(
    curve: Curve, x: Scale, y: Scale, form: Format, hovered: int, *, thin: bool
) -> Markup | None:
    if not curve:
        return None
    places = [(x(step), y(value)) for step, value in zip(curve.steps, curve.values, strict=True)]
    stride = math.ceil(len(places) / hovered)
    points = [
        element(
            "circle",
            element(
                "title",
                f"{curve.run}, step {step:,}: {form(value)}\n"
                f"{value!r}, {curve.file} line {line}, {curve.key}",
            ),
            cx=f"{across:.1f}",
            cy=f"{up:.1f}",
            r="4",
            data_line=line,
            data_value=repr(value),
        )
        for (across, up), step, value, line in [
            *zip(places, curve.steps, curve.values, curve.lines, strict=True)
        ][::stride]
    ]
    return element(
        "g",
        element("path", d=_path(places), class_="thin") if thin else None,
        *points,
        data_run=curve.run,
        data_file=curve.file,
        data_key=curve.key,
    )


def _thick(
    line: Line, thick: Sequence[dict[int, float]], x: Scale, y: Scale, window: int
) -> list[Markup]:
    """A line, and behind it a wider one in the colour of the paper."""
    steps, means = _mean(thick)
    places = [(x(step), y(value)) for step, value in zip(steps, means, strict=True)]
    path = _path(places)
    front = element(
        "path",
        d=path,
        class_="thick",
        stroke_dasharray=_dashes(line.number),
        data_condition=line.name,
        data_window=window,
        data_runs=len(thick),
    )
    return [element("path", d=path, class_="halo"), front]


def _mean(thick: Sequence[dict[int, float]]) -> tuple[list[int], list[float]]:
    """At the steps that all runs have; if there is none, the first run's."""
    steps = sorted(set.intersection(*(set(one) for one in thick))) or sorted(thick[0])
    those = [one for one in thick if all(step in one for step in steps)]
    return steps, [math.fsum(one[step] for one in those) / len(those) for step in steps]


def _path(places: Sequence[tuple[float, float]]) -> str:
    """A line through places; of those in one column of pixels, what can be told apart.

    A single place becomes a line of no length, which a round end makes a dot.
    """
    kept: list[tuple[float, float]] = []
    column: list[tuple[float, float]] = []
    for place in places:
        if column and round(column[0][0]) != round(place[0]):
            kept += _corners(column)
            column = []
        column.append(place)
    kept += _corners(column)
    if len(kept) == 1:
        kept *= 2
    return "M" + "L".join(f"{across:.1f} {up:.1f}" for across, up in kept)


def _corners(column: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(column) <= 4:
        return list(column)
    ends = {0, len(column) - 1}
    ends |= {column.index(edge(column, key=lambda place: place[1])) for edge in (min, max)}
    return [column[place] for place in sorted(ends)]


def _names(ends: Sequence[tuple[float, Line]]) -> list[Markup]:
    """The name of each line behind its end, apart from the others."""
    ordered = sorted(ends, key=lambda end: end[0])
    if len(ordered) * APART > HEIGHT - TOP - BOTTOM:
        return []  # too many: the legend has them
    return [
        element(
            "text",
            line.name if len(line.name) <= NAME else line.name[: NAME - 1] + "…",
            x=f"{WIDTH - RIGHT + 6}",
            y=f"{place + 4:.1f}",
            class_=f"name {colour(line.number)}",
        )
        for place, (_, line) in zip(_apart([end[0] for end in ordered]), ordered, strict=True)
    ]


def _apart(places: Sequence[float]) -> list[float]:
    """Rising places, moved down until they are apart, and up again from the axis."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + APART) if moved else place)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], HEIGHT - BOTTOM - APART * (len(moved) - 1 - i))
    return moved
