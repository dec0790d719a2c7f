"""The second reading of sources: what was kept, as verl's parquet."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icpo.data.progress import Progress
from icpo.data.read import Again, read_again
from icpo.data.table import Table

__all__ = ["Form", "write_rows"]

#: Rows that are in memory at once, solutions included.
BATCH = 1024


@dataclass(frozen=True)
class Form:
    """What rows look like. Files that one run trains on together need the same form."""

    #: Behind each question; empty: nothing.
    instruction: str
    #: What the system says first; empty: nothing.
    system: str = ""
    #: Whether ground truths are lists, because one row has several; otherwise they are texts.
    several_answers: bool = False
    #: Whether stored solutions are.
    several_solutions: bool = False

    def messages(self, question: str) -> list[dict[str, str]]:
        """The prompt.

        >>> Form("Think.").messages("1 + 1?")
        [{'role': 'user', 'content': '1 + 1? Think.'}]
        """
        said = f"{question} {self.instruction}" if self.instruction else question
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": said}]

    def schema(self) -> Any:
        """As pyarrow writes it."""
        import pyarrow

        text, number = pyarrow.string(), pyarrow.int64()
        texts = pyarrow.list_(text)
        return pyarrow.schema(
            {
                "data_source": text,
                "prompt": pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
                "ability": text,
                "reward_model": pyarrow.struct(
                    {"style": text, "ground_truth": texts if self.several_answers else text}
                ),
                "extra_info": pyarrow.struct(
                    {
                        "split": text,
                        "index": number,
                        "id": text,
                        "question": text,
                        "subject": text,
                        "difficulty": text,
                        "response_length": number,
                        "solution": texts if self.several_solutions else text,
                    }
                ),
            }
        )


def write_rows(path: Path, table: Table, form: Form, progress: Progress) -> None:
    """Writes what a table keeps, in the order of its sources.

    Raises:
        DataError: if a source is not what it was when it was read before.
    """
    import pyarrow
    import pyarrow.parquet

    schema = form.schema()
    rows = (_row(table, index, again, form) for index, again in enumerate(read_again(table)))
    done = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            done += len(batch)
            progress.show(f"{table.name}: {done:,} of {len(table.kept):,} rows written")


def _row(table: Table, index: int, again: Again, form: Form) -> dict[str, Any]:
    item, row = again.item, again.row
    schema = table.schemas[item.source]
    answers = [item.answer] if isinstance(item.answer, str) else list(item.answer or ())
    return {
        "data_source": table.sources[item.source].name,
        "prompt": form.messages(item.question),
        "ability": "math",
        "reward_model": {
            "style": "rule",
            "ground_truth": _one_or_all(answers, form.several_answers),
        },
        "extra_info": {
            "split": table.name,
            "index": index,
            "id": item.id,
            "question": item.question,
            "subject": schema.subject(row),
            "difficulty": schema.difficulty(row),
            "response_length": schema.length(row),
            "solution": _one_or_all(again.solutions, form.several_solutions),
        },
    }


def _one_or_all(texts: list[str], several: bool) -> list[str] | str | None:
    if several:
        return texts or None
    return texts[0] if texts else None
