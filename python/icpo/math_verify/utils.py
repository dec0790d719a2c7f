"""Timeouts without signals."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from icpo.math_verify.errors import TimeoutException

__all__ = ["timeout"]

P = ParamSpec("P")
R = TypeVar("R")


def timeout(timeout_seconds: int | None = 10) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Discards the result of a function that took longer, once it has returned.

    Nothing is interrupted, so this works in any thread and leaves signal handlers alone.
    """

    def decorator(function: Callable[P, R]) -> Callable[P, R]:
        if timeout_seconds is None or timeout_seconds <= 0:
            return function

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.monotonic()
            result = function(*args, **kwargs)
            if time.monotonic() - start > timeout_seconds:
                raise TimeoutException("Operation timed out!")
            return result

        return wrapper

    return decorator
