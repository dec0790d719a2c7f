"""A file of rows written again, with more in each row."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from icpo.errors import ConfigError, DataError
from icpo.tables import Fields, UnreadableRow, rows

__all__ = ["rewrite"]

#: Rows of a parquet file that are in memory at once.
BATCH = 1024


def rewrite(path: Path, output: Path, added: Sequence[Fields], inside: str | None) -> None:
    """Writes the rows of a file, in the same format, with what is added to each.

    Args:
        path: .jsonl, .csv, .tsv (these also .gz) or .parquet.
        output: with the same suffixes; it may be the same file.
        added: a text, an integer or None by name, for each row. What had the name is replaced.
        inside: the column of objects that gets it; None: the row itself.

    Raises:
        DataError: if the file has not as many rows, or one that can not be read.
    """
    suffix = [each.lower() for each in path.suffixes if each.lower() != ".gz"][-1:]
    # A name of its own until it is whole, so that the file may be its own source.
    part = output.with_name(f"{output.name}.part")
    merged = _merged(path, added, inside)
    try:
        if suffix == [".parquet"]:
            _write_parquet(path, part, merged, added, inside)
        elif suffix in ([".csv"], [".tsv"]):
            _write_csv(path, part, merged, "\t" if suffix == [".tsv"] else ",", inside)
        else:
            _write_json_lines(path, part, merged)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, output)


def _merged(path: Path, added: Sequence[Fields], inside: str | None) -> Iterator[Fields]:
    count = -1
    for count, row in enumerate(rows(path)):
        if isinstance(row, UnreadableRow):
            raise DataError(f"{path}: row {count + 1}: {row}")
        if count >= len(added):
            break
        if inside is None:
            yield {**row, **added[count]}
        else:
            yield {**row, inside: {**(row.get(inside) or {}), **added[count]}}
    if count + 1 != len(added):
        raise DataError(f"{path}: expected {len(added)} rows, as before, got others")


@contextmanager
def _opened(path: Path, zipped: bool, errors: str) -> Iterator[IO[str]]:
    """A file to write text to; the same texts give the same bytes."""
    with path.open("wb") as raw:
        # gzip would write a name and a time.
        inner = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if zipped else raw
        with io.TextIOWrapper(cast(IO[bytes], inner), "utf-8", errors=errors, newline="") as file:
            yield file


def _write_json_lines(path: Path, part: Path, merged: Iterator[Fields]) -> None:
    # Half a surrogate pair can be written in JSON, and so read.
    with _opened(part, path.suffix.lower() == ".gz", "surrogatepass") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in merged)


def _write_csv(
    path: Path, part: Path, merged: Iterator[Fields], delimiter: str, inside: str | None
) -> None:
    if inside is not None:
        raise ConfigError(f"inside: expected no column of objects in {path}, got {inside!r}")
    # What is not UTF-8 was read past, and is written as it was.
    with _opened(part, path.suffix.lower() == ".gz", "surrogateescape") as file:
        first = next(merged, None)
        if first is None:
            return
        writer = csv.DictWriter(file, list(first), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(itertools.chain([first], merged))


def _write_parquet(
    path: Path,
    part: Path,
    merged: Iterator[Fields],
    added: Sequence[Fields],
    inside: str | None,
) -> None:
    import pyarrow
    import pyarrow.parquet

    names = list(added[0]) if added else []
    number = {name for name in names if all(isinstance(row[name], int | None) for row in added)}
    new = {name: pyarrow.int64() if name in number else pyarrow.string() for name in names}
    # Its metadata describe the columns as they were.
    schema = pyarrow.parquet.read_schema(path).remove_metadata()
    if inside is None:
        schema = _with_fields(schema, new)
    else:
        there = schema.field(inside).type if inside in schema.names else []
        fields: Mapping[str, Any] = {field.name: field.type for field in there} | new
        schema = _with_fields(schema, {inside: pyarrow.struct(list(fields.items()))})
    with pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(merged, BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _with_fields(schema: Any, new: Mapping[str, Any]) -> Any:
    import pyarrow

    fields = {field.name: field.type for field in schema} | dict(new)
    return pyarrow.schema(list(fields.items()))
