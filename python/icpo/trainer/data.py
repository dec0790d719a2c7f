"""Problems and demonstrations from files, and the order in which problems come.

Everything that can be wrong with a file is found before training, and named by file and line.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icpo.demos import DemoPool
from icpo.errors import CheckpointError, DataError, IcpoError
from icpo.reward import Checker, Verdict
from icpo.reward.files import UnreadableRow, columns_of, rows
from icpo.trainer.config import DataConfig, DemosConfig
from icpo.types import Demo, Problem

__all__ = ["PromptOrder", "load_demos", "load_problems", "unverifiable"]

#: Of several rows with the same fault, so many are described.
DESCRIBED = 3


##### Problems and demonstrations


def load_problems(
    path: Path,
    columns: DataConfig,
    checker: Checker,
    *,
    limit: int | None = None,
) -> list[Problem]:
    """The problems in a file, at least one; only the first `limit`, if given.

    Raises:
        DataError: naming file and line, if a column is missing, a row can not be read, a question
            is empty, an id comes twice, or an answer can not be verified.
    """
    table = [
        (
            row,
            Problem(
                id=row.id("data.id", columns.id),
                question=row.text("data.question", columns.question),
                answer=row.answer("data.answer", columns.answer),
                subject=row.subject("data.subject", columns.subject),
            ),
        )
        for row in _rows(path, limit)
    ]
    if not table:
        raise DataError(f"{path}: expected problems, but the file is empty")
    _check_ids("data.id", [(row, problem.id) for row, problem in table])
    problems = [problem for _, problem in table]
    faults = unverifiable(problems, checker)
    if faults:
        described = "; ".join(
            f"{table[place][0].place}: {why}"
            for place, why in itertools.islice(faults.items(), DESCRIBED)
        )
        raise DataError(
            f"{path}: expected answers that the checker can verify with profile "
            f"{checker.profile!r}, but {len(faults)} of {len(problems)} problems have none: "
            f"{described}{'; ...' if len(faults) > DESCRIBED else ''}"
        )
    return problems


def load_demos(columns: DemosConfig) -> DemoPool:
    """The demonstrations in a file.

    Raises:
        DataError: naming file and line, if there are none, a column is missing, a row can not be
            read, a question or solution is empty, or an id comes twice.
    """
    table = [
        (
            row,
            Demo(
                id=row.id("demos.id", columns.id),
                question=row.text("demos.question", columns.question),
                solution=row.text("demos.solution", columns.solution),
                subject=row.subject("demos.subject", columns.subject),
            ),
        )
        for row in _rows(columns.path)
    ]
    if not table:
        raise DataError(f"{columns.path}: expected demonstrations, but the pool is empty")
    _check_ids("demos.id", [(row, demo.id) for row, demo in table])
    return DemoPool(demo for _, demo in table)


def unverifiable(problems: Sequence[Problem], checker: Checker) -> dict[int, str]:
    """The problems whose answer no response could be verified against, by place, and why.

    An answer that can be verified equals itself: in a box or, if it is a whole solution, as it
    stands. Of several answers one is enough.
    """
    golds = [_answers(problem) for problem in problems]
    boxed = ["\\boxed{" + answers[0] + "}" for answers in golds]
    verdicts = checker.check_many(boxed, golds)
    faults = {}
    for place, (answers, verdict) in enumerate(zip(golds, verdicts, strict=True)):
        if not _tells(verdict, answers[0]) and not any(
            _tells(checker.check(answer, text), answer)
            for answer in answers
            for text in ("\\boxed{" + answer + "}", answer)
        ):
            faults[place] = _why(verdict, answers)
    return faults


def _answers(problem: Problem) -> tuple[str, ...]:
    return (problem.answer,) if isinstance(problem.answer, str) else problem.answer


def _tells(verdict: Verdict, answer: str) -> bool:
    # Signs that mean nothing, such as "-" or "?", equal themselves as text. They stand for a
    # missing answer, and nobody should be rewarded for repeating them.
    return verdict.equal and (
        verdict.rule != "text" or any(character.isalnum() for character in answer)
    )


def _why(verdict: Verdict, answers: Sequence[str]) -> str:
    shown = " or ".join(f"{answer!r:.80}" for answer in answers)
    if verdict.outcome == "not_equal":
        return f"answer {shown} does not equal itself in a box"
    if verdict.outcome == "unknown" and verdict.reason not in ("gold", "response"):
        return f"answer {shown}: it could not be told whether it equals itself ({verdict.reason})"
    return f"answer {shown}: nothing in it can be read as an answer"


##### Rows


@dataclass(frozen=True)
class _Row:
    """A row, and how to name it in an error."""

    path: Path
    #: Its number among the rows, from 0.
    index: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """``line 12``, or ``row 12`` in a file without lines; both from 1."""
        line = _line(self.path, self.index)
        return f"row {self.index + 1}" if line is None else f"line {line}"

    def error(self, key: str, message: str) -> DataError:
        return DataError(f"{self.path}: {self.place}: {key}: {message}")

    def value(self, key: str, column: str) -> Any:
        if column in self.values:
            return self.values[column]
        value: Any = self.values
        for name in column.split("."):
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                there = ", ".join(columns_of(dict(self.values)))
                raise self.error(key, f"no column {column!r}; the row has {there}")
        return value

    def text(self, key: str, column: str) -> str:
        return self.as_text(key, column, self.value(key, column))

    def as_text(self, key: str, column: str, value: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return str(value)
        if not isinstance(value, str):
            raise self.error(key, f"expected a text in column {column!r}, got {value!r:.80}")
        if not value.strip():
            raise self.error(key, f"expected a text in column {column!r}, got an empty one")
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair, or a byte that was read past
            raise self.error(
                key, f"expected UTF-8 in column {column!r}, got {value!r:.80}"
            ) from None
        return value

    def answer(self, key: str, column: str) -> str | tuple[str, ...]:
        value = self.value(key, column)
        if not isinstance(value, list):
            return self.as_text(key, column, value)
        if not value:
            raise self.error(key, f"expected an answer in column {column!r}, got an empty list")
        return tuple(self.as_text(key, column, item) for item in value)

    def id(self, key: str, column: str | None) -> str:
        if column is None and "id" not in self.values:
            return str(self.index + 1)
        return self.text(key, column or "id")

    def subject(self, key: str, column: str | None) -> str | None:
        value = self.values.get("subject") if column is None else self.value(key, column)
        if value is None or value == "":
            return None
        return self.as_text(key, column or "subject", value)


def _rows(path: Path, limit: int | None = None) -> Iterator[_Row]:
    try:
        for index, values in enumerate(itertools.islice(rows(path), limit)):
            row = _Row(path, index, {} if isinstance(values, UnreadableRow) else values)
            if isinstance(values, UnreadableRow):
                raise DataError(f"{path}: {row.place}: {values}")
            yield row
    except IcpoError:
        raise
    except OSError as error:
        raise DataError(f"{path}: can not be read: {error.strerror or error}") from None
    except (EOFError, zlib.error, ValueError) as error:  # a damaged archive or parquet file
        raise DataError(f"{path}: can not be read: {error}") from None


def _line(path: Path, index: int) -> int | None:
    """The line on which a row of a file begins, from 1; None: the file has no lines.

    Read again from the start: only errors ask.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes[-1:] == [".parquet"]:
        return None
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        if suffixes[-1:] in ([".csv"], [".tsv"]):
            # Fields may span lines; blank lines are no rows; the first row is the header.
            reader = csv.reader(file, delimiter="\t" if suffixes[-1] == ".tsv" else ",")
            row = begins = -1
            ends = 0
            while row <= index:
                fields = next(reader, None)
                begins, ends = ends + 1, reader.line_num
                if fields is None:
                    return begins
                row += bool(fields)
            return begins
        places = (number for number, line in enumerate(file, 1) if line.strip())
        return next(itertools.islice(places, index, None), None)


def _check_ids(key: str, ids: Sequence[tuple[_Row, str]]) -> None:
    first: dict[str, _Row] = {}
    for row, name in ids:
        if name in first:
            raise row.error(key, f"expected unique ids, got {name!r} as on {first[name].place}")
        first[name] = row


##### Order


class PromptOrder:
    """Problems batch by batch: every one once an epoch, in an order of its own each time.

    A batch may begin in one epoch and end in the next, so that none is left out. The order of an
    epoch follows from the seed and its number; where the sequence stands is all the state.

    >>> order = PromptOrder([Problem(str(i), "?", "1") for i in range(3)], seed=0)
    >>> sorted(problem.id for problem in [*order.draw(2), *order.draw(1)])
    ['0', '1', '2']
    >>> order.state_dict()["drawn"], order.epoch
    (3, 1)
    """

    def __init__(self, problems: Sequence[Problem], seed: int) -> None:
        """Starts at the first epoch."""
        if not problems:
            raise DataError("problems: expected at least one, got none")
        self._problems = problems
        self._seed = seed
        self._drawn = 0

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._drawn // len(self._problems)

    def draw(self, count: int) -> list[Problem]:
        """The next batch, of `count` problems."""
        found: list[Problem] = []
        while len(found) < count:
            epoch, place = divmod(self._drawn, len(self._problems))
            taken = self._order(epoch)[place : place + count - len(found)]
            found.extend(self._problems[index] for index in taken)
            self._drawn += len(taken)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, and of which problems. Plain values."""
        return {"drawn": self._drawn, "problems": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where the sequence stood.

        Raises:
            CheckpointError: if it was one of other problems.
        """
        if state["problems"] != self._fingerprint:
            raise CheckpointError(
                "data.train: expected the problems of the run that is resumed, but the file has "
                "changed"
            )
        self._drawn = int(state["drawn"])

    def _order(self, epoch: int) -> list[int]:
        # The key keeps this stream apart from others of the same seed.
        stream = np.random.SeedSequence(self._seed, spawn_key=(len(self._problems), epoch))
        order: list[int] = np.random.default_rng(stream).permutation(len(self._problems)).tolist()
        return order

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for problem in self._problems:
            digest.update(json.dumps(astuple(problem)).encode() + b"\n")
        return digest.hexdigest()
