"""How often a model answers each question right, and at what length: columns for strategies.

`passes` of `samples` answers were right, which makes a question easy, medium or hard (appendix C);
`response_length` is their mean number of tokens. What was asked is kept in a journal, so a run that
was stopped goes on, and a file to which rows were added asks only these.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from icpo.data.rewrite import rewrite
from icpo.data.schemas import DIFFICULTY, LENGTH, Schema
from icpo.data.sources import Source
from icpo.demos import Template
from icpo.demos.difficulty import DIFFICULTIES, SAMPLES, difficulty_of
from icpo.errors import ConfigError, DataError
from icpo.evaluation.journal import Journal, Key
from icpo.evaluation.progress import Progress
from icpo.generation import Sampling
from icpo.generation.text import Message, TextCompletion, TextEngine, TextRequest, seed_of
from icpo.reward import Checker
from icpo.reward.golds import unverifiable
from icpo.tables import Row, UnreadableRow
from icpo.types import Problem

__all__ = ["COLUMNS", "Measurement", "Passes", "measure", "prompt_of"]

#: What is added to each row.
COLUMNS = ("passes", "samples", DIFFICULTY, LENGTH)

Prompt = str | tuple[Message, ...]


@dataclass(frozen=True)
class Passes:
    """What is asked, and how."""

    #: How each question is asked; None: as the file's own messages say, which verl's rows have.
    template: Template | None
    sampling: Sampling
    #: How often.
    samples: int = SAMPLES
    #: All answers follow from it.
    seed: int = 0
    checker: Checker = field(default_factory=Checker)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.samples < 1:
            raise ConfigError(f"samples: expected at least 1, got {self.samples}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected a number from 0, got {self.seed}")
        if self.sampling.greedy and self.samples > 1:
            raise ConfigError(
                f"temperature: expected a number above 0, since {self.samples} answers are "
                "sampled, got 0"
            )


@dataclass(frozen=True)
class Measurement:
    """What the questions of a file came to."""

    #: Questions by difficulty.
    difficulties: Mapping[str, int]
    #: Questions by right answers.
    passes: Mapping[int, int]
    #: Rows whose answer can not be verified: they get no difficulty. Place and reason of each.
    unverifiable: Sequence[str]
    answers: int
    #: Answers that the limit cut off.
    unfinished: int
    #: Answers that the checker could not judge.
    unknown: int
    #: Mean length of an answer in tokens; None: the engine does not say.
    tokens: float | None

    def __str__(self) -> str:
        """A few lines."""
        lines = [f"{name:<8}{count:>8,} questions" for name, count in self.difficulties.items()]
        by_passes = ", ".join(f"{right}: {count:,}" for right, count in self.passes.items())
        lines.append(f"by right answers: {by_passes}")
        length = "" if self.tokens is None else f" of {self.tokens:,.1f} tokens on average"
        lines.append(
            f"{self.answers:,} answers{length}; {self.unfinished:,} cut off at the limit, "
            f"{self.unknown:,} that could not be judged"
        )
        if self.unverifiable:
            lines.append(
                f"{len(self.unverifiable):,} rows have no answer that can be verified, and so no "
                f"difficulty: {'; '.join(self.unverifiable[:3])}"
                + ("; ..." if len(self.unverifiable) > 3 else "")
            )
        return "\n".join(lines)


def prompt_of(schema: Schema, row: Row, template: Template | None) -> Prompt:
    """What a model is asked: the question in a template, or the row's own messages without one.

    Raises:
        UnreadableRow: if the row has neither.
    """
    if template is not None:
        text = template.render(schema.question(row), [])
        return (Message("user", text),) if template.chat else text
    count = len(row.value("prompt", "prompt"))
    said = [
        [row.text("prompt", f"prompt.{i}.{key}") for key in Message._fields] for i in range(count)
    ]
    return tuple(Message(role, content) for role, content in said)


def measure(
    source: Source,
    output: Path,
    what: Passes,
    engine: Callable[[bool], TextEngine],
    about: Mapping[str, Any],
    stream: TextIO | None = None,
) -> Measurement:
    """Asks every question of a file, and writes its rows again with `COLUMNS`.

    Args:
        source: a file of rows.
        output: of the same format. The journal stands beside it.
        what: how they are asked.
        engine: opens what answers, told whether prompts are chats; only if there is something left
            to ask.
        about: what answers, in plain values. Answers of something else are not taken for its own.
        stream: of the progress; None: standard error.

    Raises:
        DataError: if a row can not be read: that is for `icpo data prepare` to leave out.
        ConfigError: if settings do not fit.
    """
    if not source.is_file:
        raise ConfigError(f"file: expected a file of rows, got {source}")
    file = Path(source.path).expanduser()
    form = "".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:])
    if not output.name.endswith(form):
        raise ConfigError(f"output: expected a name that ends with {form}, got {output}")
    schema = source.recognised()
    if what.template is None and schema.name != "verl":
        raise ConfigError(
            f"template: expected a name, since rows of schema {schema.name} have no messages of "
            "their own, got none"
        )
    asked = _read(source, schema, what, about)
    with Journal(output.with_name(f"{output.name}.journal.jsonl")) as journal:
        _ask(asked, what, engine, journal, stream)
        judged = _judge(asked, what, journal)
    inside = "extra_info" if schema.name == "verl" else None
    rewrite(file, output, [one.columns() for one in judged], inside)
    return _measurement(source, judged)


@dataclass(frozen=True)
class _Asked:
    row: Row
    prompt: Prompt
    answer: str | tuple[str, ...]
    #: Why there is no answer; None: there is.
    fault: str | None
    #: Of each answer; it names all that the answer depends on.
    keys: tuple[Key, ...]


def _read(source: Source, schema: Schema, what: Passes, about: Mapping[str, Any]) -> list[_Asked]:
    how = f"passes-{_digest([vars(what.sampling), dict(about)])}"
    asked = []
    for row in source.rows():
        try:
            prompt = prompt_of(schema, row, what.template)
        except UnreadableRow as error:
            raise row.error(error) from None
        # A row without an answer, such as a program or a proof, still has a length.
        answer: str | tuple[str, ...] = ()
        fault = None
        try:
            answer = schema.answer(row)
        except UnreadableRow as error:
            fault = str(error)
        # Not its id, nor its row: a file that has changed elsewhere is not asked again.
        name = _digest(prompt)
        keys = tuple((how, 0, what.seed, name, sample) for sample in range(what.samples))
        asked.append(_Asked(row, prompt, answer, fault, keys))
    if not asked:
        raise DataError(f"{source}: expected questions, but the file is empty")
    return asked


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _ask(
    asked: Sequence[_Asked],
    what: Passes,
    engine: Callable[[bool], TextEngine],
    journal: Journal,
    stream: TextIO | None,
) -> None:
    """Asks what the journal does not have, in groups as the engine wants them."""
    # Questions that are the same have the same answers.
    prompts = {key: one.prompt for one in asked for key in one.keys}
    order = list(prompts)
    missing = sum(key not in journal for key in order)
    if not missing:
        return
    answering = engine(any(not isinstance(prompt, str) for prompt in prompts.values()))
    size = answering.together
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    left = [key for group in groups if any(key not in journal for key in group) for key in group]
    requests = [
        TextRequest(prompts[key], what.sampling, seed_of("passes", what.seed, key[3], key[4]))
        for key in left
    ]
    with Progress(len(order), len(order) - missing, stream=stream or sys.stderr) as progress:

        def done(place: int, answer: TextCompletion) -> None:
            if left[place] not in journal:
                journal.add(left[place], vars(answer))
                progress.add(answer.tokens)

        answering.complete(requests, done)


@dataclass(frozen=True)
class _Judged:
    """What the answers to a question came to. Their texts, which are long, stay in the journal."""

    row: int
    #: Why the answer of the row can not be verified; None: it can.
    fault: str | None
    outcomes: tuple[str, ...]
    tokens: tuple[int | None, ...]
    finished: tuple[bool, ...]

    @property
    def right(self) -> int:
        return self.outcomes.count("equal")

    @property
    def length(self) -> float | None:
        """Mean number of tokens; None: the engine does not count."""
        known = [tokens for tokens in self.tokens if tokens is not None]
        return sum(known) / len(known) if len(known) == len(self.tokens) else None

    def columns(self) -> dict[str, Any]:
        """What is added to the row."""
        samples = len(self.tokens)
        return {
            "passes": None if self.fault else self.right,
            "samples": samples,
            DIFFICULTY: None if self.fault else difficulty_of(self.right, samples),
            LENGTH: None if self.length is None else round(self.length),
        }


def _judge(asked: Sequence[_Asked], what: Passes, journal: Journal) -> list[_Judged]:
    faults = {place: one.fault for place, one in enumerate(asked) if one.fault is not None}
    stated = [place for place, one in enumerate(asked) if one.fault is None]
    problems = [Problem(str(place), "?", asked[place].answer) for place in stated]
    faults |= {stated[at]: why for at, why in unverifiable(problems, what.checker).items()}
    judged = []
    for place, one in enumerate(asked):
        lines = [journal.read(key) for key in one.keys]
        texts = [] if place in faults else [line["text"] for line in lines]
        verdicts = what.checker.check_many(texts, [one.answer] * len(texts))
        judged.append(
            _Judged(
                one.row.index,
                faults.get(place),
                tuple(verdict.outcome for verdict in verdicts),
                tuple(line["tokens"] for line in lines),
                tuple(line["finished"] for line in lines),
            )
        )
    return judged


def _measurement(source: Source, judged: Sequence[_Judged]) -> Measurement:
    rows = [one.columns() for one in judged]
    difficulties = Counter(row[DIFFICULTY] for row in rows)
    passes = Counter(one.right for one in judged if one.fault is None)
    lengths = [one.length for one in judged if one.length is not None]
    return Measurement(
        {name: difficulties[name] for name in DIFFICULTIES},
        dict(sorted(passes.items())),
        tuple(f"{source.place(one.row)}: {one.fault}" for one in judged if one.fault is not None),
        sum(len(one.tokens) for one in judged),
        sum(one.finished.count(False) for one in judged),
        sum(one.outcomes.count("unknown") for one in judged),
        sum(lengths) / len(lengths) if len(lengths) == len(judged) else None,
    )
