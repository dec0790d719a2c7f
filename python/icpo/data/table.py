"""Rows of some sources: those that are kept, and what became of each other one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from icpo.data.schemas import Schema
from icpo.data.sources import Source
from icpo.errors import InternalError

__all__ = ["KINDS", "OF_SOLUTIONS", "VERDICTS", "Item", "Lost", "Stored", "Table"]

#: Why a row is left out, and what a report says of it, in the order in which faults are looked for.
KINDS = {
    "unreadable": "can not be read",
    "unverifiable": "answer can not be verified",
    "too_long": "too long",
    "no_solution": "no solution left",
    "in_evaluation": "in an evaluation set",
    "near_evaluation": "nearly in an evaluation set",
    "in_train": "in the training data",
    "near_train": "nearly in the training data",
    "duplicate": "came before",
    "near_duplicate": "nearly came before",
}

#: Why a stored solution is left out of a row that may stay.
OF_SOLUTIONS = {"solution_too_long": "too long", "solution_not_right": "not found right"}

#: What the checker says of a stored solution; `unchecked`: the row states no answer.
VERDICTS = ("right", "wrong", "unknown", "unchecked")


class Stored(NamedTuple):
    """A stored solution that is kept."""

    #: Which of the row's, from 0.
    place: int
    #: One of `VERDICTS`.
    verdict: str


@dataclass(frozen=True)
class Item:
    """What is held in memory of a row. Its solutions, which may be long, are read again."""

    #: Which of the table's sources it comes from.
    source: int
    #: Its number among the rows of that, from 0.
    row: int
    #: Unique in its table.
    id: str
    question: str
    #: None: a demonstration whose answer is not stated.
    answer: str | tuple[str, ...] | None
    #: Those of its stored solutions that are kept.
    solutions: tuple[Stored, ...] = ()


@dataclass(frozen=True)
class Lost:
    """A row that is left out, or one of its solutions."""

    source: int
    row: int
    #: A name in `KINDS` or `OF_SOLUTIONS`.
    kind: str
    why: str
    #: Which solution, from 0; None: the whole row.
    solution: int | None = None


@dataclass
class Table:
    """What becomes of the rows of some sources.

    >>> from icpo.data.schemas import SCHEMAS
    >>> table = Table("train", [Source("a.jsonl")], [SCHEMAS["plain"]], [1])
    >>> table.kept = [Item(0, 0, "a:1", "1 + 1?", "2")]
    >>> table.leave_out("duplicate", {0: "asked in line 1"})
    >>> table.kept, table.counts()["duplicate"]
    ([], 1)
    """

    name: str
    sources: Sequence[Source]
    #: How each is read.
    schemas: Sequence[Schema]
    #: Rows of each.
    rows: list[int]
    kept: list[Item] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    #: Questions left out as duplicates whose answer is not that of the row that is kept.
    contradictions: int = 0

    @property
    def questions(self) -> list[str]:
        """The questions of what is kept."""
        return [item.question for item in self.kept]

    def leave_out(self, kind: str, faults: Mapping[int, str]) -> None:
        """Leaves out what stands at these places among those kept, and says why."""
        for place, why in sorted(faults.items()):
            item = self.kept[place]
            self.lost.append(Lost(item.source, item.row, kind, why))
        self.kept = [item for place, item in enumerate(self.kept) if place not in faults]

    def keep_only(self, kind: str, fault: Callable[[Item], str | None]) -> None:
        """Leaves out what has a fault."""
        found = ((place, fault(item)) for place, item in enumerate(self.kept))
        self.leave_out(kind, {place: why for place, why in found if why is not None})

    def drop_solutions(self, kind: str, fault: Callable[[Item, Stored], str | None]) -> None:
        """Takes solutions that have a fault from their rows."""
        for place, item in enumerate(self.kept):
            faults = {stored: fault(item, stored) for stored in item.solutions}
            for stored, why in faults.items():
                if why is not None:
                    self.lost.append(Lost(item.source, item.row, kind, why, stored.place))
            left = tuple(stored for stored, why in faults.items() if why is None)
            if len(left) < len(item.solutions):
                self.kept[place] = replace(item, solutions=left)

    def counts(self) -> dict[str, int]:
        """Rows left out, by kind.

        Raises:
            InternalError: if a row is neither kept nor left out, or both.
        """
        rows = Counter(one.kind for one in self.lost if one.solution is None)
        places = {(one.source, one.row) for one in self.lost if one.solution is None}
        places |= {(item.source, item.row) for item in self.kept}
        if not sum(self.rows) == len(self.kept) + rows.total() == len(places):
            raise InternalError(
                f"{self.name}: expected each of {sum(self.rows)} rows to be kept or left out, got "
                f"{len(self.kept)} kept, {rows.total()} left out, {len(places)} in all"
            )
        return {kind: rows[kind] for kind in KINDS}

    def lost_solutions(self) -> dict[str, int]:
        """Stored solutions left out of rows that are there, by kind."""
        found = Counter(one.kind for one in self.lost if one.solution is not None)
        return {kind: found[kind] for kind in OF_SOLUTIONS}

    def verdicts(self) -> dict[str, int]:
        """Stored solutions that are kept, by verdict."""
        found = Counter(stored.verdict for item in self.kept for stored in item.solutions)
        return {verdict: found[verdict] for verdict in VERDICTS}
