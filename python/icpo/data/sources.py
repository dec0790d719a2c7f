"""Where rows come from: files, and data sets of the Hugging Face hub by name."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from icpo.data.schemas import LOOKED_AT, PARTS, SCHEMAS, Schema, recognise_rows, with_columns
from icpo.errors import ConfigError, DataError
from icpo.tables import Row, UnreadableRow, columns_of, placed_rows

__all__ = ["FILES", "HubRow", "Source", "lines_of"]

#: What the name of a file ends with.
FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz")

#: What can be said of a data set on the hub.
_OF_HUB = ("split", "config", "revision")


@dataclass(frozen=True)
class HubRow(Row):
    """A row of a data set on the hub, whose `path` is its name."""

    @property
    def place(self) -> str:
        """``row 12``, from 1."""
        return f"row {self.index + 1}"


@dataclass(frozen=True)
class Source:
    """Where rows come from, and how they are read.

    >>> source = Source.read("openai/gsm8k,config=main,split=test")
    >>> source.path, source.split, source.is_file
    ('openai/gsm8k', 'test', False)
    >>> Source.read("mine.jsonl,question=text,answer=meta.gold").columns
    {'question': 'text', 'answer': 'meta.gold'}
    """

    #: A file; or a data set of the hub by its name, or as a folder.
    path: str
    #: Of a data set.
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    #: The name of its schema; None: it is recognised.
    schema: str | None = None
    #: Columns of one's own, by part of a schema.
    columns: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks what can be checked without a look at the rows."""
        if self.schema is not None and self.schema not in SCHEMAS:
            raise ConfigError(
                f"source {self.path}: schema: expected one of {', '.join(SCHEMAS)}, "
                f"got {self.schema!r}"
            )
        for part in self.columns:
            if part not in PARTS:
                raise ConfigError(
                    f"source {self.path}: expected columns for {', '.join(PARTS)}, got {part!r}"
                )

    @classmethod
    def read(cls, text: str, known: dict[str, Source] | None = None) -> Source:
        """A source as it is written on a command line: ``SOURCE,NAME=VALUE,...``.

        `known` has what need not be said of some data sets, by name.
        """
        path, *changes = text.split(",")
        if not path:
            raise ConfigError(f"source: expected a file or the name of a data set, got {text!r}")
        settings = (*_OF_HUB, "schema", *PARTS)
        given: dict[str, str] = {}
        for change in changes:
            name, equals, value = change.partition("=")
            if name not in settings or not equals or not value:
                raise ConfigError(
                    f"source {path}: expected NAME=VALUE with {', '.join(settings)}, got {change!r}"
                )
            given[name] = value
        base = (known or {}).get(path, cls(path))
        own: dict[str, Any] = {name: given[name] for name in given if name not in PARTS}
        columns = {name: given[name] for name in given if name in PARTS}
        if base.is_file:
            for name in own:
                if name in _OF_HUB:
                    raise ConfigError(
                        f"source {path}: a file has no {name}, got {name}={own[name]}"
                    )
        return dataclasses.replace(base, **own, columns={**base.columns, **columns})

    @property
    def is_file(self) -> bool:
        """Whether it is a file, by its suffix."""
        return self.path.lower().endswith(FILES)

    @property
    def name(self) -> str:
        """What verl calls the data, and groups metrics by."""
        return Path(self.path).name.split(".")[0] if self.is_file else self.path

    def __str__(self) -> str:
        """As a report names it."""
        if self.is_file:
            return self.path
        parts = [self.path, self.config, self.split, self.revision]
        return "/".join(part for part in parts if part)

    def place(self, row: int) -> str:
        """Where a row stands, by its number from 0: ``line 12``, or ``row 12`` without lines."""
        return f"row {row + 1}" if self._lines is None else f"line {self._lines[row]}"

    @cached_property
    def _lines(self) -> list[int] | None:
        """Of all rows: `Row.place` would read the file again for each."""
        if not self.is_file or self.path.lower().endswith(".parquet"):
            return None
        return list(lines_of(Path(self.path).expanduser()))

    def rows(self) -> Iterator[Row]:
        """All rows, unreadable ones too. May be called again, and then gives the same ones.

        Raises:
            DataError: if the file or the data set can not be read.
            ImportError: if what reads it is not installed.
        """
        if self.is_file:
            yield from placed_rows(Path(self.path).expanduser())
            return
        for index, fields in enumerate(self._table):
            yield HubRow(Path(self.path), index, fields)

    @cached_property
    def _table(self) -> Any:
        try:
            import datasets
        except ImportError:
            raise ImportError(
                f"datasets is needed to read {self.path} from the hub, and is not installed: "
                "pip install icpo-rs[data]"
            ) from None
        try:
            return datasets.load_dataset(
                self.path, self.config, split=self.split, revision=self.revision
            )
        except Exception as error:  # what datasets raises has no common class
            reason = str(error).strip().partition("\n")[0]
            raise DataError(
                f"{self}: expected a file ({', '.join(FILES)}) or a data set that can be had from "
                f"the Hugging Face hub: {reason or type(error).__name__}. Without network, name "
                "files that were downloaded elsewhere, or set HF_HOME to a cache that has it"
            ) from error

    def recognised(self, otherwise: Schema | None = None) -> Schema:
        """How its rows are read: as `schema` says or its first rows look, with its own columns.

        `otherwise` is the schema of rows that are of no known one, but fit this one.

        Raises:
            DataError: if the rows are of no known schema, and no columns are named.
        """
        if self.schema is not None:
            return with_columns(SCHEMAS[self.schema], self.columns)
        first = [row for _, row in zip(range(LOOKED_AT), self.rows(), strict=False)]
        found = recognise_rows(first)
        if found is None and otherwise is not None:
            fits = any(_readable(row) and otherwise.fits(row.values) for row in first)
            found = otherwise if fits else None
        if found is None and "question" not in self.columns:
            there = next((columns_of(row.values) for row in first if _readable(row)), [])
            columns = f"columns {', '.join(there)}" if there else "no row that can be read"
            raise DataError(
                f"{self}: expected rows of a known schema ({', '.join(SCHEMAS)}), got {columns}. "
                "Name them: SOURCE,question=COLUMN,answer=COLUMN,solution=COLUMN"
            )
        return with_columns(found, self.columns)


def _readable(row: Row) -> bool:
    return not isinstance(row.content, UnreadableRow)


def lines_of(path: Path) -> Iterator[int]:
    """The lines on which the rows of a file with lines begin, from 1, in one pass."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    file: IO[str]
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        if suffixes[-1:] not in ([".csv"], [".tsv"]):
            yield from (number for number, line in enumerate(file, 1) if line.strip())
            return
        # Fields may span lines; blank lines are no rows; the first row is the header.
        reader = csv.reader(file, delimiter="\t" if suffixes[-1] == ".tsv" else ",")
        ends, header = 0, True
        for fields in reader:
            begins, ends = ends + 1, reader.line_num
            if fields and not header:
                yield begins
            header = header and not fields
