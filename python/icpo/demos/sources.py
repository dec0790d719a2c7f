"""Demonstrations from files: columns by name, and what happens to rows that can not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icpo.demos.pool import DemoPool
from icpo.errors import ConfigError, DataError
from icpo.tables import Row, UnreadableRow, placed_rows
from icpo.types import Demo

__all__ = ["BAD_ROWS", "DemoColumns", "LoadedPool", "load_pool"]

#: Of the rows that were passed over, so many are described.
DESCRIBED = 3


@dataclass(frozen=True)
class DemoColumns:
    """Names of columns. A dot in one looks into an object or a list: ``messages.0.content``."""

    question: str = "question"
    solution: str = "solution"
    #: None: ``subject``, in rows that have it.
    subject: str | None = None
    #: None: ``id``, in rows that have it; others are numbered from 1, over all files.
    id: str | None = None


@dataclass(frozen=True)
class LoadedPool:
    """Demonstrations, and what became of the other rows."""

    pool: DemoPool
    #: Rows that were passed over.
    skipped: int = 0
    #: File, line and fault of the first few of them.
    faults: tuple[str, ...] = ()

    @property
    def message(self) -> str | None:
        """What was passed over, in words; None: nothing was."""
        if not self.skipped:
            return None
        rows = self.skipped + len(self.pool)
        return (
            f"{self.skipped} of {rows} rows with demonstrations were passed over: "
            f"{_listed(self.faults, self.skipped)}"
        )


class _RepeatedId(UnreadableRow):
    """An id that came before."""

    def __init__(self, key: str, id: str, row: Row, first: Row) -> None:
        super().__init__(key, id, row, first)

    def __str__(self) -> str:
        # Made when it is asked for: to say where a row stands, its file is read again.
        key, id, row, first = self.args
        file = "" if row.path == first.path else f" of {first.path}"
        return f"{key}.id: expected unique ids, got {id!r} as on {first.place}{file}"


class _Skipped:
    """Counts the rows that are passed over, and describes the first few."""

    def __init__(self) -> None:
        self.count = 0
        self.faults: list[str] = []

    def add(self, row: Row, fault: UnreadableRow) -> None:
        self.count += 1
        # The others need no words, which would cost a reading of the file each.
        if len(self.faults) < DESCRIBED:
            self.faults.append(str(row.error(fault)))


def _refuse(skipped: _Skipped, row: Row, fault: UnreadableRow) -> None:
    raise row.error(fault) from None


#: What happens at a row that can not be read.
BAD_ROWS: dict[str, Callable[[_Skipped, Row, UnreadableRow], None]] = {
    "error": _refuse,
    "skip": _Skipped.add,
}


def load_pool(
    files: Sequence[Path],
    columns: DemoColumns | None = None,
    bad_rows: str = "error",
    key: str = "columns",
) -> LoadedPool:
    """The demonstrations in files, in their order.

    Args:
        files: .jsonl, .csv, .tsv (these also .gz) or .parquet.
        columns: where things are; None: under their own names.
        bad_rows: a name in `BAD_ROWS`. A row is bad if a column is missing, the question or the
            solution is empty, or its id came before.
        key: what the names of columns are below, for errors.

    Raises:
        DataError: if a file can not be read, a row can not and is not to be passed over, or there
            is no demonstration. It names file, line, and the key of the column.
    """
    if bad_rows not in BAD_ROWS:
        raise ConfigError(f"bad_rows: expected {' or '.join(BAD_ROWS)}, got {bad_rows!r}")
    if not files:
        raise ConfigError("files: expected at least one file with demonstrations, got none")
    columns = columns or DemoColumns()
    demos: list[Demo] = []
    first: dict[str, Row] = {}
    skipped = _Skipped()
    for number, row in enumerate(_rows(files), 1):
        try:
            demo = _demo(row, number, columns, key)
            if demo.id in first:
                raise _RepeatedId(key, demo.id, row, first[demo.id])
        except UnreadableRow as fault:
            BAD_ROWS[bad_rows](skipped, row, fault)
            continue
        first[demo.id] = row
        demos.append(demo)
    if not demos:
        why = "the pool is empty"
        if skipped.count:
            why = (
                f"all {skipped.count} rows were passed over: "
                f"{_listed(skipped.faults, skipped.count)}"
            )
        raise DataError(f"{', '.join(map(str, files))}: expected demonstrations, but {why}")
    return LoadedPool(DemoPool(demos), skipped.count, tuple(skipped.faults))


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    for path in files:
        yield from placed_rows(path)


def _demo(row: Row, number: int, columns: DemoColumns, key: str) -> Demo:
    return Demo(
        id=row.id(f"{key}.id", columns.id) or str(number),
        question=row.text(f"{key}.question", columns.question),
        solution=row.text(f"{key}.solution", columns.solution),
        subject=row.subject(f"{key}.subject", columns.subject),
    )


def _listed(faults: Sequence[str], count: int) -> str:
    return "; ".join(faults) + ("; ..." if count > len(faults) else "")
