"""What is left out of a table: answers that can not be verified, long texts, and repetitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from icpo.data.duplicates import near, near_inside, same_question
from icpo.data.table import Item, Table
from icpo.reward import Checker
from icpo.reward.golds import unverifiable
from icpo.types import Problem

__all__ = ["Asked", "Likeness", "asked_by", "leave_out_long", "leave_out_unverifiable"]


class Asked(NamedTuple):
    """A question somewhere."""

    table: Table
    item: Item

    @property
    def where(self) -> str:
        """Source and line."""
        source = self.table.sources[self.item.source]
        return f"{source}, {source.place(self.item.row)}"


def asked_by(*tables: Table) -> list[Asked]:
    """All questions that tables hold now."""
    return [Asked(table, item) for table in tables for item in table.kept]


def leave_out_unverifiable(table: Table, checker: Checker) -> None:
    """Leaves out rows with whose answer no response could be compared. None is no answer."""
    stated = {
        place: Problem(item.id, item.question, item.answer)
        for place, item in enumerate(table.kept)
        if item.answer is not None
    }
    places = list(stated)
    faults = unverifiable(list(stated.values()), checker)
    table.leave_out("unverifiable", {places[at]: why for at, why in faults.items()})


def leave_out_long(
    table: Table, lengths: Callable[[Sequence[Item]], Sequence[int]], unit: str, most: int
) -> None:
    """Leaves out rows of which something is longer than it may be."""
    found = enumerate(lengths(table.kept))
    table.leave_out(
        "too_long",
        {
            place: f"{length:,} {unit}, expected at most {most:,}"
            for place, length in found
            if length > most
        },
    )


@dataclass(frozen=True)
class Likeness:
    """When questions are the same. See `icpo.data.duplicates`."""

    #: Length of n-grams in words.
    words: int
    #: Share of them from which on questions are nearly the same.
    share: float
    #: Says whether answers to the same question are the same.
    checker: Checker

    def leave_out_asked(
        self, table: Table, asked: Sequence[Asked], same: str, nearly: str, *, same_numbers: bool
    ) -> None:
        """Leaves out what is asked elsewhere: kind `same`, or `nearly`.

        With `same_numbers` a question with other numbers or signs is no near one.
        """
        places: dict[str, Asked] = {}
        for one in asked:
            places.setdefault(same_question(one.item.question), one)

        def fault(item: Item) -> str | None:
            found = places.get(same_question(item.question))
            return None if found is None else f"asked in {found.where}"

        table.keep_only(same, fault)
        close = near(
            table.questions,
            [one.item.question for one in asked],
            same_numbers=same_numbers,
            words=self.words,
            share=self.share,
        )
        table.leave_out(
            nearly,
            {
                place: _nearly(share, asked[other].where, asked[other].item.question)
                for place, (other, share) in close.items()
            },
        )

    def leave_out_repeated(self, table: Table) -> None:
        """Leaves out what an earlier row of the same table asks."""
        places: dict[str, Item] = {}

        def fault(item: Item) -> str | None:
            first = places.setdefault(same_question(item.question), item)
            if first is item:
                return None
            why = f"asked in {Asked(table, first).where}"
            if self._contradict(first, item):
                table.contradictions += 1
                return f"{why}, with another answer: {first.answer!r:.80}, here {item.answer!r:.80}"
            return why

        table.keep_only("duplicate", fault)
        kept = table.kept
        close = near_inside(table.questions, words=self.words, share=self.share)
        table.leave_out(
            "near_duplicate",
            {
                place: _nearly(share, Asked(table, kept[other]).where, kept[other].question)
                for place, (other, share) in close.items()
            },
        )

    def _contradict(self, first: Item, item: Item) -> bool:
        if first.answer is None or item.answer is None:
            return False
        boxes = [
            ["\\boxed{" + text + "}" for text in _answers(each.answer)] for each in (first, item)
        ]
        return not any(self.checker.equivalent(a, b) for a in boxes[0] for b in boxes[1])


def _answers(answer: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (answer,) if isinstance(answer, str) else answer or ()


def _nearly(share: float, where: str, question: str) -> str:
    return f"{share:.0%} of the n-grams of {where}: {' '.join(question.split())!r:.120}"
