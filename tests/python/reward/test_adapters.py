"""Reward functions of trainers, called as these call them."""

from __future__ import annotations

import importlib.util
import types

import numpy as np
import pytest

import icpo
from icpo.reward import Checker
from icpo.reward import verl as verl_adapter
from icpo.reward.lighteval import SampleMetric, sample_metric
from icpo.reward.trl import AccuracyReward, accuracy_reward
from icpo.reward.verl import compute_score, compute_scores

RIGHT, WRONG = r"so it is \boxed{4}", r"so it is \boxed{5}"


##### verl


def test_verl_calls_by_keyword():
    call = {"data_source": "math", "ground_truth": "4", "extra_info": {"index": 3}}
    assert compute_score(solution_str=RIGHT, **call) == 1.0
    assert compute_score(solution_str=WRONG, **call) == 0.0
    assert isinstance(compute_score("math", RIGHT, "4"), float)
    # verl passes more: routers, tokenizers, reward_kwargs.
    assert compute_score(solution_str=RIGHT, reward_router_address=None, float_rounding=3, **call)


@pytest.mark.parametrize(
    "truth", [4, ["5", "4"], np.array(["5", "4"], object), np.int64(4), ("4",)]
)
def test_verl_ground_truths_of_data_sets(truth):
    assert compute_score("math", RIGHT, truth) == 1.0
    assert compute_scores(["math"], [RIGHT], [truth], [None]) == [1.0]


def test_verl_details():
    details = compute_score("math", "", "4", details=True)
    assert details == {"score": 0.0, "acc": 0.0, "unknown": 1.0, "no_answer": 1.0}
    assert compute_score("math", RIGHT, "4", details=True)["acc"] == 1.0


def test_verl_batches():
    scores = compute_scores(
        data_sources=np.array(["math"] * 2),
        solution_strs=[RIGHT, WRONG],
        ground_truths=["4", "4"],
        extra_infos=[{}, {}],
        profile="math_verify",
    )
    assert scores == [1.0, 0.0] and all(isinstance(score, float) for score in scores)


def test_verl_loads_it_as_a_file():
    spec = importlib.util.spec_from_file_location("custom_module", verl_adapter.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.compute_score("math", RIGHT, "4") == 1.0


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
