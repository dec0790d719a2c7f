"""From solutions to figures. Nothing here knows when, or in what order, answers came."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.errors import DataError
from icpo.evaluation.averages import mean_and_error
from icpo.evaluation.benchmarks import Quiz
from icpo.evaluation.bootstrap import LEVEL, interval
from icpo.evaluation.paired import holm, sign_flip
from icpo.evaluation.settings import digest
from icpo.generation.text import seed_of
from icpo.test_time.search import Point, Solution
from icpo.test_time.solved import Solved

__all__ = ["MEASURES", "REFERENCE", "results"]

#: What every method is compared with, if it is among them, under whatever settings.
REFERENCE = "sample"

#: What is measured of the K final responses to a problem, by name: the share of right ones, mean@K,
#: and the chance that the majority is right, maj@K.
MEASURES = ("mean", "majority")


@dataclass(frozen=True, eq=False)
class _Run:
    """What a method has made of a benchmark: P problems, in its order, under S seeds."""

    method: str
    seeds: tuple[int, ...]  # (S,)
    solutions: tuple[tuple[Solution, ...], ...]  # (P, S)

    @property
    def name(self) -> str:
        """Without its settings."""
        return self.method.partition(":")[0]

    def values(self, of: Callable[[Solution], Any]) -> NDArray[np.float64]:  # (P, S)
        """Something of each solution."""
        return np.array([[of(one) for one in row] for row in self.solutions], np.float64)

    def exact(self, measure: str) -> list[Fraction]:  # (P,)
        """A measure of each problem, averaged over seeds, without rounding."""
        return [
            sum((_exact(one, measure) for one in row), Fraction(0)) / len(row)
            for row in self.solutions
        ]


def results(solved: Sequence[Solved], quizzes: Sequence[Quiz]) -> dict[str, Any]:
    """The figures of a run, as plain values.

    Args:
        solved: every problem by every method under every seed, in any order but for the methods:
            these are told in the order in which they come.
        quizzes: what was asked. Of one without gold answers there are answers and costs only.

    Raises:
        DataError: a method has solved a problem twice, or not under each of its seeds, or nobody
            has solved any problem of a quiz.
    """
    benchmarks: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for quiz in quizzes:
        those = [one for one in solved if one.task.benchmark == quiz.benchmark.name]
        if not those:
            raise DataError(f"solved: expected solutions of {quiz.benchmark.name}, got none")
        runs = _runs(quiz, those)
        if all(one.task.has_gold for one in those):
            benchmarks.append(_benchmark(quiz, runs))
        else:
            questions += _questions(quiz, runs)
            skipped += _skipped(quiz)
    return {"benchmarks": benchmarks, "questions": questions, "questions_skipped": skipped}


##### From solutions to runs


def _runs(quiz: Quiz, solved: Sequence[Solved]) -> list[_Run]:
    found: dict[str, dict[tuple[str, int], Solution]] = {}
    for one in solved:
        key = one.task.question.problem.id, one.seed
        of_method = found.setdefault(one.method, {})
        if key in of_method:
            name = _named(quiz, one.method, *key)
            raise DataError(f"solved: expected one solution of each, got two of {name}")
        of_method[key] = one.solution
    return [_run(quiz, method, of_method) for method, of_method in found.items()]


def _run(quiz: Quiz, method: str, solutions: Mapping[tuple[str, int], Solution]) -> _Run:
    seeds = tuple(sorted({seed for _, seed in solutions}))
    ids = [question.problem.id for question in quiz.questions]
    for id in ids:
        for seed in seeds:
            if (id, seed) not in solutions:
                raise DataError(
                    "solved: expected a solution of each, got none of "
                    f"{_named(quiz, method, id, seed)}"
                )
    return _Run(method, seeds, tuple(tuple(solutions[id, seed] for seed in seeds) for id in ids))


def _named(quiz: Quiz, method: str, id: str, seed: int) -> str:
    return f"{quiz.benchmark.name}/{id} by {method} under seed {seed}"


def _skipped(quiz: Quiz) -> list[dict[str, str]]:
    return [{"where": one.where, "why": one.why} for one in quiz.skipped]


##### Benchmarks


def _benchmark(quiz: Quiz, runs: Sequence[_Run]) -> dict[str, Any]:
    rows = [_method(quiz, run) for run in runs]
    _compare(quiz, runs, rows)
    return {
        "name": quiz.benchmark.name,
        "title": quiz.benchmark.title,
        "source": str(quiz.benchmark.source),
        "asked": len(quiz.questions),
        "skipped": _skipped(quiz),
        "options_kept_in_order": quiz.unmoved,
        "methods": rows,
    }


def _method(quiz: Quiz, run: _Run) -> dict[str, Any]:
    return {
        "method": run.method,
        # K, of each problem under each seed.
        "answers": len(run.solutions[0][0].texts),
        "seeds": list(run.seeds),
        **{name: _measure(quiz, run, name) for name in MEASURES},
        "no_answer": float(run.values(_silent).mean()),
        **_cost(run),
        "curve": _curve(run),
        "problems": [
            {
                "id": question.problem.id,
                # What tells whether another run has asked the same.
                "digest": digest([question.problem.question, question.problem.answer]),
                "subject": question.problem.subject,
                # A value a seed.
                "answer": [one.answer for one in row],
                "right": [sum(one.right or ()) for one in row],
                "majority": [one.majority for one in row],
            }
            for question, row in zip(quiz.questions, run.solutions, strict=True)
        ],
    }


def _measure(quiz: Quiz, run: _Run, name: str) -> dict[str, Any]:
    values = run.values(lambda one: getattr(one, name))  # (P, S)
    by_problem = values.mean(axis=1)
    mean, over_problems = mean_and_error(by_problem)
    _, over_seeds = mean_and_error(values.mean(axis=0))
    low, high = interval(
        [by_problem], seed=seed_of("interval", quiz.benchmark.name, run.method, name)
    )
    return {
        "mean": mean,
        # As with other problems of the kind: what differs between problems, and luck.
        "standard_error": _number(over_problems),
        # As with other seeds and the same problems: luck alone.
        "seed_error": _number(over_seeds),
        "interval": [low, high],
        "level": LEVEL,
        "per_seed": [float(value) for value in values.mean(axis=0)],
    }


def _silent(one: Solution) -> float:
    return sum(vote < 0 for vote in one.votes) / len(one.votes)


def _cost(run: _Run) -> dict[str, float | None]:
    """A problem, on average; what several methods have asked alike counts for each of them."""
    return {
        name: _average([getattr(one.spent, name) for row in run.solutions for one in row])
        for name in ("calls", "tokens", "prompt_tokens")
    }


def _curve(run: _Run) -> list[dict[str, Any]]:
    """Each point averaged over problems and seeds: the same place of the same method."""
    curves = [[one.curve for one in row] for row in run.solutions]  # (P, S) of points
    names = [point.name for point in curves[0][0]]
    for row in curves:
        for curve in row:
            if [point.name for point in curve] != names:
                raise DataError(
                    f"curve: expected the points {names} of every problem by {run.method}, got "
                    f"{[point.name for point in curve]}"
                )
    return [
        _point(name, [[curve[place] for curve in row] for row in curves])
        for place, name in enumerate(names)
    ]


def _point(name: str, points: Sequence[Sequence[Point]]) -> dict[str, Any]:
    all_of_them = [point for row in points for point in row]
    found: dict[str, Any] = {"name": name}
    for cost in ("calls", "tokens", "prompt_tokens"):
        found[cost] = _average([getattr(point, cost) for point in all_of_them])
    for measure in MEASURES:
        mean, error = mean_and_error(
            [np.mean([getattr(point, measure) for point in row]) for row in points]
        )
        found[measure], found[f"{measure}_error"] = mean, _number(error)
    return found


##### Comparison


def _compare(quiz: Quiz, runs: Sequence[_Run], rows: Sequence[dict[str, Any]]) -> None:
    """Adds to every row how it differs from plain sampling, on the problems that both solved."""
    for row in rows:
        row["against"] = None
    reference = next((run for run in runs if run.name == REFERENCE), None)
    if reference is None:
        return
    others = [(run, row) for run, row in zip(runs, rows, strict=True) if run is not reference]
    for run, row in others:
        row["against"] = {
            "method": reference.method,
            **{name: _difference(quiz, reference, run, name) for name in MEASURES},
        }
    for name in MEASURES:
        tested = [row["against"][name] for _, row in others]
        for one, adjusted in zip(tested, holm([one["p"] for one in tested]), strict=True):
            # For as many methods as there are; the two measures are looked at apart.
            one["p_holm"] = adjusted


def _difference(quiz: Quiz, reference: _Run, run: _Run, name: str) -> dict[str, Any]:
    differences = [
        after - before for before, after in zip(reference.exact(name), run.exact(name), strict=True)
    ]
    seed = seed_of("against", quiz.benchmark.name, reference.method, run.method, name)
    low, high = interval([[float(one) for one in differences]], seed=seed)
    return {
        "difference": float(sum(differences) / len(differences)),
        "interval": [low, high],
        "level": LEVEL,
        "p": sign_flip(_whole(differences), seed=seed),
    }


def _exact(one: Solution, measure: str) -> Fraction:
    """The number that a float stands for: n/K, or the share of winners that are right."""
    return Fraction(getattr(one, measure)).limit_denominator(len(one.texts))


#: Integers above make the exact test give up, and sums of them overflow.
_LARGE = 1 << 40


def _whole(differences: Sequence[Fraction]) -> list[int] | list[float]:
    """The same up to a common factor as integers, for which the test is exact."""
    scale = math.lcm(*(one.denominator for one in differences))
    whole = [int(one * scale) for one in differences]
    if max(map(abs, whole)) < _LARGE:
        return whole
    return [float(one) for one in differences]


##### Questions


def _questions(quiz: Quiz, runs: Sequence[_Run]) -> list[dict[str, Any]]:
    return [
        {
            "id": question.problem.id,
            "digest": digest(question.problem.question),
            "question": question.problem.question,
            "methods": [_answers(run, run.solutions[place]) for run in runs],
        }
        for place, question in enumerate(quiz.questions)
    ]


def _answers(run: _Run, row: Sequence[Solution]) -> dict[str, Any]:
    of_one = _Run(run.method, run.seeds, (tuple(row),))
    return {
        "method": run.method,
        "answers": len(row[0].texts),
        "seeds": list(run.seeds),
        # A value a seed: the answer, and the share of responses that give it.
        "answer": [one.answer for one in row],
        "agreement": [_agreement(one) for one in row],
        "no_answer": float(of_one.values(_silent).mean()),
        **_cost(of_one),
    }


def _agreement(one: Solution) -> float:
    counts = Counter(vote for vote in one.votes if vote >= 0)
    return max(counts.values(), default=0) / len(one.votes)


##### Numbers


def _average(values: Iterable[float | None]) -> float | None:
    """None if one of them is not known: the mean of the others would be another one's."""
    told = list(values)
    known = [value for value in told if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(told) else None


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
