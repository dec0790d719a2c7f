"""Greedy accuracy, avg@k and pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icpo.evaluation import avg_at_n, counts_to_report, pass_at_k
from icpo.generation import Completion, Engine, Sampling
from icpo.reward import Checker
from icpo.trainer.rollouts import Decode
from icpo.types import Problem, Tokens

__all__ = ["Evaluation", "Evaluator"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a set of problems came to.

    `finished`, `length` and `unknown` are of the samples; of the greedy answers without samples.
    """

    #: Right answers among the samples of each problem.
    right: NDArray[np.int64]  # (P,)
    #: Samples of each problem; 0: greedy answers alone.
    samples: int
    #: Whether the greedy answer is right; None: not asked for.
    greedy: NDArray[np.bool_] | None  # (P,)
    #: Share that ended by itself.
    finished: float
    #: Mean length in tokens.
    length: float
    #: Share in which no answer was found, or of which it could not be told.
    unknown: float
    #: Categories of the problems.
    subjects: tuple[str | None, ...]

    @property
    def unsolved(self) -> NDArray[np.bool_]:  # (P,)
        """Which problems no sample solves: the non-pass ones."""
        return np.asarray(self.right == 0)

    def figures(self) -> dict[str, float]:
        """Metrics by name. pass@k is over all k samples; the smaller ones are estimates."""
        k = self.samples
        share = avg_at_n(k, self.right) if k else np.asarray(self.greedy, np.float64)
        figures = {}
        if k:
            figures[f"avg@{k}"] = float(share.mean())
            for j in counts_to_report(k):
                figures[f"pass@{j}"] = float(pass_at_k(k, self.right, j).mean())
        if self.greedy is not None:
            figures["greedy"] = float(self.greedy.mean())
        figures |= {
            "finished": self.finished,
            "response_length": self.length,
            "unknown": self.unknown,
        }
        for subject in sorted({subject for subject in self.subjects if subject is not None}):
            those = np.array([one == subject for one in self.subjects])
            figures[f"subject/{subject}"] = float(share[those].mean())
        return figures


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Asks prompts several times over, with the same seeds at every step.

    Common random numbers: two policies that are the same get the same figures.
    """

    engine: Engine
    checker: Checker
    decode: Decode
    #: How samples are drawn.
    sampling: Sampling
    #: Of each problem.
    samples: int
    greedy: bool
    seed: int

    def evaluate(
        self, problems: Sequence[Problem], prompts: Sequence[Tokens], stream: int
    ) -> Evaluation:
        """Asks each problem by its prompt. `stream` tells the seeds of different uses apart."""
        asked = [number for number in range(len(problems)) for _ in range(self.samples)]
        sequence = np.random.SeedSequence((self.seed, stream))
        drawn = [int(value) for value in sequence.generate_state(len(asked), np.uint64)]
        samples = self.engine.generate([prompts[number] for number in asked], self.sampling, drawn)
        outcomes = self._outcomes(samples, [problems[number] for number in asked])
        right = np.array([outcome == "equal" for outcome in outcomes], np.int64)
        greedy = None
        if self.greedy:
            once = Sampling(self.sampling.max_new_tokens, temperature=0.0)
            answers = self.engine.generate(prompts, once, [0] * len(prompts))
            verdicts = self._outcomes(answers, problems)
            greedy = np.array([verdict == "equal" for verdict in verdicts])
            if not samples:
                samples, outcomes = answers, verdicts
        return Evaluation(
            right=right.reshape(len(problems), self.samples).sum(1),
            samples=self.samples,
            greedy=greedy,
            finished=float(np.mean([completion.finished for completion in samples])),
            length=float(np.mean([len(completion.tokens) for completion in samples])),
            unknown=float(np.mean([outcome == "unknown" for outcome in outcomes])),
            subjects=tuple(problem.subject for problem in problems),
        )

    def _outcomes(
        self, completions: Sequence[Completion], problems: Sequence[Problem]
    ) -> list[str]:
        texts = [self.decode(completion.tokens) for completion in completions]
        verdicts = self.checker.check_many(texts, [problem.answer for problem in problems])
        return [verdict.outcome for verdict in verdicts]
