"""Checking the responses of a file: rows in, verdicts and a summary out.

Files are read and written a batch at a time. A row that can not be read is counted and reported,
never dropped in silence.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from icpo.errors import ConfigError
from icpo.reward.checker import Checker, Verdict
from icpo.tables import Fields, UnreadableRow, columns_of, rows

__all__ = ["Disagreement", "Summary", "verify_file"]

#: Names under which gold answers and responses usually come, in order of preference. A dot looks
#: into a column that holds objects.
GOLD_COLUMNS = (
    "gold",
    "ground_truth",
    "reward_model.ground_truth",
    "answer",
    "solution",
    "target",
    "reference",
    "label",
)
RESPONSE_COLUMNS = (
    "response",
    "responses",
    "prediction",
    "pred",
    "completion",
    "completions",
    "output",
    "outputs",
    "generation",
    "generations",
    "generated_text",
    "model_output",
)

#: Rows taken at once: enough for all threads, little memory.
BATCH = 4096


##### Columns


def _look_up(row: Fields, column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise UnreadableRow(f"no column {column}")
        value = value[name]
    return value


def _column(argument: str, wanted: str | None, usual: Sequence[str], row: Fields) -> str:
    there = columns_of(row)
    for name in (wanted,) if wanted is not None else usual:
        if name in there:
            return name
    expected = "a column of the file" if wanted is None else f"one of its columns for {wanted!r}"
    raise ConfigError(f"{argument}: expected {expected}; the file has {', '.join(there)}")


def _texts(row: Fields, column: str) -> list[str]:
    """A text or several; numbers as they are written."""
    value = _look_up(row, column)
    texts: list[str] = []
    values: list[Any] = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, int | float) and not isinstance(item, bool):
            texts.append(str(item))
        elif isinstance(item, str):
            texts.append(item)
        else:
            raise UnreadableRow(f"{column}: expected text, got {type(item).__name__}")
    if not texts:
        raise UnreadableRow(f"{column}: expected text, got an empty list")
    return texts


def _opinions(row: Fields, column: str, count: int) -> list[bool]:
    """The verdicts of something else on a row's samples."""
    value = _look_up(row, column)
    values = value if isinstance(value, list) else [value]
    if len(values) != count:
        raise UnreadableRow(f"{column}: expected {count} verdicts, got {len(values)}")
    return [_opinion(column, item) for item in values]


def _opinion(column: str, value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "yes", "equal", "correct"):
            return True
        if word in ("false", "no", "not_equal", "unknown", "incorrect"):
            return False
        try:
            value = float(word)
        except ValueError:
            value = None
    if isinstance(value, int | float):
        return bool(value > 0.5)
    raise UnreadableRow(f"{column}: expected a verdict (true, false, 1, 0), got {value!r:.40}")


##### Checking


@dataclass(frozen=True)
class Disagreement:
    """A sample on which another verdict differs."""

    row: int
    sample: int
    gold: str
    verdict: Verdict
    theirs: bool


@dataclass
class Summary:
    """What a file holds."""

    rows: int = 0
    samples: int = 0
    #: Samples by outcome and reason.
    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    #: Rows that could not be read, by why.
    unreadable: Counter[str] = field(default_factory=Counter)
    #: Place and reason of the first unreadable rows.
    first_unreadable: list[tuple[int, str]] = field(default_factory=list)
    #: Samples by our verdict and the other one; empty without another one.
    agreement: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    #: The first disagreements of either kind.
    disagreements: list[Disagreement] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> str:
        """The summary as text."""
        lines = [f"{'rows':<24}{self.rows:>10,}", f"{'samples':<24}{self.samples:>10,}"]
        order = sorted(
            self.outcomes.items(),
            key=lambda item: (_OUTCOMES.index(item[0][0]), item[0][1] or ""),
        )
        for (outcome, reason), count in order:
            name = outcome.replace("_", " ") + (f": {reason}" if reason else "")
            lines.append(f"  {name:<22}{count:>10,}  {count / self.samples:>7.2%}")
        count = sum(self.unreadable.values())
        lines.append(f"{'unreadable rows':<24}{count:>10,}")
        lines.extend(f"  row {row}: {reason}" for row, reason in self.first_unreadable)
        if self.agreement:
            lines += ["", *self._agreement()]
        return "\n".join(lines)

    def _agreement(self) -> Iterator[str]:
        total = sum(self.agreement.values())
        for title, ours, theirs in (
            ("both equal", True, True),
            ("neither equal", False, False),
            ("only here equal", True, False),
            ("only there equal", False, True),
        ):
            count = self.agreement[ours, theirs]
            yield f"{title:<24}{count:>10,}  {count / total:>7.2%}"
        for item in self.disagreements:
            verdict = item.verdict
            here = verdict.outcome + (f" ({verdict.reason})" if verdict.reason else "")
            yield (
                f"  row {item.row}, sample {item.sample}: {here} here, "
                f"{'equal' if item.theirs else 'not equal'} there; gold {item.gold!r:.80}, "
                f"extracted {verdict.extracted!r:.80}, rule {verdict.rule}"
            )


_OUTCOMES = ("equal", "not_equal", "unknown")


@dataclass
class _Job:
    row: int
    #: Whether the responses came as a list.
    several: bool
    golds: list[str]
    responses: list[str]
    theirs: list[bool] | None


def verify_file(
    path: Path,
    checker: Checker,
    *,
    gold: str | None = None,
    response: str | None = None,
    against: str | None = None,
    output: Path | None = None,
    examples: int = 5,
    threads: int | None = None,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Checks every response of a file.

    Args:
        path: The file; see `rows`.
        checker: Decides.
        gold: Column of gold answers, perhaps several a row; None: the first of `GOLD_COLUMNS`.
        response: Column of responses, perhaps several a row; None: the first of
            `RESPONSE_COLUMNS`.
        against: Column of another checker's verdicts, to compare with.
        output: JSON lines, one for each row: its number (from 0) and the verdict, or
            ``samples`` with verdicts, or ``error``.
        examples: So many disagreements of either kind, and unreadable rows, are kept.
        threads: At most so many.
        progress: Called after each batch.

    Raises:
        ConfigError: if a column does not exist.
    """
    start, summary = time.monotonic(), Summary()
    columns: tuple[str, str] | None = None
    source = rows(path)
    if output is not None and output.exists() and path.exists() and output.samefile(path):
        raise ConfigError(f"output: expected another file than the input, got {output}")
    written: IO[str] | None = None
    with ExitStack() as stack:
        for batch in _batches(source):
            jobs: list[_Job | tuple[int, UnreadableRow]] = []
            for row in batch:
                place = summary.rows
                summary.rows += 1
                if isinstance(row, UnreadableRow):
                    jobs.append((place, row))
                    continue
                if columns is None:
                    columns = (
                        _column("gold", gold, GOLD_COLUMNS, row),
                        _column("response", response, RESPONSE_COLUMNS, row),
                    )
                    if against is not None:
                        _column("against", against, (), row)
                try:
                    jobs.append(_job(place, row, columns, against))
                except UnreadableRow as error:
                    jobs.append((place, error))
            if output is not None and written is None:
                # Not before the columns are known to exist.
                written = stack.enter_context(output.open("w", encoding="utf-8"))
            _finish(jobs, checker, threads, examples, summary, written)
            summary.seconds = time.monotonic() - start
            if progress is not None:
                progress(summary)
        if output is not None and written is None:  # no rows, no lines
            output.write_text("", encoding="utf-8")
    summary.seconds = time.monotonic() - start
    return summary


def _batches(source: Iterator[Fields | UnreadableRow]) -> Iterator[list[Fields | UnreadableRow]]:
    batch: list[Fields | UnreadableRow] = []
    for row in source:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _job(place: int, row: Fields, columns: tuple[str, str], against: str | None) -> _Job:
    golds, responses = (_texts(row, column) for column in columns)
    theirs = None if against is None else _opinions(row, against, len(responses))
    several = isinstance(_look_up(row, columns[1]), list)
    return _Job(place, several, golds, responses, theirs)


def _finish(
    jobs: list[_Job | tuple[int, UnreadableRow]],
    checker: Checker,
    threads: int | None,
    examples: int,
    summary: Summary,
    written: IO[str] | None,
) -> None:
    """Checks a batch, and books and writes the results in order."""
    readable = [job for job in jobs if isinstance(job, _Job)]
    verdicts = iter(
        checker.check_many(
            [text for job in readable for text in job.responses],
            [job.golds for job in readable for _ in job.responses],
            threads=threads,
        )
    )
    for job in jobs:
        line: dict[str, Any]
        if isinstance(job, _Job):
            found = [next(verdicts) for _ in job.responses]
            _book(job, found, examples, summary)
            shown = [vars(verdict) for verdict in found]
            line = {"row": job.row, **({"samples": shown} if job.several else shown[0])}
        else:
            place, error = job
            summary.unreadable[str(error)] += 1
            if len(summary.first_unreadable) < examples:
                summary.first_unreadable.append((place, str(error)))
            line = {"row": place, "error": str(error)}
        if written is not None:
            # In ASCII, so that half of a surrogate pair can be written too.
            written.write(json.dumps(line) + "\n")


def _book(job: _Job, verdicts: list[Verdict], examples: int, summary: Summary) -> None:
    for sample, verdict in enumerate(verdicts):
        summary.samples += 1
        summary.outcomes[verdict.outcome, verdict.reason] += 1
        if job.theirs is None:
            continue
        ours, theirs = verdict.equal, job.theirs[sample]
        if ours != theirs and summary.agreement[ours, theirs] < examples:
            summary.disagreements.append(
                Disagreement(job.row, sample, job.golds[0], verdict, theirs)
            )
        summary.agreement[ours, theirs] += 1


class Progress:
    """One line on stderr that is written over, if somebody may be looking."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._width = 0

    def __enter__(self) -> Progress:
        """Shows nothing before the first batch."""
        return self

    def show(self, summary: Summary) -> None:
        """Writes the line."""
        if sys.stderr.isatty():
            rate = summary.samples / max(summary.seconds, 1e-9)
            line = f"{summary.rows:,} rows, {summary.samples:,} samples, {rate:,.0f} samples/s"
            print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def __exit__(self, *_: object) -> None:
        """Leaves the line, also for an error message."""
        if self._width:
            print(file=sys.stderr)
