"""From a question and demonstrations to a prompt: templates, tokens, and the limit on these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from icpo.demos.pool import DemoPool
from icpo.errors import ConfigError, DataError, IcpoError
from icpo.types import Demo, Problem, Tokens

__all__ = [
    "OVERLONG",
    "TEMPLATES",
    "Encode",
    "ExpertPrompt",
    "PromptBuilder",
    "Template",
    "check_pool",
    "tokenizer_encoder",
]

#: A text, and whether it is what a user says in a chat, to token ids. They end where the answer
#: begins.
Encode = Callable[[str, bool], list[int]]

_PLACE = re.compile(r"\{(question|solution)\}")


@dataclass(frozen=True)
class Template:
    r"""The form of a prompt: texts with places for ``{question}`` and ``{solution}``.

    Other braces and backslashes stand for themselves, in the template and in what is put into it.

    >>> print(TEMPLATES["qa"].render("2 + 3?", [Demo("a", "1 + 1?", r"\boxed{2}")]))
    Question: 1 + 1?
    Answer: \boxed{2}
    <BLANKLINE>
    Question: 2 + 3?
    Answer:
    """

    #: What it is called in messages.
    name: str
    #: A demonstration: ``{question}`` and ``{solution}``.
    demo: str
    #: Between two demonstrations, and between the last one and the question.
    separator: str
    #: What is asked: ``{question}``.
    question: str
    #: Whether the whole is what a user says in a chat, or the beginning of a text.
    chat: bool = False

    def __post_init__(self) -> None:
        """Checks the places."""
        for field, text, expected in (
            ("demo", self.demo, ["question", "solution"]),
            ("separator", self.separator, []),
            ("question", self.question, ["question"]),
        ):
            found = sorted(set(_PLACE.findall(text)))
            if found != expected:
                raise ConfigError(
                    f"template {self.name!r}: {field}: expected {_listed(expected)} in it, "
                    f"got {_listed(found)} in {text!r}"
                )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], name: str = "custom") -> Template:
        """A template of one's own, as a configuration file holds it."""
        known = {field.name: field for field in fields(cls) if field.name != "name"}
        for key, value in mapping.items():
            if key not in known:
                raise ConfigError(
                    f"template {name!r}: expected the keys {', '.join(known)}, got {key!r}"
                )
            kind = bool if key == "chat" else str
            if not isinstance(value, kind):
                expected = "true or false" if kind is bool else "a text"
                raise ConfigError(f"template {name!r}: {key}: expected {expected}, got {value!r}")
        missing = [key for key in ("demo", "separator", "question") if key not in mapping]
        if missing:
            raise ConfigError(f"template {name!r}: missing: {', '.join(missing)}")
        return cls(name, **mapping)

    @classmethod
    def of(cls, choice: str | Mapping[str, Any]) -> Template:
        """One of `TEMPLATES` by its name, or one of one's own."""
        if not isinstance(choice, str):
            return cls.from_mapping(choice)
        if choice not in TEMPLATES:
            raise ConfigError(
                f"template: expected {', '.join(TEMPLATES)} or a mapping, got {choice!r}"
            )
        return TEMPLATES[choice]

    def render(self, question: str, demos: Sequence[Demo]) -> str:
        """The demonstrations in their order, then the question."""
        parts = [self.shown(demo) for demo in demos]
        parts.append(_fill(self.question, {"question": question}))
        return self.separator.join(parts)

    def shown(self, demo: Demo) -> str:
        """One demonstration."""
        return _fill(self.demo, {"question": demo.question, "solution": demo.solution})


_PAPER = Template(
    "paper",
    demo=(
        "Question: {question} Let's think step by step and output the final answer within "
        "\\boxed{}\nAnswer: {solution}"
    ),
    separator="\n\n\n",
    question=(
        "Question: {question} Let's think step by step and output the final answer within "
        "\\boxed{}\nAnswer:"
    ),
)

#: Forms by name.
TEMPLATES: dict[str, Template] = {
    row.name: row
    for row in (
        # The authors' code.
        _PAPER,
        # The same as what a user says.
        replace(_PAPER, name="paper-chat", chat=True),
        # The paper's demonstrations before a user's message that is left as it is: its data set has
        # already put the question into a form of its own.
        replace(_PAPER, name="as-is", question="{question}", chat=True),
        # No instruction: for models that never saw one, and demonstrations that show the form.
        Template(
            "qa",
            demo="Question: {question}\nAnswer: {solution}",
            separator="\n\n",
            question="Question: {question}\nAnswer:",
        ),
    )
}


@dataclass(frozen=True, eq=False)
class ExpertPrompt:
    """A prompt with demonstrations, x_exp = [D; x]."""

    tokens: Tokens  # (P,)
    #: Those shown, in order.
    demos: tuple[Demo, ...]
    #: How many had to be left out, for the limit.
    dropped: int


class PromptBuilder:
    """Makes prompts of a template, as token ids, within a limit.

    >>> builder = PromptBuilder(TEMPLATES["qa"], lambda text, chat: list(text.encode()), 60)
    >>> demos = [Demo("a", "1 + 1?", "2"), Demo("b", "1 + 2?", "3")]
    >>> prompt = builder.expert(Problem("p", "2 + 3?", "5"), demos)
    >>> len(prompt.tokens), [demo.id for demo in prompt.demos], prompt.dropped
    (52, ['a'], 1)
    """

    def __init__(self, template: Template, encode: Encode, max_tokens: int) -> None:
        """`encode` turns a text into token ids, see `Encode`."""
        if max_tokens < 1:
            raise ConfigError(f"max_tokens: expected at least 1, got {max_tokens}")
        self.template = template
        self.max_tokens = max_tokens
        self._encode = encode

    def plain(self, problem: Problem) -> Tokens:
        """The bare prompt, x. Refuses a question that exceeds the limit by itself."""
        tokens = self._tokens(problem, ())
        if len(tokens) > self.max_tokens:
            raise DataError(
                f"problem {problem.id!r}: its prompt has {len(tokens)} tokens without any "
                f"demonstration, expected at most max_tokens = {self.max_tokens}"
            )
        return tokens

    def expert(self, problem: Problem, demos: Sequence[Demo]) -> ExpertPrompt:
        """The prompt with as many of the demonstrations as the limit lets in, the first ones."""
        # Each text is encoded as a whole: tokens may join across the seams.
        for shown in range(len(demos), 0, -1):
            tokens = self._tokens(problem, demos[:shown])
            if len(tokens) <= self.max_tokens:
                return ExpertPrompt(tokens, tuple(demos[:shown]), len(demos) - shown)
        return ExpertPrompt(self.plain(problem), (), len(demos))

    def length(self, problem: Problem, demos: Sequence[Demo]) -> int:
        """How many tokens the prompt would have without any limit."""
        return len(self._tokens(problem, demos))

    def _tokens(self, problem: Problem, demos: Sequence[Demo]) -> Tokens:
        text = self.template.render(problem.question, demos)
        try:
            tokens = self._encode(text, self.template.chat)
        except IcpoError:
            raise
        except Exception as error:  # what tokenizers raise is nothing more special
            shown = f" with demonstrations {[demo.id for demo in demos]}" if demos else ""
            raise DataError(
                f"problem {problem.id!r}: its prompt{shown} has no tokens: {error}"
            ) from error
        return np.asarray(tokens, dtype=np.int64)


def check_pool(
    pool: DemoPool, builder: PromptBuilder, problems: Iterable[Problem], overlong: str = "error"
) -> tuple[DemoPool, int]:
    """The pool without the demonstrations that are too long for any problem, and their number.

    Too long is one that exceeds the limit with the shortest of the questions. What then happens is
    `overlong`, a name in `OVERLONG`. Refuses a question that exceeds the limit by itself.
    """
    if overlong not in OVERLONG:
        raise ConfigError(f"overlong: expected {' or '.join(OVERLONG)}, got {overlong!r}")
    shortest = min(problems, key=lambda problem: len(builder.plain(problem)), default=None)
    if shortest is None:
        raise DataError("problems: expected at least one, got none")
    lengths = {demo.id: builder.length(shortest, [demo]) for demo in pool}
    too_long = {id: length for id, length in lengths.items() if length > builder.max_tokens}
    if not too_long:
        return pool, 0
    return OVERLONG[overlong](pool, too_long, builder.max_tokens), len(too_long)


def _refuse(pool: DemoPool, too_long: Mapping[str, int], limit: int) -> DemoPool:
    id, length = next(iter(too_long.items()))
    more = f"; {len(too_long) - 1} more are too long" if len(too_long) > 1 else ""
    raise DataError(
        f"demonstration {id!r}: with the shortest question its prompt has {length} tokens, "
        f"expected at most max_tokens = {limit}{more}"
    )


def _leave_out(pool: DemoPool, too_long: Mapping[str, int], limit: int) -> DemoPool:
    rest = [demo for demo in pool if demo.id not in too_long]
    if not rest:
        raise DataError(
            f"demos: all {len(pool)} demonstrations are too long: with the shortest question the "
            f"shortest prompt has {min(too_long.values())} tokens, expected at most max_tokens = "
            f"{limit}"
        )
    return DemoPool(rest)


#: What happens if demonstrations are too long for any problem.
OVERLONG: dict[str, Callable[[DemoPool, Mapping[str, int], int], DemoPool]] = {
    "error": _refuse,
    "drop": _leave_out,
}


def tokenizer_encoder(tokenizer: Any) -> Encode:
    """What encodes with a Hugging Face tokenizer.

    A chat ends with what the chat template puts before an answer. Other texts begin as the
    tokenizer begins any text, often with a token for that, but never end with one for the end.
    """

    def raw(text: str) -> list[int]:
        encoded = tokenizer(text, return_special_tokens_mask=True)
        tokens: list[int] = encoded["input_ids"]
        end = len(tokens)
        # The mask marks what the tokenizer added, not special tokens that the text spells out.
        while end and encoded["special_tokens_mask"][end - 1]:
            end -= 1
        return tokens[:end]

    def chat(text: str) -> list[int]:
        if tokenizer.chat_template is None:
            raise ConfigError(
                "template: expected one without chat, since the tokenizer has no chat template"
            )
        tokens: list[int] = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return tokens

    return lambda text, is_chat: chat(text) if is_chat else raw(text)


def _fill(form: str, texts: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: texts[place[1]], form)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"{{{name}}}" for name in names) or "no place"
