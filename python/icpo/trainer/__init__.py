"""Training: `train` runs a configuration, from its first step or from its last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icpo.trainer.config import TrainConfig

if TYPE_CHECKING:
    from icpo.trainer.loop import Summary

__all__ = ["TrainConfig", "train"]


def train(config: TrainConfig, *, resume: bool | None = None) -> Summary:
    """Runs a configuration to its last step. See `icpo.trainer.loop.train`, which needs torch."""
    from icpo.trainer import loop

    return loop.train(config, resume=resume)
