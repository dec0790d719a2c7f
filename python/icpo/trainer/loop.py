"""Algorithm 1, line by line. `setup.py` puts together the run that it is done with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icpo.errors import NonFiniteError
from icpo.mixing import assemble, mix
from icpo.trainer.config import TrainConfig
from icpo.trainer.rollouts import Stream, seeds
from icpo.trainer.run import Run
from icpo.trainer.setup import prepare

__all__ = ["Summary", "train"]


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    folder: Path
    #: A model folder, as well as what the run can be continued from.
    checkpoint: Path
    #: Of the last step.
    metrics: dict[str, float]


def train(config: TrainConfig, *, resume: bool | None = None) -> Summary:
    """Trains from the first step, or from the last checkpoint, to the end.

    Args:
        config: the run.
        resume: whether to continue the run in ``config.out``. None: if there is one. False: start
            anew; what is there is overwritten.

    Raises:
        ConfigError, DataError, CheckpointError: what is wrong, before the first step.
        NonFiniteError: the loss or the policy is not finite; what was saved stays as it is.
        CheckpointError: a checkpoint can not be written; those before it stay as they are.
    """
    run = prepare(config, resume=resume)
    with run.recorder, run.progress:
        run.begin()
        algorithm_1(run)
        return Summary(config.out, run.checkpoints.all()[-1].folder, run.metrics)


def algorithm_1(run: Run) -> None:
    """Trains from where the run stands to its last step."""
    total = run.config.steps

    for step in range(run.step + 1, total + 1):  # 1: for each step
        problems, does = run.turn(step)  # 2: sample prompts x_i
        try:
            # 3-9: τ_i^j ~ π_old(·|x_i) and R(τ_i^j); k demonstrations from the pool, x_i^exp;
            # τ_i^IEF ~ π_old(·|x_i^exp) and R(τ_i^IEF).
            sampled = run.sampler.collect(problems, step, does.plan)

            with run.clock("mixing"):
                # 10-12: if R(τ_i^IEF) ≥ δ and it is correct, it replaces a random τ_i^j.
                chance = _generator(run, step, Stream.MIXING)
                mixed = [mix(group, does.plan, chance) for group in sampled.groups]
                # 13-17: R + α·γ(t) where that is enabled; Â by eq. 6. From here on demonstrations
                # are gone: every τ stands behind its plain prompt.
                batch = assemble(
                    mixed, loss=does.loss, bonus=does.bonus, step=step - 1, total_steps=total
                )

            # 18-20: L by eq. 10, and θ ← θ - η∇L, a mini-batch at a time.
            learned = run.learner.update(
                batch, does.loss, run.rate(step, does), _generator(run, step, Stream.MINI_BATCHES)
            )

            # 21: π_old ← π_θ: sampler and learner hold the same parameters.
            run.finish(step, does, sampled, mixed, batch, learned)
        except NonFiniteError as error:
            ids = ", ".join(repr(problem.id) for problem in problems)
            raise NonFiniteError(
                f"step {step}: {error}; {run.last_checkpoint()}; problems of the step: {ids}"
            ) from error


def _generator(run: Run, step: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(seeds(run.config.seed, step, stream, 1))
