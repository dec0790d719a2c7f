"""From sources to files that trainers read: read, filter, compare, write, report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icpo.data.duplicates import NEAR, WORDS
from icpo.data.filters import (
    Asked,
    Likeness,
    asked_by,
    leave_out_long,
    leave_out_unverifiable,
)
from icpo.data.lengths import TokenCounter
from icpo.data.paper import INSTRUCTION
from icpo.data.progress import Progress
from icpo.data.read import (
    Make,
    SolutionLimit,
    demonstration,
    problem,
    question,
    read_again,
    read_table,
)
from icpo.data.report import Report, lost_lines
from icpo.data.sources import Source
from icpo.data.table import Item, Table
from icpo.data.write import Form, write_rows
from icpo.demos import TEMPLATES
from icpo.errors import ConfigError, DataError
from icpo.reward import Checker
from icpo.types import Demo

__all__ = ["LEFT_OUT", "REPORT", "Preparation", "file_of", "prepare"]

#: Names of files in the folder, beside those of the tables.
REPORT, LEFT_OUT = "report.json", "left_out.jsonl"


def file_of(table: str) -> str:
    """The name of a table's file."""
    return f"{table}.parquet"


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and how."""

    train: Sequence[Source] = ()
    validation: Sequence[Source] = ()
    demos: Sequence[Source] = ()
    #: Evaluation sets that are compared with, but not written.
    against: Sequence[Source] = ()
    #: Behind each question; empty: nothing.
    instruction: str = INSTRUCTION
    #: What the system says first; empty: nothing.
    system: str = ""
    #: Decides which answers can be verified, and which stored solutions are right.
    checker: Checker = field(default_factory=Checker)
    #: Name or folder of a tokenizer; None: nothing is counted in tokens.
    tokenizer: str | None = None
    #: Limit of prompts in tokens. Of demonstrations it is that of a prompt with the shortest
    #: training question.
    max_prompt: int | None = None
    #: Limit of stored solutions in tokens.
    max_solution: int | None = None
    #: Limit of questions in characters.
    max_question_chars: int | None = None
    #: Limit of stored solutions in characters.
    max_solution_chars: int | None = None
    #: Whether to leave out stored solutions that the checker does not find right.
    only_right: bool = False
    #: Whether to keep demonstrations that the training data asks too.
    keep_shared: bool = False
    #: Share of word n-grams from which on questions are nearly the same.
    near: float = NEAR
    #: Length of these n-grams.
    words: int = WORDS
    #: Only the first so many rows of each source; None: all.
    limit: int | None = None

    def __post_init__(self) -> None:
        """Checks ranges, and settings that need others."""
        if not (self.train or self.validation or self.demos):
            raise ConfigError("sources: expected some for train, validation or demos, got none")
        if not 0 < self.near <= 1:
            raise ConfigError(f"near: expected a share above 0 and up to 1, got {self.near}")
        lengths = ("max_prompt", "max_solution", "max_question_chars", "max_solution_chars")
        for name in (*lengths, "words", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}: expected at least 1, got {value}")
        for name in ("max_prompt", "max_solution"):
            if getattr(self, name) is not None and self.tokenizer is None:
                raise ConfigError(
                    f"{name}: expected a tokenizer to count tokens with, got none; "
                    "max_question_chars and max_solution_chars need none"
                )
        if self.max_solution is not None and self.max_solution_chars is not None:
            raise ConfigError("max_solution: expected one limit, got max_solution_chars as well")

    def settings(self) -> dict[str, Any]:
        """What decides about rows beside the sources, as a report has it. Plain values."""
        return {
            "instruction": self.instruction,
            "system": self.system,
            "checker": {"profile": self.checker.profile, **self.checker.settings},
            "tokenizer": self.tokenizer,
            "max_prompt": self.max_prompt,
            "max_solution": self.max_solution,
            "max_question_chars": self.max_question_chars,
            "max_solution_chars": self.max_solution_chars,
            "only_right": self.only_right,
            "keep_shared": self.keep_shared,
            "near": self.near,
            "words": self.words,
            "limit": self.limit,
        }


def prepare(what: Preparation, out: Path, progress: Progress | None = None) -> Report:
    """Writes the tables that have sources, a report, and a line for each row that is left out.

    Nothing is written before all sources have been read, and no file is ever there half-written.

    Raises:
        DataError: if a source can not be read, or none of a table's rows is left.
        ConfigError: if a setting does not fit.
    """
    with progress or Progress() as shown:
        return _Run(what, shown).write(out)


class _Run:
    """The steps, in their order."""

    def __init__(self, what: Preparation, progress: Progress) -> None:
        self.what, self.progress = what, progress
        self.form = Form(what.instruction, what.system)
        self.tokens = None if what.tokenizer is None else TokenCounter.of(what.tokenizer)
        self.likeness = Likeness(what.words, what.near, what.checker)
        self.train = self.read("train", what.train, problem)
        self.validation = self.read("validation", what.validation, problem)
        self.demos = self.read("demos", what.demos, demonstration)
        self.against = self.read("against", what.against, question)
        self.filter()

    @property
    def tables(self) -> list[Table]:
        """Those that are written."""
        tables = (self.train, self.validation, self.demos)
        return [table for table in tables if table is not None]

    def read(self, name: str, sources: Sequence[Source], make: Make) -> Table | None:
        """The table of that name; None: it has no sources."""
        if not sources:
            return None
        return read_table(
            name,
            sources,
            make,
            self.what.checker,
            limit=self.what.limit,
            longest=self.longest(),
            progress=self.progress,
        )

    def longest(self) -> SolutionLimit | None:
        """The limit of stored solutions."""
        what = self.what
        if what.max_solution is not None and self.tokens is not None:
            return SolutionLimit(self.tokens.texts, "tokens", what.max_solution)
        if what.max_solution_chars is not None:
            return SolutionLimit(_characters, "characters", what.max_solution_chars)
        return None

    def filter(self) -> None:
        """Leaves out what has a fault, and what is asked elsewhere."""
        # Whatever else is wrong with an evaluation's row: its question gives it away.
        evaluations = asked_by(*(each for each in (self.validation, self.against) if each))
        for table in self.tables:
            leave_out_unverifiable(table, self.what.checker)
        if self.what.only_right:
            for table in self.tables:
                table.drop_solutions(
                    "solution_not_right",
                    lambda item, stored: None if stored.verdict == "right" else stored.verdict,
                )
        for table in self.tables:
            self.leave_out_long(table)
        if self.train is not None:
            self.compare(self.train, evaluations)
            self.likeness.leave_out_repeated(self.train)
        if self.demos is not None:
            self.demos.keep_only(
                "no_solution",
                lambda item: None if item.solutions else "each of its solutions is left out",
            )
            self.leave_out_long_demos(self.demos)
            self.compare(self.demos, evaluations)
            if self.train is not None and not self.what.keep_shared:
                asked = asked_by(self.train)
                self.likeness.leave_out_asked(
                    self.demos, asked, "in_train", "near_train", same_numbers=True
                )
            self.likeness.leave_out_repeated(self.demos)

    def compare(self, table: Table, evaluations: Sequence[Asked]) -> None:
        """Leaves out what an evaluation asks, with other numbers too."""
        self.progress.show(f"{table.name}: compared with {len(evaluations):,} questions")
        self.likeness.leave_out_asked(
            table, evaluations, "in_evaluation", "near_evaluation", same_numbers=False
        )

    def leave_out_long(self, table: Table) -> None:
        """Leaves out long questions and prompts."""
        what, tokens = self.what, self.tokens
        if what.max_question_chars is not None:
            leave_out_long(
                table,
                lambda items: _characters([item.question for item in items]),
                "characters",
                what.max_question_chars,
            )
        if what.max_prompt is not None and tokens is not None:
            leave_out_long(
                table,
                lambda items: [tokens.chat(self.form.messages(item.question)) for item in items],
                "tokens",
                what.max_prompt,
            )

    def leave_out_long_demos(self, table: Table) -> None:
        """Leaves out demonstrations that no prompt within the limit could show."""
        what, tokens = self.what, self.tokens
        if what.max_prompt is None or tokens is None:
            return
        questions = [] if self.train is None else self.train.questions
        shortest = self.form.messages(min(questions, key=len, default=""))[-1]["content"]
        lengths = {
            again.item.id: tokens.chat(
                [
                    *self.form.messages("")[:-1],
                    {"role": "user", "content": _shown(again.item, again.solutions[0], shortest)},
                ]
            )
            for again in read_again(table)
        }
        leave_out_long(
            table,
            lambda items: [lengths[item.id] for item in items],
            "tokens with the shortest question",
            what.max_prompt,
        )

    def write(self, out: Path) -> Report:
        """Writes everything, or nothing."""
        for table in self.tables:
            if not table.kept:
                left_out = {kind: count for kind, count in table.counts().items() if count}
                raise DataError(
                    f"{table.name}: expected rows to be left, but of {sum(table.rows):,} all are "
                    f"left out: {', '.join(f'{kind} {n:,}' for kind, n in left_out.items())}"
                )
        out.mkdir(parents=True, exist_ok=True)
        names = [*(file_of(table.name) for table in self.tables), LEFT_OUT, REPORT]
        try:
            report = self.write_parts(out)
        except BaseException:
            for name in names:
                _part(out / name).unlink(missing_ok=True)
            raise
        for name in names:
            os.replace(_part(out / name), out / name)
        return report

    def write_parts(self, out: Path) -> Report:
        """Writes everything under names of its own."""
        form = self.common_form()
        files: dict[str, tuple[str, str]] = {}
        for table in self.tables:
            part = _part(out / file_of(table.name))
            write_rows(part, table, form, self.progress)
            files[table.name] = (file_of(table.name), _sha256(part))
        report = Report.of(self.what.settings(), self.tables, self.against, files)
        tables = [*self.tables, *([self.against] if self.against is not None else [])]
        with _part(out / LEFT_OUT).open("w", encoding="utf-8") as file:
            file.writelines(_line(line) for line in lost_lines(tables))
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        _part(out / REPORT).write_text(text + "\n", encoding="utf-8")
        return report

    def common_form(self) -> Form:
        """One form for all tables, so that they can be trained on together."""
        items = [item for table in self.tables for item in table.kept]
        return Form(
            self.what.instruction,
            self.what.system,
            several_answers=any(isinstance(item.answer, tuple) for item in items),
            several_solutions=any(len(item.solutions) > 1 for item in items),
        )


def _shown(item: Item, solution: str, question: str) -> str:
    return TEMPLATES["as-is"].render(question, [Demo(item.id, item.question, solution)])


def _characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
