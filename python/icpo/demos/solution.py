"""Stored solutions as completions: what the policy would have had to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from icpo.demos.prompt import Template
from icpo.errors import ConfigError, DataError
from icpo.types import Demo, Problem, Tokens

__all__ = ["SolutionEncoder", "as_completion", "behind_an_answer", "solution_encoder"]

#: The stored solutions of a problem, as the tokens of completions.
SolutionEncoder = Callable[[Problem], "tuple[Tokens, ...]"]


def as_completion(template: Template, question: str, solution: str) -> str:
    """A solution as a completion of the bare prompt.

    A demonstration shows what a prompt with its completion looks like. So a completion is what the
    template puts behind the question there; in a chat it is the solution, which is all that an
    answer consists of.

    >>> from icpo.demos import TEMPLATES
    >>> as_completion(TEMPLATES["qa"], "2 + 3?", "It is 5.")
    ' It is 5.'
    """
    asked = template.render(question, ())
    shown = template.shown(Demo("", question, solution))
    if template.chat or not shown.startswith(asked):
        return solution
    return shown[len(asked) :]


def solution_encoder(
    tokenizer: Any, template: Template, ends: Sequence[int], end: int
) -> SolutionEncoder:
    """What turns stored solutions into tokens.

    Args:
        tokenizer: the policy's.
        template: of the prompts.
        ends: tokens that end a completion.
        end: the one that is put behind a solution which does not bring its own.
    """

    def encode(problem: Problem) -> tuple[Tokens, ...]:
        found = []
        for solution in problem.solutions:
            text = as_completion(template, problem.question, solution)
            try:
                tokens: list[int] = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            except Exception as error:  # what tokenizers raise is nothing more special
                raise DataError(
                    f"problem {problem.id!r}: its stored solution has no tokens: {error}"
                ) from error
            # Nothing comes behind an end, as nothing comes behind it where the policy samples.
            own = next((place for place, token in enumerate(tokens) if token in ends), None)
            whole = [*tokens, end] if own is None else tokens[: own + 1]
            found.append(np.array(whole, np.int64))
        return tuple(found)

    return encode


def behind_an_answer(tokenizer: Any) -> list[int]:
    """The special token with which the chat template ends an answer, if it does.

    Raises:
        ConfigError: if there is no chat template.
    """
    if tokenizer.chat_template is None:
        raise ConfigError(
            "prompt.template: expected one without chat, since the tokenizer has no chat template"
        )
    answer = "7"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}],
        tokenize=False,
    )
    behind = tokenizer(text.rpartition(answer)[2], add_special_tokens=False).input_ids
    return [token for token in behind[:1] if token in tokenizer.all_special_ids]
