"""Finding out whether a run would start, without starting it."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from icpo.trainer.config import TrainConfig
from icpo.trainer.setup import prepare

__all__ = ["dry_run"]


def dry_run(config: TrainConfig) -> None:
    """Prepares a run as `icpo.trainer.train` does, in a folder that is thrown away.

    Raises:
        ConfigError, DataError: what is wrong with settings, data or model.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepare(dataclasses.replace(config, out=Path(folder)), resume=False)
