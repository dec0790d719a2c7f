"""Files of rows: JSON lines, CSV, TSV, parquet. What a row holds, and where it stands.

Everything that reads problems, demonstrations or responses from files reads them here.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from icpo.errors import ConfigError, DataError, IcpoError

__all__ = ["Fields", "Row", "UnreadableRow", "columns_of", "placed_rows", "rows"]

#: Rows of a parquet file that are in memory at once.
BATCH = 4096

#: What a row holds, by column.
Fields = dict[str, Any]


class UnreadableRow(ValueError):
    """A row that does not hold what is read from it. Its message does not say where it stands."""


##### Formats


def rows(path: Path) -> Iterator[Fields | UnreadableRow]:
    """The rows of a file, by its suffix: JSON lines, CSV or TSV (perhaps .gz), or parquet.

    Raises:
        ConfigError: if the suffix is unknown.
        ImportError: if the file is parquet and pyarrow is not installed.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if kind in ([".jsonl"], [".ndjson"], [".json"]):
        return _json_lines(path, zipped)
    if kind in ([".csv"], [".tsv"]):
        return _csv(path, zipped, "\t" if kind == [".tsv"] else ",")
    if kind == [".parquet"] and not zipped:
        return _parquet(path)
    raise ConfigError(
        f"file: expected .jsonl, .csv, .tsv (or these with .gz) or .parquet, got {path}"
    )


def _open(path: Path, zipped: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def _json_lines(path: Path, zipped: bool) -> Iterator[Fields | UnreadableRow]:
    with _open(path, zipped) as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield UnreadableRow(f"no JSON: {error}")
                continue
            yield row if isinstance(row, dict) else UnreadableRow("JSON, but no object")


def _csv(path: Path, zipped: bool, delimiter: str) -> Iterator[Fields | UnreadableRow]:
    # The default of 128 kB is less than a long response.
    csv.field_size_limit(1 << 30)
    with (
        _open(path, zipped) as file,
        # What is not UTF-8 reaches the checker, which reads past it.
        io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        reader = csv.DictReader(text, delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield UnreadableRow(f"no CSV: {error}")
                continue
            if None in row:
                yield UnreadableRow("more fields than the header")
            else:
                yield row


def _parquet(path: Path) -> Iterator[Fields | UnreadableRow]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "pyarrow is needed to read parquet files, and is not installed: "
            "pip install icpo-rs[parquet]"
        ) from None
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            yield from batch.to_pylist()


def columns_of(row: Mapping[str, Any]) -> list[str]:
    """The columns of a row, those inside objects too."""
    found = []
    for name, value in row.items():
        found.append(name)
        if isinstance(value, Mapping):
            found.extend(f"{name}.{inner}" for inner in value)
    return found


##### Rows that know their place


@dataclass(frozen=True)
class Row:
    """A row, and how to name it in an error.

    What reads a column takes its name, in which a dot looks into an object or a list, and the key
    of the setting that has this name. It raises `UnreadableRow`, beginning with the key.
    """

    path: Path
    #: Its number among the rows of its file, from 0.
    index: int
    #: What it holds, or why that can not be told.
    content: Fields | UnreadableRow

    @property
    def place(self) -> str:
        """``line 12``, or ``row 12`` in a file without lines; both from 1."""
        line = _line(self.path, self.index)
        return f"row {self.index + 1}" if line is None else f"line {line}"

    def error(self, message: object) -> DataError:
        """An error that says where the row stands."""
        return DataError(f"{self.path}: {self.place}: {message}")

    @property
    def values(self) -> Fields:
        """What it holds, by column."""
        if isinstance(self.content, UnreadableRow):
            raise self.content
        return self.content

    def value(self, key: str, column: str) -> Any:
        """Whatever a column holds."""
        if column in self.values:
            return self.values[column]
        value: Any = self.values
        for name in column.split("."):
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                there = ", ".join(columns_of(self.values))
                raise UnreadableRow(f"{key}: no column {column!r}; the row has {there}")
        return value

    def text(self, key: str, column: str) -> str:
        """A text that is not empty, or a number as it is written."""
        return _text(key, column, self.value(key, column))

    def answer(self, key: str, column: str) -> str | tuple[str, ...]:
        """A text, or several in a list, of which any will do."""
        value = self.value(key, column)
        if not isinstance(value, list):
            return _text(key, column, value)
        if not value:
            raise UnreadableRow(
                f"{key}: expected at least one text in column {column!r}, got an empty list"
            )
        return tuple(_text(key, column, item) for item in value)

    def id(self, key: str, column: str | None) -> str | None:
        """The id; without a column's name that in ``id``, None if there is no such column."""
        if column is None and "id" not in self.values:
            return None
        return self.text(key, column or "id")

    def subject(self, key: str, column: str | None) -> str | None:
        """The subject, if it has one; without a column's name that in ``subject``."""
        value = self.values.get("subject") if column is None else self.value(key, column)
        if value is None or value == "":
            return None
        return _text(key, column or "subject", value)


def placed_rows(path: Path, limit: int | None = None) -> Iterator[Row]:
    """The rows of a file, unreadable ones too; only the first `limit`, if given.

    Raises:
        DataError: if the file can not be read, or not to its end.
        ConfigError: if its suffix is unknown.
    """
    try:
        for index, content in enumerate(itertools.islice(rows(path), limit)):
            yield Row(path, index, content)
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


def _text(key: str, column: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if not isinstance(value, str):
        raise UnreadableRow(f"{key}: expected a text in column {column!r}, got {value!r:.80}")
    if not value.strip():
        raise UnreadableRow(f"{key}: expected a text in column {column!r}, got an empty one")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, or a byte that was read past
        raise UnreadableRow(
            f"{key}: expected UTF-8 in column {column!r}, got {value!r:.80}"
        ) from None
    return value
