"""Which demonstrations a prompt shows (appendix C of the paper).

A strategy is made of small functions: which part of the pool a run uses, which part of that a batch
uses, which bucket of that a problem looks into, and how it picks from what is left. Each is a
function of its arguments and a generator, so one written elsewhere needs no change here, and what a
batch draws depends on the pool at that time, the seed and the batch's number alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from icpo.demos.buckets import DIFFICULTY, LENGTH, SHORT, SUBJECT, Buckets
from icpo.demos.pool import DemoPool
from icpo.demos.similarity import likeness
from icpo.errors import ConfigError, DataError
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


def most_alike(pool: DemoPool, problem: Problem, k: int, rng: np.random.Generator) -> list[Demo]:
    """The k whose questions are most like the problem's, the likest first; equal ones by chance."""
    found = likeness(pool, problem.question)
    least = np.partition(found, -min(k, len(found)))[-min(k, len(found))]
    places = np.flatnonzero(found >= least)
    chance = rng.permutation(len(places))
    order = np.lexsort((chance, -found[places]))[:k]
    return [pool[place] for place in places[order].tolist()]


def whole(pool: DemoPool, m: int | None, rng: np.random.Generator) -> DemoPool:
    """All of the pool."""
    return pool


def subset(pool: DemoPool, m: int | None, rng: np.random.Generator) -> DemoPool:
    """Any m, uniformly; all, if there are no more."""
    if m is None:
        raise ConfigError("m: expected a number, since the strategy takes a part of the pool")
    return DemoPool(_sample(pool, m, rng))


def bucket(buckets: Buckets, name: str) -> Part:
    """One of the buckets of the pool, the same for all problems."""

    def part(pool: DemoPool, m: int | None, rng: np.random.Generator) -> DemoPool:
        found = buckets.demos(pool)
        if name not in found:
            raise DataError(
                f"demos: expected demonstrations of {buckets.name} {name!r}, got none among "
                f"{len(pool)}, only {' and '.join(repr(other) for other in found)}"
            )
        return found[name]

    return part


@dataclass(frozen=True)
class Strategy:
    """A way to choose demonstrations.

    >>> STRATEGIES["random-m"].m
    32
    """

    #: Tells it apart from others when a run is resumed.
    name: str
    #: What a prompt shows, of what its batch uses, or of its bucket of that.
    pick: Pick
    #: The part of the pool that the whole run uses.
    run: Part = whole
    #: The part of that which a batch uses; drawn for each batch.
    batch: Part = whole
    #: How many `run` or `batch` take; None: they take all.
    m: int | None = None
    #: A problem sees demonstrations of its own bucket; None: there are no buckets.
    buckets: Buckets | None = None
    #: Whether demonstrations may join while a run goes on. If `run` draws, it would draw again.
    grows: bool = True

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of a problem that decide what it is shown, beside its question."""
        return () if self.buckets is None else self.buckets.reads

    def __post_init__(self) -> None:
        """Checks the range of m."""
        if self.m is not None and self.m < 1:
            raise ConfigError(f"m: expected at least 1, got {self.m}")


#: Those of the paper, with its values of m, and what its authors' code offers.
STRATEGIES: dict[str, Strategy] = {
    row.name: row
    for row in (
        Strategy("random", pick=anywhere),
        Strategy("random-m", pick=anywhere, run=subset, m=32, grows=False),
        Strategy("batch-m", pick=anywhere, batch=subset, m=10),
        Strategy("subject", pick=anywhere, buckets=SUBJECT),
        Strategy("difficulty", pick=anywhere, buckets=DIFFICULTY),
        Strategy("hard", pick=anywhere, run=bucket(DIFFICULTY, "hard")),
        Strategy("length", pick=anywhere, buckets=LENGTH),
        Strategy("short", pick=anywhere, run=bucket(LENGTH, SHORT)),
        Strategy("similarity", pick=most_alike),
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
