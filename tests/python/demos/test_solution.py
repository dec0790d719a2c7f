"""Stored solutions as completions: token for token what the template shows behind a question."""

from __future__ import annotations

import dataclasses

import pytest

from icpo.demos import TEMPLATES, Template
from icpo.demos.solution import as_completion, solution_encoder
from icpo.errors import DataError
from icpo.types import Demo, Problem

QUESTION, SOLUTION = "What is 2 + 3?", "It is {question} \\boxed{5}"
END, STOP = 0, 1


class Letters:
    """A token a letter; ``§`` and ``¶`` are the ends."""

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens, "the prompt has them already"
        return {"input_ids": ["§¶".index(one) if one in "§¶" else ord(one) for one in text]}


def encoder(template: Template):
    return solution_encoder(Letters(), template, (END, STOP), STOP)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not TEMPLATES[name].chat])
def test_prompt_and_completion_are_what_a_demonstration_shows(name):
    template = TEMPLATES[name]
    whole = template.render(QUESTION, ()) + as_completion(template, QUESTION, SOLUTION)
    shown = template.render("?", [Demo("d", QUESTION, SOLUTION)])
    assert shown.startswith(whole + template.separator)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if TEMPLATES[name].chat])
def test_in_a_chat_an_answer_is_the_solution(name):
    assert as_completion(TEMPLATES[name], QUESTION, SOLUTION) == SOLUTION


def test_where_demonstrations_have_another_form():
    template = Template("t", demo="E: {solution} ({question})", separator="", question="{question}")
    assert as_completion(template, QUESTION, SOLUTION) == SOLUTION


def test_a_completion_has_one_end():
    plain = Template("t", demo="{question}={solution}", separator="", question="{question}")
    ended = dataclasses.replace(plain, demo="{question}={solution}§")
    problem = Problem("p", "2", "2", solutions=("a", "bc¶", ""))
    found = [tokens.tolist() for tokens in encoder(plain)(problem)]
    assert found == [[61, 97, STOP], [61, 98, 99, STOP], [61, STOP]]
    found = [tokens.tolist() for tokens in encoder(ended)(problem)]
    assert found == [[61, 97, END], [61, 98, 99, STOP], [61, END]]


def test_without_solutions_there_are_none():
    assert encoder(TEMPLATES["qa"])(Problem("p", "2", "2")) == ()


def test_a_text_that_has_no_tokens_is_named_by_its_problem():
    def refuses(text, add_special_tokens):
        raise RuntimeError("no [UNK]")

    encode = solution_encoder(refuses, TEMPLATES["qa"], (2,), 2)
    with pytest.raises(DataError, match=r"problem 'p': its stored solution has no tokens: no \["):
        encode(Problem("p", "1 + 1?", "2", solutions=(" two",)))
