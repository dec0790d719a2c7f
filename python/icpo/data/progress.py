"""How far a long job has come: one line on stderr, written over where somebody may be looking."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """A context manager. A terminal has one line; anything else a line now and then.

    >>> import io
    >>> stream = io.StringIO()
    >>> with Progress(stream=stream, now=iter([0.0, 1.0, 20.0]).__next__) as progress:
    ...     for count in (1, 2, 3):
    ...         progress.show(f"{count} rows")
    >>> stream.getvalue()
    '1 rows\\n3 rows\\n'
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        every: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every` is the least number of seconds between lines where there is no terminal."""
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._pause = 0.1 if self._terminal else every
        self._now = now
        self._shown = -math.inf
        self._width = 0

    def __enter__(self) -> Progress:
        """Shows nothing yet."""
        return self

    def show(self, text: str) -> None:
        """Says what is being done, unless something was said just now."""
        now = self._now()
        if now - self._shown < self._pause:
            return
        self._shown = now
        if not self._terminal:
            print(text, file=self._stream, flush=True)
            return
        # What wraps can not be written over.
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self._width}}", end="", file=self._stream, flush=True)
        self._width = len(text)

    def __exit__(self, *_: object) -> None:
        """Wipes the line; a report or an error message may follow."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=self._stream, flush=True)
