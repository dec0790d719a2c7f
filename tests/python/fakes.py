"""An engine without a model, for tests of what is built on engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from icpo.generation import Completion, Sampling
from icpo.types import Tokens


@dataclass
class ScriptedEngine:
    """Completes prompts as a function of prompt and seed says.

    >>> engine = ScriptedEngine(lambda prompt, seed: [int(prompt[-1]), 2], end_ids=(2,))
    >>> [completion] = engine.generate([np.array([7])], Sampling(8), [0])
    >>> completion.tokens.tolist(), completion.finished
    ([7, 2], True)
    """

    script: Callable[[Tokens, int], Sequence[int]]
    end_ids: Sequence[int] = (2,)
    #: Every call's prompts, sampling and seeds.
    calls: list[tuple[list[Tokens], Sampling, list[int]]] = field(default_factory=list)

    def generate(
        self,
        prompts: Sequence[Tokens],
        sampling: Sampling,
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """The script's tokens up to the first end or the limit; log-probabilities -1, -1/2, …"""
        assert len(prompts) == len(seeds)
        self.calls.append((list(prompts), sampling, list(seeds)))
        completions = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            tokens: list[int] = []
            finished = False
            for token in list(self.script(prompt, seed))[: sampling.max_new_tokens]:
                tokens.append(token)
                if token in self.end_ids:
                    finished = True
                    break
            logp = -1 / np.arange(1, len(tokens) + 1, dtype=np.float32)
            completions.append(Completion(np.array(tokens, dtype=np.int64), logp, finished))
            if progress is not None:
                progress(len(completions))
        return completions
