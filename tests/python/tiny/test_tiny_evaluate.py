"""The accuracy of policies whose every answer is known."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from icpo.generation import Completion
from icpo.tiny import RULES, TOPICS, Exercise, split
from icpo.tiny.evaluate import evaluate
from icpo.tiny.tokenizer import make_tokenizer
from icpo.tiny.words import EOS

ITEM = re.compile(r"Q:(\w+)((?: [a-d]=\d+)+)\?\nA:([^Q]*)")


class Known:
    """An engine that answers by a function of the demonstrations' rule and the exercise."""

    def __init__(self, tokenizer, answer: Callable[[str | None, Exercise], str]):
        self.tokenizer, self.answer = tokenizer, answer

    def generate(self, prompts, sampling, seeds, progress=None):
        return [self.complete(self.tokenizer.decode(prompt)) for prompt in prompts]

    def complete(self, prompt):
        *demos, (topic, given, nothing) = ITEM.findall(prompt)
        assert nothing == "" and all(shown == topic for shown, _, _ in demos)
        start, *numbers = map(int, re.findall(r"\d+", given))
        rules = {sign for _, _, solution in demos for sign in solution if sign in RULES}
        text = self.answer(next(iter(rules), None), Exercise(topic, start, tuple(numbers)))
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        return Completion(np.array(tokens), np.zeros(len(tokens), np.float32), text.endswith(EOS))


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_a_policy_with_a_habit_that_follows_its_demonstrations(tokenizer):
    engine = Known(tokenizer, lambda rule, each: f" {each.solution(rule or '+')}{EOS}")
    accuracy = evaluate(engine, tokenizer, seed=3)
    test = split(3).test
    lucky = sum(each.solution("+")[-4:] == each.solution()[-4:] for each in test)
    assert accuracy.zero_shot == pytest.approx(lucky / len(test))
    assert accuracy.one_shot == 1.0


def test_what_is_cut_off_is_wrong(tokenizer):
    accuracy = evaluate(Known(tokenizer, lambda _, each: f" {each.solution()}"), tokenizer)
    assert (accuracy.zero_shot, accuracy.one_shot) == (0.0, 0.0)


def test_a_policy_that_knows_half_of_the_topics(tokenizer):
    known = list(TOPICS)[:4]
    engine = Known(
        tokenizer,
        lambda _, each: f" \\boxed{{{each.answer if each.topic in known else '??'}}}{EOS}",
    )
    assert evaluate(engine, tokenizer).zero_shot == 0.5
