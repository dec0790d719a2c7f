"""From the journal to figures. Nothing here knows when or in what order responses came."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.evaluation.averages import avg_at_n, counts_to_report, mean_and_error
from icpo.evaluation.benchmarks import Quiz
from icpo.evaluation.bootstrap import LEVEL, interval
from icpo.evaluation.judge import votes
from icpo.evaluation.majority import maj_at_k
from icpo.evaluation.passk import pass_at_k
from icpo.evaluation.prompts import Asked
from icpo.evaluation.settings import digest
from icpo.generation.text import seed_of
from icpo.reward import Checker

__all__ = ["results"]

#: What reads a response by its key.
Read = Callable[[tuple[str, int, int, str, int]], Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class _Run:
    """All responses to a benchmark under one seed."""

    seed: int
    right: NDArray[np.int64]  # (P,)
    #: The chance that the majority of k samples is right, by k.
    majority: Mapping[int, NDArray[np.float64]]  # of (P,)
    cut_off: int
    unknown: int
    dropped: int
    #: Tokens of all responses and of all prompts; None: the server did not say.
    tokens: int | None
    prompt_tokens: int | None


def results(
    quizzes: Sequence[Quiz], asked: Sequence[Asked], read: Read, checker: Checker
) -> dict[str, Any]:
    """The figures of an evaluation, as plain values.

    Args:
        quizzes: what was asked.
        asked: every response, in the order of `icpo.evaluation.prompts.requests`.
        read: a response by its key.
        checker: tells which answers are the same.
    """
    rows: dict[str, list[dict[str, Any]]] = {quiz.benchmark.name: [] for quiz in quizzes}
    for quiz, shots, runs, samples in _runs(asked, read, checker):
        rows[quiz.benchmark.name].append(_condition(quiz, shots, runs, samples))
    benchmarks = [_benchmark(quiz, rows[quiz.benchmark.name]) for quiz in quizzes]
    return {"benchmarks": benchmarks, "averages": _averages(quizzes, rows)}


def _runs(
    asked: Sequence[Asked], read: Read, checker: Checker
) -> Iterator[tuple[Quiz, int, list[_Run], int]]:
    for (_, shots), those in groupby(
        asked, key=lambda one: (one.quiz.benchmark.name, one.condition.shots)
    ):
        part = list(those)
        problems = part[0].quiz.questions
        seeds = [list(group) for _, group in groupby(part, key=lambda one: one.condition.seed)]
        samples = len(seeds[0]) // len(problems)
        yield part[0].quiz, shots, [_run(each, samples, read, checker) for each in seeds], samples


def _run(asked: Sequence[Asked], samples: int, read: Read, checker: Checker) -> _Run:
    right: list[int] = []
    majority: dict[int, list[float]] = {k: [] for k in counts_to_report(samples)}
    cut_off = unknown = dropped = 0
    tokens: list[int | None] = []
    prompt_tokens: list[int | None] = []
    for start in range(0, len(asked), samples):
        of_problem = asked[start : start + samples]
        found = [read(one.key) for one in of_problem]
        good = [row["outcome"] == "equal" for row in found]
        right.append(sum(good))
        chosen = votes(of_problem[0].prompt.question, [row["text"] for row in found], checker)
        for k, chances in majority.items():
            chances.append(maj_at_k(chosen, good, k))
        cut_off += sum(not row["finished"] for row in found)
        unknown += sum(row["outcome"] == "unknown" for row in found)
        dropped += of_problem[0].prompt.dropped
        tokens += [row["tokens"] for row in found]
        prompt_tokens += [row["prompt_tokens"] for row in found]
    return _Run(
        asked[0].condition.seed,
        np.array(right),
        {k: np.array(chances) for k, chances in majority.items()},
        cut_off,
        unknown,
        dropped,
        _sum(tokens),
        _sum(prompt_tokens),
    )


def _condition(quiz: Quiz, shots: int, runs: Sequence[_Run], samples: int) -> dict[str, Any]:
    name = quiz.benchmark.name
    share = np.mean([avg_at_n(samples, run.right) for run in runs], axis=0)  # (P,)
    accuracy, error = mean_and_error([avg_at_n(samples, run.right).mean() for run in runs])
    responses = samples * share.size * len(runs)
    told = counts_to_report(samples)
    passes = {
        str(k): float(np.mean([pass_at_k(samples, run.right, k).mean() for run in runs]))
        for k in told
    }
    majorities = {str(k): float(np.mean([run.majority[k].mean() for run in runs])) for k in told}
    low, high = interval([share], seed=seed_of("interval", name, shots))
    return {
        "shots": shots,
        "samples": samples,
        "seeds": [run.seed for run in runs],
        "accuracy": accuracy,
        "standard_error": _number(error),
        "interval": [low, high],
        "level": LEVEL,
        "pass": passes,
        "maj": majorities,
        # Of all samples.
        "majority": majorities[str(samples)],
        "responses": responses,
        "cut_off": sum(run.cut_off for run in runs),
        "unknown": sum(run.unknown for run in runs),
        "demos_dropped": sum(run.dropped for run in runs),
        "tokens": _sum([run.tokens for run in runs]),
        "prompt_tokens": _sum([run.prompt_tokens for run in runs]),
        "per_seed": [float(avg_at_n(samples, run.right).mean()) for run in runs],
        "problems": [
            {
                "id": question.problem.id,
                # What tells whether another evaluation has asked the same.
                "digest": digest([question.problem.question, question.problem.answer]),
                "subject": question.problem.subject,
                "right": [int(run.right[place]) for run in runs],
            }
            for place, question in enumerate(quiz.questions)
        ],
    }


def _benchmark(quiz: Quiz, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": quiz.benchmark.name,
        "title": quiz.benchmark.title,
        "group": quiz.benchmark.group,
        "source": str(quiz.benchmark.source),
        "asked": len(quiz.questions),
        "skipped": [{"where": one.where, "why": one.why} for one in quiz.skipped],
        "options_kept_in_order": quiz.unmoved,
        "conditions": conditions,
    }


def _averages(
    quizzes: Sequence[Quiz], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Means over the benchmarks of a group, where there are several: each counts the same."""
    found = []
    groups = dict.fromkeys(quiz.benchmark.group for quiz in quizzes)
    for group in (group for group in groups if group is not None):
        names = [quiz.benchmark.name for quiz in quizzes if quiz.benchmark.group == group]
        if len(names) < 2:
            continue
        for conditions in zip(*(rows[name] for name in names), strict=True):
            shots = conditions[0]["shots"]
            accuracy, error = mean_and_error(
                np.mean([one["per_seed"] for one in conditions], axis=0)
            )
            shares = [
                [np.mean(problem["right"]) / one["samples"] for problem in one["problems"]]
                for one in conditions
            ]
            low, high = interval(shares, seed=seed_of("interval", group, shots))
            found.append(
                {
                    "group": group,
                    "benchmarks": names,
                    "shots": shots,
                    "seeds": conditions[0]["seeds"],
                    "accuracy": accuracy,
                    "standard_error": _number(error),
                    "interval": [low, high],
                    "level": LEVEL,
                }
            )
    return found


def _sum(counts: Sequence[int | None]) -> int | None:
    told = [count for count in counts if count is not None]
    return sum(told) if len(told) == len(counts) else None


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
