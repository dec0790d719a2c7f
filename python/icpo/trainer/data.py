"""Problems and demonstrations from files, and the order in which problems come.

Everything that can be wrong with a file is found before training, and named by file and line.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icpo.data.schemas import (
    LOOKED_AT,
    PARTS,
    SCHEMAS,
    Schema,
    recognise_rows,
    with_columns,
)
from icpo.demos import DemoColumns, DemoPool, load_pool
from icpo.errors import CheckpointError, DataError
from icpo.reward import Checker
from icpo.reward.golds import unverifiable
from icpo.tables import Row, UnreadableRow, columns_of, placed_rows
from icpo.trainer.config import DataConfig, DemosConfig
from icpo.types import Problem

__all__ = ["PromptOrder", "load_demos", "load_problems", "pool_problems"]

#: Of several rows with the same fault, so many are described.
DESCRIBED = 3


##### Problems and demonstrations


def load_problems(
    path: Path,
    columns: DataConfig,
    checker: Checker,
    *,
    limit: int | None = None,
    solutions: bool = False,
    sorts: Collection[str] = (),
) -> list[Problem]:
    """The problems in a file, at least one; only the first `limit`, if given.

    `solutions` says whether stored solutions are needed, and so have to be there; `sorts`, which of
    the fields are read that demonstrations are chosen by, if they are there.

    Raises:
        DataError: naming file and line, if a column is missing, a row can not be read, a question
            is empty, an id comes twice, or an answer can not be verified.
    """
    schema = _schema(path, columns)
    table: list[tuple[Row, Problem]] = []
    first: dict[str, Row] = {}
    for row in placed_rows(path, limit):
        try:
            problem = _problem(row, schema, solutions, sorts)
        except UnreadableRow as fault:
            raise row.error(fault) from None
        if problem.id in first:
            raise row.error(
                f"data.id: expected unique ids, got {problem.id!r} as on {first[problem.id].place}"
            )
        first[problem.id] = row
        table.append((row, problem))
    if not table:
        raise DataError(f"{path}: expected problems, but the file is empty")
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


def pool_problems(pool: DemoPool, path: Path, checker: Checker) -> list[Problem]:
    """The questions of a pool as problems; a gold answer is what its solution comes to.

    Raises:
        DataError: if what a solution comes to can not be verified.
    """
    problems = [Problem(demo.id, demo.question, demo.solution, demo.subject) for demo in pool]
    faults = unverifiable(problems, checker)
    if faults:
        described = "; ".join(
            f"demonstration {problems[place].id!r}: {why}"
            for place, why in itertools.islice(faults.items(), DESCRIBED)
        )
        raise DataError(
            f"{path}: expected solutions whose answer the checker can verify with profile "
            f"{checker.profile!r}, because the pool is trained on, but {len(faults)} of "
            f"{len(problems)} have none: {described}{'; ...' if len(faults) > DESCRIBED else ''}"
        )
    return problems


def _schema(path: Path, columns: DataConfig) -> Schema:
    """How the rows of a file are read: as its first ones look, with the columns that are named.

    Raises:
        DataError: if its rows are of no known schema, and no column of questions is named.
    """
    names = {part: getattr(columns, part) for part in PARTS}
    named = {part: column for part, column in names.items() if column is not None}
    readable = [
        row for row in placed_rows(path, LOOKED_AT) if not isinstance(row.content, UnreadableRow)
    ]
    found = recognise_rows(readable)
    # Files without a row that can be read are refused where their rows are read.
    if found is None and readable and "question" not in named:
        raise DataError(
            f"{path}: expected rows of a known schema ({', '.join(SCHEMAS)}), got columns "
            f"{', '.join(columns_of(readable[0].values))}. Name them: data.question=COLUMN "
            "data.answer=COLUMN"
        )
    return with_columns(found, named)


def _problem(row: Row, schema: Schema, solutions: bool, sorts: Collection[str]) -> Problem:
    try:
        stored = schema.solutions(row) if solutions or "solutions" in sorts else ()
        if solutions and not stored:
            raise UnreadableRow("solution: expected a stored solution, but the row has none")
        return Problem(
            id=schema.id(row) or str(row.index + 1),
            question=schema.question(row),
            answer=schema.answer(row),
            subject=schema.subject(row),
            solutions=stored,
            difficulty=schema.difficulty(row) if "difficulty" in sorts else None,
            length=schema.length(row) if "length" in sorts else None,
        )
    except UnreadableRow as fault:
        # What is wrong with a column begins with the part of the schema that it is for.
        part = str(fault).partition(":")[0]
        raise UnreadableRow(f"{DataConfig.key}.{fault}" if part in PARTS else str(fault)) from None


def load_demos(columns: DemosConfig) -> DemoPool:
    """The demonstrations in a file or data set.

    Raises:
        DataError: naming file and line, if there are none, a column is missing, a row can not be
            read, a question or solution is empty, or an id comes twice.
    """
    names = DemoColumns(
        columns.question,
        columns.solution,
        columns.subject,
        columns.id,
        columns.difficulty,
        columns.length,
    )
    return load_pool([columns.path], names, key=DemosConfig.key).pool


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

    @cached_property
    def by_id(self) -> Mapping[str, Problem]:
        """All problems."""
        return {problem.id: problem for problem in self._problems}

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
