"""A line on stderr that says how far an evaluation has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Responses had, rates, and the time that is left. A context manager.

    A terminal has one line that is written over; anything else gets a line now and then.
    """

    def __init__(
        self,
        total: int,
        had: int,
        *,
        stream: TextIO | None = None,
        every: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        title: str = "",
    ) -> None:
        """`total` responses are to be had, `had` of which were there before.

        `title` stands before everything that is shown.
        """
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = 0.1 if self._terminal else every
        self._now, self._began = now, now()
        self._title = f"{title}  " if title else ""
        self._shown = self._began
        self._total, self._before, self._done, self._tokens = total, had, had, 0
        self._width = 0

    def add(self, tokens: int | None) -> None:
        """Notes a response of so many tokens."""
        self._done += 1
        self._tokens += tokens or 0
        if self._now() - self._shown >= self._every or self._done == self._total:
            self._show()

    def _show(self) -> None:
        self._shown = self._now()
        spent = max(self._shown - self._began, 1e-9)
        rate = (self._done - self._before) / spent
        parts = [f"{self._done:,}/{self._total:,} responses", f"{rate:,.1f}/s"]
        if self._tokens:
            parts.append(f"{self._tokens / spent:,.0f} tokens/s")
        if rate > 0:
            parts.append(f"{_duration((self._total - self._done) / rate)} left")
        text = self._title + "  ".join(parts)
        start, end = ("\r", "") if self._terminal else ("", "\n")
        self._stream.write(f"{start}{text:<{self._width}}{end}")
        self._stream.flush()
        self._width = len(text)

    def __enter__(self) -> Progress:
        """Shows nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the line."""
        if self._terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
