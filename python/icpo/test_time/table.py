"""The results of a run as Markdown tables that fit a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from icpo.evaluation.table import markdown, percent
from icpo.test_time.results import MEASURES

__all__ = ["tables"]

_HEADER = (
    "method",
    "K",
    "mean@K",
    "maj@K",
    "no answer",
    "calls",
    "tokens",
    "prompt",
)
_TESTS = ("p, mean", "p, maj")

#: Characters of a line of text.
_WIDTH = 98

#: Characters of a question, or an answer, in a table.
_SHORT = 60


def tables(results: Mapping[str, Any]) -> str:
    """A table for each benchmark and each question, and what has to be known to read them."""
    parts: list[str] = []
    for benchmark in results["benchmarks"]:
        parts += _benchmark(benchmark)
    for question in results["questions"]:
        parts += _question(question)
    parts += _left_out("questions", results["questions_skipped"])
    return "\n".join([*parts, _legend(results)])


def _benchmark(benchmark: Mapping[str, Any]) -> list[str]:
    rows = benchmark["methods"]
    compared = any(row["against"] is not None for row in rows)
    table = markdown(
        [*_HEADER, *(_TESTS if compared else ())],
        [[*_row(row), *(_tests(row) if compared else ())] for row in rows],
    )
    seeds = rows[0]["seeds"]
    about = f"problems: {benchmark['asked']}; seeds: {', '.join(map(str, seeds))}"
    return [f"{benchmark['title']} ({about})\n", table, *_notes(benchmark)]


def _row(row: Mapping[str, Any]) -> list[str]:
    return [
        row["method"],
        str(row["answers"]),
        *(_with_error(row[name]) for name in MEASURES),
        percent(row["no_answer"]),
        *(_count(row[name]) for name in ("calls", "tokens", "prompt_tokens")),
    ]


def _tests(row: Mapping[str, Any]) -> list[str]:
    against = row["against"]
    return ["-" if against is None else _probability(against[name]["p_holm"]) for name in MEASURES]


def _notes(benchmark: Mapping[str, Any]) -> list[str]:
    found = _left_out(benchmark["title"], benchmark["skipped"])
    if benchmark["options_kept_in_order"]:
        found.append(
            f"{benchmark['title']}: options of {benchmark['options_kept_in_order']} questions "
            "speak of each other, and were not shuffled.\n"
        )
    return found


def _left_out(title: str, skipped: Sequence[Mapping[str, Any]]) -> list[str]:
    if not skipped:
        return []
    rows = [f"- {_line(one['where'])}: {_line(one['why'])}\n" for one in skipped]
    return ["".join([f"{title}: {len(skipped)} rows were skipped:\n", *rows])]


def _legend(results: Mapping[str, Any]) -> str:
    told = []
    rows = [row for benchmark in results["benchmarks"] for row in benchmark["methods"]]
    if rows:
        told += [
            "mean@K: share of right ones among K final responses, in %.",
            "maj@K: chance that their majority is right.",
            "±: standard error over problems.",
            "No answer: share of final responses without one.",
        ]
    if results["questions"]:
        told.append("Agree: share of K final responses that give the answer, in %.")
    told += [
        "Calls, sampled tokens and tokens of prompts: of a problem, from its first question to its",
        "last; what several methods ask alike is asked once, and counted for each of them.",
    ]
    references = sorted({row["against"]["method"] for row in rows if row["against"] is not None})
    if references:
        told += [
            f"p: sign-flip test over problems of the difference to {', '.join(references)},",
            "adjusted by Holm's method for the number of methods.",
        ]
    return textwrap.fill(" ".join(told), _WIDTH) + "\n"


def _question(question: Mapping[str, Any]) -> list[str]:
    header = ("method", "seed", "answer", "agree", "K", "calls", "tokens", "prompt")
    rows = [
        [
            row["method"] if place == 0 else "",
            str(seed),
            "-" if answer is None else _short(answer),
            percent(agreement),
            str(row["answers"]),
            *(_count(row[name]) for name in ("calls", "tokens", "prompt_tokens")),
        ]
        for row in question["methods"]
        for place, (seed, answer, agreement) in enumerate(
            zip(row["seeds"], row["answer"], row["agreement"], strict=True)
        )
    ]
    return [f"{_short(question['question'])}\n", markdown(header, rows)]


def _with_error(measure: Mapping[str, Any]) -> str:
    error = measure["standard_error"]
    told = percent(measure["mean"])
    return told if error is None else f"{told} ± {percent(error)}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _probability(value: float) -> str:
    """Three digits; what is less is called so, since no p is nothing.

    >>> _probability(0.0123), _probability(0.00001)
    ('0.012', '<0.001')
    """
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def _short(text: str) -> str:
    line = _line(text)
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def _line(text: str) -> str:
    # A model may say half a surrogate pair, which no terminal can show, or orders to the terminal.
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(letter for letter in line if unicodedata.category(letter) != "Cc")
