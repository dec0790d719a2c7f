"""Makes what the scripts beside this train on: train.parquet, validation.parquet and demos.jsonl.

    python examples/verl/prepare_data.py --tokenizer Qwen/Qwen3-1.7B   # the paper's data
    python examples/verl/prepare_data.py --train mine.jsonl --test test.jsonl --demos worked.jsonl

A source is a file (.jsonl, .csv, .tsv, .parquet) or the name of a data set on the Hugging Face hub,
perhaps followed by where things are in it: SOURCE,split=train,question=problem,answer=answer. A dot
looks into a column: prompt.1.content.

Left out, counted, and listed in left_out.jsonl are: rows without question or answer; answers that
no response could be verified against; prompts that are too long (with --tokenizer); questions of
the training data that the evaluation has or that came before; demonstrations whose question the
evaluation or the training data has, or that came before. An evaluation keeps its repetitions.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow
import pyarrow.parquet

from icpo.demos import TEMPLATES, tokenizer_encoder
from icpo.errors import ConfigError, DataError, IcpoError
from icpo.reward import Checker
from icpo.tables import Row, UnreadableRow, placed_rows
from icpo.trainer.data import unverifiable
from icpo.types import Demo, Problem

#: Behind each question, as in the authors' data.
INSTRUCTION = "Let's think step by step and output the final answer within \\boxed{}."

FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz")

Item = TypeVar("Item", Problem, Demo)


##### Sources


@dataclass(frozen=True)
class Source:
    """Where rows come from, and the columns in which things are."""

    #: A file, or a name on the hub.
    path: str
    #: Of the data set on the hub.
    split: str = "train"
    question: str = "question"
    #: Gold answers, one or a list of which any will do.
    answer: str = "answer"
    #: Worked solutions, of demonstrations.
    solution: str = "solution"
    #: None: ``subject``, if there is such a column.
    subject: str | None = None

    @classmethod
    def read(cls, text: str) -> Source:
        """As it is written on the command line; names in `PAPER` have their own columns."""
        path, *changes = text.split(",")
        known = {each.path: each for each in PAPER["train"] + PAPER["test"] + PAPER["demos"]}
        columns = [each.name for each in dataclasses.fields(cls) if each.name != "path"]
        given = {}
        for change in changes:
            key, equals, value = change.partition("=")
            if key not in columns or not equals or not value:
                raise ConfigError(
                    f"source {path}: expected NAME=VALUE with {', '.join(columns)}, got {change!r}"
                )
            given[key] = value
        return dataclasses.replace(known.get(path, cls(path)), **given)

    @property
    def name(self) -> str:
        """What verl calls the data, and groups metrics by."""
        is_file = self.path.lower().endswith(FILES)
        return Path(self.path).name.split(".")[0] if is_file else self.path

    def rows(self) -> Iterator[Row]:
        """All of them."""
        if self.path.lower().endswith(FILES):
            yield from placed_rows(Path(self.path).expanduser())
            return
        import datasets

        for index, fields in enumerate(datasets.load_dataset(self.path, split=self.split)):
            yield Row(Path(self.path), index, fields)


#: The paper trains on OpenR1-Math (45k), shows MATH's training set, and evaluates on six
#: benchmarks. Those that are here are short enough to look at every few steps.
PAPER = {
    "train": [
        Source(
            "Elliott/Openr1-Math-46k-8192",
            question="prompt.1.content",
            answer="reward_model.ground_truth",
        )
    ],
    "test": [
        Source("HuggingFaceH4/MATH-500", "test", question="problem", subject="subject"),
        Source("HuggingFaceH4/aime_2024", "train", question="problem"),
        Source("math-ai/aime25", "test", question="problem"),
        Source("math-ai/amc23", "test"),
    ],
    "demos": [Source("DigitalLearningGmbH/MATH-lighteval", question="problem", subject="type")],
}


##### What is kept, and what is not


@dataclass
class Table:
    """Rows of sources that are kept, and how many are not, by why."""

    name: str
    kept: list[tuple[Source, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    #: A line for each row that is left out.
    notes: list[dict[str, Any]] = field(default_factory=list)

    def leave_out(self, source: Source, row: int, kind: str, why: str) -> None:
        """Counts a row, and notes why it is not kept."""
        self.left_out[kind] += 1
        note = {"table": self.name, "source": source.path, "row": row, "kind": kind, "why": why}
        self.notes.append(note)

    def keep_only(self, kind: str, fault: Callable[[Any], str | None]) -> None:
        """Leaves out what has a fault."""
        kept, self.kept = self.kept, []
        for source, item in kept:
            why = fault(item)
            if why is None:
                self.kept.append((source, item))
            else:
                self.leave_out(source, int(item.id), kind, why)

    def __str__(self) -> str:
        """A line of the summary."""
        rest = "".join(f", {count:,} {kind}" for kind, count in self.left_out.items())
        total = len(self.kept) + sum(self.left_out.values())
        return f"{self.name:<12}{total:>8,} rows: {len(self.kept):,} kept{rest}"


def read(name: str, sources: Sequence[Source], make: Callable[[Source, Row], Item]) -> Table:
    """The rows of sources. Ids are their numbers, from 1.

    Raises:
        DataError: if none of a source's rows can be read, which means other columns.
    """
    table = Table(name)
    for source in sources:
        before, fault = len(table.kept), "it has no rows"
        for row in source.rows():
            try:
                table.kept.append((source, make(source, row)))
            except UnreadableRow as error:
                fault = str(error)
                table.leave_out(source, row.index + 1, "unreadable", fault)
        if len(table.kept) == before:
            raise DataError(f"{source.path}: expected rows that can be read, but {fault}")
    return table


def problem(source: Source, row: Row) -> Problem:
    """What a row of the training or evaluation data asks."""
    return Problem(
        id=str(row.index + 1),
        question=row.text("question", source.question),
        answer=row.answer("answer", source.answer),
        subject=row.subject("subject", source.subject),
    )


def demo(source: Source, row: Row) -> Demo:
    """What a row of the pool shows."""
    return Demo(
        id=str(row.index + 1),
        question=row.text("question", source.question),
        solution=row.text("solution", source.solution),
        subject=row.subject("subject", source.subject),
    )


def without_answer(table: Table, checker: Checker) -> None:
    """Leaves out problems whose answer no response could be verified against."""
    faults = unverifiable([item for _, item in table.kept], checker)
    bad = {id(table.kept[place][1]): why for place, why in faults.items()}
    table.keep_only("unverifiable", lambda item: bad.get(id(item)))


def asked_before(table: Table, seen: dict[str, str]) -> None:
    """Leaves out questions in `seen`, which says where they stand, and adds the others to it."""

    def fault(item: Problem | Demo) -> str | None:
        question = same_question(item.question)
        if question in seen:
            return f"asked in {seen[question]}"
        seen[question] = f"{table.name}, row {item.id}"
        return None

    table.keep_only("asked before", fault)


def same_question(text: str) -> str:
    """Two questions are the same if this is: case, white space and dollar signs do not count."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().replace("$", "").split())


def too_long(table: Table, length: Callable[[Any], int], limit: int) -> None:
    """Leaves out what makes prompts of more tokens than the limit."""

    def fault(item: Problem | Demo) -> str | None:
        tokens = length(item)
        return f"{tokens} tokens, expected at most {limit}" if tokens > limit else None

    table.keep_only("too long", fault)


##### Files


def message(question: str, instruction: str) -> str:
    """What the user says."""
    return f"{question} {instruction}" if instruction else question


def write_problems(path: Path, table: Table, instruction: str) -> None:
    """In verl's form. What is in extra_info is for the choice of demonstrations."""
    several = any(isinstance(item.answer, tuple) for _, item in table.kept)
    rows = []
    for index, (source, item) in enumerate(table.kept):
        answers = [item.answer] if isinstance(item.answer, str) else list(item.answer)
        rows.append(
            {
                "data_source": source.name,
                "prompt": [{"role": "user", "content": message(item.question, instruction)}],
                "ability": "math",
                "reward_model": {
                    "style": "rule",
                    "ground_truth": answers if several else answers[0],
                },
                "extra_info": {
                    "index": index,
                    "split": table.name,
                    "question": item.question,
                    "subject": item.subject,
                },
            }
        )
    text = pyarrow.string()
    said = pyarrow.list_(pyarrow.struct({"role": text, "content": text}))
    truth = pyarrow.list_(text) if several else text
    schema = pyarrow.schema(
        {
            "data_source": text,
            "prompt": said,
            "ability": text,
            "reward_model": pyarrow.struct({"style": text, "ground_truth": truth}),
            "extra_info": pyarrow.struct(
                {"index": pyarrow.int64(), "split": text, "question": text, "subject": text}
            ),
        }
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path)


def write_demos(path: Path, table: Table) -> None:
    """One a line, as ``icpo.demonstrations.source`` takes them."""
    with path.open("w", encoding="utf-8") as file:
        for source, item in table.kept:
            line = {**dataclasses.asdict(item), "id": f"{source.path}:{item.id}"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


##### The command


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/data"), help="%(default)s")
    for name, sources in PAPER.items():
        paths = ", ".join(source.path for source in sources)
        parser.add_argument(f"--{name}", metavar="SOURCE", nargs="+", help=paths)
    parser.add_argument("--instruction", default=INSTRUCTION, help="behind each question")
    parser.add_argument("--profile", default="strict", help="of the checker; %(default)s")
    parser.add_argument("--tokenizer", metavar="MODEL", help="to find prompts that are too long")
    parser.add_argument(
        "--max-prompt", type=int, default=4096, metavar="TOKENS", help="%(default)s"
    )
    options = parser.parse_args(arguments)
    given = {
        name: [Source.read(text) for text in getattr(options, name) or ()] or sources
        for name, sources in PAPER.items()
    }
    train = read("train", given["train"], problem)
    test = read("validation", given["test"], problem)
    demos = read("demos", given["demos"], demo)

    checker = Checker(options.profile)
    without_answer(train, checker)
    without_answer(test, checker)
    if options.tokenizer is not None:
        limit_prompts(train, test, demos, options)
    seen = {same_question(item.question): test.name for _, item in test.kept}
    asked_before(train, seen)
    asked_before(demos, seen)

    tables = (train, test, demos)
    for table in tables:
        if not table.kept:
            raise DataError(f"{table.name}: expected rows to be left, but {table}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_problems(options.out / "train.parquet", train, options.instruction)
    write_problems(options.out / "validation.parquet", test, options.instruction)
    write_demos(options.out / "demos.jsonl", demos)
    with (options.out / "left_out.jsonl").open("w", encoding="utf-8") as file:
        for note in (note for table in tables for note in table.notes):
            file.write(json.dumps(note, ensure_ascii=False) + "\n")
    print(*tables, sep="\n")
    if options.tokenizer is None:
        print("Lengths of prompts are unknown without --tokenizer.")
    print(f"written to {options.out}; what was left out, and why: left_out.jsonl")


def limit_prompts(train: Table, test: Table, demos: Table, options: argparse.Namespace) -> None:
    """Leaves out what exceeds the limit: of demonstrations, with the shortest training question."""
    import transformers

    encode = tokenizer_encoder(transformers.AutoTokenizer.from_pretrained(options.tokenizer))

    def plain(item: Problem) -> int:
        return len(encode(message(item.question, options.instruction), True))

    for table in (train, test):
        too_long(table, plain, options.max_prompt)
    questions = [message(item.question, options.instruction) for _, item in train.kept]
    shortest = min(questions, key=len, default="")

    def shown(item: Demo) -> int:
        return len(encode(TEMPLATES["as-is"].render(shortest, [item]), True))

    too_long(demos, shown, options.max_prompt)


if __name__ == "__main__":
    try:
        main()
    except IcpoError as error:
        sys.exit(f"prepare_data.py: {error}")
