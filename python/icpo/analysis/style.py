"""How figures look: one style, for people who see colours differently and for paper without any.

Each series has a colour of Okabe and Ito's palette, which everybody can tell apart, and besides a
dash and a marker of its own, which a black-and-white print keeps. Figures are drawn without a
screen, and come out the same each time, byte for byte.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder, sheet(width=4.0, height=3.0) as (figure, axes):
...     line(axes, 0, [1, 2, 3], [0.1, 0.3, 0.4], "grpo")
...     legend(axes)
...     print([path.name for path in save(figure, Path(folder) / "accuracy")])
['accuracy.png', 'accuracy.svg']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "GREY",
    "RC",
    "Look",
    "legend",
    "line",
    "look",
    "plain_logarithms",
    "points",
    "save",
    "shares",
    "sheet",
    "steps",
]

#: Okabe and Ito's colours, neighbours of different brightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 2)),
    (0, (3, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: For what is there to compare with.
GREY = "#777777"

#: matplotlib's settings.
RC: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    # Names of parts are otherwise random.
    "svg.hashsalt": "icpo",
}


@dataclass(frozen=True)
class Look:
    """What tells a series from the others."""

    colour: str
    dash: Any
    marker: str


def look(index: int) -> Look:
    """Of the series of this number, from 0. Colours repeat after 7, with other dashes."""
    round_, place = divmod(index, len(COLOURS))
    other = (place + round_) % len(DASHES)
    return Look(COLOURS[place], DASHES[other], MARKERS[other])


@contextmanager
def sheet(
    width: float = 5.2, height: float = 3.4, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Any, Any]]:
    """A figure in this style, inside of which it is drawn and saved.

    Args:
        width: of all of it, in inches.
        height: likewise.
        rows: of axes.
        columns: of axes.

    Returns:
        The figure, and its axes: one, or an array of them as ``pyplot.subplots`` gives it.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "matplotlib is needed for figures, and is not installed: pip install icpo-rs[plots]"
        ) from None
    # Without pyplot, which would choose a screen for the whole process.
    with matplotlib.rc_context(dict(RC)):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns)


def save(figure: Any, stem: Path) -> tuple[Path, Path]:
    """Writes ``stem.png`` and ``stem.svg``."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def line(
    axes: Any,
    index: int,
    x: ArrayLike,
    y: ArrayLike,
    label: str,
    *,
    error: ArrayLike | None = None,
    stairs: bool = False,
) -> None:
    """A curve; `error` draws a band of that half-width around it, `stairs` jumps at each point."""
    how = look(index)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # Markers on some points only: a curve of a hundred would be a chain of pearls.
    every = max(1, int(np.ceil(len(x) / 10)))
    start = min(index * every // 5, every - 1)
    axes.plot(
        x,
        y,
        color=how.colour,
        linestyle=how.dash,
        marker=how.marker,
        drawstyle="steps-post" if stairs else "default",
        markevery=(start, every),
        markerfacecolor="white",
        markeredgewidth=1.1,
        label=label,
    )
    if error is not None:
        half = np.asarray(error, np.float64)
        axes.fill_between(x, y - half, y + half, color=how.colour, alpha=0.18, linewidth=0)


def points(axes: Any, index: int, x: ArrayLike, y: ArrayLike, label: str, **more: Any) -> None:
    """A cloud of points, light enough to see through."""
    how = look(index)
    settings: dict[str, Any] = {
        "s": 20,
        "marker": how.marker,
        "facecolor": "none",
        "edgecolor": how.colour,
        "linewidth": 0.9,
        "alpha": 0.85,
    }
    axes.scatter(x, y, label=label, **{**settings, **more})


def shares(axes: Any, *, x: bool = False) -> None:
    """Shows one axis, the vertical one if nothing else is said, as per cent."""
    from matplotlib.ticker import PercentFormatter

    (axes.xaxis if x else axes.yaxis).set_major_formatter(PercentFormatter(1.0))


def steps(axes: Any) -> None:
    """Names the horizontal axis, on which there is nothing between two steps."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("step")


def plain_logarithms(axes: Any) -> None:
    """Writes 1, 1.5, 2, 3, 5, 7, 10, ... along logarithmic axes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def legend(axes: Any, figure: Any | None = None) -> None:
    """Names of the series: in the axes, or below all of `figure`, which becomes higher by that."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    if figure is None:
        axes.legend(handles, labels)
    else:
        columns = _columns(figure, labels)
        figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(labels) // columns))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def _columns(figure: Any, labels: Sequence[str]) -> int:
    # A letter of 9 points is about 0.075 inches wide, the sample of the line with spaces 0.65.
    widest = 0.075 * max(map(len, labels)) + 0.65
    return max(1, min(len(labels), int(figure.get_figwidth() / widest)))
