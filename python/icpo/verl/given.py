"""Stored solutions in verl: as responses, or as beginnings that the policy continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.workers.rollout.replica import TokenOutput

from icpo.demos.solution import behind_an_answer
from icpo.errors import ConfigError, DataError

__all__ = ["AGENT", "CONTINUED", "GIVEN", "encoder", "stored_solutions"]

#: Name of the agent loop in verl's registry.
AGENT = "icpo_given"

#: Keywords under which it is given tokens of a solution, and whether the policy continues them.
GIVEN, CONTINUED = "icpo_given_ids", "icpo_continued"


class _Given:
    """The rollout engine, with tokens of a response in front of what it says.

    Their log-probabilities are 0, which stands for nothing: the loss does not read them.
    """

    def __init__(self, engine: Any, given: list[int], *, continued: bool, step: int) -> None:
        self._engine, self._given, self._continued = engine, given, continued
        #: Of the weights that wrote the response, as verl asks of every one.
        self._written = {"min_global_steps": step, "max_global_steps": step}

    async def generate(self, *, prompt_ids: list[int], **kwargs: Any) -> TokenOutput:
        """As the engine does."""
        nothing = [0.0] * len(self._given)
        if not self._continued:
            return TokenOutput(
                token_ids=list(self._given), log_probs=nothing, extra_fields=self._written
            )
        output: TokenOutput = await self._engine.generate(
            prompt_ids=[*prompt_ids, *self._given], **kwargs
        )
        if not output.token_ids:
            return output  # what was given is no response
        output.token_ids = [*self._given, *output.token_ids]
        output.log_probs = [*nothing, *(output.log_probs or [])]
        return output


@register(AGENT)
class GivenAgentLoop(SingleTurnAgentLoop):  # type: ignore[misc]  # verl is not typed
    """verl's agent loop of one turn, with the beginning of the response given, or all of it."""

    server_manager: Any

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """The response behind the plain prompt."""
        given: list[int] = kwargs.pop(GIVEN)
        engine: Any = self.server_manager
        self.server_manager = _Given(
            engine, given, continued=kwargs.pop(CONTINUED), step=int(kwargs["global_steps"]) - 1
        )
        return await super().run(sampling_params, **kwargs)


def stored_solutions(extra_info: Mapping[str, Any] | None, key: str) -> list[str]:
    """The solutions in a data row's ``extra_info``: a text, or several.

    Raises:
        DataError: if there are none.
    """
    found = (extra_info or {}).get(key)
    texts = [found] if isinstance(found, str) else found
    if isinstance(texts, np.ndarray):
        texts = texts.tolist()
    if not isinstance(texts, Sequence) or not texts or not all(map(_is_text, texts)):
        raise DataError(
            f"extra_info.{key}: expected a solution or a list of them, because the method imitates "
            f"or continues stored solutions, got {found!r:.80}"
        )
    return list(texts)


def encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """What turns a solution into the tokens of a response, its end included.

    Raises:
        ConfigError: if the tokenizer has no token that ends a response.
    """
    chat = behind_an_answer(tokenizer) if tokenizer.chat_template else []
    ends = [token for token in (*chat, tokenizer.eos_token_id) if token is not None]
    if not ends:
        raise ConfigError("actor_rollout_ref.model.path: expected a tokenizer with an end token")

    def encode(solution: str) -> list[int]:
        tokens: list[int] = list(tokenizer(solution, add_special_tokens=False)["input_ids"])
        # Nothing comes behind an end, as nothing does where the policy samples.
        own = next((place for place, token in enumerate(tokens) if token in ends), None)
        return [*tokens, ends[0]] if own is None else tokens[: own + 1]

    return encode


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
