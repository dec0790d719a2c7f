"""Tables with one observation a row: written as CSV, and shown in a terminal."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Row", "shown", "write_csv"]

#: Values by column.
Row = Mapping[str, Any]


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Writes rows that all have the columns of the first. None and NaN become empty.

    Floats are written so that reading them gives the same float.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if rows:
            columns = list(rows[0])
            writer.writerow(columns)
            writer.writerows([_written(row[column]) for column in columns] for row in rows)
    return path


def _written(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return "" if value is None or value != value else value


def shown(rows: Sequence[Row]) -> str:
    """The rows as aligned text, numbers to four digits."""
    if not rows:
        return ""
    columns = list(rows[0])
    cells = [columns, *([_short(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    numeric = [
        all(isinstance(row[column], (int, float)) or row[column] is None for row in rows)
        for column in columns
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value != value:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}"
