"""The tiny task as data files: problems to train and test on, and demonstrations."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from icpo.errors import ConfigError
from icpo.tiny.task import LONGEST, SHORTEST, TOPICS, Exercise, draw, is_held_out

__all__ = ["FILES", "Sizes", "Splits", "split", "write_data"]

#: The files that `write_data` writes, one for each split.
FILES = ("train.jsonl", "test.jsonl", "demos.jsonl")

#: Few enough that distinct exercises do not run out: there are about 1,800 of the shortest.
MOST = 4096


@dataclass(frozen=True)
class Sizes:
    """How many exercises each split has."""

    train: int = 1024
    test: int = 200
    demos: int = 256

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("train", "test", "demos"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.train + self.test + self.demos > MOST:
            raise ConfigError(f"train, test, demos: expected at most {MOST} together, got {self}")


@dataclass(frozen=True)
class Splits:
    """Exercises, no two alike, none of which the corpus has."""

    train: tuple[Exercise, ...]
    test: tuple[Exercise, ...]
    demos: tuple[Exercise, ...]


def split(seed: int, sizes: Sizes | None = None) -> Splits:
    """Draws the splits. Topics and lengths take turns, so that each has its equal share."""
    sizes = Sizes() if sizes is None else sizes
    rng = random.Random(seed)
    seen: set[Exercise] = set()
    return Splits(
        test=_distinct(rng, sizes.test, seen),
        demos=_distinct(rng, sizes.demos, seen),
        train=_distinct(rng, sizes.train, seen),
    )


def _distinct(rng: random.Random, count: int, seen: set[Exercise]) -> tuple[Exercise, ...]:
    topics, lengths = list(TOPICS), range(SHORTEST, LONGEST + 1)
    drawn: list[Exercise] = []
    while len(drawn) < count:
        turn, which = divmod(len(drawn), len(topics))
        exercise = draw(rng, topics[which], lengths[turn % len(lengths)])
        if exercise not in seen and is_held_out(exercise):
            seen.add(exercise)
            drawn.append(exercise)
    return tuple(drawn)


def write_data(folder: str | Path, seed: int = 0, sizes: Sizes | None = None) -> list[Path]:
    """Writes ``train.jsonl``, ``test.jsonl`` and ``demos.jsonl``, and returns their paths.

    Columns: id, question, answer, subject (the topic); demonstrations have a solution too, and so
    have training problems, for methods that imitate. The same seed and sizes give the same bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    splits = split(seed, sizes)
    paths = []
    for file, exercises in zip(FILES, (splits.train, splits.test, splits.demos), strict=True):
        name = file.partition(".")[0]
        rows = (
            _row(f"{name}-{number}", exercise, solution=name != "test")
            for number, exercise in enumerate(exercises)
        )
        paths.append(folder / file)
        _write(paths[-1], rows)
    return paths


def _row(name: str, exercise: Exercise, *, solution: bool) -> dict[str, str]:
    row = {
        "id": name,
        "question": exercise.question,
        "answer": exercise.answer,
        "subject": exercise.topic,
    }
    return row | {"solution": exercise.solution()} if solution else row


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    # Whole or not at all: a run that reads the file meanwhile sees the old one or the new one.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".write-") as scratch:
        written = Path(scratch) / path.name
        written.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(written, path)
