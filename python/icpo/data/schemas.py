r"""How data sets lay their rows out: which are recognised, and how each is read.

A `Schema` is a set of small functions of a `Row`. A column that is missing, empty or of another
type raises `UnreadableRow`, as everywhere; a part that a data set does not have is None or empty.

| schema | recognised by | answer | solution |
|---|---|---|---|
| `verl` | messages in `prompt`, `reward_model` | `ground_truth` | `extra_info.solution`, `target` |
| `openr1` | `problem`, `answer`, `generations` | `answer` | the generations that are right |
| `gsm8k` | `question`, `answer` with `####` | behind `####` | before it, with the answer in a box |
| `math` | `problem`, `solution` | `answer`, else the last `\boxed` of the solution | `solution` |
| `math-instruct` | `instruction`, `output` | behind the last "The answer is" | `output` |
| `plain` | `question`, or `problem` and `answer` | as `math` | `solution` or `solutions` |
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError
from icpo.tables import Fields, Row, UnreadableRow
from icpo.types import Demo, Problem

__all__ = [
    "PARTS",
    "QUESTIONS",
    "SCHEMAS",
    "Schema",
    "last_boxed",
    "recognise",
    "recognise_rows",
    "with_columns",
]

#: Of a file's rows so many are looked at to recognise its schema.
LOOKED_AT = 20

#: Where `icpo data passes` writes what it measured.
DIFFICULTY, LENGTH = "difficulty", "response_length"

Answer = str | tuple[str, ...]


##### Parts of rows


def last_boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed`` of a text; None: there is none that is closed.

    >>> last_boxed(r"So \boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> last_boxed(r"It is $\boxed 3$.")
    '3'
    """
    for found in reversed(list(re.finditer(r"\\(?:boxed|fbox)(?![A-Za-z])\s*", text))):
        inside = _group(text, found.end())
        if inside:
            return inside
    return None


def _group(text: str, start: int) -> str | None:
    """The argument of a command: what stands in braces, or a single token."""
    if text[start : start + 1] != "{":
        token = re.compile(r"\\[A-Za-z]+|[^\s$\\{}]+").match(text, start)
        return None if token is None else token[0].rstrip(".,;:")
    depth = 0
    for place in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(place[0], 0)
        if depth == 0:
            return text[start + 1 : place.start()].strip()
    return None


def _boxed_answer(column: str) -> Callable[[Row], Answer]:
    def answer(row: Row) -> str:
        found = last_boxed(row.text("answer", column))
        if found is None:
            raise UnreadableRow(f"answer: expected \\boxed{{...}} in column {column!r}, found none")
        return found

    return answer


def _answer_or_box(row: Row) -> Answer:
    """The column ``answer``; without one the box of the solution."""
    if row.values.get("answer") is not None or "solution" not in row.values:
        return row.answer("answer", "answer")
    return _boxed_answer("solution")(row)


def _texts(column: str) -> Callable[[Row], tuple[str, ...]]:
    """What stands in a column, one text or several; nothing, if it is null or empty."""

    def texts(row: Row) -> tuple[str, ...]:
        value = row.value("solution", column)
        # CSV has no other null than an empty text.
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            return ()
        found = row.answer("solution", column)
        return (found,) if isinstance(found, str) else found

    return texts


def _solutions(row: Row) -> tuple[str, ...]:
    """The columns ``solution`` or ``solutions``, if there is one."""
    column = next((name for name in ("solution", "solutions") if name in row.values), None)
    return () if column is None else _texts(column)(row)


def _first_column(key: str, names: Iterable[str]) -> Callable[[Row], str]:
    """A text in the first of these columns that there is."""
    names = tuple(names)

    def text(row: Row) -> str:
        there = next((name for name in names if name in row.values), names[0])
        return row.text(key, there)

    return text


def _optional(key: str, *columns: str) -> Callable[[Row], str | None]:
    """A text in the first of these columns that there is, perhaps inside others; else None."""

    def text(row: Row) -> str | None:
        for column in columns:
            if _there(row.values, column):
                value = row.value(key, column)
                return None if value is None or value == "" else row.text(key, column)
        return None

    return text


def _there(fields: Any, column: str) -> bool:
    name, _, inner = column.partition(".")
    if not isinstance(fields, Mapping) or name not in fields:
        return False
    return not inner or _there(fields[name], inner)


def _length(*columns: str) -> Callable[[Row], int | None]:
    def length(row: Row) -> int | None:
        for column in columns:
            if _there(row.values, column):
                value = row.value("length", column)
                if value is None or value == "":
                    return None
                if isinstance(value, str) and value.isdecimal():
                    return int(value)
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise UnreadableRow(
                        f"length: expected a number from 0 in column {column!r}, got {value!r:.80}"
                    )
                return value
        return None

    return length


_SUBJECT = _optional("subject", "subject")
_ID = _optional("id", "id")
_DIFFICULTY = _optional("difficulty", DIFFICULTY)
_LENGTH = _length(LENGTH)


##### Schemas


@dataclass(frozen=True)
class Schema:
    """How the rows of a data set are read.

    >>> from pathlib import Path
    >>> fields = {"question": "1 + 1?", "answer": "One more is 1+1=<<1+1=2>>2.\\n#### 2"}
    >>> schema, row = recognise(fields), Row(Path("a.jsonl"), 0, fields)
    >>> schema.name, schema.question(row), schema.answer(row)
    ('gsm8k', '1 + 1?', '2')
    >>> print(schema.solution(row))
    One more is 1+1=2.
    The answer is \\boxed{2}.
    """

    name: str
    #: Whether a row looks like one of its rows.
    fits: Callable[[Fields], bool]
    #: The question.
    question: Callable[[Row], str]
    #: The gold answer, or several of which any will do; it raises `UnreadableRow` if there is none.
    answer: Callable[[Row], Answer]
    #: Worked solutions, in order; empty: the row has none.
    solutions: Callable[[Row], tuple[str, ...]]
    #: The category; None: the row has none.
    subject: Callable[[Row], str | None] = _SUBJECT
    #: ``easy``, ``medium`` or ``hard``; None: not measured.
    difficulty: Callable[[Row], str | None] = _DIFFICULTY
    #: How long responses are; None: not measured.
    length: Callable[[Row], int | None] = _LENGTH
    #: The row's own name; None: it has none.
    id: Callable[[Row], str | None] = _ID

    def solution(self, row: Row) -> str:
        """The first of the worked solutions.

        Raises:
            UnreadableRow: if there is none.
        """
        found = self.solutions(row)
        if not found:
            raise UnreadableRow("solution: expected a worked solution, but the row has none")
        return found[0]

    def problem(self, row: Row, id: str) -> Problem:
        """The row as a problem.

        Raises:
            UnreadableRow: if question or answer can not be read.
        """
        return Problem(
            id=id,
            question=self.question(row),
            answer=self.answer(row),
            subject=self.subject(row),
            solutions=self.solutions(row),
            difficulty=self.difficulty(row),
            length=self.length(row),
        )

    def demo(self, row: Row, id: str) -> Demo:
        """The row as a demonstration.

        Raises:
            UnreadableRow: if question or solution can not be read.
        """
        return Demo(
            id=id,
            question=self.question(row),
            solution=self.solution(row),
            subject=self.subject(row),
            difficulty=self.difficulty(row),
            length=self.length(row),
        )


def _has(*columns: str) -> Callable[[Fields], bool]:
    return lambda fields: all(_there(fields, column) for column in columns)


# verl's rows, and those of Openr1-Math-46k-8192, which has verl's columns and `target`.


def _is_verl(fields: Fields) -> bool:
    return _has("prompt", "reward_model.ground_truth")(fields) and _is_chat(fields["prompt"])


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(said, Mapping) and "content" in said for said in value)
    )


def _bare_question(row: Row) -> str:
    """The question without instructions, if the row tells it; else what the user says last."""
    if bare := _optional("question", "extra_info.question")(row):
        return bare
    column = _last_said(row, "question", "prompt", "user")
    if column is None:
        raise UnreadableRow("question: expected a user's message in column 'prompt', found none")
    return row.text("question", column)


def _last_said(row: Row, key: str, column: str, role: str) -> str | None:
    messages = row.value(key, column)
    if not _is_chat(messages):
        raise UnreadableRow(f"{key}: expected messages in column {column!r}, got {messages!r:.80}")
    places = [place for place, said in enumerate(messages) if said.get("role") == role]
    return f"{column}.{places[-1]}.content" if places else None


def _stored_solutions(row: Row) -> tuple[str, ...]:
    if _there(row.values, "extra_info.solution"):
        return _texts("extra_info.solution")(row)
    if row.values.get("target") is None:
        return ()
    column = _last_said(row, "solution", "target", "assistant")
    return () if column is None else (row.text("solution", column),)


# GSM8K. Its solutions have marks for a calculator, and end with "#### 72".


def _is_gsm8k(fields: Fields) -> bool:
    answer = fields.get("answer")
    return "question" in fields and isinstance(answer, str) and "####" in answer


def _behind_marks(row: Row) -> str:
    answer = row.text("answer", "answer").rpartition("####")[2].strip()
    if "####" not in row.text("answer", "answer") or not answer:
        raise UnreadableRow("answer: expected an answer behind '####' in column 'answer'")
    return answer


def _without_marks(row: Row) -> tuple[str, ...]:
    steps = re.sub(r"<<[^<>]*>>", "", row.text("solution", "answer").rpartition("####")[0])
    return (f"{steps.strip()}\nThe answer is \\boxed{{{_behind_marks(row)}}}.",)


# OpenR1: several traces for each problem, and which of them were found right.


def _verified(row: Row) -> tuple[str, ...]:
    traces = _texts("generations")(row)
    verdicts: list[Any] = []
    for column in ("correctness_math_verify", "correctness_llama"):
        if row.values.get(column) is not None:
            verdicts.append(row.values[column])
    if not verdicts:
        return traces
    for found in verdicts:
        if not isinstance(found, list) or len(found) != len(traces):
            raise UnreadableRow(
                f"solution: expected a verdict for each of {len(traces)} generations, "
                f"got {found!r:.80}"
            )
    said = zip(*verdicts, strict=True)
    return tuple(trace for trace, each in zip(traces, said, strict=True) if True in each)


# MathInstruct. Programs state no answer.

_STATED = re.compile(r"[Tt]he (?:final )?answer is:?\s*(.+)")


def _stated_answer(row: Row) -> str:
    stated = _STATED.findall(row.text("answer", "output"))
    answer = stated[-1].strip().removesuffix(".").strip() if stated else ""
    if not answer:
        raise UnreadableRow("answer: expected 'The answer is ...' in column 'output', found none")
    return answer


def _is_plain(fields: Fields) -> bool:
    return any(name in fields for name in ("question", "problem")) and any(
        name in fields for name in ("answer", "solution")
    )


#: By name. The first that fits a row is its schema, so the more particular stand before the others.
SCHEMAS: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema(
            "verl",
            fits=_is_verl,
            question=_bare_question,
            answer=lambda row: row.answer("answer", "reward_model.ground_truth"),
            solutions=_stored_solutions,
            subject=_optional("subject", "extra_info.subject"),
            difficulty=_optional("difficulty", DIFFICULTY, f"extra_info.{DIFFICULTY}"),
            length=_length(LENGTH, f"extra_info.{LENGTH}"),
            id=_optional("id", "extra_info.id"),
        ),
        Schema(
            "openr1",
            fits=_has("problem", "answer", "generations"),
            question=lambda row: row.text("question", "problem"),
            answer=lambda row: row.answer("answer", "answer"),
            solutions=_verified,
            subject=_optional("subject", "problem_type"),
            id=_optional("id", "uuid"),
        ),
        Schema(
            "gsm8k",
            fits=_is_gsm8k,
            question=lambda row: row.text("question", "question"),
            answer=_behind_marks,
            solutions=_without_marks,
        ),
        Schema(
            "math",
            fits=_has("problem", "solution"),
            question=lambda row: row.text("question", "problem"),
            answer=_answer_or_box,
            solutions=_texts("solution"),
            subject=_optional("subject", "subject", "type"),
            id=_optional("id", "unique_id", "id"),
        ),
        Schema(
            "math-instruct",
            fits=_has("instruction", "output"),
            question=lambda row: row.text("question", "instruction"),
            answer=_stated_answer,
            solutions=_texts("output"),
            # Whether it is a chain of thought or a program, and of which collection.
            subject=_optional("subject", "source"),
        ),
        Schema(
            "plain",
            fits=_is_plain,
            question=_first_column("question", ("question", "problem")),
            answer=_answer_or_box,
            solutions=_solutions,
        ),
    )
}


#: For rows that are only compared with: whatever else they have, such as options in columns of
#: their own.
QUESTIONS = Schema(
    "questions",
    fits=lambda fields: any(name in fields for name in ("question", "problem", "Question")),
    question=_first_column("question", ("question", "problem", "Question")),
    answer=_answer_or_box,
    solutions=lambda row: (),
)


def recognise(row: Fields) -> Schema | None:
    """The schema of a row, by its columns and what they hold; None: no known one."""
    return next((schema for schema in SCHEMAS.values() if schema.fits(row)), None)


def recognise_rows(rows: Iterable[Row]) -> Schema | None:
    """The schema of a file by its first rows: the one that fits most of them.

    One row would not do: a broken one at the beginning would decide how all are read.
    """
    votes: dict[str, int] = {}
    for _, row in zip(range(LOOKED_AT), rows, strict=False):
        if not isinstance(row.content, UnreadableRow) and (schema := recognise(row.content)):
            votes[schema.name] = votes.get(schema.name, 0) + 1
    # Of equally many the more particular one, which stands first.
    best = max(SCHEMAS, key=lambda name: votes.get(name, 0))
    return SCHEMAS[best] if votes.get(best) else None


def _named(part: str, column: str, read: Callable[[Row], Any]) -> Callable[[Row], Any]:
    """What reads a column that somebody has named: it may hold nothing, but has to be there."""

    def found(row: Row) -> Any:
        row.value(part, column)
        return read(row)

    return found


#: Parts of a schema for which a column can be named, and what then reads it.
PARTS: dict[str, Callable[[str], Callable[[Row], Any]]] = {
    "question": lambda column: lambda row: row.text("question", column),
    "answer": lambda column: lambda row: row.answer("answer", column),
    "solution": lambda column: _texts(column),
    "subject": lambda column: lambda row: row.subject("subject", column),
    "difficulty": lambda column: _named("difficulty", column, _optional("difficulty", column)),
    "length": lambda column: _named("length", column, _length(column)),
    "id": lambda column: lambda row: row.id("id", column),
}


def with_columns(schema: Schema | None, columns: Mapping[str, str]) -> Schema:
    """The schema with columns of one's own for some of its parts.

    Args:
        schema: how the other parts are read; None: as in `plain`.
        columns: names of columns, by part: a name in `PARTS`. A dot looks into an object or list.

    Raises:
        ConfigError: if there is no such part.
    """
    for part in columns:
        if part not in PARTS:
            raise ConfigError(f"columns: expected {', '.join(PARTS)}, got {part!r}")
    read: dict[str, Any] = {
        "solutions" if part == "solution" else part: PARTS[part](column)
        for part, column in columns.items()
    }
    return dataclasses.replace(schema or SCHEMAS["plain"], **read)
