"""What a run came to, from the records in its folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runs import ORIGIN, rows

from icpo.errors import DataError

__all__ = ["LAST", "TARGET", "Result"]

#: The accuracy that runs are timed to.
TARGET = 0.8

#: Of training, so many last steps are averaged.
LAST = 10

#: Parts of a step that are this package's own; the rest is the model's.
OWN = ("checking", "mixing", "loss")


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run."""

    method: str
    seed: int
    #: Of metrics.jsonl, from before the first step to the last step.
    rows: list[dict[str, Any]]
    #: Of timings.jsonl, likewise.
    seconds: list[dict[str, float]]
    #: Of the trainer, with which it was made.
    settings: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Result:
        """The run in a folder.

        Raises:
            DataError: if there is none, or it is not finished.
        """
        try:
            origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{folder}: expected a run of the demonstration, found none") from None
        metrics, timings = rows(folder / "metrics.jsonl"), rows(folder / "timings.jsonl")
        made, steps = (metrics[-1]["step"] if metrics else 0), origin["settings"]["steps"]
        if made != steps:
            raise DataError(f"{folder}: expected a run of {steps} steps, got {made} so far")
        return cls(origin["method"], origin["seed"], metrics, timings, origin["settings"])

    @property
    def steps(self) -> int:
        """Steps made."""
        return int(self.rows[-1]["step"])

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps at which there is a figure, and the figures."""
        known = [(row["step"], row[name]) for row in self.rows if row.get(name) is not None]
        if not known:
            return np.zeros(0), np.zeros(0)
        steps, values = zip(*known, strict=True)
        return np.array(steps, np.float64), np.array(values, np.float64)

    ##### Accuracy on the test problems

    @property
    def samples(self) -> int:
        """k of avg@k."""
        return int(self.settings["eval"]["k"])

    @property
    def accuracy(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps, and the share of right answers to plain prompts, sampled."""
        return self.curve(f"eval/avg@{self.samples}")

    def before(self, name: str) -> float:
        """A figure of the model that training began with."""
        return _number(self.rows[0].get(name))

    def after(self, name: str) -> float:
        """A figure of the last step."""
        return _number(self.rows[-1].get(name))

    @property
    def final(self) -> float:
        """Accuracy after training."""
        return float(self.accuracy[1][-1])

    @property
    def area(self) -> float:
        """Area under the curve of accuracy: its mean over the steps."""
        steps, values = self.accuracy
        widths = np.diff(steps)
        return float((widths * (values[1:] + values[:-1]) / 2).sum() / widths.sum())

    @property
    def reached(self) -> float:
        """The first evaluated step with accuracy `TARGET` or better; infinite: there is none."""
        steps, values = self.accuracy
        return float(np.min(steps[values >= TARGET], initial=math.inf))

    ##### The rest

    @property
    def entropy(self) -> float:
        """Nats a token, of the last steps."""
        return float(np.mean(self.curve("on/surprise")[1][-LAST:]))

    @property
    def spent(self) -> float:
        """Seconds that it took, evaluation included."""
        return sum(self._parts(row) for row in self.seconds)

    @property
    def own_share(self) -> float:
        """The part of training's time, evaluation left out, that this package's own code took."""
        training = [{**row, "evaluation": 0.0} for row in self.seconds if row["step"] > 0]
        own = sum(row.get(part) or 0.0 for row in training for part in OWN)
        return own / sum(map(self._parts, training))

    @staticmethod
    def _parts(row: dict[str, float]) -> float:
        return sum(value for name, value in row.items() if name != "step" and value is not None)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
