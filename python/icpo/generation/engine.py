"""What every engine of generation does: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from icpo.errors import ConfigError
from icpo.types import Tokens

__all__ = ["Completion", "Engine", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    >>> Sampling(max_new_tokens=64, temperature=0.6, top_p=0.95).greedy
    False
    """

    #: A completion ends after so many tokens, if it does not end by itself.
    max_new_tokens: int
    #: Divides the logits; 0 takes the most likely token each time.
    temperature: float = 1.0
    #: Sample from the fewest tokens whose probabilities add up to this; 1: from all.
    top_p: float = 1.0
    #: Sample from so many of the most likely tokens; 0: from all.
    top_k: int = 0
    #: Makes tokens that occurred before, in prompt or completion, less likely: before anything
    #: else their logits are divided by it where positive and multiplied where negative, at
    #: temperature 0, too. 1: no penalty.
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens: expected at least 1, got {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature: expected a number from 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p: expected a number above 0 and up to 1, got {self.top_p}")
        if self.top_k < 0:
            raise ConfigError(f"top_k: expected a number from 0, got {self.top_k}")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise ConfigError(
                f"repetition_penalty: expected a number above 0, got {self.repetition_penalty}"
            )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature == 0


@dataclass(frozen=True, eq=False)
class Completion:
    """What followed a prompt."""

    #: With the end token, if it ended by itself.
    tokens: Tokens  # (L,)
    #: Of each token, under softmax(logits / temperature) over the whole vocabulary, before top-p
    #: and top-k and without the repetition penalty: what the training forward computes too. So
    #: with a penalty, as with top-p, these are not what tokens were drawn with. At temperature 0,
    #: as at 1.
    logp: NDArray[np.float32]  # (L,)
    #: Whether it ended by itself.
    finished: bool


class Engine(Protocol):
    """Continues prompts."""

    def generate(
        self,
        prompts: Sequence[Tokens],  # (B,) of (P_i,)
        sampling: Sampling,
        seeds: Sequence[int],  # (B,)
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """A completion of each prompt, in their order.

        Each prompt has a seed of its own, 0 to 2**64 - 1, and what follows it depends on nothing
        else: not on its neighbours, nor on how many are computed at once, up to rounding.

        `progress`, if given, is called now and then with the number of completions finished.
        """
        ...
