"""An evaluation from its settings to its table; begun, or continued after any stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from icpo.errors import ConfigError, DataError
from icpo.evaluation.benchmarks import Quiz, Skipped, benchmark, load
from icpo.evaluation.engines import open_engine
from icpo.evaluation.folder import (
    JOURNAL,
    SETTINGS,
    about_of,
    as_json,
    check_folder,
    holds,
    write,
)
from icpo.evaluation.journal import Journal
from icpo.evaluation.judge import judge
from icpo.evaluation.progress import Progress
from icpo.evaluation.prompts import Asked, builder, load_demos, requests
from icpo.evaluation.results import results
from icpo.evaluation.settings import EvalSettings, digest
from icpo.evaluation.table import rows_of
from icpo.generation.text import EngineError, TextCompletion, TextEngine
from icpo.reward import Checker
from icpo.versions import FILE as VERSIONS
from icpo.versions import versions

__all__ = ["JOURNAL", "RESULTS", "SETTINGS", "Summary", "evaluate", "holds_evaluation", "stored"]

#: Further files in the folder of an evaluation.
TABLE, RESULTS = "table.md", "results.json"

_NOUN = "evaluation"


@dataclass(frozen=True)
class Summary:
    """What an evaluation came to."""

    folder: Path
    #: As in ``results.json``.
    results: Mapping[str, Any]
    #: As in ``table.md``.
    table: str


def holds_evaluation(folder: Path) -> bool:
    """Whether a folder has an evaluation in it."""
    return holds(folder)


def stored(folder: Path) -> EvalSettings:
    """The settings of an evaluation that was begun."""
    return EvalSettings.build({**about_of(folder, _NOUN)["settings"], "out": folder})


def evaluate(
    settings: EvalSettings,
    *,
    resume: bool = False,
    fresh: bool = False,
    engine: Callable[[], TextEngine] | None = None,
    stream: TextIO | None = None,
) -> Summary:
    """Asks everything that has not been asked yet, and writes the table.

    Args:
        settings: what is asked, and how.
        resume: continue the evaluation in ``settings.out``; if there is none, begin one.
        fresh: overwrite it, as soon as it is sure that something can be asked.
        engine: opens what answers; None: what the settings say.
        stream: where broken rows and progress are reported; None: standard error.

    Raises:
        ConfigError: settings that do not fit, or a folder that holds an evaluation already.
        CheckpointError: the evaluation that is to be continued is another one.
        EngineError: no answer could be had. What was answered is in the journal.
    """
    stream = sys.stderr if stream is None else stream
    checker = settings.checker
    quizzes = _quizzes(settings, checker, stream)
    pool = None
    if settings.demos is not None and any(settings.shots):
        pool = load_demos(settings.demos)
    about = {
        "settings": settings.to_dict(),
        "identity": settings.identity(),
        "questions": {
            quiz.benchmark.name: digest(
                [
                    [one.problem.id, one.problem.question, one.problem.answer]
                    for one in quiz.questions
                ]
            )
            for quiz in quizzes
        },
        "demos": None if pool is None else pool.fingerprint,
    }
    names = ["identity", "questions", "demos"]
    check = partial(check_folder, settings.out, about, names, _NOUN, resume=resume, fresh=fresh)
    check()
    answering = engine() if engine else open_engine(settings.engine, chat=settings.template.chat)
    # What a server has, if the settings leave that to it.
    about["model"] = answering.describe()["model"]
    names.append("model")
    check()
    quizzes = _askable(quizzes, settings, answering, stream)
    asked = list(requests(quizzes, settings, pool, answering.count))
    _check_positions(asked, settings, answering)

    with Journal(settings.out / JOURNAL) as journal:
        # Again, now that nobody else can begin anything here.
        check()
        if fresh:
            journal.clear()
            for name in (RESULTS, TABLE):
                (settings.out / name).unlink(missing_ok=True)
        write(settings.out / SETTINGS, as_json(about))
        write(settings.out / VERSIONS, as_json({**versions(), "model": dict(answering.describe())}))
        _ask(asked, settings, answering, journal, checker, stream)
        found = results(quizzes, asked, journal.read, checker)
    found = {"settings": about["identity"], "model": answering.describe()["model"], **found}
    table = rows_of(found)
    write(settings.out / RESULTS, as_json(found))
    write(settings.out / TABLE, table)
    return Summary(settings.out, found, table)


##### Before


def _quizzes(settings: EvalSettings, checker: Checker, stream: TextIO) -> list[Quiz]:
    chosen = [benchmark(text) for text in settings.benchmarks]
    names = [one.name for one in chosen]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"benchmarks: expected different names, got {name!r} twice")
    found = []
    for one in chosen:
        quiz = load(one, checker, option_seed=settings.option_seed, limit=settings.limit)
        for skipped in quiz.skipped:
            print(f"{one.name}: skipped: {skipped}", file=stream)
        found.append(quiz)
    return found


def _askable(
    quizzes: Sequence[Quiz], settings: EvalSettings, engine: TextEngine, stream: TextIO
) -> list[Quiz]:
    """Without questions whose prompt exceeds the limit by itself, or can not be encoded."""
    return [_within(quiz, settings, engine, stream) for quiz in quizzes]


def _within(quiz: Quiz, settings: EvalSettings, engine: TextEngine, stream: TextIO) -> Quiz:
    build = builder(settings, engine.count)
    kept, skipped = [], []
    for question in quiz.questions:
        try:
            build.plain(question.problem)
        except DataError as fault:
            skipped.append(Skipped(str(quiz.benchmark.source), str(fault)))
            print(f"{quiz.benchmark.name}: skipped: {skipped[-1]}", file=stream)
        else:
            kept.append(question)
    if not kept:
        raise DataError(
            f"{quiz.benchmark.source}: expected questions that can be asked: {skipped[0]}"
        )
    return replace(quiz, questions=tuple(kept), skipped=(*quiz.skipped, *skipped))


def _check_positions(asked: Sequence[Asked], settings: EvalSettings, engine: TextEngine) -> None:
    positions = engine.describe().get("positions")
    if positions is None:
        return
    prompts = {id(one.prompt): one.prompt for one in asked}.values()
    longest = max(engine.count(prompt.said) or 0 for prompt in prompts)
    if longest + settings.max_new_tokens > positions:
        raise ConfigError(
            f"max_new_tokens: expected at most {positions} - {longest} = {positions - longest}, "
            f"because the model has {positions} positions and the longest prompt {longest} tokens, "
            f"got {settings.max_new_tokens}"
        )


##### Asking


def _ask(
    asked: Sequence[Asked],
    settings: EvalSettings,
    engine: TextEngine,
    journal: Journal,
    checker: Checker,
    stream: TextIO,
) -> None:
    # Whole groups, so that a resumed run computes what one that was never stopped computes.
    groups = [
        asked[start : start + engine.together] for start in range(0, len(asked), engine.together)
    ]
    missing = [
        one for group in groups if any(one.key not in journal for one in group) for one in group
    ]
    if not missing:
        return
    with Progress(len(asked), len(asked) - len(missing), stream=stream) as progress:

        def done(place: int, answer: TextCompletion) -> None:
            journal.add(missing[place].key, _line(missing[place], answer, checker))
            progress.add(answer.tokens)

        try:
            engine.complete([one.request(settings) for one in missing], done)
        except EngineError as error:
            raise EngineError(
                f"{error}; {len(journal)} of {len(asked)} responses are in the journal, --resume "
                "continues"
            ) from error


def _line(one: Asked, answer: TextCompletion, checker: Checker) -> dict[str, Any]:
    question = one.prompt.question
    verdict = judge(question, answer.text, checker)
    return {
        "problem": f"{one.quiz.benchmark.name}/{question.problem.id}",
        "prompt": one.prompt.text,
        "demos": list(one.prompt.demos),
        "text": answer.text,
        "gold": question.problem.answer,
        "answer": verdict.answer,
        "outcome": verdict.outcome,
        "reward": float(verdict.right),
        "finished": answer.finished,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
    }
