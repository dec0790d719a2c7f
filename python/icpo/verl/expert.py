"""Expert prompts, x_exp = [D; x], as tokens, and the agent loop that asks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from icpo.demos import STRATEGIES, PromptBuilder, Template, tokenizer_encoder
from icpo.errors import DataError
from icpo.types import Problem
from icpo.verl.settings import IcpoSettings

__all__ = ["AGENT", "EXPERT_PROMPT", "expert_prompts", "problem_of"]

#: Name of the agent loop in verl's registry.
AGENT = "icpo_expert"

#: Keyword under which it is given the tokens of its prompt.
EXPERT_PROMPT = "icpo_prompt_ids"

#: What a user and a system say in a chat.
Messages = Sequence[Mapping[str, Any]]


@register(AGENT)
class ExpertAgentLoop(SingleTurnAgentLoop):  # type: ignore[misc]  # verl is not typed
    """verl's agent loop of one turn, from a prompt that has been made already.

    So each expert prompt is made once, and the demonstrations that fit in are known before it is
    asked: verl would cut off the beginning of one that is too long, without a word.
    """

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """The response to the prompt given as `EXPERT_PROMPT`."""
        self._prompt_ids: list[int] = kwargs.pop(EXPERT_PROMPT)
        return await super().run(sampling_params, **kwargs)

    async def ct_build_initial_tokens(self, messages: Any, *args: Any, **kwargs: Any) -> list[int]:
        """These tokens, in place of those of the messages."""
        return list(self._prompt_ids)


def problem_of(
    messages: Messages, extra_info: Mapping[str, Any] | None, settings: IcpoSettings
) -> Problem:
    """The problem that a data row poses, as far as the choice of demonstrations looks at it."""
    extra, keys = extra_info or {}, settings.demonstrations
    reads = STRATEGIES[keys.strategy].reads
    subject, difficulty = extra.get(keys.subject), extra.get(keys.difficulty)
    return Problem(
        id=str(extra.get("index", "")),
        question=str(extra.get(keys.question) or _user_text(messages)),
        answer="",
        subject=None if subject is None else str(subject),
        # Solutions are long, and there are many.
        solutions=_texts(extra, settings.solution) if "solutions" in reads else (),
        difficulty=None if difficulty is None else str(difficulty),
        length=_length(extra, keys.length) if "length" in reads else None,
    )


def _length(extra: Mapping[str, Any], key: str) -> int | None:
    found = extra.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise DataError(f"extra_info.{key}: expected a whole number from 0, got {found!r:.80}")
    return found


def _texts(extra: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = extra.get(key)
    if found is None:
        return ()
    texts = [found] if isinstance(found, str) else list(found)
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"extra_info.{key}: expected a text or a list of them, got {found!r:.80}")
    return tuple(texts)


def expert_prompts(
    template: Template,
    tokenizer: Any,
    model_type: str | None,
    chat: Mapping[str, Any],
    limit: int,
    processor: Any = None,
) -> Callable[[Messages], PromptBuilder]:
    """What makes expert prompts to a row's messages.

    The user's message is the question of the template; the messages before it stay. A chat is
    turned into tokens by what verl turns the plain prompt into tokens with.

    Args:
        template: the form.
        tokenizer: the policy's.
        model_type: of the policy, as transformers names it; decides on details of chats.
        chat: further arguments of the chat template, ``data.apply_chat_template_kwargs``.
        limit: tokens of a prompt, at most.
        processor: of a model that takes images, too; it has chats of its own.
    """
    chats = create_continuous_token_builder(
        tokenizer,
        hf_model_type=model_type,
        chat_template_kwargs=dict(chat),
        processor=processor,
    )
    encode_text = tokenizer_encoder(tokenizer)

    def builder(messages: Messages) -> PromptBuilder:
        before = [dict(message) for message in messages[:-1]]

        def encode(text: str, is_chat: bool) -> list[int]:
            if not is_chat:
                return encode_text(text, False)
            said = [*before, {"role": "user", "content": text}]
            tokens: list[int] = chats.build_initial_tokens(said)
            return tokens

        return PromptBuilder(template, encode, limit)

    return builder


def asked(messages: Messages, problem: Problem) -> Problem:
    """The problem in the words of the prompt, instructions included."""
    return replace(problem, question=_user_text(messages))


def _user_text(messages: Messages) -> str:
    if not messages or messages[-1].get("role") != "user":
        roles = ", ".join(str(message.get("role")) for message in messages) or "none"
        raise DataError(f"prompt: expected messages that end with a user's, got roles {roles}")
    text = messages[-1].get("content")
    if not isinstance(text, str):
        raise DataError(
            f"prompt: expected a text as the user's message, got {type(text).__name__}; expert "
            "prompts with images are not supported"
        )
    return text
