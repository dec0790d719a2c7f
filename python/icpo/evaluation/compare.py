"""Two evaluations against each other, problem by problem."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icpo.errors import ConfigError, DataError
from icpo.evaluation.averages import avg_at_n
from icpo.evaluation.bootstrap import LEVEL, difference_interval, interval
from icpo.evaluation.paired import holm, mcnemar, sign_flip
from icpo.evaluation.run import RESULTS
from icpo.evaluation.table import markdown, percent
from icpo.generation.text import seed_of

__all__ = ["Side", "compare", "comparison_table"]


@dataclass(frozen=True)
class Side:
    """An evaluation under one number of demonstrations; None: under whatever the other has."""

    folder: Path
    shots: int | None = None

    @property
    def title(self) -> str:
        """As a table calls it."""
        name = self.folder.resolve().name
        return name if self.shots is None else f"{name}, {self.shots} shots"

    def results(self) -> dict[str, Any]:
        """What the evaluation has written.

        Raises:
            DataError: there is nothing, or it can not be read.
        """
        path = self.folder / RESULTS
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found["benchmarks"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected the results of an evaluation: {error}") from None
        return found


def compare(first: Side, second: Side) -> dict[str, Any]:
    """Differences between two evaluations, second minus first, as plain values.

    Problems count that both have asked in the same words, options in the same order; those that
    only one has are counted, and left out. If they have none in common, means are compared as those
    of different problems, without a test.

    Raises:
        ConfigError: they have no benchmark and number of demonstrations in common.
    """
    results = first.results(), second.results()
    rows = [
        _row(benchmark, other, one, two)
        for benchmark, other in _shared(*results)
        for one, two in _conditions(benchmark, other, first.shots, second.shots)
    ]
    if not rows:
        raise ConfigError(
            f"runs: expected a benchmark that both {first.folder} and {second.folder} have asked "
            "with as many demonstrations; found none"
        )
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted
    titles = [first.title, second.title]
    if titles[0] == titles[1]:
        titles = [str(first.folder), str(second.folder)]
    return {
        "first": {"folder": str(first.folder), "title": titles[0]},
        "second": {"folder": str(second.folder), "title": titles[1]},
        "settings_that_differ": _differences(results[0]["settings"], results[1]["settings"]),
        "rows": rows,
    }


def _shared(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    others = {benchmark["name"]: benchmark for benchmark in other["benchmarks"]}
    for benchmark in one["benchmarks"]:
        if benchmark["name"] in others:
            yield benchmark, others[benchmark["name"]]


def _conditions(
    one: Mapping[str, Any], other: Mapping[str, Any], shots: int | None, other_shots: int | None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for mine in one["conditions"]:
        for theirs in other["conditions"]:
            wanted = (
                mine["shots"] if shots is None else shots,
                (mine["shots"] if shots is None else theirs["shots"])
                if other_shots is None
                else other_shots,
            )
            if (mine["shots"], theirs["shots"]) == wanted:
                yield mine, theirs


def _row(
    benchmark: Mapping[str, Any],
    other: Mapping[str, Any],
    one: Mapping[str, Any],
    two: Mapping[str, Any],
) -> dict[str, Any]:
    name, title = benchmark["name"], benchmark["title"]
    mine = {(problem["id"], problem["digest"]): problem for problem in one["problems"]}
    theirs = {(problem["id"], problem["digest"]): problem for problem in two["problems"]}
    shared = [key for key in mine if key in theirs]
    row: dict[str, Any] = {
        "benchmark": name,
        "title": title,
        "shots": [one["shots"], two["shots"]],
        "samples": [one["samples"] * len(one["seeds"]), two["samples"] * len(two["seeds"])],
        "problems": len(shared),
        "only_first": len(mine) - len(shared),
        "only_second": len(theirs) - len(shared),
        "level": LEVEL,
        "p_holm": None,
    }
    seed = seed_of("compare", name, one["shots"], two["shots"])
    if not shared:
        return {**row, **_apart(one, two, seed)}
    return {
        **row,
        **_paired(
            [mine[key] for key in shared], [theirs[key] for key in shared], row["samples"], seed
        ),
    }


def _paired(
    mine: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    samples: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    right = [np.array([sum(one["right"]) for one in side]) for side in (mine, theirs)]
    shares = [avg_at_n(n, counts) for n, counts in zip(samples, right, strict=True)]
    difference = shares[1] - shares[0]
    low, high = interval([difference], seed=seed)
    # Over a common denominator differences are integers, whose test is exact.
    common = math.lcm(*samples)
    whole = right[1] * (common // samples[1]) - right[0] * (common // samples[0])
    single = samples[0] == samples[1] == 1
    return {
        "paired": True,
        "first": float(shares[0].mean()),
        "second": float(shares[1].mean()),
        "difference": float(difference.mean()),
        "interval": [low, high],
        "better": int(np.count_nonzero(whole > 0)),
        "worse": int(np.count_nonzero(whole < 0)),
        "same": int(np.count_nonzero(whole == 0)),
        "p": sign_flip(whole, seed=seed),
        "p_mcnemar": mcnemar(int((whole < 0).sum()), int((whole > 0).sum())) if single else None,
    }


def _apart(one: Mapping[str, Any], two: Mapping[str, Any], seed: int) -> dict[str, Any]:
    shares = [
        avg_at_n(
            side["samples"] * len(side["seeds"]),
            [sum(problem["right"]) for problem in side["problems"]],
        )
        for side in (one, two)
    ]
    low, high = difference_interval(*shares, seed=seed)
    return {
        "paired": False,
        "first": float(shares[0].mean()),
        "second": float(shares[1].mean()),
        "difference": float(shares[1].mean() - shares[0].mean()),
        "interval": [low, high],
        "better": None,
        "worse": None,
        "same": None,
        "p": None,
        "p_mcnemar": None,
    }


def _differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Settings with another value, as ``key: value, value``."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            line
            for name in dict.fromkeys([*one, *other])
            for line in _differences(
                one.get(name), other.get(name), f"{key}.{name}" if key else name
            )
        ]
    return [] if one == other else [f"{key}: {json.dumps(one)}, {json.dumps(other)}"]


##### As a table

_HEADER = (
    "benchmark",
    "shots",
    "problems",
    "A %",
    "B %",
    "B - A",
    "95 % interval",
    "better / worse",
    "p",
    "p, Holm",
    "McNemar",
)


def comparison_table(found: Mapping[str, Any]) -> str:
    """A comparison as Markdown."""
    lines = [
        f"A: {found['first']['title']}",
        f"B: {found['second']['title']}",
        "",
        markdown(_HEADER, [_cells(row) for row in found["rows"]]),
        "p: sign-flip permutation test on the problems' differences, exact where all counts are "
        "whole; Holm: adjusted for the number of rows. McNemar: exact, for single answers. "
        "Interval: bootstrap over problems, paired.",
    ]
    for row in found["rows"]:
        if row["only_first"] or row["only_second"]:
            lines.append(
                f"{row['title']}: {row['only_first']} problems of A and {row['only_second']} of B "
                "are not in the other in the same words"
                + ("." if row["paired"] else "; none is, so means are compared unpaired.")
            )
    if found["settings_that_differ"]:
        lines += ["", "Settings that differ (A, B):"]
        lines += [f"- {line}" for line in found["settings_that_differ"]]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    one, two = row["shots"]
    low, high = (f"{100 * end:+.1f}" for end in row["interval"])
    paired = row["paired"]
    return [
        row["title"],
        str(one) if one == two else f"{one}, {two}",
        str(row["problems"]) if paired else "-",
        percent(row["first"]),
        percent(row["second"]),
        f"{100 * row['difference']:+.1f}",
        f"{low} to {high}",
        f"{row['better']} / {row['worse']}" if paired else "-",
        *(_p(row[name]) for name in ("p", "p_holm", "p_mcnemar")),
    ]


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
