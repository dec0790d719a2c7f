"""Which demonstrations a prompt shows (appendix C of the paper).

A strategy is made of three small functions: which part of the pool a run uses, which part of that
a batch uses, and how a prompt picks from what is left. Each is a function of a pool and a
generator, so one written elsewhere needs no change here:

- buckets (difficulty, length): a pick from ``pool.grouped(bucket_of_demo)`` under the problem's own
  bucket, as `same_subject` does; fixed buckets (``hard``, ``short``): a part of the pool for the
  run;
- similarity: a pick that orders the pool by likeness to the problem's question and takes the
  first k;
- a pool that grows: nothing here; what a batch draws depends on the pool at that time, the seed and
  the batch's number alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from icpo.demos.pool import DemoPool
from icpo.errors import ConfigError
from icpo.types import Demo, Problem

__all__ = ["STRATEGIES", "Part", "Pick", "Strategy", "strategy"]

#: Up to k different demonstrations for a problem, fewer if there are no more. The sampler passes
#: over those with the problem's own question, so it may ask for more than it shows, which are then
#: the first of them.
Pick = Callable[[DemoPool, Problem, int, np.random.Generator], list[Demo]]

#: A part of a pool, of m demonstrations if it is told how many.
Part = Callable[[DemoPool, "int | None", np.random.Generator], DemoPool]


def anywhere(pool: DemoPool, problem: Problem, k: int, rng: np.random.Generator) -> list[Demo]:
    """Any k, uniformly."""
    return _sample(pool, k, rng)


def same_subject(pool: DemoPool, problem: Problem, k: int, rng: np.random.Generator) -> list[Demo]:
    """Any k of the problem's own subject, uniformly; none, if it has no subject."""
    if problem.subject is None:
        return []
    return _sample(pool.by_subject.get(problem.subject, ()), k, rng)


def whole(pool: DemoPool, m: int | None, rng: np.random.Generator) -> DemoPool:
    """All of the pool."""
    return pool


def subset(pool: DemoPool, m: int | None, rng: np.random.Generator) -> DemoPool:
    """Any m, uniformly; all, if there are no more."""
    if m is None:
        raise ConfigError("m: expected a number, since the strategy takes a part of the pool")
    return DemoPool(_sample(pool, m, rng))


@dataclass(frozen=True)
class Strategy:
    """A way to choose demonstrations.

    >>> STRATEGIES["random-m"].m
    32
    """

    #: Tells it apart from others when a run is resumed.
    name: str
    #: What a prompt shows, of the part that its batch uses.
    pick: Pick
    #: The part of the pool that the whole run uses; drawn once.
    run: Part = whole
    #: The part of that which a batch uses; drawn for each batch.
    batch: Part = whole
    #: How many `run` or `batch` take; None: they take all.
    m: int | None = None

    def __post_init__(self) -> None:
        """Checks the range of m."""
        if self.m is not None and self.m < 1:
            raise ConfigError(f"m: expected at least 1, got {self.m}")


#: The paper's, with its values of m.
STRATEGIES: dict[str, Strategy] = {
    row.name: row
    for row in (
        Strategy("random", pick=anywhere),
        Strategy("random-m", pick=anywhere, run=subset, m=32),
        Strategy("batch-m", pick=anywhere, batch=subset, m=10),
        Strategy("subject", pick=same_subject),
    )
}


def strategy(name: str, m: int | None = None) -> Strategy:
    """The strategy of that name, with an m of one's own if given.

    >>> strategy("batch-m", m=4).m
    4
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy: expected one of {', '.join(STRATEGIES)}, got {name!r}")
    return with_m(STRATEGIES[name], m)


def with_m(strategy: Strategy, m: int | None) -> Strategy:
    """The strategy with another m, if one is given."""
    if m is None:
        return strategy
    if strategy.m is None:
        raise ConfigError(f"m: expected none, since strategy {strategy.name!r} has none, got {m}")
    return dataclasses.replace(strategy, m=m)


def _sample(demos: Sequence[Demo], k: int, rng: np.random.Generator) -> list[Demo]:
    places = rng.choice(len(demos), size=min(k, len(demos)), replace=False)
    return [demos[place] for place in places]
