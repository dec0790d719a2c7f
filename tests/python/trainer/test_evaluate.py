"""Evaluation with an engine that does as it is told."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import ScriptedEngine
from icpo.generation import Sampling
from icpo.reward import Checker
from icpo.trainer.evaluate import Evaluator
from icpo.types import Problem

PROBLEMS = [Problem(str(i), "?", str(i), subject=["even", "odd"][i % 2]) for i in range(6)]
PROMPTS = [np.array([10 + i]) for i in range(6)]
TEXTS = {1: "right", 3: r"\boxed{99}", 4: "who knows"}


def evaluator(engine, k, greedy=True) -> Evaluator:
    def decode(tokens):
        number, how = tokens[0] - 10, TEXTS[int(tokens[1])]
        return rf"\boxed{{{number}}}" if how == "right" else how

    return Evaluator(engine, Checker(), decode, Sampling(8, temperature=0.7), k, greedy, seed=5)


class Counting(ScriptedEngine):
    """Sample j of problem i is right if j < i; greedy answers of odd problems are."""

    def generate(self, prompts, sampling, seeds, progress=None):
        turns: dict[int, int] = {}
        scripts = []
        for prompt in prompts:
            number = int(prompt[0]) - 10
            turn = turns[number] = turns.get(number, -1) + 1
            good = number % 2 == 1 if sampling.greedy else turn < number
            scripts.append([number + 10, 1 if good else 3 if turn % 2 else 4, 2])
        scripted = iter(scripts)
        self.script = lambda prompt, seed: next(scripted)
        return super().generate(prompts, sampling, seeds, progress)


def test_figures_are_what_was_counted():
    found = evaluator(Counting(lambda *_: []), k=4).evaluate(PROBLEMS, PROMPTS, stream=0)
    assert found.right.tolist() == [0, 1, 2, 3, 4, 4]
    assert found.greedy.tolist() == [False, True] * 3
    assert found.unsolved.tolist() == [True] + [False] * 5
    figures = found.figures()
    assert figures["avg@4"] == pytest.approx(14 / 24)
    # pass@2 of c right in 4: 1 - C(4 - c, 2) / 6.
    assert figures["pass@2"] == pytest.approx((0 + 3 / 6 + 5 / 6 + 1 + 1 + 1) / 6)
    assert figures["pass@4"] == pytest.approx(5 / 6)
    assert figures["greedy"] == 0.5 and figures["finished"] == 1.0
    assert figures["subject/even"] == pytest.approx(6 / 12)
    assert figures["subject/odd"] == pytest.approx(8 / 12)
    # Of the wrong ones those of even turns say "who knows".
    assert figures["unknown"] == pytest.approx(4 / 24)
    assert figures["response_length"] == 3


def test_greedy_alone():
    figures = evaluator(Counting(lambda *_: []), k=0).evaluate(PROBLEMS, PROMPTS, 0).figures()
    assert figures["greedy"] == figures["subject/odd"] / 2 == 0.5
    assert not any("@" in name for name in figures)


def test_samples_alone():
    engine = Counting(lambda *_: [])
    figures = evaluator(engine, k=3, greedy=False).evaluate(PROBLEMS, PROMPTS, 0).figures()
    assert len(engine.calls) == 1 and "greedy" not in figures


def test_every_evaluation_has_the_same_luck_and_streams_differ():
    engine = Counting(lambda *_: [])
    taken = evaluator(engine, k=4, greedy=False)
    for stream in (0, 0, 1):
        taken.evaluate(PROBLEMS, PROMPTS, stream)
    first, again, other = (seeds for _, _, seeds in engine.calls)
    assert first == again != other and len(set(first)) == 24
