"""verl's actor and reference worker."""

from __future__ import annotations

from verl.workers.engine_workers import ActorRolloutRefWorker

__all__ = ["IcpoWorker"]


class IcpoWorker(ActorRolloutRefWorker):  # type: ignore[misc]  # verl is not typed
    """verl's worker."""
