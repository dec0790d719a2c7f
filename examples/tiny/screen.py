"""What the demonstration shows: lines that stay, and one that changes."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Screen", "clock"]

#: Seconds between two lines about how things stand, where none can be written over.
EVERY = 20.0


class Screen:
    """Lines, to the terminal and to a log; and one that changes, where there is a terminal."""

    def __init__(self, log: Path, now: Callable[[], float] = time.monotonic) -> None:
        """The log is continued if it is there."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8")
        self._now = now
        self._began = now()
        self._terminal = sys.stdout.isatty()
        self._logged = -math.inf
        self._width = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._began

    def say(self, text: str = "") -> None:
        """A line that stays."""
        self._wipe()
        print(text, flush=True)
        print(text, file=self._log, flush=True)

    def show(self, text: str) -> None:
        """How things stand: written over in a terminal, a line now and then elsewhere."""
        text = f"  {clock(self.elapsed)}  {text}"
        if self._now() - self._logged >= EVERY:
            self._logged = self._now()
            print(text, file=self._log, flush=True)
            if not self._terminal:
                print(text, flush=True)
        if self._terminal:
            self._wipe()
            text = text[: shutil.get_terminal_size().columns - 1]
            print(text, end="", flush=True)
            self._width = len(text)

    def close(self) -> None:
        """Ends the line and the log."""
        self._wipe()
        self._log.close()

    def _wipe(self) -> None:
        if self._width:
            print(f"\r{'':{self._width}}\r", end="")
            self._width = 0


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(187.4)
    '3:07'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
