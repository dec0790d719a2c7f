"""How far trajectories of one problem are from each other, in edits (section 3, Figure 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.analysis import style
from icpo.analysis.edit_distance import edit_distances
from icpo.analysis.sources import NamedRun, condition, sampled
from icpo.analysis.tidy import Row
from icpo.analysis.words import Encode
from icpo.errors import DataError

__all__ = ["diversity", "draw_diversity", "normalised", "summary"]


def normalised(
    distances: NDArray[np.int64], lengths: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Each distance as a share of the longer of its two sequences, 0 for two empty ones."""
    longer = np.array([max(pair) for pair in lengths], np.float64)
    return np.asarray(distances / np.maximum(longer, 1))


def diversity(
    runs: Sequence[NamedRun],
    encode: Encode,
    steps: range | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """Means over the pairs of each group: the responses of a condition to a problem in a step.

    Args:
        runs: see `icpo.analysis.sources`.
        encode: a text to integers.
        steps: of training, to look at; None: all.
        progress: is told how many groups are done, and how many there are.

    Raises:
        DataError: if no group has two responses.
    """
    groups: dict[tuple[str, str, str, int | None, str], list[str]] = defaultdict(list)
    for one, response in sampled(runs, steps):
        name, folder = condition(one, response), str(one.run.folder)
        key = one.label, name, folder, response.step, response.problem
        groups[key].append(response.text)
    pairs = {key: texts for key, texts in groups.items() if len(texts) > 1}
    if not pairs:
        raise DataError("runs: expected several responses to a problem, got one to each")
    rows: list[Row] = []
    for (label, name, run, step, problem), texts in pairs.items():
        tokens = [encode(text) for text in texts]
        distances = edit_distances(tokens)
        lengths = [len(one) for one in tokens]
        rows.append(
            {
                "label": label,
                "condition": name,
                "run": run,
                "step": step,
                "problem": problem,
                "responses": len(texts),
                "different": len(set(texts)),
                "length": float(np.mean(lengths)),
                "distance": float(distances.mean()),
                "normalised": float(normalised(distances, list(combinations(lengths, 2))).mean()),
            }
        )
        if progress is not None:
            progress(len(rows), len(pairs))
    return rows


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for each condition; the standard error is that over groups."""
    found: list[Row] = []
    for name in dict.fromkeys(row["condition"] for row in rows):
        those = [row for row in rows if row["condition"] == name]
        shares = np.array([row["normalised"] for row in those])
        error = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else None
        found.append(
            {
                "condition": name,
                "groups": len(those),
                "responses": sum(row["responses"] for row in those),
                "length": float(np.mean([row["length"] for row in those])),
                "distance": float(np.mean([row["distance"] for row in those])),
                "normalised": float(shares.mean()),
                "standard_error": error,
            }
        )
    return found


def draw_diversity(rows: Sequence[Row], stem: Path) -> tuple[Path, ...]:
    """Over the steps of training; without steps, or with one, the distribution over problems."""
    steps = {row["step"] for row in rows}
    with style.sheet() as (figure, axes):
        (_over_steps if len(steps) > 1 else _distribution)(axes, rows)
        style.legend(axes, figure)
        return style.save(figure, stem)


def _over_steps(axes: Any, rows: Sequence[Row]) -> None:
    for index, name in enumerate(dict.fromkeys(row["condition"] for row in rows)):
        by_step: dict[int, list[float]] = defaultdict(list)
        for row in rows:
            if row["condition"] == name:
                by_step[row["step"]].append(row["normalised"])
        steps = sorted(by_step)
        values = [np.array(by_step[step]) for step in steps]
        error = None
        if all(len(each) > 1 for each in values):
            error = [float(each.std(ddof=1) / np.sqrt(len(each))) for each in values]
        style.line(axes, index, steps, [float(each.mean()) for each in values], name, error=error)
    axes.set_title("Edit distance between responses to a prompt")
    style.steps(axes)
    axes.set_ylabel("share of the longer one")
    axes.set_ylim(bottom=0)
    style.shares(axes)


def _distribution(axes: Any, rows: Sequence[Row]) -> None:
    for index, name in enumerate(dict.fromkeys(row["condition"] for row in rows)):
        values = np.sort([row["normalised"] for row in rows if row["condition"] == name])
        # From 0 on the axis, up by one problem at each value.
        reached = np.arange(len(values) + 1) / len(values)
        style.line(axes, index, [0.0, *values], reached, name, stairs=True)
    axes.set_title("Edit distance between responses to a problem")
    axes.set_xlabel("mean over pairs, as a share of the longer response")
    axes.set_ylabel("problems up to there")
    axes.set_ylim(0, 1)
    style.shares(axes)
    style.shares(axes, x=True)
