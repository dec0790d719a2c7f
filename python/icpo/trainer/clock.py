"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Seconds by name. Names are parts of a step, and do not nest.

    >>> clock = Clock()
    >>> with clock("generation"):
    ...     pass
    >>> list(clock.take())
    ['generation']
    """

    def __init__(self) -> None:
        """Starts with nothing."""
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time spent inside to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._seconds[part] = self._seconds.get(part, 0.0) + spent

    def take(self) -> dict[str, float]:
        """The seconds so far, in order of first use. The next ones count from 0."""
        seconds, self._seconds = self._seconds, {}
        return seconds
