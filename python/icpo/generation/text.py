"""Engines of text: questions in, answers out, one by one as they are finished.

What an engine of tokens is for training, this is for everything that only reads what a model says:
evaluation, measuring difficulty, search at inference. The model may be in this process or behind a
server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from icpo.errors import IcpoError
from icpo.generation.engine import Sampling

__all__ = [
    "Done",
    "EngineError",
    "Message",
    "TextCompletion",
    "TextEngine",
    "TextRequest",
    "cut",
    "in_groups",
    "seed_of",
]


class EngineError(IcpoError, RuntimeError):
    """An engine could not answer: unreachable, refused, or still failing after every retry."""


class Message(NamedTuple):
    """What somebody says in a chat."""

    #: ``user``, ``system`` or ``assistant``.
    role: str
    content: str


@dataclass(frozen=True)
class TextRequest:
    """A prompt, and how it is to be continued."""

    #: The beginning of a text; or a chat, which the model's own template puts into form.
    prompt: str | tuple[Message, ...]
    sampling: Sampling
    #: 0 to 2**64 - 1. What follows depends on prompt, sampling and seed alone, as far as the engine
    #: can promise that.
    seed: int
    #: A completion ends before the first of these, if one appears.
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextCompletion:
    """What followed a prompt."""

    text: str
    #: Whether it ended by itself; otherwise the limit on its length cut it off.
    finished: bool
    #: Tokens sampled; None: the server does not say.
    tokens: int | None
    #: Tokens of the prompt; None likewise.
    prompt_tokens: int | None


#: Is told the place of a request and what followed it.
Done = Callable[[int, TextCompletion], None]


class TextEngine(Protocol):
    """Continues prompts given as text."""

    @property
    def together(self) -> int:
        """So many requests are computed at once, and may round each other's last digits.

        Whoever resumes asks for whole groups of this size, in the same order, to get the same
        answers to the bit. 1: requests do not know of each other.
        """
        ...

    def complete(
        self, requests: Sequence[TextRequest], done: Done | None = None
    ) -> list[TextCompletion]:
        """A completion of each request, in their order.

        `done`, if given, is called in this thread for each as soon as it is known, in any order.
        What was handed to it is never asked for again; if some other request fails, everything
        that was under way is still handed over before the error is raised.

        Raises:
            EngineError: an answer could not be had.
        """
        ...

    def count(self, prompt: str | tuple[Message, ...]) -> int | None:
        """Tokens of a prompt; None: only the server knows."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What answers: model, libraries and their versions. Plain values."""
        ...


def in_groups(
    requests: Sequence[TextRequest],
    size: int,
    answer: Callable[[Sequence[TextRequest]], Sequence[TextCompletion]],
    done: Done | None,
) -> list[TextCompletion]:
    """Answers so many requests at once; `done` is told of each when its group is finished."""
    found: list[TextCompletion] = []
    for start in range(0, len(requests), size):
        for place, completion in enumerate(answer(requests[start : start + size])):
            found.append(completion)
            if done is not None:
                done(start + place, completion)
    return found


def cut(text: str, stop: Sequence[str]) -> str | None:
    """The text before the first of these; None: none of them is in it.

    >>> cut("42. Question: 1 + 1?", ["Answer:", " Question:"])
    '42.'
    """
    places = [place for place in (text.find(end) for end in stop) if place >= 0]
    return text[: min(places)] if places else None


def seed_of(*parts: str | int) -> int:
    """A seed of 64 bits that follows from these alone, not from the order of any list.

    >>> seed_of("math500", "7", 0) == seed_of("math500", "7", 0) != seed_of("math500", "7", 1)
    True
    """
    # With their lengths, so that ("ab", "c") is not ("a", "bc").
    words = [str(part) for part in parts]
    text = "".join(f"{len(word)}:{word}" for word in words)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
