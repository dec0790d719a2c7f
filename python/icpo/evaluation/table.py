"""Results as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markdown", "percent", "rows_of"]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned; the first is text, the others are numbers.

    >>> print(markdown(["name", "n"], [["a", "10"], ["bc", "7"]]), end="")
    | name |  n |
    | :--- | -: |
    | a    | 10 |
    | bc   |  7 |
    """
    cells = [[_escaped(cell) for cell in row] for row in (header, *rows)]
    widths = [max(2, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [cells[0], rule, *cells[1:]]
    return "".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |\n"
        for line in lines
    )


def percent(share: float | None) -> str:
    """In hundredths, with one more digit; a dash for what is not known.

    >>> percent(0.12345), percent(None)
    ('12.3', '-')
    """
    return "-" if share is None else f"{100 * share:.1f}"


_HEADER = (
    "benchmark",
    "shots",
    "problems",
    "metric",
    "%",
    "± s.e.",
    "95 % interval",
    "pass@n",
    "maj@n",
    "cut off",
    "no answer",
    "tokens",
)


def rows_of(results: Mapping[str, Any]) -> str:
    """The table of an evaluation, and below it what has to be known to read it."""
    rows: list[list[str]] = []
    notes: list[str] = []
    for benchmark in results["benchmarks"]:
        for one in benchmark["conditions"]:
            rows.append(_row(benchmark, one))
        notes += _notes(benchmark)
    for average in results["averages"]:
        rows.append(
            [
                f"mean, {average['group']}",
                str(average["shots"]),
                "",
                f"of {len(average['benchmarks'])}",
                percent(average["accuracy"]),
                percent(average["standard_error"]),
                _interval(average),
                *[""] * 5,
            ]
        )
    legend = (
        "avg@n is the mean share of right samples, pass@1 that of one sample. s.e.: standard error "
        "over seeds. Interval: bootstrap over problems. pass@n: one of n samples is right; maj@n: "
        "the most frequent answer is. Cut off: responses that reached the limit on their length; "
        "they are judged like others. No answer: responses in which none was found, or of which "
        "it could not be told. Tokens: of a response, on average."
    )
    return "\n".join([markdown(_HEADER, rows), legend, *(["", *notes] if notes else []), ""])


def _row(benchmark: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    samples, responses = one["samples"], one["responses"]
    several = samples > 1
    return [
        benchmark["title"],
        str(one["shots"]),
        str(benchmark["asked"]),
        f"avg@{samples}" if several else "pass@1",
        percent(one["accuracy"]),
        percent(one["standard_error"]),
        _interval(one),
        percent(one["pass"][str(samples)]) if several else "-",
        percent(one["majority"]) if several else "-",
        f"{one['cut_off']} ({percent(one['cut_off'] / responses)} %)",
        f"{one['unknown']} ({percent(one['unknown'] / responses)} %)",
        "-" if one["tokens"] is None else f"{one['tokens'] / responses:.0f}",
    ]


def _notes(benchmark: Mapping[str, Any]) -> list[str]:
    found = []
    title = benchmark["title"]
    if benchmark["skipped"]:
        found.append(f"{title}: {len(benchmark['skipped'])} rows were skipped:")
        found += [
            f"- {_escaped(one['where'])}: {_escaped(one['why'])}" for one in benchmark["skipped"]
        ]
    if benchmark["options_kept_in_order"]:
        found.append(
            f"{title}: options of {benchmark['options_kept_in_order']} questions speak of each "
            "other, and were not shuffled."
        )
    for one in benchmark["conditions"]:
        if one["demos_dropped"]:
            found.append(
                f"{title}, {one['shots']} shots: {one['demos_dropped']} demonstrations were left "
                "out, for the limit on prompts."
            )
    return found


def _interval(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{percent(low)} to {percent(high)}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
