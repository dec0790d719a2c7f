"""The paper's nine benchmarks, and any other file of questions: where they are, how they are read.

Rows that can not be read, or whose answer no response could be verified against, are left out and
reported one by one; the rest is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icpo.data.schemas import Schema, recognise, with_columns
from icpo.data.sources import Source, lines_of
from icpo.errors import ConfigError, DataError
from icpo.evaluation.choices import LETTERS, Options
from icpo.generation.text import seed_of
from icpo.reward import Checker
from icpo.reward.golds import unverifiable
from icpo.tables import Fields, Row, UnreadableRow
from icpo.types import Problem

__all__ = ["BENCHMARKS", "Benchmark", "Question", "Quiz", "Skipped", "benchmark", "load"]


@dataclass(frozen=True)
class Benchmark:
    """A set of questions."""

    name: str
    #: As tables call it.
    title: str
    source: Source
    #: Samples of each problem: 32 makes avg@32, 1 makes pass@1.
    samples: int = 1
    #: Whether every question has options; a row without is then a broken one.
    choice: bool = False
    #: Those of a group are averaged, as in the paper's Table 1.
    group: str | None = None
    #: What its columns are called, by part of a schema, where rows have them.
    columns: Mapping[str, str] = field(default_factory=dict)


_MATH, _OTHER = "in distribution", "out of distribution"

#: By name. Those with few problems are sampled 32 times (appendix B.2).
BENCHMARKS: dict[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark("aime24", "AIME24", Source("HuggingFaceH4/aime_2024"), 32, group=_MATH),
        Benchmark("aime25", "AIME25", Source("math-ai/aime25", split="test"), 32, group=_MATH),
        Benchmark("amc23", "AMC23", Source("math-ai/amc23", split="test"), 32, group=_MATH),
        Benchmark(
            "math500", "MATH-500", Source("HuggingFaceH4/MATH-500", split="test"), group=_MATH
        ),
        Benchmark("minerva", "Minerva", Source("math-ai/minervamath", split="test"), group=_MATH),
        Benchmark(
            "olympiadbench",
            "OlympiadBench",
            Source("Hothan/OlympiadBench", config="OE_TO_maths_en_COMP"),
            columns={"answer": "final_answer", "subject": "subfield"},
            group=_MATH,
        ),
        Benchmark(
            "arc_c",
            "ARC-C",
            Source("allenai/ai2_arc", config="ARC-Challenge", split="test"),
            choice=True,
            group=_OTHER,
        ),
        Benchmark(
            "gpqa_diamond",
            "GPQA-Diamond",
            Source("Idavidrein/gpqa", config="gpqa_diamond"),
            choice=True,
            group=_OTHER,
        ),
        Benchmark(
            "mmlu_pro",
            "MMLU-Pro",
            Source("TIGER-Lab/MMLU-Pro", split="test"),
            choice=True,
            group=_OTHER,
        ),
    )
}


def benchmark(text: str) -> Benchmark:
    """A benchmark as it is written on a command line: its name, or ``name=SOURCE``.

    >>> benchmark("amc23=amc.jsonl").source.path, benchmark("amc23").samples
    ('amc.jsonl', 32)
    >>> benchmark("mine=mine.csv,question=text").samples
    1
    """
    name, equals, source = text.partition("=")
    if not name or (equals and not source):
        raise ConfigError(f"benchmarks: expected NAME or NAME=SOURCE, got {text!r}")
    if not equals:
        if name not in BENCHMARKS:
            raise ConfigError(
                f"benchmarks: expected {', '.join(BENCHMARKS)}, or NAME=SOURCE for another one, "
                f"got {name!r}"
            )
        return BENCHMARKS[name]
    known = BENCHMARKS.get(name, Benchmark(name, name, Source("")))
    return dataclasses.replace(known, source=Source.read(source))


@dataclass(frozen=True)
class Question:
    """A problem as it is asked."""

    problem: Problem
    #: Of multiple choice, in the order in which they are asked; the answer is then a label.
    options: Options | None = None
    #: Its text before options were put into another order; None: the problem's.
    stored: str | None = None

    @property
    def as_stored(self) -> Problem:
        """The problem as its file has it: a demonstration that asks this asks the same."""
        if self.stored is None:
            return self.problem
        return dataclasses.replace(self.problem, question=self.stored)


@dataclass(frozen=True)
class Skipped:
    """A row that is not asked."""

    #: File and line.
    where: str
    why: str

    def __str__(self) -> str:
        """As it is reported."""
        return f"{self.where}: {self.why}"


@dataclass(frozen=True)
class Quiz:
    """What is asked of a benchmark."""

    benchmark: Benchmark
    questions: tuple[Question, ...]
    skipped: tuple[Skipped, ...]
    #: Questions whose options speak of each other, and so stay in their order.
    unmoved: int


def load(
    chosen: Benchmark, checker: Checker, *, option_seed: int | None, limit: int | None = None
) -> Quiz:
    """Reads a benchmark.

    Args:
        chosen: which.
        checker: verifies that the gold answers can be verified.
        option_seed: of the order of options, which also depends on benchmark and problem, and on
            nothing else; None: they stay as they are.
        limit: only the first so many rows.

    Raises:
        DataError: the file can not be read, or nothing in it can be asked.
    """
    questions: list[tuple[Row, Question]] = []
    faults: dict[int, tuple[Row, str]] = {}
    known: set[str] = set()
    unmoved = 0
    source = chosen.source
    schema = source.recognised() if source.columns or source.schema else None
    for row in _first(chosen.source.rows(), limit):
        try:
            question = _question(row, chosen, schema)
            id = question.problem.id
            if id in known:
                raise UnreadableRow(f"id: expected unique ids, got {id!r} twice")
        except UnreadableRow as fault:
            faults[row.index] = (row, str(fault))
            continue
        known.add(id)
        if question.options is not None and option_seed is not None:
            unmoved += not question.options.movable
            question = _shuffled(question, seed_of(option_seed, chosen.name, id))
        questions.append((row, question))
    open_ones = [(row, one) for row, one in questions if one.options is None]
    unfit = unverifiable([one.problem for _, one in open_ones], checker)
    for place, why in unfit.items():
        row, _ = open_ones[place]
        faults[row.index] = (row, why)
    asked = tuple(one for row, one in questions if row.index not in faults)
    told = _told(source, [faults[index] for index in sorted(faults)])
    if not asked:
        why = f": {told[0]}" if told else ", but there are no rows"
        raise DataError(f"{chosen.source}: expected questions that can be asked{why}")
    return Quiz(chosen, asked, told, unmoved)


def _told(source: Source, faults: Sequence[tuple[Row, str]]) -> tuple[Skipped, ...]:
    # A row that is asked for its place reads its file from the start.
    lines: Sequence[int] = ()
    if faults and source.is_file and not source.path.lower().endswith(".parquet"):
        lines = list(lines_of(Path(source.path).expanduser()))
    return tuple(
        Skipped(
            f"{row.path}: " + (f"line {lines[row.index]}" if lines else f"row {row.index + 1}"),
            why,
        )
        for row, why in faults
    )


def _first(rows: Iterator[Row], limit: int | None) -> Iterator[Row]:
    for row in rows:
        if limit is not None and row.index >= limit:
            return
        yield row


def _shuffled(question: Question, seed: int) -> Question:
    assert question.options is not None  # only these are shuffled
    options = question.options.shuffled(seed)
    problem = dataclasses.replace(question.problem, question=options.question, answer=options.label)
    return Question(problem, options, question.problem.question)


##### Rows


def _question(row: Row, chosen: Benchmark, schema: Schema | None) -> Question:
    for form in _CHOICES:
        if schema is None and form.fits(row.values):
            return _of_options(row, form)
    # Each row by itself: a file in which rows of other kinds lie is no reason to stop.
    own = {part: name for part, name in chosen.columns.items() if name in row.values}
    schema = schema or recognise(row.values)
    if own:
        schema = with_columns(schema, own)
    if schema is None:
        there = ", ".join(row.values)
        raise UnreadableRow(f"question: expected columns of a known schema, the row has {there}")
    problem = schema.problem(row, schema.id(row) or str(row.index + 1))
    options = None
    # Statements of an open question may be numbered, and its answer be one of these numbers.
    if isinstance(problem.answer, str) and (chosen.choice or not problem.answer.strip().isdigit()):
        options = Options.find(problem.question, problem.answer.strip())
    if options is None and chosen.choice:
        raise UnreadableRow(
            f"answer: expected the label of an option in the question, got {problem.answer!r:.80}"
        )
    return Question(problem, options)


@dataclass(frozen=True)
class _Choices:
    """Columns of a data set that keeps its options apart from the question."""

    fits: Callable[[Fields], bool]
    question: str
    #: Texts of the options, and which of them is right, from 0.
    options: Callable[[Row], tuple[Sequence[str], int]]
    id: str
    subject: str


def _of_options(row: Row, form: _Choices) -> Question:
    texts, gold = form.options(row)
    try:
        options = Options.listed(row.text("question", form.question), texts, gold)
    except DataError as error:
        raise UnreadableRow(str(error)) from None
    id = row.text("id", form.id) if form.id in row.values else str(row.index + 1)
    subject = row.subject("subject", form.subject) if form.subject in row.values else None
    return Question(Problem(id, options.question, options.label, subject), options)


def _listed(row: Row) -> tuple[Sequence[str], int]:
    """MMLU-Pro: a list, and a letter."""
    texts = _texts(row, "options")
    letter = row.text("answer", "answer").strip()
    if len(letter) != 1 or letter not in LETTERS[: len(texts)]:
        raise UnreadableRow(
            f"answer: expected one of {', '.join(LETTERS[: len(texts)])}, got {letter!r:.80}"
        )
    return texts, LETTERS.index(letter)


def _labelled(row: Row) -> tuple[Sequence[str], int]:
    """ARC: a list, the labels that its options once had, and one of these."""
    texts, labels = _texts(row, "choices.text"), _texts(row, "choices.label")
    key = row.text("answer", "answerKey").strip()
    if len(labels) != len(texts) or key not in labels:
        raise UnreadableRow(f"answerKey: expected one of {', '.join(labels)}, got {key!r:.80}")
    return texts, labels.index(key)


_WRONG = tuple(f"Incorrect Answer {number}" for number in (1, 2, 3))


def _apart(row: Row) -> tuple[Sequence[str], int]:
    """GPQA: a column an option. The right one is the first, until they are shuffled."""
    return [row.text("options", name) for name in ("Correct Answer", *_WRONG)], 0


def _texts(row: Row, column: str) -> list[str]:
    value: Any = row.value("options", column)
    if not isinstance(value, list) or not value:
        raise UnreadableRow(f"options: expected a list in column {column!r}, got {value!r:.80}")
    return [row.text("options", f"{column}.{place}") for place in range(len(value))]


def _has(*columns: str) -> Callable[[Fields], bool]:
    return lambda fields: all(column in fields for column in columns)


def _arc(fields: Fields) -> bool:
    return _has("choices", "answerKey")(fields) and isinstance(fields["choices"], Mapping)


_CHOICES = (
    _Choices(_has("options", "answer"), "question", _listed, "question_id", "category"),
    _Choices(_arc, "question", _labelled, "id", "subject"),
    _Choices(_has("Correct Answer", *_WRONG), "Question", _apart, "Record ID", "Subdomain"),
)
