"""Demonstrations from files and data sets: how they are read, and what rows do that can not be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icpo.data.schemas import PARTS, Schema
from icpo.data.sources import Source
from icpo.demos.pool import DemoPool
from icpo.errors import ConfigError, DataError
from icpo.tables import Row, UnreadableRow, rows
from icpo.types import Demo

__all__ = ["BAD_ROWS", "DemoColumns", "LoadedPool", "load_pool"]

#: Names of data sets on the hub.
_ON_HUB = re.compile(r"[\w.-]+(?:/[\w.-]+)?")

#: Of the rows that were passed over, so many are described.
DESCRIBED = 3


@dataclass(frozen=True)
class DemoColumns:
    """Names of columns. A dot in one looks into an object or a list: ``messages.0.content``.

    None: where the schema of the file has it, see `icpo.data.schemas`.
    """

    question: str | None = None
    solution: str | None = None
    subject: str | None = None
    #: Without one rows are numbered from 1, over all files.
    id: str | None = None
    #: ``easy``, ``medium`` or ``hard``.
    difficulty: str | None = None
    #: Of the solution, as a number in whatever unit.
    length: str | None = None


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
    files: Sequence[Path | str],
    columns: DemoColumns | None = None,
    bad_rows: str = "error",
    key: str = "columns",
) -> LoadedPool:
    """The demonstrations in files or data sets, in their order.

    Args:
        files: .jsonl, .csv, .tsv (these also .gz) or .parquet; or names of data sets on the Hugging
            Face hub, as `icpo.data.sources.Source` reads them: ``openai/gsm8k,config=main``.
        columns: where things are; None: where the schema of each has them.
        bad_rows: a name in `BAD_ROWS`. A row is bad if a column is missing, the question or the
            solution is empty, or its id came before.
        key: what the names of columns are below, for errors.

    Raises:
        DataError: if a file can not be read, a row can not and is not to be passed over, or there
            is no demonstration. It names file, line, and the key of the column.
        ConfigError: if something is neither the name of such a file nor that of a data set.
    """
    if bad_rows not in BAD_ROWS:
        raise ConfigError(f"bad_rows: expected {' or '.join(BAD_ROWS)}, got {bad_rows!r}")
    if not files:
        raise ConfigError("files: expected at least one file with demonstrations, got none")
    named = {name: column for name, column in vars(columns or DemoColumns()).items() if column}
    sources = [_source(str(name), named) for name in files]
    demos: list[Demo] = []
    first: dict[str, Row] = {}
    skipped = _Skipped()
    for number, (row, schema) in enumerate(_rows(sources), 1):
        try:
            demo = _demo(row, number, schema, key)
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


def _source(text: str, columns: Mapping[str, str]) -> Source:
    """A file or a data set; what is said of it alone has precedence over `columns`."""
    found = Source(text)
    if not found.is_file:  # a comma may be part of the name of a file
        found = Source.read(text)
    path = Path(found.path).expanduser()
    if not found.is_file and not _ON_HUB.fullmatch(found.path) and not path.is_dir():
        rows(path)  # refuses it, and says which files there may be
    return replace(found, columns={**columns, **found.columns})


def _rows(sources: Sequence[Source]) -> Iterator[tuple[Row, Schema]]:
    for source in sources:
        if next(source.rows(), None) is None:
            continue  # of no schema, which is no fault of the file
        schema = source.recognised()
        for row in source.rows():
            yield row, schema


def _demo(row: Row, number: int, schema: Schema, key: str) -> Demo:
    try:
        return schema.demo(row, schema.id(row) or str(number))
    except UnreadableRow as fault:
        # What is wrong with a column begins with the part of the schema that it is for.
        part = str(fault).partition(":")[0]
        raise UnreadableRow(f"{key}.{fault}" if part in PARTS else str(fault)) from None


def _listed(faults: Sequence[str], count: int) -> str:
    return "; ".join(faults) + ("; ..." if count > len(faults) else "")
