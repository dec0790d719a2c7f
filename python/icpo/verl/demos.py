"""The demonstrations of the settings: the trainer draws them, the workers show them."""

from __future__ import annotations

from icpo.demos import DemoSampler
from icpo.demos.sources import DemoColumns, LoadedPool, load_pool
from icpo.errors import DataError
from icpo.verl.settings import DemoSettings

__all__ = ["demo_sampler", "load_demonstrations"]


def load_demonstrations(settings: DemoSettings) -> LoadedPool:
    """The pool in the files."""
    columns = settings.columns
    try:
        return load_pool(
            settings.source or (),
            DemoColumns(**columns.to_dict()),
            settings.bad_rows,
            key="icpo.demonstrations.columns",
        )
    except DataError as error:
        raise DataError(f"icpo.demonstrations.source: {error}") from error


def demo_sampler(settings: DemoSettings, loaded: LoadedPool) -> DemoSampler:
    """What chooses among them, from the beginning."""
    try:
        return DemoSampler(
            loaded.pool,
            settings.strategy,
            k=settings.k,
            m=settings.m,
            seed=settings.seed,
            online=settings.rule,
        )
    except DataError as error:
        raise DataError(f"icpo.demonstrations.source: {error}") from error
