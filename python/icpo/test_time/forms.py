r"""What prompts look like: a question after ideas, a request for a summary, for criticism.

Places are filled where they stand; other braces and backslashes stand for themselves, and nothing
that is put into a place is looked at again.

>>> form = FORMS["text"]
>>> print(form.ask("1 + 1?", [Idea("Count. The answer is \\boxed{2}.", 1)], rewards=True))
Ideas from earlier attempts at the question below: those that seem wrong have reward 0, those that
seem right reward 1. They may help, and they may mislead.
<BLANKLINE>
Reward 0:
- none
<BLANKLINE>
Reward 1:
- Count. The answer is \boxed{2}.
<BLANKLINE>
Question: 1 + 1?
Put the final answer in \boxed{}.
Answer:
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from icpo.errors import ConfigError
from icpo.schema import Form as Written

__all__ = ["FORMS", "Form", "FormSetting", "Idea"]

_PLACE = re.compile(r"\{(answer|bad|critique|good|idea|ideas|question|response)\}")


@dataclass(frozen=True)
class Idea:
    """Something that was tried."""

    text: str
    #: 0 or 1.
    reward: int


@dataclass(frozen=True)
class Form:
    """The texts of prompts, with places in braces."""

    #: What it is called in messages.
    name: str
    #: What is asked: ``{question}``, after ``{ideas}``, which is empty without any.
    question: str
    #: The two lists of ideas, ``{bad}`` and ``{good}``; the first may be left out.
    ideas: str
    #: The only list, ``{ideas}``, where rewards are not told.
    unrewarded: str
    #: An ``{idea}`` in a list; the ``{question}`` may stand there, too.
    idea: str
    #: Stands for a list without ideas.
    nothing: str
    #: Behind a summary: the final ``{answer}`` of what it summarises.
    conclusion: str
    #: Asks for a summary of ``{response}``.
    summary: str
    #: Asks what is wrong with ``{response}``.
    critique: str
    #: Asks for a better one, given ``{response}`` and ``{critique}``.
    refinement: str
    #: What a critique says if nothing is wrong.
    approval: str
    #: Whether a prompt is what a user says in a chat, or the beginning of a text.
    chat: bool = False

    def __post_init__(self) -> None:
        """Checks the places."""
        for field, needed, optional in (
            ("question", {"question", "ideas"}, set()),
            ("ideas", {"good"}, {"bad", "question"}),
            ("unrewarded", {"ideas"}, {"question"}),
            ("idea", {"idea"}, {"question"}),
            ("nothing", set(), set()),
            ("conclusion", {"answer"}, set()),
            ("summary", {"response"}, {"question"}),
            ("critique", {"response"}, {"question"}),
            ("refinement", {"response", "critique"}, {"question"}),
            ("approval", set(), set()),
        ):
            text = getattr(self, field)
            found = set(_PLACE.findall(text))
            if not needed <= found <= needed | optional:
                raise ConfigError(
                    f"form {self.name!r}: {field}: expected {_listed(needed)}"
                    f"{' and perhaps ' + _listed(optional) if optional else ''}, "
                    f"got {_listed(found)} in {text!r}"
                )
        if not self.approval.strip():
            raise ConfigError(f"form {self.name!r}: approval: expected words, got none")

    @classmethod
    def of(cls, choice: str | Mapping[str, Any]) -> Form:
        """One of `FORMS` by its name, or a mapping with the fields; others are those of ``chat``.

        Raises:
            ConfigError: there is no such form or field, or a place is missing.
        """
        if isinstance(choice, str):
            if choice not in FORMS:
                raise ConfigError(f"expected {', '.join(FORMS)} or a mapping, got {choice!r}")
            return FORMS[choice]
        known = {field.name: field for field in fields(cls) if field.name != "name"}
        for key, value in choice.items():
            if key not in known:
                raise ConfigError(f"expected the keys {', '.join(known)}, got {key!r}")
            kind = bool if key == "chat" else str
            if not isinstance(value, kind):
                expected = "true or false" if kind is bool else "a text"
                raise ConfigError(f"{key}: expected {expected}, got {value!r}")
        base = {name: getattr(FORMS["chat"], name) for name in known}
        return cls("custom", **{**base, **choice})

    def ask(self, question: str, ideas: Sequence[Idea], *, rewards: bool) -> str:
        """The question, after the ideas. `rewards`: whether these are told."""
        return _fill(
            self.question,
            {"question": question, "ideas": self._lists(question, ideas, rewards=rewards)},
        )

    def _lists(self, question: str, ideas: Sequence[Idea], *, rewards: bool) -> str:
        if not ideas:
            return ""
        if not rewards:
            values = {"ideas": self._list(question, ideas)}
            return _fill(self.unrewarded, {"question": question, **values})
        values = {
            name: self._list(question, [idea for idea in ideas if idea.reward == reward])
            for name, reward in (("bad", 0), ("good", 1))
        }
        return _fill(self.ideas, {"question": question, **values})

    def _list(self, question: str, ideas: Sequence[Idea]) -> str:
        shown = (_fill(self.idea, {"idea": one.text, "question": question}) for one in ideas)
        return "".join(shown) or self.nothing

    def summarise(self, question: str, response: str) -> str:
        """Asks for a summary."""
        return _fill(self.summary, {"question": question, "response": response})

    def concluded(self, summary: str, answer: str) -> str:
        """A summary with the final answer."""
        return summary + _fill(self.conclusion, {"answer": answer})

    def criticise(self, question: str, response: str) -> str:
        """Asks for criticism."""
        return _fill(self.critique, {"question": question, "response": response})

    def refine(self, question: str, response: str, critique: str) -> str:
        """Asks for a better response."""
        return _fill(
            self.refinement,
            {"question": question, "response": response, "critique": critique},
        )


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def _listed(places: set[str]) -> str:
    return ", ".join("{" + place + "}" for place in sorted(places)) or "no place"


_BOX = "Put the final answer in \\boxed{}."

_CHAT = Form(
    name="chat",
    question=f"{{ideas}}{{question}}\n\nReason step by step. {_BOX}",
    ideas=(
        "Ideas from earlier attempts at the question below: those that seem wrong have reward 0, "
        "those that\nseem right reward 1. They may help, and they may mislead.\n\n"
        "Reward 0:\n{bad}\nReward 1:\n{good}\nThe question:\n\n"
    ),
    unrewarded=(
        "Ideas from earlier attempts at the question below. They may help, and they may mislead."
        "\n\n{ideas}\nThe question:\n\n"
    ),
    idea="- {idea}\n",
    nothing="- none\n",
    conclusion=" The answer is \\boxed{{answer}}.",
    summary=(
        "{question}\n\nAn attempt to answer this:\n\n{response}\n\nSummarise the reasoning of the "
        "attempt in at most 100 tokens, without its calculations. Write the summary only."
    ),
    critique=(
        "{question}\n\nA proposed answer:\n\n{response}\n\nCheck it step by step, and say what is "
        "wrong with it. If nothing is, write: NOTHING IS WRONG."
    ),
    refinement=(
        "{question}\n\nA first answer:\n\n{response}\n\nWhat somebody says about it:\n\n{critique}"
        f"\n\nAnswer the question again, and better. Reason step by step. {_BOX}"
    ),
    approval="NOTHING IS WRONG",
    chat=True,
)

#: By name: for models that are tuned for chats, and for those that continue a text.
FORMS: dict[str, Form] = {
    "chat": _CHAT,
    "text": Form(
        name="text",
        question=f"{{ideas}}Question: {{question}}\n{_BOX}\nAnswer:",
        ideas=(
            "Ideas from earlier attempts at the question below: those that seem wrong have reward "
            "0, those that\nseem right reward 1. They may help, and they may mislead.\n\n"
            "Reward 0:\n{bad}\nReward 1:\n{good}\n"
        ),
        unrewarded=(
            "Ideas from earlier attempts at the question below. They may help, and they may "
            "mislead.\n\n{ideas}\n"
        ),
        idea=_CHAT.idea,
        nothing=_CHAT.nothing,
        conclusion=_CHAT.conclusion,
        summary=(
            "Question: {question}\nAnswer: {response}\n\nThe reasoning of this answer in one "
            "sentence, without its calculations:"
        ),
        critique=(
            "Question: {question}\nAnswer: {response}\n\nWhat is wrong with this answer (NOTHING "
            "IS WRONG, if nothing is):"
        ),
        refinement=(
            "Question: {question}\nFirst answer: {response}\nWhat somebody says about it: "
            f"{{critique}}\n{_BOX}\nBetter answer:"
        ),
        approval=_CHAT.approval,
    ),
}


def _read(key: str, value: Any) -> Form:
    if not isinstance(value, (str, Mapping)):
        raise ConfigError(f"{key}: expected {' or '.join(FORMS)} or a mapping, got {value!r}")
    try:
        return Form.of(value)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _write(form: Form) -> Any:
    if FORMS.get(form.name) == form:
        return form.name
    return {name: value for name, value in vars(form).items() if name != "name"}


#: The annotation of a field that holds one.
FormSetting = Annotated[Form, Written(_read, _write)]
