"""Demonstrations for one batch after another, from a seed, and continued exactly after a stop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from icpo.demos.pool import DemoPool
from icpo.demos.select import Strategy, strategy, with_m
from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.types import Demo, Problem

__all__ = ["DemoSampler"]

#: Random streams of a seed: the run's part of the pool, dry runs, and each batch by its number.
_RUN, _CHECK, _BATCH = range(3)


class DemoSampler:
    """Chooses k demonstrations for each problem of a batch; never one that asks the same question.

    Each batch has a random stream of its own, made from the seed and the number of batches drawn
    before. So that number is all that there is to save.

    >>> pool = DemoPool([Demo(str(i), f"{i} + 1?", f"{i + 1}") for i in range(5)])
    >>> sampler = DemoSampler(pool, "random", k=2, seed=0)
    >>> [[len(demos) for demos in sampler.draw([Problem("p", "7 + 1?", "8")] * 2)]]
    [[2, 2]]
    >>> sampler.state_dict()["batches"]
    1
    """

    def __init__(
        self,
        pool: DemoPool,
        strategy: str | Strategy,
        *,
        k: int = 1,
        m: int | None = None,
        seed: int = 0,
    ) -> None:
        """Draws the part of the pool that the run uses."""
        if k < 1:
            raise ConfigError(f"k: expected at least 1, got {k}")
        if seed < 0:
            raise ConfigError(f"seed: expected a number from 0, got {seed}")
        self.pool = pool
        self.strategy = _named(strategy, m)
        self.k = k
        self.seed = seed
        self._batches = 0
        self._part = self.strategy.run(pool, self.strategy.m, self._stream(_RUN))
        smallest = self.strategy.batch(self._part, self.strategy.m, self._stream(_CHECK))
        if k > len(smallest):
            raise ConfigError(
                f"k: expected at most {len(smallest)}, since strategy {self.strategy.name!r} "
                f"chooses among {len(smallest)} of {len(pool)} demonstrations, got {k}"
            )

    def check(self, problems: Iterable[Problem]) -> None:
        """Refuses a problem for which k demonstrations can not be found.

        A batch that uses part of the pool is taken to hold every demonstration that the problem
        itself must not be shown.
        """
        rng = self._stream(_CHECK)
        size = len(self.strategy.batch(self._part, self.strategy.m, rng))
        for problem in problems:
            part = self._part
            own = part.asking(problem.question)
            if own and size < len(part):
                rest = (demo for demo in part if demo not in own)
                part = DemoPool(itertools.islice(itertools.chain(own, rest), size))
            self._pick(part, problem, rng)

    def draw(self, problems: Sequence[Problem]) -> list[tuple[Demo, ...]]:
        """The demonstrations of each problem of the next batch."""
        rng = self._stream(_BATCH, self._batches)
        part = self.strategy.batch(self._part, self.strategy.m, rng)
        drawn = [self._pick(part, problem, rng) for problem in problems]
        self._batches += 1
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, and what it is a sequence of. Plain values."""
        return {**self._identity(), "batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken. Refuses that of another sequence."""
        ours = self._identity()
        if set(state) != {*ours, "batches"}:
            raise CheckpointError(
                f"demos: expected a state with {', '.join(ours)}, batches, got {', '.join(state)}"
            )
        for key, value in ours.items():
            if state[key] != value:
                raise CheckpointError(
                    f"demos: the checkpoint was made with {key} {state[key]!r}, "
                    f"this run has {value!r}"
                )
        batches = state["batches"]
        if not isinstance(batches, int) or batches < 0:
            raise CheckpointError(f"demos: batches: expected a number from 0, got {batches!r}")
        self._batches = batches

    def _identity(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy.name,
            "m": self.strategy.m,
            "k": self.k,
            "seed": self.seed,
            "pool": self.pool.fingerprint,
        }

    def _stream(self, *place: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))

    def _pick(self, part: DemoPool, problem: Problem, rng: np.random.Generator) -> tuple[Demo, ...]:
        own = {demo.id for demo in part.asking(problem.question)}
        # As many more as may have to be left out, rather than a pool without them: that would be
        # slow where the pool is the training set.
        picked = self.strategy.pick(part, problem, self.k + len(own), rng)
        allowed = [demo for demo in picked if demo.id not in own]
        if len(allowed) < self.k:
            aside = f", beside {len(own)} with its own question" if own else ""
            raise DataError(
                f"demos: expected {self.k} demonstrations for problem {problem.id!r} "
                f"(subject {problem.subject!r}), got {len(allowed)} from strategy "
                f"{self.strategy.name!r}{aside}"
            )
        return tuple(allowed[: self.k])


def _named(choice: str | Strategy, m: int | None) -> Strategy:
    return strategy(choice, m) if isinstance(choice, str) else with_m(choice, m)
