"""Buckets: demonstrations and problems in classes, so that a prompt shows its own class."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from icpo.demos.difficulty import DIFFICULTIES
from icpo.demos.pool import DemoPool, same_text
from icpo.errors import DataError
from icpo.types import Demo, Problem

__all__ = ["DIFFICULTY", "LENGTH", "LONG", "SHORT", "SUBJECT", "Buckets", "halves"]

SHORT, LONG = "short", "long"

Item = TypeVar("Item")

_DIFFICULTY_FROM = "; `icpo data passes` measures it, and writes it into a column"


@dataclass(frozen=True)
class Buckets:
    """Classes that both demonstrations and problems fall into."""

    #: What they are classes of.
    name: str
    #: The demonstrations of each class, of a pool.
    demos: Callable[[DemoPool], Mapping[Hashable, DemoPool]]
    #: Told all problems of a run, it makes what says the class of one of them.
    problems: Callable[[Sequence[Problem]], Callable[[Problem], Hashable]]
    #: The fields of a problem that this looks at.
    reads: tuple[str, ...]


##### Subject


def _subject(problem: Problem) -> str | None:
    return problem.subject


SUBJECT = Buckets("subject", lambda pool: pool.by_subject, lambda problems: _subject, ("subject",))


##### Difficulty, by answers to several samples


def _difficulty(kind: str, id: str, found: str | None) -> str:
    if found not in DIFFICULTIES:
        raise DataError(
            f"{kind} {id!r}: expected a difficulty, {', '.join(DIFFICULTIES[:-1])} or "
            f"{DIFFICULTIES[-1]}, got {found!r}{_DIFFICULTY_FROM}"
        )
    return found


def _of_demo(demo: Demo) -> str:
    return _difficulty("demonstration", demo.id, demo.difficulty)


def _of_problem(problem: Problem) -> str:
    return _difficulty("problem", problem.id, problem.difficulty)


DIFFICULTY = Buckets(
    "difficulty",
    lambda pool: pool.grouped(_of_demo),
    lambda problems: _of_problem,
    ("difficulty",),
)


##### Length: two halves


def halves(items: Sequence[Item], lengths: Sequence[float]) -> tuple[list[Item], list[Item]]:
    """The shorter half and the longer one, each in the order given.

    Of an odd number the shorter half has one more; of equal length the first are the shorter.

    >>> halves("abcde", [3, 1, 2, 2, 1])
    (['b', 'c', 'e'], ['a', 'd'])
    """
    order = sorted(range(len(items)), key=lambda place: lengths[place])
    half = (len(items) + 1) // 2
    short, long = sorted(order[:half]), sorted(order[half:])
    return [items[place] for place in short], [items[place] for place in long]


def _lengths(kind: str, items: Iterable[Item], own: Callable[[Item], float | None]) -> list[float]:
    """The lengths that a column gave, or if it gave none, those of the texts that are there."""
    table = list(items)
    given = [getattr(item, "length", None) for item in table]
    if all(length is None for length in given):
        given = [own(item) for item in table]
    found = []
    for item, length in zip(table, given, strict=True):
        if length is None:
            raise DataError(
                f"{kind} {getattr(item, 'id', None)!r}: expected the length of its response, got "
                "none: neither in a column, as `icpo data passes` writes it, nor as a solution "
                "that is stored with it; lengths of both kinds do not go together"
            )
        found.append(length)
    return found


def _of_solution(demo: Demo) -> float:
    return len(demo.solution)


def _of_solutions(problem: Problem) -> float | None:
    lengths = [len(solution) for solution in problem.solutions]
    return sum(lengths) / len(lengths) if lengths else None


def _halves_of_pool(pool: DemoPool) -> Mapping[Hashable, DemoPool]:
    parts = halves(pool, _lengths("demonstration", pool, _of_solution))
    return {name: DemoPool(part) for name, part in zip((SHORT, LONG), parts, strict=True) if part}


def _halves_of_problems(problems: Sequence[Problem]) -> Callable[[Problem], Hashable]:
    # One that comes several times is one problem, and has one place.
    once: dict[str, Problem] = {}
    for problem in problems:
        once.setdefault(same_text(problem.question), problem)
    parts = halves(list(once), _lengths("problem", once.values(), _of_solutions))
    # Their solutions may take much memory, and have done their part.
    sorted_into = {
        question: name for name, part in zip((SHORT, LONG), parts, strict=True) for question in part
    }

    def half(problem: Problem) -> str:
        name = sorted_into.get(same_text(problem.question))
        if name is None:
            raise DataError(
                f"problem {problem.id!r}: expected one of the {len(sorted_into)} whose responses "
                "were sorted into a shorter and a longer half before the first draw"
            )
        return name

    return half


#: Each side is cut in the middle by itself, so its lengths may be in any unit.
LENGTH = Buckets(
    "length",
    lambda pool: pool.once(_halves_of_pool),
    _halves_of_problems,
    ("length", "solutions"),
)
