"""The checker in Ray's actors and tasks, in which trainers score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from icpo.reward import Checker

ray = pytest.importorskip("ray", reason="ray is not installed")

RESPONSES = [rf"so it is \boxed{{{k % 5}}}" for k in range(200)]
EXPECTED = [float(k % 5 == 3) for k in range(200)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def scorer_class() -> Any:
    # Made in a function, for Ray to send it whole: workers can not import this file.
    class Scorer:
        """A reward worker: it holds a checker that came with its arguments."""

        def __init__(self, checker: Checker) -> None:
            self.checker = checker

        def score(self, responses: list[str], gold: str) -> Any:
            return self.checker.score(responses, gold)

        def verify(self, gold: str, response: str) -> bool:
            return self.checker.verify(gold, response)

    return ray.remote(Scorer)


def test_an_actor_scores() -> None:
    Checker().score(RESPONSES, "3")  # the driver's threads run when the workers start
    for profile in ("strict", "math_verify"):
        scorer = scorer_class().remote(Checker(profile))
        jobs = [scorer.score.remote(RESPONSES, "3") for _ in range(4)]
        assert all(scores.tolist() == EXPECTED for scores in ray.get(jobs))
        assert ray.get(scorer.verify.remote("3", RESPONSES[3]))
        ray.kill(scorer)


def test_an_actor_with_threads_scores() -> None:
    scorer = scorer_class().options(max_concurrency=4).remote(Checker())
    jobs = [scorer.score.remote(RESPONSES, "3") for _ in range(16)]
    assert all(scores.tolist() == EXPECTED for scores in ray.get(jobs))


def test_tasks_take_checkers_and_return_verdicts_and_readings() -> None:
    checker = Checker("math_verify", float_rounding=3)

    @ray.remote
    def check(checker: Checker) -> Any:
        return checker, checker.check("3", RESPONSES[3]), checker.parse(RESPONSES[3])

    returned, verdict, readings = ray.get(check.remote(checker))
    assert returned == checker and verdict == checker.check("3", RESPONSES[3])
    assert readings == checker.parse(RESPONSES[3])
