"""Which runs are looked at, under which names, and as which conditions.

``icpo=runs/a`` calls a run ``icpo``; several runs of one name are seeds of the same thing. Within a
run, what was sampled from bare prompts and what was sampled with demonstrations are conditions of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icpo.analysis.runs import Response, RunRecord, open_run
from icpo.errors import ConfigError, DataError

__all__ = ["NamedRun", "condition", "labels", "open_named", "sampled", "split_label"]


@dataclass(frozen=True)
class NamedRun:
    """A run, and what it is called in tables and figures."""

    label: str
    run: RunRecord


def split_label(text: str) -> tuple[str, Path]:
    """``LABEL=FOLDER`` or ``FOLDER``, whose name is then the label; a folder of that name wins."""
    label, equals, folder = text.partition("=")
    if not equals or Path(text).exists():
        return Path(text).resolve().name, Path(text)
    if not label or not folder:
        raise ConfigError(f"run: expected FOLDER or LABEL=FOLDER, got {text!r}")
    return label, Path(folder)


def open_named(texts: Sequence[str], metrics: Path | None = None) -> list[NamedRun]:
    """The runs of ``FOLDER`` or ``LABEL=FOLDER``, in their order.

    Args:
        texts: what the command line has.
        metrics: see `open_run`; for a single run.

    Raises:
        ConfigError: if one is no run, or two folders of the same name have no labels.
    """
    if metrics is not None and len(texts) != 1:
        raise ConfigError(f"metrics: expected one run beside it, got {len(texts)}")
    found: dict[str, Path] = {}
    named = []
    for text in texts:
        label, folder = split_label(text)
        if "=" not in text and found.setdefault(label, folder) != folder:
            raise ConfigError(
                f"run: expected labels for folders of the same name, got {found[label]} and "
                f"{folder}: write LABEL=FOLDER"
            )
        named.append(NamedRun(label, open_run(folder, metrics)))
    return named


def labels(runs: Sequence[NamedRun]) -> list[str]:
    """The labels, each once, in their order."""
    return list(dict.fromkeys(one.label for one in runs))


def condition(run: NamedRun, response: Response) -> str:
    """What a response is an instance of: ``icpo``, ``icpo, expert`` or ``model, 1-shot``."""
    if run.run.kind == "eval":
        return f"{run.label}, {response.shots}-shot"
    return f"{run.label}, expert" if response.expert else run.label


def sampled(
    runs: Sequence[NamedRun], steps: range | None = None
) -> Iterator[tuple[NamedRun, Response]]:
    """The responses of all runs.

    Args:
        runs: to read.
        steps: of training, to look at; None: all. Evaluations have no steps and count in any case.

    Raises:
        DataError: if a run has none.
    """
    for run in runs:
        count = 0
        for response in run.run.responses():
            if steps is None or response.step is None or response.step in steps:
                count += 1
                yield run, response
        if not count:
            files = sorted({str(file.parent) for file in run.run.response_files})
            within = "" if steps is None else f" of steps {steps.start} to {steps.stop - 1}"
            when = "; log.samples_every says when" if run.run.kind == "trainer" else ""
            raise DataError(f"{', '.join(files)}: expected responses{within}, found none{when}")
