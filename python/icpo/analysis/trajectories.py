"""Responses of runs as tokens again, behind the prompts that they belong to.

Files hold text. A training run's prompts have their special tokens in it; an evaluation's are put
into form again by the template in its settings; those of verl's dumps have lost them, and are
looked up in the file that verl was trained on. The token that ended a response is not in its text,
and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icpo.analysis.replay import Continuation
from icpo.analysis.runs import Response
from icpo.analysis.sources import NamedRun, condition, sampled
from icpo.analysis.words import token_ids
from icpo.demos import Template, tokenizer_encoder
from icpo.errors import ConfigError, DataError
from icpo.tables import UnreadableRow, placed_rows
from icpo.types import Tokens

__all__ = ["Trajectory", "prompts_of_verl", "trajectories"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A response as tokens."""

    run: NamedRun
    #: See `icpo.analysis.sources.condition`.
    condition: str
    response: Response
    text: Continuation
    #: Whether it has as many tokens as when it was sampled; None: the file does not say.
    as_sampled: bool | None


#: A response to the tokens of its prompt.
_Prompt = Callable[[Response], "Tokens | Sequence[int]"]


def trajectories(
    runs: Sequence[NamedRun],
    tokenizer: Any,
    steps: range | None = None,
    prompts: Mapping[str, Tokens] | None = None,
) -> list[Trajectory]:
    """The responses of runs, behind the prompt that they are trained on or were evaluated with.

    Of an expert rollout that is the bare prompt, as in training. In an evaluation it is the prompt
    that was asked, with its demonstrations.

    Args:
        runs: see `icpo.analysis.sources`.
        tokenizer: of the model that will look at them.
        steps: of training, to look at; None: all.
        prompts: of verl's runs, see `prompts_of_verl`.

    Raises:
        DataError: naming the response that can not be put into tokens.
        ConfigError: if prompts of verl are missing.
    """
    prompt_of = {id(one): _PROMPTS[one.run.kind](one, tokenizer, prompts) for one in runs}
    found = []
    for one, response in sampled(runs, steps):
        place = f"{response.file}: line {response.line}"
        try:
            prompt = prompt_of[id(one)](response)
            tokens = token_ids(tokenizer, response.text)
        except (UnreadableRow, DataError) as error:
            raise DataError(f"{place}: {error}") from error
        text = Continuation(np.array(prompt, np.int64), np.array(tokens, np.int64), place)
        as_sampled = None
        if response.tokens is not None:
            as_sampled = len(tokens) == response.tokens - bool(response.finished)
        found.append(Trajectory(one, condition(one, response), response, text, as_sampled))
    return found


def prompts_of_verl(path: Path, tokenizer: Any) -> dict[str, Tokens]:
    """Tokens of prompts, by the text that verl's dumps have of them.

    Args:
        path: a file in verl's schema, with messages in ``prompt``.
        tokenizer: whose chat template verl has used.

    Raises:
        DataError: naming a row without messages.
    """
    if tokenizer.chat_template is None:
        raise ConfigError("prompts: expected a tokenizer with a chat template, as verl needs")
    found = {}
    for row in placed_rows(path):
        try:
            messages = row.value("prompt", "prompt")
        except UnreadableRow as error:
            raise row.error(error) from None
        if not isinstance(messages, list):
            raise row.error(f"expected messages in column 'prompt', got {messages!r:.80}")
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        found[text] = np.array(ids, np.int64)
    return found


##### Prompts, by the kind of the run


def _of_trainer(one: NamedRun, tokenizer: Any, _: Mapping[str, Tokens] | None) -> _Prompt:
    def prompt(response: Response) -> Sequence[int]:
        return token_ids(tokenizer, _bare(response))

    return prompt


def _of_verl(one: NamedRun, tokenizer: Any, prompts: Mapping[str, Tokens] | None) -> _Prompt:
    if prompts is None:
        raise ConfigError(
            f"prompts: expected verl's training file beside {one.run.folder}, because its dumps "
            "lack the special tokens of prompts"
        )

    def prompt(response: Response) -> Tokens:
        text = _bare(response)
        if text not in prompts:
            example = next(iter(prompts), "")
            raise UnreadableRow(
                f"prompts: expected one that the chat template makes {text[-60:]!r} of, got "
                f"{len(prompts)} others such as {example[-60:]!r}"
            )
        return prompts[text]

    return prompt


def _of_eval(one: NamedRun, tokenizer: Any, _: Mapping[str, Tokens] | None) -> _Prompt:
    settings = one.run.config.get("settings", {})
    if "template" not in settings:
        raise ConfigError(f"{one.run.config_file}: expected the template of prompts, got none")
    template = Template.of(settings["template"])
    encode = tokenizer_encoder(tokenizer)

    def prompt(response: Response) -> Sequence[int]:
        text = response.expert_prompt if response.expert else response.prompt
        try:
            return encode(text or "", template.chat)
        except Exception as error:  # what tokenizers raise is nothing more special
            raise UnreadableRow(f"its prompt has no tokens: {error}") from error

    return prompt


_PROMPTS: dict[str, Callable[[NamedRun, Any, Mapping[str, Tokens] | None], _Prompt]] = {
    "trainer": _of_trainer,
    "verl": _of_verl,
    "eval": _of_eval,
}


def _bare(response: Response) -> str:
    if response.prompt is None:
        raise UnreadableRow("expected a policy rollout of the same group before it, found none")
    return response.prompt
