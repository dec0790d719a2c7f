"""ME-ICPO: answers refined in context, from rewards that the model's own majority gives.

`me_icpo` answers questions; ``icpo solve`` asks whole benchmarks, beside ablations and baselines.
A search is a generator (`search`), so that many of them are one batch (`waves`), and a journal of
answers makes the same choices again. docs/solve.md explains all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icpo.test_time.api import me_icpo
    from icpo.test_time.config import SearchConfig
    from icpo.test_time.search import Solution
    from icpo.test_time.settings import SolveSettings

__all__ = ["SearchConfig", "Solution", "SolveSettings", "me_icpo"]

_HOMES = {
    "SearchConfig": "config",
    "Solution": "search",
    "SolveSettings": "settings",
    "me_icpo": "api",
}


def __getattr__(name: str) -> Any:
    """Imports at first use: every ``icpo`` command would wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
