"""The pool: every demonstration that a run may show, in a fixed order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

from icpo.errors import DataError
from icpo.types import Demo

__all__ = ["DemoPool", "same_text"]

Made = TypeVar("Made")


class DemoPool(Sequence[Demo]):
    """Demonstrations with unique ids, at least one of them. Never changed; parts are new pools.

    >>> pool = DemoPool([Demo("a", "1 + 1?", "2", subject="sums"), Demo("b", "2 * 3?", "6")])
    >>> len(pool), [demo.id for demo in pool.by_subject["sums"]]
    (2, ['a'])
    """

    def __init__(self, demos: Iterable[Demo]) -> None:
        """Takes the demonstrations in their order, which selection depends on."""
        self._demos = tuple(demos)
        if not self._demos:
            raise DataError("demos: expected at least one demonstration, got none")
        first: dict[str, int] = {}
        for place, demo in enumerate(self._demos):
            for field in ("question", "solution"):
                if not getattr(demo, field).strip():
                    raise DataError(f"demos: demonstration {demo.id!r} has an empty {field}")
            if demo.id in first:
                raise DataError(
                    f"demos: expected unique ids, got {demo.id!r} for demonstrations "
                    f"{first[demo.id] + 1} and {place + 1} of the pool"
                )
            first[demo.id] = place
        #: What it was joined of; empty: of nothing.
        self.parts: tuple[DemoPool, ...] = ()
        self._made: dict[Callable[[DemoPool], Any], Any] = {}
        self._groups: dict[Callable[[Demo], Hashable], Mapping[Hashable, DemoPool]] = {}

    def joined(self, more: Iterable[Demo]) -> DemoPool:
        """A pool of these and more behind them, which must have other ids.

        What was made of this one need not be made again: a large pool may grow step by step.

        >>> DemoPool([Demo("a", "1 + 1?", "2")]).joined([Demo("b", "2 * 3?", "6")])[1].id
        'b'
        """
        added = tuple(more)
        if not added:
            return self
        rest = DemoPool(added)
        for demo in rest:
            if demo.id in self._ids:
                raise DataError(f"demos: expected unique ids, got {demo.id!r} in both pools")
        pool = DemoPool.__new__(DemoPool)
        pool._demos = self._demos + rest._demos
        pool.parts = (self, rest)
        pool._made, pool._groups = {}, {}
        return pool

    def __len__(self) -> int:
        """How many there are."""
        return len(self._demos)

    @overload
    def __getitem__(self, index: int) -> Demo: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Demo, ...]: ...
    def __getitem__(self, index: int | slice) -> Demo | tuple[Demo, ...]:
        """The demonstration at a place, or those of a slice."""
        return self._demos[index]

    def __iter__(self) -> Iterator[Demo]:
        """All, in order."""
        return iter(self._demos)

    def __repr__(self) -> str:
        """Size and fingerprint."""
        return f"DemoPool({len(self)} demonstrations, fingerprint {self.fingerprint[:12]})"

    def once(self, make: Callable[[DemoPool], Made]) -> Made:
        """What a function makes of the pool. It is called once: a pool does not change."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found

    def grouped(self, key: Callable[[Demo], Hashable]) -> Mapping[Hashable, DemoPool]:
        """The demonstrations by what `key` says of them, in order. Made once for each `key`."""
        if key not in self._groups:
            found: dict[Hashable, DemoPool] = {}
            if self.parts:
                for part in self.parts:
                    for name, demos in part.grouped(key).items():
                        found[name] = found[name].joined(demos) if name in found else demos
            else:
                lists: dict[Hashable, list[Demo]] = {}
                for demo in self._demos:
                    lists.setdefault(key(demo), []).append(demo)
                found = {name: DemoPool(demos) for name, demos in lists.items()}
            self._groups[key] = found
        return self._groups[key]

    @cached_property
    def by_subject(self) -> Mapping[Hashable, DemoPool]:
        """The demonstrations of each subject; those without one are left out."""
        groups = self.grouped(_subject)
        return {subject: demos for subject, demos in groups.items() if subject is not None}

    def asking(self, question: str) -> tuple[Demo, ...]:
        """The demonstrations whose question is this one, up to white space."""
        if self.parts:
            return tuple(demo for part in self.parts for demo in part.asking(question))
        return self.once(_by_question).get(same_text(question), ())

    @cached_property
    def _ids(self) -> frozenset[str]:
        if self.parts:
            return frozenset[str]().union(*(part._ids for part in self.parts))
        return frozenset(demo.id for demo in self._demos)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any text, any id and the order. Tells a resumed run if it has the same."""
        digest = hashlib.sha256()
        for demo in self._demos:
            digest.update(json.dumps(_said(demo)).encode() + b"\n")
        return digest.hexdigest()


def same_text(text: str) -> str:
    """The text with its white space made uniform: two questions are the same if this is."""
    return " ".join(text.split())


def _said(demo: Demo) -> list[Any]:
    """What a demonstration says. A field of later versions counts only where it is set.

    So the fingerprint of a pool stays what it was when demonstrations get another field.
    """
    rest = vars(demo).copy()
    said = [rest.pop(name) for name in ("id", "question", "solution", "subject")]
    more = {name: value for name, value in rest.items() if value is not None}
    return [*said, more] if more else said


def _subject(demo: Demo) -> str | None:
    return demo.subject


def _by_question(pool: DemoPool) -> dict[str, tuple[Demo, ...]]:
    # Most questions come once: a pool for each would cost more than everything else.
    found: dict[str, tuple[Demo, ...]] = {}
    for demo in pool:
        question = same_text(demo.question)
        found[question] = (*found.get(question, ()), demo)
    return found
