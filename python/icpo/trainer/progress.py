"""A line on stderr for each step, while somebody may be looking."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

__all__ = ["Progress"]

#: What a line says of a step: word, metric, format. Those that a step lacks are left out.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("reward", "on/reward", ".3f"),
    ("expert", "expert/acceptance", ".0%"),
    ("entropy", "on/entropy", ".3f"),
    ("test", "eval/greedy", ".1%"),
)


class Progress:
    """Step, figures, rates and the time that is left. A context manager.

    A terminal has one line a step, and below it one that says what is being done. Anything else
    gets lines only, at most one in `every` seconds; the first and the last step are always shown.
    """

    def __init__(
        self,
        first: int,
        total: int,
        *,
        stream: TextIO | None = None,
        every: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Steps `first` to `total`, both included, are to be made from now on."""
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = every
        self._now = now
        self._began = self._shown = now()
        self._first, self._total = first, total
        self._width = 0

    def doing(self, step: int, what: str, done: int, of: int) -> None:
        """Shows how far a part of a step has come."""
        if self._terminal and self._now() - self._shown >= 0.1:
            self._shown = self._now()
            self._line(f"step {step}/{self._total}  {what} {done:,}/{of:,}", end="")

    def step(
        self, step: int, metrics: Mapping[str, float], *, rollouts: int, tokens: int, seconds: float
    ) -> None:
        """Shows what a step came to: its metrics, how much it sampled, and how long it took."""
        now = self._now()
        edge = step in (self._first, self._total)
        if not (self._terminal or edge or now - self._shown >= self._every):
            return
        self._shown = now
        width = len(str(self._total))
        parts = [f"step {step:>{width}}/{self._total}"]
        parts += [
            f"{word} {metrics[name]:{form}}"
            for word, name, form in COLUMNS
            if math.isfinite(metrics.get(name, math.nan))
        ]
        made = step - self._first + 1
        left = (now - self._began) / made * (self._total - step)
        parts += [
            f"{rollouts / seconds:,.0f} rollouts/s",
            f"{tokens / seconds:,.0f} tokens/s",
            f"{seconds:.1f} s",
            f"{_duration(left)} left",
        ]
        self._line("  ".join(parts), end="\n")

    def _line(self, text: str, end: str) -> None:
        # In a terminal what stands there is written over, to its full width.
        start = "\r" if self._terminal else ""
        self._stream.write(f"{start}{text:<{self._width}}{end}")
        self._stream.flush()
        self._width = len(text) if end == "" else 0

    def __enter__(self) -> Progress:
        """Shows nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the line, also for an error message."""
        if self._width:
            self._line("", end="\n")


def _duration(seconds: float) -> str:
    """As 0:42, 3:07 or 1:02:03.

    >>> _duration(3723.4)
    '1:02:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
