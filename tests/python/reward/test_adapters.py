"""Reward functions of trainers, called as these call them; verl's are in tests/python/verl."""

from __future__ import annotations

import types

import pytest

import icpo
from icpo.reward import Checker
from icpo.reward.lighteval import SampleMetric, sample_metric
from icpo.reward.trl import AccuracyReward, accuracy_reward

RIGHT, WRONG = r"so it is \boxed{4}", r"so it is \boxed{5}"


##### trl


@pytest.mark.parametrize("column", ["solution", "answer", "ground_truth", "gold"])
def test_trl_texts_and_columns(column):
    columns = {column: ["4", "4"], "prompts": ["p", "p"], "completion_ids": [[1], [2]]}
    rewards = accuracy_reward(completions=[RIGHT, WRONG], **columns, trainer_state=None)
    assert rewards == [1.0, 0.0] and all(isinstance(reward, float) for reward in rewards)


def test_trl_chats():
    chats = [
        [{"role": "assistant", "content": RIGHT}],
        [{"role": "assistant", "content": RIGHT}, {"role": "assistant", "content": WRONG}],
        [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}],
        [{"role": "assistant", "content": None}],
        [],
    ]
    assert accuracy_reward(chats, solution=["4"] * 5) == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_trl_settings():
    reward = AccuracyReward(Checker("math_verify"), column="truth", unreadable_gold=None)
    assert reward.__name__ == "accuracy_reward"
    assert reward([RIGHT, RIGHT, RIGHT], truth=["4", "", ["5", "4"]]) == [1.0, None, 1.0]
    assert accuracy_reward([RIGHT], answer=[4]) == [1.0]
    assert accuracy_reward([RIGHT], answer=[""]) == [0.0]


def test_trl_without_golds():
    with pytest.raises(icpo.MissingArgumentError, match=r"solution or answer.*got columns prompts"):
        accuracy_reward([RIGHT], prompts=["p"])
    with pytest.raises(icpo.MissingArgumentError, match="truth: expected a column"):
        AccuracyReward(column="truth")([RIGHT], solution=["4"])


##### lighteval


def test_lighteval_samples():
    assert sample_metric(["5", "4"], [RIGHT, WRONG]) == 1.0 and sample_metric(["6"], [RIGHT]) == 0.0
    assert sample_metric("4", RIGHT) == 1.0 and sample_metric(["4"], []) == 0.0
    mean = SampleMetric(aggregation_function=lambda scores: sum(scores) / len(scores))
    doc = types.SimpleNamespace(get_golds=lambda: ["4"])
    assert mean.compute(doc=doc, model_response=types.SimpleNamespace(text=[RIGHT, WRONG])) == 0.5
    response = types.SimpleNamespace(text=[WRONG], final_text=[RIGHT])
    assert mean.compute(doc=doc, model_response=response) == 1.0
