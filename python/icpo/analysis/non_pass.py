"""Non-pass prompts: those to which no policy rollout of a step is right (Figure 12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from icpo.analysis import style
from icpo.analysis.curves import mean_curve, series
from icpo.analysis.runs import Response
from icpo.analysis.sources import NamedRun, labels
from icpo.analysis.tidy import Row
from icpo.errors import DataError

__all__ = ["count_prompts", "draw_non_pass", "non_pass", "summary"]

#: Where the training loop counts them: all prompts, and those of each kind.
_METRICS = (
    ("prompts", "prompts/non_pass", "prompts/some_pass", "prompts/all_pass"),
    ("icpo/prompts", "icpo/prompts/non_pass", "icpo/prompts/some_pass", "icpo/prompts/all_pass"),
)


def count_prompts(responses: Iterable[Response]) -> dict[int | None, tuple[int, int, int]]:
    """By step, how many prompts have no, some and only right policy rollouts."""
    right: dict[tuple[int | None, str], list[bool]] = defaultdict(list)
    for response in responses:
        if not response.expert:
            right[response.step, response.problem].append(response.right)
    counts: dict[int | None, list[int]] = defaultdict(lambda: [0, 0, 0])
    for (step, _), verdicts in right.items():
        counts[step][0 if not any(verdicts) else 2 if all(verdicts) else 1] += 1
    return {step: (none, some, every) for step, (none, some, every) in counts.items()}


def non_pass(runs: Sequence[NamedRun]) -> list[Row]:
    """The prompts of each step by kind: as the run counted them, or counted in verl's dumps.

    Raises:
        DataError: if a run says neither.
    """
    return [row for one in runs for row in _of(one)]


def _of(one: NamedRun) -> list[Row]:
    for names in _METRICS:
        told = [row for row in one.run.metrics if row.get(names[0]) is not None]
        if told:
            return [
                _row(one, row["step"], [int(row[name]) for name in names[1:]], "metrics")
                for row in told
            ]
    # A training run's samples are of a few prompts only; verl dumps everything.
    if one.run.kind != "verl":
        raise DataError(
            f"{one.run.folder}: expected counts of non-pass prompts in its metrics, or verl's dumps"
        )
    counts = count_prompts(one.run.responses())
    return [_row(one, step, counts[step], "dumps") for step in counts]


def _row(one: NamedRun, step: int | None, counts: Sequence[int], source: str) -> Row:
    none, some, every = counts
    return {
        "label": one.label,
        "run": str(one.run.folder),
        "step": step,
        "prompts": none + some + every,
        "non_pass": none,
        "some_pass": some,
        "all_pass": every,
        "value": none / (none + some + every),
        "source": source,
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for each label: prompts of all its steps, and the shares at the first and the last."""
    found: list[Row] = []
    for label in dict.fromkeys(row["label"] for row in rows):
        those = [row for row in rows if row["label"] == label]
        seeds = list(series(rows, label=label).values())
        steps, mean, _ = mean_curve(seeds)
        found.append(
            {
                "label": label,
                "seeds": len(seeds),
                "prompts": sum(row["prompts"] for row in those),
                "non_pass": sum(row["non_pass"] for row in those),
                "first_step": steps[0] if steps else None,
                "first": mean[0] if steps else None,
                "last_step": steps[-1] if steps else None,
                "last": mean[-1] if steps else None,
            }
        )
    return found


def draw_non_pass(rows: Sequence[Row], runs: Sequence[NamedRun], stem: Path) -> tuple[Path, ...]:
    """The share of non-pass prompts over the steps, a line for each label."""
    with style.sheet() as (figure, axes):
        for index, label in enumerate(labels(runs)):
            steps, mean, error = mean_curve(list(series(rows, label=label).values()))
            style.line(axes, index, steps, mean, label, error=error)
        axes.set_title("Training prompts without a right policy rollout")
        style.steps(axes)
        axes.set_ylim(bottom=0)
        style.shares(axes)
        style.legend(axes, figure)
        return style.save(figure, stem)
