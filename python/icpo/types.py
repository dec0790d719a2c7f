"""The data that travels between layers: problems, demonstrations, and what a policy made of them.

Nothing here is ever changed after it was made. Token ids and log-probabilities are numpy arrays;
torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Demo", "Problem", "Rollout", "RolloutGroup", "Tokens"]

#: Token ids, (L,).
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """A question with a verifiable answer."""

    #: Unique in its data set.
    id: str
    question: str
    #: The gold answer, or several of which any will do.
    answer: str | tuple[str, ...]
    #: Its category, for demonstrations of the same.
    subject: str | None = None
    #: Worked solutions by somebody else, for methods that imitate or continue them.
    solutions: tuple[str, ...] = ()
    #: ``easy``, ``medium`` or ``hard``, for demonstrations of the same.
    difficulty: str | None = None
    #: How long responses to it are, in a unit that all problems of a data set share.
    length: int | None = None


@dataclass(frozen=True)
class Demo:
    """A worked example, to be shown in the prompt."""

    #: Unique in its pool.
    id: str
    question: str
    solution: str
    subject: str | None = None
    #: ``easy``, ``medium`` or ``hard``.
    difficulty: str | None = None
    #: How long its solution is, in a unit that all of a pool share.
    length: int | None = None


@dataclass(frozen=True, eq=False)
class Rollout:
    """One sampled response τ, checked."""

    #: The prompt that it was sampled from: x, or x_exp = [D; x] for an expert rollout.
    prompt: Tokens  # (P,)
    #: τ, with its end token if it has one.
    tokens: Tokens  # (L,)
    #: log π_old(τ_t | prompt, τ_<t) under the sampling temperature, from the sampler.
    logp: NDArray[np.float32]  # (L,)
    #: τ as text, without special tokens.
    text: str
    #: Whether it ended by itself, not at the length limit.
    finished: bool
    #: R, before any bonus.
    reward: float
    #: The checker's verdict: ``equal``, ``not_equal``, or ``unknown`` if it could not be told.
    outcome: str
    #: Whether it was sampled under an expert prompt, or holds what somebody else wrote.
    expert: bool = False
    #: Ids of the demonstrations in that prompt.
    demos: tuple[str, ...] = ()
    #: The first so many tokens were given, not sampled: part of a stored solution, or all of it.
    #: Their `logp` is 0, which stands for nothing.
    given: int = 0


@dataclass(frozen=True, eq=False)
class RolloutGroup:
    """All rollouts sampled for one problem in one step."""

    problem: Problem
    #: x, the bare prompt: what every rollout is trained on.
    prompt: Tokens  # (P,)
    #: τ_on ~ π_old(·|x).
    policy: tuple[Rollout, ...]
    #: τ_off ~ π_old(·|x_exp), or from stored solutions, whether accepted or not.
    expert: tuple[Rollout, ...] = ()
