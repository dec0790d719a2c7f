"""Demonstrations for one batch after another, from a seed, and continued exactly after a stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icpo.demos.online import Online, SolvedDemos, solved_demo
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
    before. So that number is all that there is to save, beside what joined the pool.

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
        online: Online | None = None,
    ) -> None:
        """Draws the part of the pool that the run uses. `online`: which solved prompts join it."""
        if k < 1:
            raise ConfigError(f"k: expected at least 1, got {k}")
        if seed < 0:
            raise ConfigError(f"seed: expected a number from 0, got {seed}")
        self.pool = pool
        self.strategy = _named(strategy, m)
        self.k = k
        self.seed = seed
        self.online = online
        if online is not None and not self.strategy.grows:
            raise ConfigError(
                f"online.size: expected none, since strategy {self.strategy.name!r} keeps to the "
                f"same demonstrations for the whole run, got {online.size}"
            )
        self._solved = SolvedDemos(0 if online is None else online.size)
        self._batches = 0
        self._part = self._of_run(pool)
        self._sorted(self._part)
        self._bucket = self._buckets([])
        smallest = self.strategy.batch(self._part, self.strategy.m, self._stream(_CHECK))
        if k > len(smallest):
            raise ConfigError(
                f"k: expected at most {len(smallest)}, since strategy {self.strategy.name!r} "
                f"chooses among {len(smallest)} of {len(pool)} demonstrations, got {k}"
            )

    def check(self, problems: Iterable[Problem]) -> None:
        """Gets to know the problems of a run, all of them, before the first draw.

        Refuses one for which k demonstrations can not be found, now or when others have joined the
        pool. A batch that uses part of the pool is taken to hold every demonstration that the
        problem itself must not be shown. Strategies with buckets of problems need this: which half
        a problem belongs to depends on all of them.
        """
        asked = list(problems)
        self._bucket = self._buckets(asked)
        solved = {demo.id: demo for demo in self._if_solved(asked)}
        if solved:  # what would not go together with the pool is found before anything is solved
            self._sorted(self._of_run(self.pool.joined(solved.values())))
        size = len(self.strategy.batch(self._part, self.strategy.m, self._stream(_CHECK)))
        for problem in asked:
            part = self._part
            own = (*part.asking(problem.question), *self._if_solved([problem]))
            if own and size < len(part):
                rest = (demo for demo in part if demo not in own)
                part = DemoPool(itertools.islice(itertools.chain(own, rest), size))
            self._within(part, problem)

    def draw(self, problems: Sequence[Problem]) -> list[tuple[Demo, ...]]:
        """The demonstrations of each problem of the next batch."""
        rng = self._stream(_BATCH, self._batches)
        part = self.strategy.batch(self._part, self.strategy.m, rng)
        drawn = [self._pick(part, problem, rng) for problem in problems]
        self._batches += 1
        return drawn

    def add(self, demos: Iterable[Demo]) -> None:
        """Lets solved prompts join the pool, in this order, from the next batch on."""
        new = list(demos)
        if new and self.online is None:
            raise ConfigError("online: expected a rule for demonstrations that join, got none")
        if new:
            self._solved.add(new)
            self._grow()

    @property
    def solved(self) -> tuple[Demo, ...]:
        """The demonstrations that joined the pool and are still in it, oldest first."""
        return tuple(self._solved)

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, and what it is a sequence of. Plain values."""
        return {**self._identity(), **self._place()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken. Refuses that of another sequence."""
        ours, place = self._identity(), self._place()
        if set(state) != {*ours, *place}:
            raise CheckpointError(
                f"demos: expected a state with {', '.join([*ours, *place])}, got {', '.join(state)}"
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
        if self.online is not None:
            self._solved.load(state["solved"])
            self._grow()
        self._batches = batches

    def _identity(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy.name,
            "m": self.strategy.m,
            "k": self.k,
            "seed": self.seed,
            "pool": self.pool.fingerprint,
            # Without one a state is what it was before there were any.
            **({} if self.online is None else {"online": vars(self.online).copy()}),
        }

    def _place(self) -> dict[str, Any]:
        solved = {} if self.online is None else {"solved": self._solved.state()}
        return {"batches": self._batches, **solved}

    def _stream(self, *place: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))

    ##### The pool, as it is now

    def _of_run(self, pool: DemoPool) -> DemoPool:
        return self.strategy.run(pool, self.strategy.m, self._stream(_RUN))

    def _grow(self) -> None:
        self._part = self._of_run(self.pool.joined(self._solved))

    def _if_solved(self, problems: Iterable[Problem]) -> Iterator[Demo]:
        """What the problems would become."""
        if self.online is not None:
            yield from (solved_demo(problem, "?") for problem in problems)

    ##### What a problem may be shown

    def _buckets(self, problems: Sequence[Problem]) -> Callable[[Problem], Hashable]:
        buckets = self.strategy.buckets
        return _everywhere if buckets is None else buckets.problems(problems)

    def _sorted(self, part: DemoPool) -> Mapping[Hashable, DemoPool]:
        buckets = self.strategy.buckets
        return {None: part} if buckets is None else buckets.demos(part)

    def _within(self, part: DemoPool, problem: Problem) -> tuple[DemoPool, frozenset[str]]:
        """The problem's bucket, and the ids of those in it that it must not be shown."""
        bucket = self._bucket(problem)
        among = self._sorted(part).get(bucket)
        own = (
            frozenset(demo.id for demo in among.asking(problem.question)) if among else frozenset()
        )
        found = 0 if among is None else len(among) - len(own)
        if among is None or found < self.k:
            buckets = self.strategy.buckets
            which = "" if buckets is None else f" ({buckets.name} {bucket!r})"
            aside = f", beside {len(own)} with its own question" if own else ""
            raise DataError(
                f"demos: expected {self.k} demonstrations for problem {problem.id!r}{which}, got "
                f"{found} from strategy {self.strategy.name!r}{aside}"
            )
        return among, own

    def _pick(self, part: DemoPool, problem: Problem, rng: np.random.Generator) -> tuple[Demo, ...]:
        among, own = self._within(part, problem)
        # As many more as may have to be left out, rather than a pool without them: that would be
        # slow where the pool is the training set.
        picked = self.strategy.pick(among, problem, self.k + len(own), rng)
        return tuple([demo for demo in picked if demo.id not in own][: self.k])


def _everywhere(problem: Problem) -> None:
    return None


def _named(choice: str | Strategy, m: int | None) -> Strategy:
    return strategy(choice, m) if isinstance(choice, str) else with_m(choice, m)
