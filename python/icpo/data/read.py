"""Reading sources: first what each row asks and what its solutions are worth, then what is kept.

Solutions may be long and many, so they are not held in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from icpo.data.progress import Progress
from icpo.data.schemas import QUESTIONS, Schema
from icpo.data.sources import Source
from icpo.data.table import Item, Lost, Stored, Table
from icpo.errors import DataError
from icpo.reward import Checker
from icpo.tables import Row, UnreadableRow

__all__ = [
    "Again",
    "SolutionLimit",
    "demonstration",
    "problem",
    "question",
    "read_again",
    "read_table",
]

#: Rows whose solutions are in memory at once.
BATCH = 1024

#: A row to what is held of it, and its stored solutions.
Make = Callable[[Schema, Row], "tuple[Item, tuple[str, ...]]"]


@dataclass(frozen=True)
class SolutionLimit:
    """How long a stored solution may be."""

    #: Lengths of several texts.
    lengths: Callable[[Sequence[str]], Sequence[int]]
    #: In which unit.
    unit: str
    most: int


def problem(schema: Schema, row: Row) -> tuple[Item, tuple[str, ...]]:
    """A row of training or evaluation data: it needs an answer, and may have solutions."""
    found = schema.problem(row, "")
    return Item(0, row.index, schema.id(row) or "", found.question, found.answer), found.solutions


def demonstration(schema: Schema, row: Row) -> tuple[Item, tuple[str, ...]]:
    """A row of the pool: it needs a solution, and may have an answer."""
    found = schema.demo(row, "")
    try:
        answer: str | tuple[str, ...] | None = schema.answer(row)
    except UnreadableRow:  # a program, a proof: worth showing, and counted in the report
        answer = None
    item = Item(0, row.index, schema.id(row) or "", found.question, answer)
    return item, schema.solutions(row)


def question(schema: Schema, row: Row) -> tuple[Item, tuple[str, ...]]:
    """A row that is only compared with: it needs a question."""
    return Item(0, row.index, "", schema.question(row), None), ()


def read_table(
    name: str,
    sources: Sequence[Source],
    make: Make,
    checker: Checker,
    *,
    limit: int | None = None,
    longest: SolutionLimit | None = None,
    progress: Progress,
) -> Table:
    """The rows of sources, those that can not be read left out.

    Args:
        name: of the table.
        sources: in their order.
        make: what makes an item of a row.
        checker: says whether stored solutions come to the answer.
        limit: only the first so many rows of each source.
        longest: stored solutions that are longer are left out.
        progress: is told.

    Raises:
        DataError: if none of a source's rows can be read, which means other columns.
    """
    # What else such rows have does not matter.
    otherwise = QUESTIONS if make is question else None
    schemas = [source.recognised(otherwise) for source in sources]
    table = Table(name, sources, schemas, [0] * len(sources))
    for number, source in enumerate(sources):
        before, fault = len(table.kept), "it has none"
        for rows in _batches(itertools.islice(source.rows(), limit)):
            made: list[tuple[Item, tuple[str, ...]]] = []
            for row in rows:
                try:
                    item, texts = make(table.schemas[number], row)
                except UnreadableRow as error:
                    fault = str(error)
                    table.lost.append(Lost(number, row.index, "unreadable", fault))
                else:
                    made.append((replace(item, source=number), texts))
            _add(table, made, checker, longest)
            table.rows[number] += len(rows)
            progress.show(f"{name}: {source}: {table.rows[number]:,} rows read")
        if len(table.kept) == before:
            raise DataError(f"{source}: expected rows that can be read, but {fault}")
    table.kept = list(_with_ids(table))
    return table


class Again(NamedTuple):
    """What is kept, read again."""

    item: Item
    row: Row
    #: Those of its solutions that are kept.
    solutions: list[str]


def read_again(table: Table) -> Iterator[Again]:
    """The rows that a table keeps, in order.

    Raises:
        DataError: if a row is not what it was when it was read first.
    """
    for number, source in enumerate(table.sources):
        kept = {item.row: item for item in table.kept if item.source == number}
        for row in itertools.islice(source.rows(), max(kept, default=-1) + 1):
            if (item := kept.get(row.index)) is not None:
                yield _again(table.schemas[number], item, row)


def _again(schema: Schema, item: Item, row: Row) -> Again:
    try:
        if schema.question(row) != item.question:
            raise UnreadableRow(f"question: expected {item.question!r:.80}")
        texts = schema.solutions(row)
        return Again(item, row, [texts[stored.place] for stored in item.solutions])
    except (UnreadableRow, IndexError) as fault:
        raise row.error(f"the source has changed while it was read: {fault}") from None


def _with_ids(table: Table) -> Iterator[Item]:
    """Ids say where an item comes from: its source, and its own id there or its row."""
    names = [source.name for source in table.sources]
    taken: set[str] = set()
    for item in table.kept:
        name = names[item.source]
        # Files in different folders may have the same name.
        if name in names[: item.source]:
            name = f"{name}#{names[: item.source].count(name) + 1}"
        id = f"{name}:{item.id or item.row + 1}"
        if id in taken:
            id = f"{id} (row {item.row + 1})"
        taken.add(id)
        yield replace(item, id=id)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _add(
    table: Table,
    made: Sequence[tuple[Item, tuple[str, ...]]],
    checker: Checker,
    longest: SolutionLimit | None,
) -> None:
    """Adds rows, with those of their solutions that are short enough, and what they are worth."""
    asked = [
        (number, place) for number, (_, texts) in enumerate(made) for place in range(len(texts))
    ]
    texts = [made[number][1][place] for number, place in asked]
    lengths = [0] * len(texts) if longest is None else longest.lengths(texts)
    kept: list[list[int]] = [[] for _ in made]
    for (number, place), length in zip(asked, lengths, strict=True):
        if longest is None or length <= longest.most:
            kept[number].append(place)
            continue
        item = made[number][0]
        why = f"{length:,} {longest.unit}, expected at most {longest.most:,}"
        table.lost.append(Lost(item.source, item.row, "solution_too_long", why, place))
    checked = [
        (number, place)
        for number, places in enumerate(kept)
        for place in places
        if made[number][0].answer is not None
    ]
    verdicts = checker.check_many(
        [made[number][1][place] for number, place in checked],
        [made[number][0].answer or "" for number, _ in checked],
    )
    words = {"equal": "right", "not_equal": "wrong", "unknown": "unknown"}
    said = {at: words[verdict.outcome] for at, verdict in zip(checked, verdicts, strict=True)}
    for number, (item, _) in enumerate(made):
        stored = (Stored(place, said.get((number, place), "unchecked")) for place in kept[number])
        table.kept.append(replace(item, solutions=tuple(stored)))
