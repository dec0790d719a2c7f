"""Requests as verl puts them: what they mean for the engine, and which seed they get."""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icpo.errors import ConfigError, DataError, TokenIdError
from icpo.generation import Sampling
from icpo.types import Tokens

__all__ = ["Limits", "Request", "Seeds", "read_request"]

#: Keys of verl's sampling parameters that are understood.
_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_new_tokens",
    "repetition_penalty",
    "logprobs",
    "seed",
)


@dataclass(frozen=True)
class Limits:
    """How long things may be, and what a token is."""

    #: Of data, as `rollout.prompt_length` says.
    prompt_length: int
    #: Of responses, as `rollout.response_length` says.
    response_length: int
    #: Prompt and response together.
    positions: int
    vocabulary: int


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt to be continued."""

    prompt: Tokens  # (P,)
    sampling: Sampling
    #: None: the server derives one.
    seed: int | None
    #: Whether the answer is to have log-probabilities.
    logprobs: bool


def read_request(prompt_ids: Sequence[int], params: Mapping[str, Any], limits: Limits) -> Request:
    """A request, checked: what the engine can not do is refused, never left out.

    Without a limit of its own a response is as long as `response_length`, less what the prompt has
    beyond `prompt_length`: verl's other servers do the same.

    Raises:
        ConfigError: a sampling parameter that is unknown, or out of its range.
        DataError: an empty prompt, or one that leaves no room for a response.
        TokenIdError: an id outside the vocabulary.
    """
    unknown = sorted(key for key in params if key not in _KEYS)
    if unknown:
        raise ConfigError(
            f"sampling_params: expected {', '.join(_KEYS)}; torch_cpu does not know "
            f"{', '.join(f'{key}={params[key]!r}' for key in unknown)}"
        )
    penalty = params.get("repetition_penalty", 1.0)
    if penalty != 1:
        raise ConfigError(
            f"sampling_params: expected repetition_penalty=1, torch_cpu has no other, got {penalty}"
        )
    top_k = operator.index(params.get("top_k", -1))
    if top_k < -1:
        raise ConfigError(f"sampling_params: expected top_k from -1 (off), got {top_k}")
    seed = params.get("seed")
    if seed is not None and not 0 <= operator.index(seed) < 2**64:
        raise ConfigError(f"sampling_params: expected seed from 0 to 2**64 - 1, got {seed}")

    prompt = _read_prompt(prompt_ids, limits)
    sampling = Sampling(
        max_new_tokens=_room(len(prompt), params, limits),
        temperature=float(params.get("temperature", 1.0)),
        top_p=float(params.get("top_p", 1.0)),
        top_k=max(top_k, 0),
    )
    # vLLM counts the alternatives, and 0 of them still brings the sampled token's own.
    logprobs = params.get("logprobs")
    return Request(prompt, sampling, seed, logprobs is not None and logprobs is not False)


def _read_prompt(prompt_ids: Sequence[int], limits: Limits) -> Tokens:
    prompt = np.array(list(prompt_ids), dtype=np.int64)
    if len(prompt) == 0:
        raise DataError("prompt_ids: expected at least one token, got none")
    if len(prompt) >= limits.positions:
        raise DataError(
            f"prompt_ids: expected fewer than {limits.positions} tokens, which prompt and response "
            f"may have together, got {len(prompt)}"
        )
    least, greatest = int(prompt.min()), int(prompt.max())
    if least < 0 or greatest >= limits.vocabulary:
        wrong = least if least < 0 else greatest
        raise TokenIdError(
            f"prompt_ids: expected ids from 0 to {limits.vocabulary - 1}, got {wrong}"
        )
    return prompt


def _room(prompt_length: int, params: Mapping[str, Any], limits: Limits) -> int:
    """Tokens that the response may have."""
    asked = params.get("max_tokens", params.get("max_new_tokens"))
    if asked is None:
        excess = max(0, prompt_length - limits.prompt_length)
        asked = max(1, limits.response_length - excess)
    elif operator.index(asked) < 1:
        raise ConfigError(f"sampling_params: expected max_tokens from 1, got {asked}")
    return min(operator.index(asked), limits.positions - prompt_length)


class Seeds:
    """A seed for each request that brings none.

    It depends on the weights, the prompt, and how often these weights were asked for this prompt
    before: neither on the order of different prompts, nor on what was asked in earlier steps, so
    that a resumed run draws what the interrupted one would have drawn.
    """

    def __init__(self, server_seed: int, replica: int) -> None:
        """Seeds of one server; `replica` tells servers apart that share a prompt's requests."""
        self._start = f"{server_seed} {replica}"
        self._asked: Counter[bytes] = Counter()

    def next(self, prompt: Tokens, weights_version: int) -> int:
        """The seed of the next request for this prompt, an unsigned 64-bit number.

        >>> seeds = Seeds(0, 0)
        >>> prompt = np.array([5, 7])
        >>> seeds.next(prompt, 1) != seeds.next(prompt, 1)
        True
        """
        key = prompt.astype("<i8").tobytes()
        text = f"{self._start} {weights_version} {self._asked[key]} ".encode()
        self._asked[key] += 1
        return int.from_bytes(hashlib.blake2b(text + key, digest_size=8).digest(), "little")

    def restart(self) -> None:
        """Counts from the start again: the weights are others."""
        self._asked.clear()
