"""A journal of responses: a JSON line for each, written as soon as it is there.

A process may be killed at any byte. What follows the last line end is cut off when the journal is
opened again, and asked for again; everything before it is kept.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from icpo.errors import CheckpointError, DataError

__all__ = ["Journal", "Key"]

#: What tells a response from the others, in the order of the names that a journal has for it.
Key = tuple[Any, ...]

#: The names in the journal of an evaluation.
_KEY = ("benchmark", "shots", "seed", "id", "sample")


class Journal:
    """Responses by key, on the disk. A context manager; one process at a time."""

    def __init__(self, path: Path, names: Sequence[str] = _KEY, *, writes: bool = True) -> None:
        """Opens the journal, or begins one.

        Args:
            path: of the file.
            names: what the parts of a key are called in it.
            writes: otherwise the file is left as it is, and nobody is kept from writing to it.

        Raises:
            CheckpointError: another process is writing to it.
            DataError: a line in it is no response; it names the line.
        """
        self._path, self._names = path, tuple(names)
        if writes:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _locked(path) if writes else path.open("rb")
        #: Where the line of each response begins.
        self._places: dict[Key, int] = {}
        try:
            self._end = self._read_all()
        except DataError:
            self._file.close()
            raise
        if writes:
            self._file.truncate(self._end)

    def __contains__(self, key: Key) -> bool:
        """Whether there is a response."""
        return key in self._places

    def __len__(self) -> int:
        """How many responses there are."""
        return len(self._places)

    def add(self, key: Key, content: Mapping[str, Any]) -> None:
        """Writes a response, past every buffer of this process; one that is there already stays."""
        if key in self._places:
            return
        row = {**dict(zip(self._names, key, strict=True)), **content}
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        self._file.write(line)
        self._file.flush()
        self._places[key] = self._end
        self._end += len(line)

    def clear(self) -> None:
        """Forgets everything, on the disk too."""
        self._file.truncate(0)
        self._places.clear()
        self._end = 0

    def read(self, key: Key) -> dict[str, Any]:
        """A response."""
        self._file.seek(self._places[key])
        row: dict[str, Any] = _parsed(self._file.readline())
        return row

    def __enter__(self) -> Journal:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file, and so lets others write."""
        self._file.close()

    def _read_all(self) -> int:
        """Notes where responses stand; where the last whole line ends."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = _parsed(line)
                key = tuple(row[name] for name in self._names)
                known = key in self._places
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self._path}: line {number}: expected a response, got {line[:80]!r}: {error}"
                ) from None
            if not known:
                self._places[key] = end
            end += len(line)
        return end


def _locked(path: Path) -> IO[bytes]:
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise CheckpointError(
            f"{path}: expected nobody else to write to it, but another process is writing to it"
        ) from None
    return file


def _parsed(line: bytes) -> Any:
    return json.loads(line.decode("utf-8", "surrogatepass"))
