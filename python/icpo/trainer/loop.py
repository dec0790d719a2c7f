"""Algorithm 1, line by line. `run.py` puts together what it needs."""

from __future__ import annotations

import numpy as np

from icpo.mixing import assemble, mix
from icpo.trainer.rollouts import Stream, seeds
from icpo.trainer.run import Run

__all__ = ["train_loop"]


def train_loop(run: Run) -> None:
    """Trains from where the run stands to its last step."""
    algorithm, clock, total = run.algorithm, run.clock, run.config.steps

    for step in range(run.step + 1, total + 1):  # 1: for each step
        problems = run.order.draw(run.config.batch)  # 2: sample prompts x_i

        # 3-9: τ_i^j ~ π_old(·|x_i) and its reward R; k demonstrations from the pool, x_i^exp,
        # τ_i^IEF ~ π_old(·|x_i^exp) and its reward.
        sampled = run.sampler.collect(problems, step)

        with clock("mixing"):
            chance = _generator(run.config.seed, step, Stream.MIXING)
            # 10-12: if R(τ_i^IEF) ≥ δ and it is correct, it takes the place of a random τ_i^j.
            mixed = [mix(group, algorithm.plan, chance) for group in sampled.groups]
            # 13-17: R + α·γ(t) for those that did, where shaping is enabled; Â by eq. 6. From here
            # on the demonstrations are gone: every τ stands behind its plain prompt.
            batch = assemble(
                mixed,
                loss=algorithm.loss,
                bonus=algorithm.bonus,
                step=step - 1,
                total_steps=total,
            )

        # 18-20: the mixed loss of eq. 10, and θ ← θ - η∇L, a mini-batch at a time.
        learned = run.learner.update(
            batch, run.rate(step), _generator(run.config.seed, step, Stream.MINI_BATCHES)
        )

        # 21: π_old ← π_θ: sampler and learner hold the same parameters.
        run.finish(step, sampled, mixed, batch, learned)


def _generator(seed: int, step: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(seeds(seed, step, stream, 1))
