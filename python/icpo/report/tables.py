"""The tables of a report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from icpo.report.chart import colour
from icpo.report.conditions import Condition, differing
from icpo.report.html import Child, Markup, element
from icpo.report.numbers import (
    Format,
    Leaf,
    Number,
    integer,
    mean,
    measure,
    number,
    percent,
    ratio,
    spread,
    standard_error,
    total,
)
from icpo.report.panels import PANELS, found
from icpo.report.runs import RESULTS, TIMINGS, VERSIONS, Run, Setting

__all__ = [
    "by_condition",
    "by_run",
    "every_figure",
    "files",
    "settings",
    "table",
    "time_spent",
]

#: Steps at the end that are averaged.
LAST = 10

#: Of several runs, a cell for each; of one, a cell.
Cells = Sequence[Child]


def table(heads: Sequence[Child], rows: Iterable[Cells], *, class_: str = "") -> Markup:
    """A table that scrolls by itself where the page is too narrow."""
    head = element("tr", *(element("th", one, scope="col") for one in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", one) for one in row[1:]))
        for row in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body), class_=class_ or None)
    return element("div", whole, class_="wide", tabindex=0, role="region", aria_label="table")


##### What the runs came to


def _figure(patterns: Sequence[str], take: Callable[..., Number]) -> Callable[[Run], Number]:
    def of(run: Run) -> Number:
        return take(run.curve(found(run.keys, patterns) or patterns[0]))

    return of


def _non_pass(run: Run) -> Number:
    names = ("prompts/non_pass", "prompts")
    keys = [found(run.keys, (rf"(icpo/)?{name}",)) or name for name in names]
    return ratio(*(run.curve(key).last(LAST).sum() for key in keys))


def _seconds(run: Run) -> Number:
    parts = sorted({part for row in run.times for part in row} - {"step"})
    there = [curve.sum() for curve in map(run.time, parts) if curve]
    return total(there) if there else Number(math.nan, Leaf("sum", run.name, TIMINGS, (), "*"))


def _ending(title: str) -> Callable[[Run], Number]:
    keys = next(panel.keys for panel in PANELS if panel.title == title)
    return _figure(keys, lambda curve: curve.last(LAST).mean())


#: Not averaged over runs: the best of several looks, and what depends on the machine's load.
ONLY_RUNS = ("best", "seconds")

#: Heads, what stands below them, and how it is written.
COLUMNS: tuple[tuple[str, Callable[[Run], Number], Format], ...] = (
    ("accuracy before", _figure(PANELS[0].keys, lambda curve: curve.at(0)), percent),
    ("accuracy after", _figure(PANELS[0].keys, lambda curve: curve.at(-1)), percent),
    ("best", _figure(PANELS[0].keys, lambda curve: curve.most()), percent),
    ("reward", _ending("Reward of on-policy rollouts"), measure),
    ("non-pass prompts", _non_pass, percent),
    ("expert accepted", _ending("Expert rollouts accepted"), percent),
    ("entropy", _ending("Entropy of on-policy rollouts"), measure),
    ("length", _ending("Response length"), measure),
    ("cut off", _ending("Responses cut off at the limit"), percent),
    ("seconds", _seconds, integer),
)


def by_run(groups: Sequence[Condition]) -> Markup:
    """A line a run."""
    runs = [(group, run) for group in groups for run in group.runs]
    columns = _told([run for _, run in runs])
    return table(
        ["run", "condition", "seed", "steps", *(head for head, _, _ in columns)],
        [
            [
                _key(group, run.name),
                element("span", group.name, class_="called"),
                _setting(run, "seed"),
                run.made.shown(integer),
                *(of(run).shown(form) for _, of, form in columns),
            ]
            for group, run in runs
        ],
        class_="figures results",
    )


def by_condition(groups: Sequence[Condition]) -> Markup | None:
    """Mean and standard error over the runs of a condition; None where nothing is repeated."""
    if all(len(group.runs) < 2 for group in groups):
        return None
    told = _told([run for group in groups for run in group.runs])
    columns = [column for column in told if column[0] not in ONLY_RUNS]
    return table(
        ["condition", "runs", *(head for head, _, _ in columns)],
        [
            [
                _key(group, group.name),
                element("span", str(len(group.runs)), class_="place"),
                *(_spread([of(run) for run in group.runs], form) for _, of, form in columns),
            ]
            for group in groups
        ],
        class_="figures",
    )


def _told(runs: Sequence[Run]) -> list[tuple[str, Callable[[Run], Number], Format]]:
    """Columns in which any run has something."""
    return [
        column for column in COLUMNS if any(not math.isnan(column[1](run).value) for run in runs)
    ]


def _spread(parts: Sequence[Number], form: Format) -> Child:
    return spread(mean(parts), standard_error(parts), form)


def _key(group: Condition, name: str) -> Markup:
    """A name with the colour of its line."""
    return element(
        "span", element("i", class_=f"key {colour(group.number)}"), name, class_="called"
    )


##### Settings and versions


def settings(
    runs: Sequence[Run], of: Callable[[Run], Mapping[str, Setting]], *, all_: bool
) -> Markup | None:
    """Keys down, runs across; rows that differ are marked. None if there are no such rows.

    Args:
        runs: of which some have settings.
        of: what is shown of each.
        all_: whether keys are shown that are the same in all runs.
    """
    told = [run for run in runs if of(run)]
    values = [{key: one.text for key, one in of(run).items()} for run in told]
    different = differing(values)
    keys = dict.fromkeys(key for one in values for key in one) if all_ else different
    if not keys:
        return None
    marked = {*different}
    rows = []
    for key in keys:
        cells = [_value(run, key, of(run).get(key)) for run in told]
        if all_ and key not in marked:
            shared = element("td", cells[0], colspan=len(told) if len(told) > 1 else None)
            rows.append(element("tr", element("th", key, scope="row"), shared))
        else:
            mark = "different" if all_ and len(told) > 1 else None
            rows.append(
                element(
                    "tr",
                    element("th", key, scope="row"),
                    *(element("td", cell) for cell in cells),
                    class_=mark,
                )
            )
    heads = [element("th", one, scope="col") for one in ["", *(run.name for run in told)]]
    whole = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="settings",
    )
    return element("div", whole, class_="wide", tabindex=0, role="region", aria_label="table")


def _setting(run: Run, key: str) -> Child:
    return _value(run, key, run.settings.get(key))


def _value(run: Run, key: str, setting: Setting | None) -> Markup:
    if setting is None:
        return element("span", "not set", class_="none")
    where = f"{run.name}/{setting.file}" + (f" line {setting.line}" if setting.line else "")
    return element(
        "code",
        setting.text if setting.text else "''",
        data_run=run.name,
        data_file=setting.file,
        data_line=setting.line,
        data_key=key,
        title=f"{key} in {where}",
    )


##### Everything else


def time_spent(runs: Sequence[Run]) -> Markup | None:
    """Seconds by part; None if no run tells."""
    timed = [run for run in runs if run.times]
    parts = sorted({part for run in timed for row in run.times for part in row} - {"step"})
    if not parts:
        return None
    rows = []
    for part in parts:
        sums = [run.time(part).sum() for run in timed]
        wholes = [_seconds(run) for run in timed]
        rows.append(
            [
                part,
                *(
                    [one.shown(measure), " · ", ratio(one, whole).shown(percent)]
                    for one, whole in zip(sums, wholes, strict=True)
                ),
            ]
        )
    rows.append(["all", *(_seconds(run).shown(measure) for run in timed)])
    return table(["seconds", *(run.name for run in timed)], rows, class_="figures")


def every_figure(run: Run) -> Markup:
    """Every figure that a run has recorded, from its first to its last value."""
    rows = []
    for key in run.keys:
        curve = run.curve(key)
        rows.append(
            [
                key,
                curve.count().shown(integer),
                curve.at(0).shown(number),
                curve.at(-1).shown(number),
                curve.least().shown(number),
                curve.mean().shown(measure),
                curve.most().shown(number),
            ]
        )
    heads = ["figure", "values", "first", "last", "least", "mean", "most"]
    return table(heads, rows, class_="figures")


def files(runs: Sequence[Run]) -> Markup:
    """The files that were read, with digests."""
    rows = []
    for run in runs:
        record = run.record
        read = [record.config_file, record.metrics_file, *record.response_files]
        read += [record.folder / name for name in (VERSIONS, TIMINGS, RESULTS)]
        for path in dict.fromkeys(path for path in read if path is not None and path.is_file()):
            size, lines, digest = _measured(path)
            rows.append(
                [
                    element("code", f"{run.name}/{run.relative(path)}"),
                    Number(size, Leaf("bytes", run.name, run.relative(path), (), "")).shown(
                        integer
                    ),
                    Number(lines, Leaf("lines", run.name, run.relative(path), (), "")).shown(
                        integer
                    ),
                    element("code", digest[:16], title=digest, data_digest=digest),
                ]
            )
    return table(["file", "bytes", "lines", "SHA-256"], rows, class_="figures files")


def _measured(path: Path) -> tuple[float, float, str]:
    size, lines, digest = 0, 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            lines += block.count(b"\n")
            digest.update(block)
    return float(size), float(lines), digest.hexdigest()
