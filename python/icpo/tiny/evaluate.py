"""What the tiny model can do: alone, and after a worked example of the same topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from icpo.demos import DemoPool, DemoSampler, PromptBuilder, tokenizer_encoder
from icpo.generation import Engine, Sampling
from icpo.reward import Checker
from icpo.tiny.data import split
from icpo.tiny.model import LONGEST_TEXT
from icpo.tiny.words import TEMPLATE
from icpo.types import Demo, Problem, Tokens

__all__ = ["Accuracy", "evaluate"]

#: Every right answer is shorter.
SAMPLING = Sampling(max_new_tokens=32)


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers to the test problems, one sample each at temperature 1."""

    #: After the bare question.
    zero_shot: float
    #: After a demonstration of the same topic.
    one_shot: float


def evaluate(engine: Engine, tokenizer: PreTrainedTokenizerFast, *, seed: int = 0) -> Accuracy:
    """Answers the test problems of `split(seed)`, with and without its demonstrations."""
    splits = split(seed)
    problems = [
        Problem(str(number), exercise.question, exercise.answer, exercise.topic)
        for number, exercise in enumerate(splits.test)
    ]
    pool = DemoPool(
        Demo(str(number), exercise.question, exercise.solution(), exercise.topic)
        for number, exercise in enumerate(splits.demos)
    )
    builder = PromptBuilder(TEMPLATE, tokenizer_encoder(tokenizer), LONGEST_TEXT)
    shown = DemoSampler(pool, "subject", seed=seed).draw(problems)

    def accuracy(prompts: Sequence[Tokens]) -> float:
        completions = engine.generate(prompts, SAMPLING, range(len(prompts)))
        texts = [tokenizer.decode(each.tokens, skip_special_tokens=True) for each in completions]
        right = Checker().score(texts, [problem.answer for problem in problems])
        finished = [each.finished for each in completions]
        return float((right * finished).mean(dtype=np.float64))

    return Accuracy(
        zero_shot=accuracy([builder.plain(problem) for problem in problems]),
        one_shot=accuracy(
            [
                builder.expert(problem, demos).tokens
                for problem, demos in zip(problems, shown, strict=True)
            ]
        ),
    )
