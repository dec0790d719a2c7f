"""ME-ICPO for programs: questions in, solutions out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, overload

from icpo.errors import ConfigError
from icpo.evaluation.benchmarks import Question
from icpo.evaluation.journal import Journal
from icpo.generation.text import TextEngine
from icpo.test_time.config import SearchConfig
from icpo.test_time.methods import choose
from icpo.test_time.run import fits_of, progress_of
from icpo.test_time.search import Solution, Task
from icpo.test_time.waves import NAMES, Job, run_all
from icpo.types import Problem

__all__ = ["me_icpo"]


# A text is a sequence of texts, too; it is the first of these that takes it.
@overload
def me_icpo(  # type: ignore[overload-overlap]
    problems: Problem | str,
    engine: TextEngine,
    config: SearchConfig | None = None,
    *,
    seed: int = 0,
    method: str = "me_icpo",
    journal: Path | str | None = None,
    stream: TextIO | None = None,
) -> Solution: ...


@overload
def me_icpo(
    problems: Sequence[Problem | str],
    engine: TextEngine,
    config: SearchConfig | None = None,
    *,
    seed: int = 0,
    method: str = "me_icpo",
    journal: Path | str | None = None,
    stream: TextIO | None = None,
) -> list[Solution]: ...


def me_icpo(
    problems: Problem | str | Sequence[Problem | str],
    engine: TextEngine,
    config: SearchConfig | None = None,
    *,
    seed: int = 0,
    method: str = "me_icpo",
    journal: Path | str | None = None,
    stream: TextIO | None = None,
) -> Solution | list[Solution]:
    """Answers questions by minimum-entropy in-context policy optimization.

    All that is asked at a time, of all questions, goes to the engine at once.

    Args:
        problems: one, or several; texts are questions whose answer nobody knows.
        engine: what answers: `icpo.generation.server_engine.ServerEngine` and the like.
        config: the settings; None: the defaults.
        seed: of all that is sampled and drawn.
        method: another way to search: a name in `icpo.test_time.methods.METHODS`.
        journal: file that keeps every answer; those that are in it are not asked for again. Other
            problems, settings and models may share it. None: nothing is kept.
        stream: where progress is shown; None: standard error.

    Raises:
        ConfigError: no problem, or the same id twice, or no gold answers where they are needed.
        DataError: a question is longer than the limit on prompts.
        EngineError: an answer could not be had. What was answered is in the journal.

    >>> import io
    >>> from icpo.generation.text import TextCompletion
    >>> class Oracle:
    ...     together = 1
    ...     def complete(self, requests, done=None):
    ...         answers = [TextCompletion(r"\\boxed{4}", True, 5, 20) for _ in requests]
    ...         for place, answer in enumerate(answers):
    ...             done(place, answer)
    ...         return answers
    ...     def count(self, prompt): return None
    ...     def describe(self): return {}
    >>> me_icpo("2 + 2?", Oracle(), SearchConfig(rounds=1, k=2), stream=io.StringIO()).answer
    '4'
    """
    one = isinstance(problems, Problem | str)
    tasks = _tasks([problems] if isinstance(problems, Problem | str) else problems, seed)
    chosen = choose(method, config or SearchConfig())
    if chosen.needs_gold and not all(task.has_gold for task in tasks):
        raise ConfigError(f"problems: expected gold answers, which {method} needs, got questions")
    model = str(engine.describe().get("model"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl" if journal is None else Path(journal)
        with Journal(path, NAMES) as kept:
            fits = fits_of(engine, kept)
            jobs = [
                Job(method, seed, task, chosen.search(task, chosen.config, fits), asked_of=model)
                for task in tasks
            ]
            run_all(jobs, engine, kept, progress_of(len(jobs), stream or sys.stderr))
    solutions = [job.solution for job in jobs if job.solution is not None]
    return solutions[0] if one else solutions


def _tasks(problems: Sequence[Problem | str], seed: int) -> list[Task]:
    tasks = []
    for number, problem in enumerate(problems, 1):
        if isinstance(problem, str):
            problem = Problem(f"question {number}", problem, answer=())
        golds = [problem.answer] if isinstance(problem.answer, str) else problem.answer
        known = any(gold.strip() for gold in golds)
        tasks.append(Task(Question(problem), "problems", seed, has_gold=known))
    ids = [task.question.problem.id for task in tasks]
    if not ids:
        raise ConfigError("problems: expected at least one, got none")
    for id in ids:
        if ids.count(id) > 1:
            raise ConfigError(f"problems: expected unique ids, got {id!r} twice")
    return tasks
