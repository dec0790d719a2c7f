"""What another condition changes: wrong answers that become right, and how far it moves (Figure 3).

Two conditions answer the same problems: two temperatures, or without and with a demonstration. A
pair of responses, one of each, is a flip if the first is wrong and the second right. Shares are
over all pairs of a problem, which with one response each is the pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icpo.analysis import style
from icpo.analysis.diversity import normalised
from icpo.analysis.edit_distance import edit_distances_between
from icpo.analysis.runs import Response
from icpo.analysis.sources import NamedRun, condition, sampled
from icpo.analysis.tidy import Row
from icpo.analysis.words import Encode
from icpo.errors import ConfigError, DataError
from icpo.evaluation.paired import sign_flip

__all__ = ["draw_flips", "flips", "summary"]


@dataclass
class _Answers:
    """The responses of a condition to a problem."""

    texts: list[str] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, response: Response) -> None:
        self.texts.append(response.text)
        self.right.append(response.right)


#: Step and problem. Two runs at different steps are not asked the same way.
_Asked = tuple[int | None, str]


def flips(
    runs: Sequence[NamedRun],
    encode: Encode,
    base: str | None = None,
    steps: range | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """A row for each problem that the base and another condition have answered.

    Args:
        runs: see `icpo.analysis.sources`, which also says what a condition is.
        encode: a text to integers.
        base: the condition to compare with; None: the first.
        steps: of training, to look at; None: all.
        progress: is told how many rows are done, and how many there are.

    Raises:
        ConfigError: if there is no such condition, or no other.
        DataError: if another condition has no problem in common with the base.
    """
    found: dict[str, dict[_Asked, _Answers]] = defaultdict(lambda: defaultdict(_Answers))
    for one, response in sampled(runs, steps):
        found[condition(one, response)][response.step, response.problem].add(response)
    names = list(found)
    base = names[0] if base is None else base
    if base not in found:
        raise ConfigError(f"base: expected one of {', '.join(map(repr, names))}, got {base!r}")
    others = [name for name in names if name != base]
    if not others:
        raise ConfigError(
            f"runs: expected a second condition to compare {base!r} with, got {', '.join(names)}"
        )
    pairs = [
        (name, asked) for name in others for asked in _in_both(base, found[base], name, found[name])
    ]
    rows: list[Row] = []
    for name, (step, problem) in pairs:
        ours, theirs = found[base][step, problem], found[name][step, problem]
        rows.append(_row(base, name, step, problem, ours, theirs, encode))
        if progress is not None:
            progress(len(rows), len(pairs))
    return rows


def _in_both(
    base: str, ours: dict[_Asked, _Answers], name: str, theirs: dict[_Asked, _Answers]
) -> list[_Asked]:
    both = [asked for asked in ours if asked in theirs]
    if not both:
        raise DataError(f"runs: expected problems in common of {base!r} and {name!r}, found none")
    return both


def _row(
    base: str,
    name: str,
    step: int | None,
    problem: str,
    ours: _Answers,
    theirs: _Answers,
    encode: Encode,
) -> Row:
    one, other = [encode(text) for text in ours.texts], [encode(text) for text in theirs.texts]
    distances = edit_distances_between(one, other)
    lengths = [(len(a), len(b)) for a in one for b in other]
    right, other_right = np.array(ours.right), np.array(theirs.right)  # (n,), (m,)
    return {
        "base": base,
        "condition": name,
        "step": step,
        "problem": problem,
        "base_responses": len(right),
        "base_right": int(right.sum()),
        "responses": len(other_right),
        "right": int(other_right.sum()),
        # Shares of all n·m pairs.
        "wrong_to_right": float(np.outer(~right, other_right).mean()),
        "right_to_wrong": float(np.outer(right, ~other_right).mean()),
        "distance": float(distances.mean()),
        "normalised": float(normalised(distances.ravel(), lengths).mean()),
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for each condition.

    ``of_wrong`` is the share of wrong responses of the base that the other has right, in
    expectation over pairs; ``of_right`` that of right ones it has wrong. ``p`` is that of the
    sign-flip test of equal accuracy, exact where samples are equally many.
    """
    found: list[Row] = []
    for name in dict.fromkeys(row["condition"] for row in rows):
        those = [row for row in rows if row["condition"] == name]
        accuracy = np.array([row["base_right"] / row["base_responses"] for row in those])
        other = np.array([row["right"] / row["responses"] for row in those])
        gained = float(np.sum([row["wrong_to_right"] for row in those]))
        lost = float(np.sum([row["right_to_wrong"] for row in those]))
        wrong, right = float((1 - accuracy).sum()), float(accuracy.sum())
        # Over a common denominator they are integers, and so the test is exact.
        scaled = [
            row["right"] * row["base_responses"] - row["base_right"] * row["responses"]
            for row in those
        ]
        products = {row["responses"] * row["base_responses"] for row in those}
        differences = np.array(scaled) if len(products) == 1 else other - accuracy
        found.append(
            {
                "condition": name,
                "base": those[0]["base"],
                "problems": len(those),
                "base_accuracy": float(accuracy.mean()),
                "accuracy": float(other.mean()),
                "wrong_to_right": gained / len(those),
                "right_to_wrong": lost / len(those),
                "of_wrong": gained / wrong if wrong else None,
                "of_right": lost / right if right else None,
                "normalised": float(np.mean([row["normalised"] for row in those])),
                "p": sign_flip(differences),
            }
        )
    return found


def draw_flips(rows: Sequence[Row], stem: Path) -> tuple[Path, ...]:
    """A panel for each condition: problems by their distance, flips marked."""
    names = list(dict.fromkeys(row["condition"] for row in rows))
    top = max(row["normalised"] for row in rows) * 1.05 or 1.0
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    with style.sheet(4.2 * columns, 3.2 * lines, lines, columns) as (figure, axes):
        panels = np.atleast_1d(axes).ravel()
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        for panel, name in zip(panels, names, strict=False):
            _panel(panel, sorted(_those(rows, name), key=lambda row: row["normalised"]))
            panel.set_title(f"{name}, against {rows[0]['base']}")
            panel.set_xlabel("problems, by distance")
            panel.set_ylim(-0.04 * top, top)
            style.shares(panel)
        for panel in panels[::columns]:
            panel.set_ylabel("edit distance, of the longer response")
        style.legend(max(panels, key=lambda panel: len(panel.collections)), figure)
        return style.save(figure, stem)


def _those(rows: Sequence[Row], name: str) -> list[Row]:
    return [row for row in rows if row["condition"] == name]


def _panel(axes: Any, rows: Sequence[Row]) -> None:
    gained = np.array([row["wrong_to_right"] > row["right_to_wrong"] for row in rows])
    lost = np.array([row["right_to_wrong"] > row["wrong_to_right"] for row in rows])
    places, heights = np.arange(1, len(rows) + 1), np.array([row["normalised"] for row in rows])
    for index, name, which, settings in (
        (4, "neither", ~(gained | lost), {"marker": ".", "edgecolor": style.GREY, "s": 40}),
        (0, "more right to wrong", lost, {"marker": "v"}),
        (1, "more wrong to right", gained, {"marker": "^", "facecolor": style.look(1).colour}),
    ):
        if which.any():
            style.points(axes, index, places[which], heights[which], name, **settings)
