"""Numbers that know where they come from.

A number can not be written into a report without its trace: an expression whose leaves are keys in
lines of files. On the page it stands in the attribute ``data-from``, as JSON, so that anybody can
compute the number again; `docs/report.md` lists the operations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from icpo.report.html import Markup, element

__all__ = [
    "Leaf",
    "Number",
    "Trace",
    "integer",
    "mean",
    "measure",
    "number",
    "percent",
    "ranges",
    "ratio",
    "spread",
    "standard_error",
    "total",
]


@dataclass(frozen=True)
class Leaf:
    """A key in some lines of a file, and what is made of the values there."""

    #: ``value``, ``mean``, ``sum``, ``least``, ``most``, ``count``.
    operation: str
    #: The name that the report gives the run.
    run: str
    #: Relative to the run's folder.
    file: str
    #: From 1; empty: the file has no lines, or `where` says which.
    lines: tuple[int, ...]
    key: str
    #: A kind of rollouts: all lines that hold one.
    where: str = ""

    def plain(self) -> list[Any]:
        """As JSON has it."""
        found = [self.operation, self.run, self.file, ranges(self.lines), self.key]
        return [*found, self.where] if self.where else found

    def words(self) -> str:
        """As a person reads it."""
        operation = "" if self.operation == "value" else f"{self.operation} of "
        lines = ranges(self.lines)
        place = f" line{'s' if len(self.lines) > 1 else ''} {lines}" if lines else ""
        where = f" where {self.where}" if self.where else ""
        return f"{operation}{self.key} in {self.run}/{self.file}{place}{where}"


@dataclass(frozen=True)
class Node:
    """An operation on other traces."""

    #: ``mean of``, ``sum of``, ``ratio of``, ``standard error of``.
    operation: str
    parts: tuple[Trace, ...]

    def plain(self) -> list[Any]:
        """As JSON has it."""
        return [self.operation, *(part.plain() for part in self.parts)]

    def words(self) -> str:
        """As a person reads it."""
        return f"{self.operation} ({'; '.join(part.words() for part in self.parts)})"


Trace = Leaf | Node

#: Writes a number as a reader sees it.
Format = Callable[[float], str]


@dataclass(frozen=True)
class Number:
    """A number, and where it comes from. NaN: there is none."""

    value: float
    trace: Trace

    def shown(self, form: Format) -> Markup:
        """As an element that carries value and trace."""
        return self.as_written(form(self.value))

    def as_written(self, text: str) -> Markup:
        """The same, in the words that are given."""
        if math.isnan(self.value):
            return element("span", "\N{EN DASH}", class_="none", title="no value")
        return element(
            "data",
            text,
            value=repr(self.value),
            data_from=json.dumps(self.trace.plain(), ensure_ascii=False),
            title=f"{self.value!r}: {self.trace.words()}",
        )


##### Numbers from numbers


def mean(parts: Sequence[Number]) -> Number:
    """The mean of those that there are."""
    there = [part for part in parts if not math.isnan(part.value)]
    value = math.fsum(part.value for part in there) / len(there) if there else math.nan
    return Number(value, _node("mean of", there))


def standard_error(parts: Sequence[Number]) -> Number:
    """Of the mean of those that there are, with n − 1."""
    there = [part for part in parts if not math.isnan(part.value)]
    if len(there) < 2:
        return Number(math.nan, _node("standard error of", there))
    centre = math.fsum(part.value for part in there) / len(there)
    spread = math.fsum((part.value - centre) ** 2 for part in there) / (len(there) - 1)
    return Number(math.sqrt(spread / len(there)), _node("standard error of", there))


def ratio(above: Number, below: Number) -> Number:
    """One over the other; none if the other is 0."""
    value = above.value / below.value if below.value else math.nan
    return Number(value, _node("ratio of", [above, below]))


def total(parts: Sequence[Number]) -> Number:
    """Their sum."""
    return Number(math.fsum(part.value for part in parts), _node("sum of", parts))


def _node(operation: str, parts: Iterable[Number]) -> Node:
    return Node(operation, tuple(part.trace for part in parts))


##### Formats


def percent(value: float) -> str:
    """A share.

    >>> percent(0.53125)
    '53.1\\xa0%'
    """
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def integer(value: float) -> str:
    """A count, in groups of three.

    >>> integer(1250000)
    '1,250,000'
    """
    return f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")


def number(value: float) -> str:
    """Anything else: whole numbers as they are, others to four digits.

    >>> number(0.000123456), number(1234567.0), number(-0.25)
    ('1.235e−4', '1,234,567', '−0.2500')
    """
    whole = value == round(value) and abs(value) < 1e15 if math.isfinite(value) else False
    return integer(value) if whole else measure(value)


def measure(value: float) -> str:
    """A mean or the like, to four digits even where it happens to be whole.

    >>> measure(20.0), measure(19.9666)
    ('20.00', '19.97')
    """
    if not math.isfinite(value):
        written = str(value).replace("inf", "∞")
    elif value == 0:
        written = "0"
    elif 1000 <= abs(value) < 1e15:
        written = f"{value:,.0f}"
    elif 1e-3 <= abs(value) < 1000:
        written = f"{value:#.4g}".removesuffix(".")
    else:
        digits, power = f"{value:.3e}".split("e")
        written = f"{digits}e{int(power)}"
    return written.replace("-", "\N{MINUS SIGN}")


def spread(middle: Number, error: Number, form: Format) -> list[Markup | str]:
    """A mean and its standard error, both to the second digit of the error; alone without one."""
    if math.isnan(error.value):
        return [middle.shown(form)]
    if form is percent or not 1e-6 < error.value < 1e6 or abs(middle.value) >= 1e9:
        return [middle.shown(form), " ± ", error.shown(form)]
    decimals = max(0, 1 - math.floor(math.log10(error.value)))
    both = (f"{one.value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") for one in (middle, error))
    return [middle.as_written(next(both)), " ± ", error.as_written(next(both))]


def ranges(lines: Sequence[int]) -> str:
    """Rising line numbers, those that follow each other drawn together.

    >>> ranges([3, 4, 5, 9])
    '3-5 9'
    """
    parts: list[list[int]] = []
    for line in lines:
        if parts and line == parts[-1][1] + 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in parts)
