"""verl's actor and reference worker, with icpo's operators in its engines."""

from __future__ import annotations

from typing import Any

from verl.single_controller.base.decorator import Dispatch, register
from verl.workers.engine_workers import ActorRolloutRefWorker

from icpo.errors import InternalError
from icpo.verl import kernels
from icpo.verl.engine import IcpoEngine

__all__ = ["IcpoWorker"]


class IcpoWorker(ActorRolloutRefWorker):  # type: ignore[misc]  # verl is not typed
    """verl's worker. ``icpo.kernels`` says whose log-probabilities and entropies it computes."""

    def __init__(self, config: Any, role: str, *args: Any, **kwargs: Any) -> None:
        """Takes verl's arguments, with icpo's settings in ``config.rollout.custom``."""
        super().__init__(config, role, *args, **kwargs)
        settings = config.rollout.custom["icpo"]
        self.kernels = kernels.choose(settings["kernels"], config.actor.strategy)
        if self.kernels.ours:
            kernels.install()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)  # type: ignore[untyped-decorator, unused-ignore]
    def init_model(self) -> None:
        """Makes the engines, and says on rank 0 which operators they have."""
        super().init_model()
        workers = [worker for worker in (self.actor, self.ref) if worker is not None]
        if not workers:
            return
        kernels.require_agreement(self.kernels)
        for worker in workers:
            if isinstance(worker.engine, IcpoEngine) != self.kernels.ours:
                raise InternalError(
                    f"icpo.kernels: expected verl to make the chosen engine ({self.kernels}), got "
                    f"{type(worker.engine).__name__}"
                )
        # A worker of the reference alone is not the only one.
        if self.rank == 0 and self.actor is not None:
            print(kernels.describe(self.kernels, self.actor.engine), flush=True)
