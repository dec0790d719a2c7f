"""A report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icpo import __version__
from icpo.report import benchmarks, chart, checks, rollouts, tables
from icpo.report.conditions import Condition, conditions
from icpo.report.html import CHARACTERS, Child, Markup, element, join
from icpo.report.panels import PANELS, Panel, window
from icpo.report.runs import Run, open_runs
from icpo.report.samples import Samples, read_samples

__all__ = ["page", "report"]

#: A browser that obeys it runs no script and asks no network, whatever got into the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

STYLE = Path(__file__).with_name("style.css")


def report(folders: Sequence[Path], *, characters: int = CHARACTERS) -> str:
    """The report of the runs in some folders, as HTML.

    Args:
        folders: of runs; see `icpo.analysis.runs.open_run`.
        characters: of each response and prompt that are shown at most.

    Raises:
        ConfigError: if a folder has no run, or is given twice.
        DataError: if settings or figures of a run can not be read.
    """
    runs = open_runs(folders)
    return page(runs, [read_samples(run, characters) for run in runs])


def page(runs: Sequence[Run], samples: Sequence[Samples]) -> str:
    """The page about runs, and what was sampled in them."""
    trained = [run for run in runs if run.record.kind != "eval"]
    evaluated = [run for run in runs if run.record.kind == "eval"]
    groups = conditions(trained)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [
        ("results", "Results", _results(groups) if trained else None),
        ("benchmarks", "Benchmarks", _benchmarks(evaluated) if evaluated else None),
        ("checks", "Before believing it", _checks(groups, samples)),
        ("figures", "Figures", _figures(groups) if trained else None),
        ("rollouts", "Rollouts", _rollouts(samples)),
        ("configuration", "Configuration", _configuration(runs)),
        ("versions", "Versions", _versions(runs)),
        ("time", "Time", _time(trained) if trained else None),
        ("everything", "Every figure", _everything(trained) if trained else None),
        ("files", "Files", _files(runs)),
    ]
    sections = [(key, name, children) for key, name, children in parts if children is not None]
    body = [
        element(
            "header",
            element("p", "icpo report", class_="kind"),
            element("h1", title),
            element(
                "p",
                "Every number on this page is made from keys in lines of the files listed at its "
                "end. Point at one to see which; ",
                element("code", "data-from"),
                " has the same for programs.",
            ),
            element("nav", *(element("a", name, href=f"#{key}") for key, name, _ in sections)),
        ),
        element(
            "main",
            *(
                element("section", element("h2", name), *children, id=key)
                for key, name, children in sections
            ),
        ),
        element("footer", f"icpo {__version__}"),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title}, icpo report"),
        element("style", chart.colours(), Markup(STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n"


##### Sections


def _results(groups: Sequence[Condition]) -> list[Child]:
    merged = tables.by_condition(groups)
    note = (
        "Accuracy is that of plain prompts on test problems, at the first and the last evaluation. "
        f"Reward to cut off are means over the last {tables.LAST} steps, on policy. Seconds are "
        "all that were recorded."
    )
    return [
        None if merged is None else element("h3", "By condition"),
        merged,
        None
        if merged is None
        else _note(
            "Mean ± standard error over runs whose settings differ in nothing but their seed."
        ),
        None if merged is None else element("h3", "By run"),
        tables.by_run(groups),
        _note(note),
    ]


def _benchmarks(runs: Sequence[Run]) -> list[Child]:
    return [
        benchmarks.scores(runs),
        *benchmarks.notes(runs),
        _note(
            "As the evaluation wrote them. Accuracy ± standard error over seeds; interval: 95 %, "
            "bootstrap over problems. pass@n: one of n samples is right; maj@n: the most frequent "
            "answer is. Cut off: responses that reached the limit; no answer: none was found, or "
            "it could not be judged. Differences are tested by icpo compare."
        ),
    ]


def _checks(groups: Sequence[Condition], samples: Sequence[Samples]) -> list[Child]:
    together = list(checks.across(groups, [one.run for one in samples]))
    asked: list[tuple[int, tables.Cells]] = []
    if together:
        said = [element("p", *finding.sentence) for finding in together]
        asked.append((_worst(together), ["Comparison", _mark(_worst(together)), said]))
    for one in checks.CHECKS:
        findings = checks.check(one, samples)
        if findings:
            worst = _worst(findings)
            name = [one.name, element("small", f"marked: {one.bound}", class_="bound")]
            asked.append((worst, [name, _mark(worst), _found(one, findings)]))
    # What is to be looked at comes first.
    rows = [row for _, row in sorted(asked, key=lambda one: -one[0])]
    return [
        tables.table(["what", "", "found"], rows, class_="checks"),
        _note("Bounds say where to look, and decide nothing."),
    ]


#: Signs of the levels, so that nobody needs the colours.
SIGNS = ("✓", "▲", "✕")


#: Of runs that are fine, so many are named without being asked for.
LISTED = 8


def _worst(findings: Sequence[checks.Finding]) -> int:
    return max(checks.LEVELS.index(finding.level) for finding in findings)


def _mark(level: int) -> Markup:
    name = checks.LEVELS[level]
    return element("span", f"{SIGNS[level]} {name}", class_=f"mark {name}")


def _found(one: checks.Check, findings: Sequence[checks.Finding]) -> list[Markup]:
    """A paragraph for each level; runs of which the same is said are named together."""
    paragraphs = []
    for level in reversed(checks.LEVELS):
        said: dict[Markup, list[str]] = {}
        for finding in findings:
            if finding.level == level:
                said.setdefault(join(finding.sentence), []).append(finding.run)
        if not said:
            continue
        parts: list[Child] = []
        for sentence, names in said.items():
            everybody = len(names) == len(findings)
            name = None if everybody else element("b", ", ".join(names), "\N{NO-BREAK SPACE}")
            parts.append(element("span", name, sentence, class_="one"))
        if level != checks.FINE:
            parts.append(element("span", one.meaning, class_="meaning"))
        elif len(parts) > LISTED:
            words = element("summary", f"{len(parts)} runs", class_="place")
            paragraphs.append(element("details", words, element("p", *parts), class_="long"))
            continue
        paragraphs.append(element("p", *parts, class_=level))
    return paragraphs


def _figures(groups: Sequence[Condition]) -> list[Child]:
    longest = max((max(run.steps, default=0) for group in groups for run in group.runs), default=0)
    width = window(longest)
    drawn, empty = [], []
    for panel in PANELS:
        lines = [
            chart.Line(group.name, group.number, tuple(map(panel.curve, group.runs)))
            for group in groups
        ]
        if any(curve for line in lines for curve in line.curves):
            drawn.append(_figure(panel, lines, width if panel.smooth else 1))
        else:
            empty.append(panel.title)
    if not drawn:
        return [_none("No run has recorded figures of training.")]
    legend = element(
        "ul",
        *(
            element(
                "li",
                chart.sample(group.number),
                " ",
                group.name,
                f" ({len(group.runs)})" if len(group.runs) > 1 else "",
            )
            for group in groups
        ),
        class_="legend",
    )
    return [
        legend,
        _note(
            "Thin lines: each run, as recorded. Thick lines: the mean over the runs of a "
            f"condition; where values jump from step to step, of running means over {width} "
            "values. Point at a thin line for its value and its line in the file."
        ),
        element("div", *drawn, class_="charts"),
        _note(f"No run has recorded: {'; '.join(empty)}.") if empty else None,
    ]


def _figure(panel: Panel, lines: Sequence[chart.Line], width: int) -> Markup:
    keys = dict.fromkeys(curve.key for line in lines for curve in line.curves if curve)
    return element(
        "figure",
        element("h3", panel.title),
        chart.chart(panel.title, lines, panel.form, whole=panel.whole, window=width),
        element(
            "figcaption",
            panel.meaning,
            " ",
            *(element("code", key, class_="key-name") for key in keys),
        ),
    )


def _rollouts(samples: Sequence[Samples]) -> list[Child]:
    there = [one for one in samples if one.counts]
    if not there:
        return [_none("No run has recorded rollouts.")]
    return [
        rollouts.counts(there),
        _note(
            "Counted over everything on record. Shown below are problems of the first and the last "
            "step on record, or of each benchmark: in the order of the file, each that has a kind "
            "which those before it had not; of each kind its first rollout. Nobody has picked them."
        ),
        *(
            element(
                "details",
                element("summary", one.run.name),
                *rollouts.examples(one),
                class_="run",
                open=place == 0 or len(there) <= 4,
            )
            for place, one in enumerate(there)
        ),
    ]


def _configuration(runs: Sequence[Run]) -> list[Child]:
    told = [run for run in runs if run.settings]
    silent = [run.name for run in runs if not run.settings]
    parts: list[Child] = [_none(f"Not recorded: {', '.join(silent)}.")] if silent else []
    # Settings of different programs have little to do with each other.
    kinds = dict.fromkeys(run.record.kind for run in told)
    for kind in kinds:
        those = [run for run in told if run.record.kind == kind]
        if len(kinds) > 1:
            parts.append(element("h3", PROGRAMS[kind]))
        if len(those) > 1:
            different = tables.settings(those, lambda run: run.settings, all_=False)
            parts.append(element("h4", "What differs"))
            parts.append(different or _none("Nothing: the settings are the same."))
        full = tables.settings(those, lambda run: run.settings, all_=True)
        words = element("summary", "All settings")
        parts.append(element("details", words, full, open=len(those) == 1))
    return parts


#: What wrote the folder, by kind of run.
PROGRAMS = {"trainer": "icpo train", "verl": "verl", "eval": "icpo eval"}


def _versions(runs: Sequence[Run]) -> list[Child]:
    told = [run for run in runs if run.versions]
    silent = [run.name for run in runs if not run.versions]
    words = f"Not recorded: {', '.join(silent)}."
    return [
        _none(words) if silent else None,
        tables.settings(told, lambda run: run.versions, all_=True) if told else None,
    ]


def _time(runs: Sequence[Run]) -> list[Child]:
    return [tables.time_spent(runs) or _none("No run has recorded times.")]


def _everything(runs: Sequence[Run]) -> list[Child]:
    there = [run for run in runs if run.keys]
    if not there:
        return [_none("No run has recorded figures of training.")]
    return [
        element("details", element("summary", run.name), tables.every_figure(run), class_="long")
        for run in there
    ]


def _files(runs: Sequence[Run]) -> list[Child]:
    return [
        tables.files(runs),
        element(
            "dl",
            *(
                [element("dt", run.name), element("dd", element("code", str(run.record.folder)))]
                for run in runs
            ),
            class_="folders",
        ),
    ]


def _note(text: str) -> Markup:
    return element("p", text, class_="note")


def _none(text: str) -> Markup:
    return element("p", text, class_="none")
