"""A run of ``icpo solve``: from its settings to its table; begun, continued, or replayed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from icpo.data.sources import Source
from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.evaluation.benchmarks import Benchmark, Question, Quiz, Skipped, benchmark, load
from icpo.evaluation.engines import open_engine
from icpo.evaluation.folder import (
    JOURNAL,
    SETTINGS,
    about_of,
    as_json,
    check_folder,
    check_same,
    holds,
    write,
)
from icpo.evaluation.journal import Journal
from icpo.evaluation.progress import Progress
from icpo.evaluation.settings import digest
from icpo.generation.text import Done, Message, TextCompletion, TextEngine, TextRequest
from icpo.test_time.methods import Chosen
from icpo.test_time.results import results
from icpo.test_time.search import Fits, Task
from icpo.test_time.settings import SolveSettings
from icpo.test_time.solved import Solved
from icpo.test_time.table import tables
from icpo.test_time.waves import NAMES, Job, Shows, Wave, plain, run_all
from icpo.types import Problem
from icpo.versions import FILE as VERSIONS
from icpo.versions import versions

__all__ = [
    "RESULTS",
    "TABLE",
    "TIMINGS",
    "TRACE",
    "Replay",
    "Summary",
    "fits_of",
    "holds_search",
    "progress_of",
    "replay",
    "solve",
    "stored",
]

#: Further files in the folder of a run.
RESULTS, TABLE, TRACE, TIMINGS = "results.json", "table.md", "trace.jsonl", "timings.json"

#: What the answers of a run are recomputed from; the same if it is resumed.
_SAME = ("identity", "questions", "model")

_NOUN = "answer search"


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    folder: Path
    #: Solutions in the order of seeds, benchmarks, problems and methods.
    solved: tuple[Solved, ...]
    #: As in ``results.json``.
    results: Mapping[str, Any]
    #: As in ``table.md``.
    table: str
    #: As in ``timings.json``: seconds that each search waited for answers.
    timings: tuple[Mapping[str, Any], ...]


def holds_search(folder: Path) -> bool:
    """Whether a folder has a run in it."""
    return holds(folder)


def stored(folder: Path) -> SolveSettings:
    """The settings of a run that was begun."""
    return SolveSettings.build({**about_of(folder, _NOUN)["settings"], "out": folder})


def solve(
    settings: SolveSettings,
    *,
    resume: bool = False,
    fresh: bool = False,
    engine: Callable[[], TextEngine] | None = None,
    stream: TextIO | None = None,
) -> Summary:
    """Searches for every answer that has not been found yet, and writes the table.

    Args:
        settings: what is asked, and how.
        resume: continue the run in ``settings.out``; if there is none, begin one. Methods and
            seeds may have joined or left.
        fresh: overwrite it, as soon as it is sure that something can be asked.
        engine: opens what answers; None: what the settings say.
        stream: where broken rows and progress are reported; None: standard error.

    Raises:
        ConfigError: settings that do not fit, or a folder that holds a run already.
        CheckpointError: the run that is to be continued is another one.
        EngineError: no answer could be had. What was answered is in the journal.
    """
    stream = sys.stderr if stream is None else stream
    quizzes = _quizzes(settings, stream)
    about: dict[str, Any] = {
        "settings": settings.to_dict(),
        "identity": settings.identity(),
    }
    if not fresh:
        # Before a model is loaded.
        check_folder(settings.out, about, ["identity"], _NOUN, resume=resume, fresh=False)
    chat = {method.config.form.chat for method in settings.chosen}
    if len(chat) > 1:
        raise ConfigError("methods: expected forms that are all chats, or none, got both")
    answering = engine() if engine else open_engine(settings.engine, chat=chat.pop())
    _check_positions(settings.chosen, answering)
    # Looked at twice: here for what stops a run before anything is touched.
    kept = [_within(quiz, settings, _fitting(answering), stream) for quiz in quizzes]
    about |= {
        "questions": {quiz.benchmark.name: _fingerprint(quiz) for quiz in kept},
        # What a server has, if the settings leave that to it.
        "model": answering.describe().get("model"),
    }
    with Journal(settings.out / JOURNAL, NAMES) as journal:
        # Under the lock, so that nobody else begins anything here meanwhile.
        check_folder(settings.out, about, _SAME, _NOUN, resume=resume, fresh=fresh)
        if fresh:
            journal.clear()
            for name in (RESULTS, TABLE, TRACE, TIMINGS):
                (settings.out / name).unlink(missing_ok=True)
        write(settings.out / SETTINGS, as_json(about))
        write(settings.out / VERSIONS, as_json({**versions(), "model": dict(answering.describe())}))
        found = _search(settings, quizzes, answering, journal, stream)
        for name, text in found.files().items():
            write(settings.out / name, text)
        write(settings.out / TIMINGS, as_json(found.timings))
    return found.summary(settings.out)


@dataclass(frozen=True)
class Replay:
    """What a run comes to again, from its journal alone."""

    summary: Summary
    #: Files that say something else than this, and where they do first: ``trace.jsonl: line 3``.
    differing: tuple[str, ...]


def replay(folder: Path, *, stream: TextIO | None = None) -> Replay:
    """Recomputes votes, entropies, choices and results of a finished run, and writes nothing.

    Raises:
        CheckpointError: the folder has no run, its questions have changed, or it lacks a response.
    """
    stream = sys.stderr if stream is None else stream
    settings = stored(folder)
    if not (folder / JOURNAL).exists():
        raise CheckpointError(f"{folder / JOURNAL}: expected the journal of an {_NOUN}, got none")
    quizzes = _quizzes(settings, stream)
    with Journal(folder / JOURNAL, NAMES, writes=False) as journal:
        kept = [_within(quiz, settings, fits_of(None, journal), stream) for quiz in quizzes]
        about = {"questions": {quiz.benchmark.name: _fingerprint(quiz) for quiz in kept}}
        check_same(folder, about, ["questions"], _NOUN)
        found = _search(settings, quizzes, None, journal, stream)
    pairs = ((name, folder / name, text) for name, text in found.files().items())
    differing = (_differing(name, path, text) for name, path, text in pairs)
    return Replay(found.summary(folder), tuple(one for one in differing if one is not None))


def _differing(name: str, path: Path, text: str) -> str | None:
    """Where a file differs from this text first; None: nowhere."""
    if not path.exists():
        return f"{name}: is not there"
    stored = path.read_text(encoding="utf-8", errors="surrogatepass")
    if stored == text:
        return None
    lines = zip_longest(stored.split("\n"), text.split("\n"))
    number = next(number for number, (one, other) in enumerate(lines, 1) if one != other)
    return f"{name}: line {number}"


##### What is asked

#: Questions that come without an answer.
_UNKNOWN = Benchmark("questions", "questions", Source(""))


def _quizzes(settings: SolveSettings, stream: TextIO) -> list[Quiz]:
    chosen = [benchmark(text) for text in settings.benchmarks]
    names = [one.name for one in chosen] + [_UNKNOWN.name] * bool(settings.questions)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"benchmarks: expected different names, got {name!r} twice")
    found = []
    for one in chosen:
        quiz = load(
            one,
            settings.search.checker,
            option_seed=settings.option_seed,
            limit=settings.limit,
        )
        for skipped in quiz.skipped:
            print(f"{one.name}: skipped: {skipped}", file=stream)
        found.append(quiz)
    if settings.questions:
        asked = (
            Question(Problem(str(number), text, answer=""))
            for number, text in enumerate(settings.questions, 1)
        )
        found.append(Quiz(_UNKNOWN, tuple(asked), (), 0))
    return found


def _fingerprint(quiz: Quiz) -> str:
    problems = [one.problem for one in quiz.questions]
    return digest([[one.id, one.question, one.answer] for one in problems])


def _check_positions(methods: Sequence[Chosen], engine: TextEngine) -> None:
    positions = engine.describe().get("positions")
    if positions is None:
        return
    for method in methods:
        config = method.config
        sampled = max(config.max_new_tokens, config.summary_tokens)
        if sampled >= positions:
            raise ConfigError(
                f"max_new_tokens, summary_tokens: expected fewer than {positions}, the model's "
                f"positions, got {config.max_new_tokens} and {config.summary_tokens}"
            )
        if config.prompt_tokens + sampled > positions:
            raise ConfigError(
                f"prompt_tokens: expected at most {positions} - {sampled} = "
                f"{positions - sampled}, because the model has {positions} positions and a "
                f"response may take {sampled} (max_new_tokens), got {config.prompt_tokens}"
            )


##### Asking


@dataclass(frozen=True)
class _Found:
    """What the journal says, in the end."""

    solved: tuple[Solved, ...]
    results: dict[str, Any]
    timings: list[dict[str, Any]]

    @property
    def table(self) -> str:
        return tables(self.results)

    def summary(self, folder: Path) -> Summary:
        return Summary(folder, self.solved, self.results, self.table, tuple(self.timings))

    def files(self) -> dict[str, str]:
        """What is the same whenever it is computed from the same journal."""
        return {
            RESULTS: as_json(self.results),
            TABLE: self.table,
            TRACE: "".join(
                json.dumps(_traced(one), ensure_ascii=False) + "\n" for one in self.solved
            ),
        }


def _search(
    settings: SolveSettings,
    quizzes: Sequence[Quiz],
    engine: TextEngine | None,
    journal: Journal,
    stream: TextIO,
) -> _Found:
    """Runs every search to its end, with answers of the journal and of the engine, if any."""
    answering = engine or _Nobody()
    exactly, fits = fits_of(engine, journal, exact=True), fits_of(engine, journal)
    # Again, with a journal that learns which prompts are too long; it was reported before.
    quizzes = [_within(quiz, settings, exactly, None) for quiz in quizzes]
    jobs = [
        Job(method.name, seed, task, method.search(task, method.config, fits))
        for seed in settings.seeds
        for method in settings.chosen
        for quiz in quizzes
        for task in _tasks(quiz, seed)
    ]
    run_all(jobs, answering, journal, progress_of(len(jobs), stream))
    solved = tuple(
        Solved(job.method, job.seed, job.task, job.solution)
        for job in jobs
        if job.solution is not None  # all have one now
    )
    timings = [
        {
            "method": job.method,
            "seed": job.seed,
            "benchmark": job.task.benchmark,
            "id": job.task.question.problem.id,
            "seconds": round(job.seconds, 3),
        }
        for job in jobs
    ]
    return _Found(solved, results(solved, quizzes), timings)


def _tasks(quiz: Quiz, seed: int) -> list[Task]:
    has_gold = quiz.benchmark is not _UNKNOWN
    return [Task(question, quiz.benchmark.name, seed, has_gold) for question in quiz.questions]


def _within(quiz: Quiz, settings: SolveSettings, fits: Fits, stream: TextIO | None) -> Quiz:
    """Without questions that no prompt has room for."""
    kept, skipped = [], []
    for task in _tasks(quiz, 0):
        try:
            for method in settings.chosen:
                # Up to its first question, which is never answered.
                next(method.search(task, method.config, fits))
        except DataError as fault:
            skipped.append(Skipped(str(quiz.benchmark.source), str(fault)))
            if stream is not None:
                print(f"{quiz.benchmark.name}: skipped: {skipped[-1]}", file=stream)
        else:
            kept.append(task.question)
    if not kept:
        raise DataError(
            f"{quiz.benchmark.name}: expected questions that can be asked: {skipped[0].why}"
        )
    return replace(quiz, questions=tuple(kept), skipped=(*quiz.skipped, *skipped))


def fits_of(engine: TextEngine | None, journal: Journal, *, exact: bool = False) -> Fits:
    """What tells whether a prompt is short enough; the journal keeps those that are not.

    So whoever has the journal needs no tokenizer to make the same prompts. Unless it has to be
    exact, what is obviously short is not measured: a tokenizer takes longer than all the rest.
    """

    def key(prompt: str | tuple[Message, ...], limit: int) -> tuple[str]:
        return (digest(["longer", plain(prompt), limit]),)

    def known(prompt: str | tuple[Message, ...], limit: int) -> bool:
        return key(prompt, limit) not in journal

    if engine is None:
        return known
    measure = _fitting(engine)

    def fits(prompt: str | tuple[Message, ...], limit: int) -> bool:
        if (not exact and _is_short(prompt, limit)) or measure(prompt, limit):
            return True
        journal.add(key(prompt, limit), {"longer_than": limit})
        return False

    return fits


#: Tokens that a chat template may add.
_TEMPLATE = 1024


def _is_short(prompt: str | tuple[Message, ...], limit: int) -> bool:
    """Whether a prompt fits even if each of its characters is a token."""
    texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
    # Others may be several tokens a character, or become several characters first.
    ascii_only = all(text.isascii() for text in texts)
    return ascii_only and sum(map(len, texts)) + _TEMPLATE <= limit


def _fitting(engine: TextEngine) -> Fits:
    """What measures prompts."""

    def fits(prompt: str | tuple[Message, ...], limit: int) -> bool:
        try:
            tokens = engine.count(prompt)
        except ConfigError as error:
            raise ConfigError(f"form: {error}") from None
        return tokens is None or tokens <= limit

    return fits


class _Nobody:
    """Stands for the model in a replay."""

    together = 1

    def complete(
        self, requests: Sequence[TextRequest], done: Done | None = None
    ) -> list[TextCompletion]:
        raise CheckpointError(
            f"journal: expected every response of a finished run, but {len(requests)} are "
            "missing: --resume asks for them"
        )

    def count(self, prompt: str | tuple[Message, ...]) -> int | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "journal"}


def progress_of(jobs: int, stream: TextIO) -> Shows:
    """What shows how so many searches go."""

    def shows(wave: Wave, total: int, had: int) -> Progress:
        title = f"{wave.name}: {wave.open} of {jobs} searches"
        return Progress(total, had, stream=stream, title=title)

    return shows


def _traced(one: Solved) -> dict[str, Any]:
    return {
        "method": one.method,
        "seed": one.seed,
        "benchmark": one.task.benchmark,
        "id": one.task.question.problem.id,
        "answer": one.solution.answer,
        "votes": list(one.solution.votes),
        "steps": list(one.solution.trace),
    }
