"""How long responses are, and questions and solutions of data sets (Figure 10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icpo.analysis import style
from icpo.analysis.sources import NamedRun, condition, sampled
from icpo.analysis.tidy import Row
from icpo.analysis.words import Encode
from icpo.data.schemas import SCHEMAS, recognise_rows
from icpo.errors import ConfigError, DataError
from icpo.tables import UnreadableRow, placed_rows

__all__ = ["draw_lengths", "histogram", "lengths_of_file", "lengths_of_runs", "summary"]

#: Lengths by what they are of.
Lengths = Mapping[str, NDArray[np.int64]]


def lengths_of_runs(
    runs: Sequence[NamedRun], encode: Encode | None, steps: range | None = None
) -> dict[str, NDArray[np.int64]]:
    """Lengths of responses, by condition; rejected ones also on their own.

    Args:
        runs: see `icpo.analysis.sources`.
        encode: a text to integers, which are counted; None: tokens, as the run has noted them.
        steps: of training, to look at; None: all.

    Raises:
        ConfigError: without `encode`, if a run did not note them.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for one, response in sampled(runs, steps):
        if encode is None and response.tokens is None:
            raise ConfigError(
                f"tokenizer: expected one, since {response.file} does not say how many tokens a "
                "response has"
            )
        length = response.tokens if encode is None else len(encode(response.text))
        name = condition(one, response)
        found[name].append(int(length or 0))
        if response.accepted is False:
            found[f"{name}, rejected"].append(int(length or 0))
    return {name: np.array(values, np.int64) for name, values in found.items()}


def lengths_of_file(label: str, path: Path, encode: Encode) -> dict[str, NDArray[np.int64]]:
    """Lengths of a data set's questions and, if it has any, solutions.

    Args:
        label: what it is called.
        path: JSON lines, CSV or parquet of a schema that `icpo.data.schemas` recognises.
        encode: a text to integers, which are counted.

    Raises:
        DataError: naming the row that can not be read.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for part, text in _texts(path):
        found[f"{label}, {part}"].append(len(encode(text)))
    return {name: np.array(values, np.int64) for name, values in found.items()}


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    rows = list(placed_rows(path))
    schema = recognise_rows(rows)
    if schema is None:
        raise DataError(f"{path}: expected questions, in a schema of {', '.join(SCHEMAS)}")
    for row in rows:
        try:
            yield "questions", schema.question(row)
            for solution in schema.solutions(row):
                yield "solutions", solution
        except UnreadableRow as error:
            raise row.error(error) from None


def histogram(lengths: Lengths, bins: int = 40) -> list[Row]:
    """Counts in bins of equal width, the same for all; with shares, to compare sets of any size."""
    if not any(len(values) for values in lengths.values()):
        raise DataError("lengths: expected some, got none")
    longest = max(int(values.max()) for values in lengths.values() if len(values))
    # Whole numbers at the edges: a bin of 2.5 tokens would hold 2 lengths here and 3 there.
    width = -(-(longest + 1) // bins)
    edges = np.arange(0, longest + width + 1, width)
    rows: list[Row] = []
    for name, values in lengths.items():
        counts, _ = np.histogram(values, edges)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            rows.append(
                {
                    "of": name,
                    "from": int(low),
                    "below": int(high),
                    "count": int(count),
                    "share": float(count / max(1, len(values))),
                }
            )
    return rows


def summary(lengths: Lengths) -> list[Row]:
    """A row for each set: how many, mean, and quantiles."""
    return [
        {
            "of": name,
            "texts": len(values),
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "90 %": float(np.quantile(values, 0.9)),
            "longest": int(values.max()),
        }
        for name, values in lengths.items()
        if len(values)
    ]


def draw_lengths(rows: Sequence[Row], unit: str, stem: Path) -> tuple[Path, ...]:
    """The histograms one below the other, on the same scales."""
    names = list(dict.fromkeys(row["of"] for row in rows))
    top = max(row["share"] for row in rows) * 1.05
    with style.sheet(5.2, 0.9 + 0.95 * len(names), len(names)) as (figure, axes):
        panels = np.atleast_1d(axes)
        for panel, name in zip(panels, names, strict=True):
            those = [row for row in rows if row["of"] == name]
            edges = [those[0]["from"], *(row["below"] for row in those)]
            panel.stairs(
                [row["share"] for row in those],
                edges,
                fill=True,
                facecolor=style.look(0).colour,
                edgecolor="black",
                linewidth=0.5,
            )
            panel.set_title(name)
            panel.set_xlim(0, edges[-1] * 1.02)
            panel.set_ylim(0, top)
            style.shares(panel)
            if panel is not panels[-1]:
                panel.tick_params(labelbottom=False)
        panels[-1].set_xlabel(unit)
        figure.supylabel("share of all", fontsize=9)
        return style.save(figure, stem)
