"""Text from a model in this process: a tokenizer around an engine of tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icpo.errors import ConfigError, DataError, IcpoError
from icpo.generation.engine import Completion, Engine, Sampling
from icpo.generation.text import Done, Message, TextCompletion, TextRequest, cut, in_groups
from icpo.types import Tokens

__all__ = ["EncodePrompt", "LocalEngine", "prompt_encoder"]

#: A text or a chat, to token ids that end where the answer begins.
EncodePrompt = Callable[["str | tuple[Message, ...]"], Sequence[int]]


class LocalEngine:
    """Answers with an engine of tokens, in groups of so many requests."""

    def __init__(
        self,
        engine: Engine,
        encode: EncodePrompt,
        decode: Callable[[Tokens], str],
        *,
        together: int,
        about: Mapping[str, Any],
    ) -> None:
        """See `TextEngine`.

        Args:
            engine: continues prompts given as token ids.
            encode: see `EncodePrompt`.
            decode: tokens to text, without special tokens.
            together: requests that are handed to the engine at once.
            about: what `describe` says.
        """
        if together < 1:
            raise ConfigError(f"together: expected at least 1, got {together}")
        self._engine, self._encode, self._decode = engine, encode, decode
        self._together, self._about = together, about

    @property
    def together(self) -> int:
        """See `TextEngine`."""
        return self._together

    def complete(
        self, requests: Sequence[TextRequest], done: Done | None = None
    ) -> list[TextCompletion]:
        """See `TextEngine`. `done` is called when a group is finished."""
        return in_groups(requests, self._together, self._group, done)

    def count(self, prompt: str | tuple[Message, ...]) -> int:
        """See `TextEngine`."""
        return len(self._encode(prompt))

    def describe(self) -> Mapping[str, Any]:
        """See `TextEngine`."""
        return self._about

    def _group(self, requests: Sequence[TextRequest]) -> list[TextCompletion]:
        # Each once: many samples of one prompt are what a group mostly is.
        ids = {
            prompt: np.asarray(self._encode(prompt), dtype=np.int64)
            for prompt in dict.fromkeys(one.prompt for one in requests)
        }
        prompts = [ids[one.prompt] for one in requests]
        found: list[Completion] = []
        # An engine of tokens samples all prompts of a call alike.
        for sampling, alike in _runs(requests):
            found += self._engine.generate(
                prompts[alike], sampling, [one.seed for one in requests[alike]]
            )
        return [self._answer(*one) for one in zip(requests, prompts, found, strict=True)]

    def _answer(
        self, request: TextRequest, prompt: Tokens, completion: Completion
    ) -> TextCompletion:
        text = self._decode(completion.tokens)
        # The engine knows no texts to stop at, so what lies behind one was sampled for nothing.
        before = cut(text, request.stop)
        return TextCompletion(
            text=text if before is None else before,
            finished=completion.finished or before is not None,
            tokens=len(completion.tokens),
            prompt_tokens=len(prompt),
        )


def _runs(requests: Sequence[TextRequest]) -> Iterator[tuple[Sampling, slice]]:
    """Neighbours that are sampled alike."""
    start = 0
    for sampling, alike in itertools.groupby(requests, key=lambda one: one.sampling):
        end = start + len(list(alike))
        yield sampling, slice(start, end)
        start = end


def prompt_encoder(tokenizer: Any) -> EncodePrompt:
    """What encodes with a Hugging Face tokenizer, token for token as prompts are in training."""
    from icpo.demos import tokenizer_encoder

    encode = tokenizer_encoder(tokenizer)

    def prompt_ids(prompt: str | tuple[Message, ...]) -> Sequence[int]:
        try:
            return encoded(prompt)
        except IcpoError:
            raise
        except Exception as error:  # tokenizers raise nothing more special
            text = prompt if isinstance(prompt, str) else prompt[-1].content
            raise DataError(
                f"prompt: expected text that the tokenizer knows, got {text!r:.200}: {error}"
            ) from error

    def encoded(prompt: str | tuple[Message, ...]) -> Sequence[int]:
        if isinstance(prompt, str):
            return encode(prompt, False)
        if len(prompt) == 1 and prompt[0].role == "user":
            return encode(prompt[0].content, True)
        if tokenizer.chat_template is None:
            raise ConfigError(
                "prompt: expected a text and no chat, since the tokenizer has no chat template"
            )
        ids: list[int] = tokenizer.apply_chat_template(
            [message._asdict() for message in prompt],
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        return ids

    return prompt_ids
