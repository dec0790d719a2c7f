"""A line on stderr for each step, while somebody may be looking."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TextIO

__all__ = ["Progress"]

#: What a line says of a step: a word, how the name of the metric begins, and the format. Those that
#: a step lacks are left out.
COLUMNS = (
    ("reward", "on/reward", ".3f"),
    ("expert accepted", "expert/accepted", ".0%"),
    ("entropy", "on/surprise", ".3f"),
    ("test", "eval/avg@", ".1%"),
    ("greedy", "eval/greedy", ".1%"),
)

#: The time left follows from so many steps.
RECENT = 20


class Progress:
    """Step, figures, rates and the time that is left. A context manager.

    A terminal has one line a step, and below it one that says what is being done. Anything else
    gets lines only, at most one in `every` seconds, and one for the last step.
    """

    def __init__(
        self,
        total: int,
        *,
        stream: TextIO | None = None,
        every: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total` is the number of the last step."""
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = every
        self._now = now
        self._shown = -math.inf
        self._total = total
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._width = 0

    def doing(self, step: int, what: str, done: int, of: int) -> None:
        """Shows how far a part of a step has come, in a terminal."""
        if self._terminal and self._now() - self._shown >= 0.1:
            self._shown = self._now()
            text = f"step {step}/{self._total}  {what} {done:,}/{of:,}"
            # What wraps can not be written over.
            self._line(text[: shutil.get_terminal_size().columns - 1], end="")

    def step(
        self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float], *, tokens: int
    ) -> None:
        """Shows what a step came to.

        Args:
            step: its number.
            metrics: by name.
            seconds: where its time went, by name.
            tokens: how many were sampled.
        """
        spent = sum(seconds.values())
        self._seconds.append(spent)
        quiet = self._now() - self._shown < self._every
        if quiet and not self._terminal and step != self._total:
            return
        self._shown = self._now()
        left = sum(self._seconds) / len(self._seconds) * (self._total - step)
        parts = [
            f"step {step:>{len(str(self._total))}}/{self._total}",
            *_figures(metrics),
            *_rates(metrics, seconds, tokens),
            f"{spent:.1f} s",
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
        """Wipes what was being done; an error message may follow."""
        if self._width:
            self._line("", end="\r")


def _figures(metrics: Mapping[str, float]) -> Iterator[str]:
    for word, beginning, form in COLUMNS:
        for name, value in metrics.items():
            if name.startswith(beginning) and math.isfinite(value):
                yield f"{word} {value:{form}}"
                break


def _rates(
    metrics: Mapping[str, float], seconds: Mapping[str, float], tokens: int
) -> Iterator[str]:
    """Tokens sampled in a second of sampling; rollouts trained on in a second of everything."""
    if seconds.get("generation"):
        yield f"{tokens / seconds['generation']:,.0f} tokens/s"
    if sum(seconds.values()) and "batch/rows" in metrics:
        yield f"{metrics['batch/rows'] / sum(seconds.values()):,.1f} rollouts/s"


def _duration(seconds: float) -> str:
    """As 0:42, 3:07 or 1:02:03.

    >>> _duration(3723.4)
    '1:02:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
