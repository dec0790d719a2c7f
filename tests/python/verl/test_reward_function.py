"""The reward function, called as verl calls it; verl itself is needed for two tests only."""

from __future__ import annotations

import importlib.util
import json
import logging
import pickle
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import icpo
from icpo.reward import Checker
from icpo.verl import reward
from icpo.verl.reward import compute_score

RIGHT, WRONG = r"so it is \boxed{4}", r"so it is \boxed{5}"
FIELDS = ["score", "acc", "verdict", "reason", "pred", "unknown", "no_answer", "no_gold"]
NUMBERS = ["score", "acc", "unknown", "no_answer", "no_gold"]


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch):
    monkeypatch.setattr(reward, "_reported", set())


def check_fields(result):
    """What verl needs: the same fields always, numbers to average, text that it can write."""
    assert list(result) == FIELDS
    assert all(type(result[name]) is float and result[name] in (0.0, 1.0) for name in NUMBERS)
    assert result["verdict"] in ("equal", "not_equal", "unknown")
    assert result["score"] == result["acc"] == (result["verdict"] == "equal")
    assert result["unknown"] == (result["verdict"] == "unknown") == (result["reason"] != "")
    json.dumps(result, ensure_ascii=False).encode("utf-8")
    assert pickle.loads(pickle.dumps(result)) == result


##### verdicts


def test_right_wrong_and_unknown():
    call = {"data_source": "math", "ground_truth": "4", "extra_info": {"index": 3}}
    right = compute_score(solution_str=RIGHT, **call)
    assert right == dict(zip(FIELDS, [1.0, 1.0, "equal", "", "4", 0.0, 0.0, 0.0], strict=True))
    wrong = compute_score(solution_str=WRONG, **call)
    assert wrong == dict(zip(FIELDS, [0.0, 0.0, "not_equal", "", "5", 0.0, 0.0, 0.0], strict=True))
    silent = compute_score(solution_str="I can not tell.", **call)
    values = [0.0, 0.0, "unknown", "response", "", 1.0, 1.0, 0.0]
    assert silent == dict(zip(FIELDS, values, strict=True))
    assert compute_score("math", RIGHT, "4") == right  # by position, as some managers do


@pytest.mark.parametrize("said", [r"\frac12", r"\dfrac{2}{4}", "0.5", r"\frac{1}{2}\text{ cm}"])
def test_one_answer_is_one_vote_however_it_is_spelt(said):
    assert compute_score("s", rf"so \boxed{{{said}}}", "7")["pred"] == "1/2"


def answer(rng):
    a, b = rng.randint(-30, 30), rng.randint(1, 12)
    numbers = [f"{a}", rf"\frac{{{a}}}{{{b}}}", f"{a / b:.3f}", rf"{a}\pi", rf"\sqrt{{{b}}}"]
    others = [f"({a},{b})", f"x={a}", f"{a}x+{b}"]
    nothing = ["", "no idea", rf"\frac{{{a}}}{{0}}", rf"\frac{{{a}}}{{"]
    return rng.choice(numbers + others + nothing)


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_it_says_what_the_checker_says(profile):
    rng = random.Random(7)
    checker = Checker(profile, float_rounding=4)
    seen = set()
    for _ in range(3000):
        gold, said = answer(rng), answer(rng)
        golds = [gold, answer(rng)] if rng.random() < 0.3 else gold
        said = gold if rng.random() < 0.3 else said
        response = rng.choice([rf"\boxed{{{said}}}", f"The answer is ${said}$.", said])
        result = compute_score("s", response, golds, profile=profile, float_rounding=4)
        verdict = checker.check(golds, response)
        check_fields(result)
        assert result["verdict"] == verdict.outcome and result["reason"] == (verdict.reason or "")
        assert result["pred"] == ("" if verdict.reason == "response" else verdict.pred or "")
        assert result["no_gold"] == (verdict.reason == "gold")
        assert result["no_answer"] == (verdict.reason == "response")
        seen.add((verdict.outcome, verdict.reason))
    assert {outcome for outcome, _ in seen} == {"equal", "not_equal", "unknown"}
    assert {"gold", "response", "undefined"} <= {reason for _, reason in seen}


HOSTILE = {
    "long answer": r"\boxed{" + "x+" * 60_000 + "1}",
    "long text": "4 " * 200_000 + RIGHT,
    "deep": r"\boxed{" + "{" * 20_000 + "4" + "}" * 20_000 + "}",
    "half a pair": "\ud800 \\boxed{a\udfffb}",
    "zeros": "\x00\\boxed{4\x00}\x00",
    "power tower": r"\boxed{" + "9^{" * 400 + "9" + "}" * 400 + "}",
    "boxes": r"\boxed{" * 5000,
    "thinking": "<think>" * 3000 + RIGHT + "</think>" * 3000,
    "directions": "\u202e\\boxed{4}\u2066",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_a_hostile_response_gets_fields_like_any_other(profile, name):
    result = compute_score("math", HOSTILE[name], "4", profile=profile)
    check_fields(result)
    assert len(result["pred"]) <= reward.CHARACTERS


def test_many_threads_at_once():
    responses = [rf"so it is \boxed{{{k % 7}}}" for k in range(400)]
    with ThreadPoolExecutor(32) as threads:
        results = list(threads.map(lambda text: compute_score("s", text, 4), responses))
    assert [result["score"] for result in results] == [float(k % 7 == 4) for k in range(400)]


##### ground truths


GROUND_TRUTHS = {
    "text": "4",
    "numpy text": np.str_("4"),
    "integer": 4,
    "numpy integer": np.int64(4),
    "float": 4.0,
    "numpy float": np.float32(4),
    "decimal": Decimal("4.0"),
    "list": ["5", "4"],
    "tuple": ("4",),
    "array of objects": np.array(["5", "4"], object),
    "array of texts": np.array(["5", "4"]),
    "array of numbers": np.array([5.5, 4.0]),
    "no dimension": np.array(4),
    "nested": [["5"], [np.array([4, 6])]],
    "beside nothing": [None, "4"],
}


@pytest.mark.parametrize("name", GROUND_TRUTHS)
@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_ground_truths_of_data_sets(profile, name):
    truth = GROUND_TRUTHS[name]
    assert compute_score("math", RIGHT, truth, profile=profile)["verdict"] == "equal"
    wrong = compute_score("math", r"\boxed{7}", truth, profile=profile)["verdict"]
    assert wrong == ("unknown" if name == "beside nothing" else "not_equal")


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (1e-5, r"0.00001"),
        (-2.5e-7, r"-\frac{1}{4000000}"),
        (1e22, "10^{22}"),
        (np.float32(0.1), r"\frac{1}{10}"),
        (np.float16(0.1), "0.1"),
        (2**64 + 1, "18446744073709551617"),
        (Decimal("1E+3"), "1000"),
        (0.1 + 0.2, "0.30000000000000004"),
    ],
)
@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_numbers_stand_for_the_digits_that_they_are_written_with(profile, truth, said):
    assert compute_score("math", rf"\boxed{{{said}}}", truth, profile=profile)["acc"] == 1.0


def test_large_integers_are_no_error():
    assert compute_score("math", RIGHT, 10**5000)["acc"] == 0.0


UNREADABLE = [None, "", " ", [], np.array([]), np.array([], object), float("nan"), float("inf")]
UNREADABLE += [
    True,
    np.bool_(True),
    b"4",
    {"answer": "4"},
    {"4"},
    np.float64("nan"),
    Decimal("NaN"),
]
UNREADABLE += [[None, ""], object, "We see $a$ or $b$ here."]


@pytest.mark.parametrize("truth", UNREADABLE, ids=repr)
@pytest.mark.parametrize("response", [RIGHT, "", "no answer", r"\boxed{True}", "None"])
def test_a_ground_truth_without_an_answer_is_not_a_wrong_response(truth, response):
    result = compute_score("math", response, truth)
    check_fields(result)
    assert (result["reason"], result["no_gold"], result["no_answer"]) == ("gold", 1.0, 0.0)


def test_it_is_logged_once_for_each_ground_truth_and_source(caplog):
    with caplog.at_level(logging.WARNING, logger="icpo.verl.reward"):
        for _ in range(3):
            compute_score("one", RIGHT, None)
            compute_score("one", WRONG, {"a": "x" * 10_000})
            compute_score("two", RIGHT, None)
            compute_score("two", RIGHT, "4")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "source one" in messages[0] and "got None" in messages[0]
    assert "source two" in messages[2] and max(map(len, messages)) < 500


def test_a_data_set_without_answers_does_not_fill_the_log(caplog):
    caplog.set_level(logging.WARNING, logger="icpo.verl.reward")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda k: compute_score("s", RIGHT, {k: 4}), range(500)))
    assert len(caplog.records) == reward.REPORTS + 1
    assert "no_gold" in caplog.records[-1].getMessage()


##### settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profle": "strict"}, r"profle: expected one of .* and profile, got profle='strict'"),
        ({"details": True}, "details: expected one of"),
        ({"profile": "lenient"}, "profile: expected 'strict' or 'math_verify', got 'lenient'"),
        ({"profile": None}, "profile: expected .* got None"),
        ({"float_rounding": "3"}, "float_rounding: expected an integer .* got '3'"),
        ({"float_rounding": 2.0}, "float_rounding: expected an integer"),
        ({"lenient": [True]}, "lenient: expected True or False"),
        ({"sandbox_fusion_url": None}, "sandbox_fusion_url: expected one of"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(icpo.ConfigError, match=message):
        compute_score("math", RIGHT, "4", **settings)


def test_settings_decide():
    assert compute_score("math", r"\boxed{0.333}", r"\frac13")["verdict"] == "not_equal"
    assert compute_score("math", r"\boxed{0.333}", r"\frac13", float_rounding=3)["acc"] == 1.0
    gold, said = r"\sin 30^\circ", r"\boxed{\frac12}"
    verdicts = [compute_score("s", said, gold, profile=name)["acc"] for name in icpo._core.PROFILES]
    assert verdicts == [1.0, 0.0]


def test_the_page_lists_the_fields():
    page = Path(__file__).resolve().parents[3] / "docs" / "checker.md"
    table = page.read_text(encoding="utf-8").partition("### verl")[2].partition("| field |")[2]
    rows = [line for line in table.partition("\n\n")[0].splitlines() if "`" in line]
    listed = [name for row in rows for name in re.findall("`(.*?)`", row.split("|")[1])]
    assert listed == FIELDS


##### loading


def test_importing_it_imports_neither_verl_nor_torch():
    code = (
        "import sys; from icpo.verl.reward import compute_score\n"
        "assert compute_score('math', '4', 4)['acc'] == 1.0\n"
        "print(sorted({'torch', 'verl', 'ray', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_can_be_loaded_as_a_file():
    file = Path(reward.__file__)
    spec = importlib.util.spec_from_file_location("custom_module", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.compute_score("math", RIGHT, "4")["acc"] == 1.0


def test_what_verl_passes_about_reward_models_is_accepted():
    result = compute_score(
        "math", RIGHT, "4", {}, reward_router_address="host:1", reward_model_tokenizer=object()
    )
    assert result == compute_score("math", RIGHT, "4")
