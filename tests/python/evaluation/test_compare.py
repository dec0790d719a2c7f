"""Comparing two evaluations."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from scripted_text import ScriptedText, sums

from icpo import ConfigError, DataError
from icpo.evaluation import holm, interval, mcnemar, sign_flip
from icpo.evaluation.compare import Side, compare, comparison_table
from icpo.evaluation.run import evaluate
from icpo.evaluation.settings import EvalSettings


def right(request):
    """Always adds rightly, unless the sum is a multiple of 5."""
    a, b = (int(word) for word in request.prompt.split() if word.isdigit())
    return rf"\boxed{{{a + b + (not (a + b) % 5)}}}", True


def run(place, name, answer, questions=None, **changes):
    file = place / f"{name}.jsonl"
    questions = questions or [(f"{i} + {2 * i}", 3 * i) for i in range(12)]
    rows = [{"question": text, "answer": str(answer)} for text, answer in questions]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = EvalSettings.build(
        {
            "benchmarks": [f"mine={file}"],
            "out": place / name,
            "template": "qa",
            "max_new_tokens": 20,
            "samples": 4,
            **changes,
        }
    )
    summary = evaluate(settings, engine=lambda: ScriptedText(answer), stream=io.StringIO())
    return Side(place / name), summary.results["benchmarks"][0]["conditions"][0]["problems"]


def counts(problems):
    return np.array([sum(problem["right"]) for problem in problems])


def test_problems_are_paired(tmp_path):
    one, first = run(tmp_path, "one", sums)
    two, second = run(tmp_path, "two", right)
    found = compare(one, two)
    (row,) = found["rows"]
    difference = counts(second) - counts(first)
    assert row["difference"] == pytest.approx((difference / 4).mean())
    assert (row["first"], row["second"]) == pytest.approx(
        (counts(first).mean() / 4, counts(second).mean() / 4)
    )
    assert (row["better"], row["worse"], row["same"]) == (
        (difference > 0).sum(), (difference < 0).sum(), (difference == 0).sum(),
    )  # fmt: skip
    assert row["p"] == sign_flip(difference) and row["p_mcnemar"] is None
    low, high = row["interval"]
    assert low < row["difference"] < high
    wide = interval([difference / 4], seed=1)
    np.testing.assert_allclose(row["interval"], wide, atol=0.06)
    assert found["settings_that_differ"] == [
        f'benchmarks: ["mine={tmp_path}/one.jsonl"], ["mine={tmp_path}/two.jsonl"]'
    ]
    back = compare(two, one)["rows"][0]
    assert back["difference"] == -row["difference"] and back["p"] == row["p"]


def test_numbers_of_samples_may_differ(tmp_path):
    one, first = run(tmp_path, "one", sums, samples=6)
    two, second = run(tmp_path, "two", right, seeds=[0, 1])
    (row,) = compare(one, two)["rows"]
    # Over the common denominator 24.
    assert row["samples"] == [6, 8]
    assert row["p"] == sign_flip(3 * counts(second) - 4 * counts(first))


def test_single_answers_get_mcnemar(tmp_path):
    one, first = run(tmp_path, "one", sums, samples=1)
    two, second = run(tmp_path, "two", right, samples=1)
    (row,) = compare(one, two)["rows"]
    difference = counts(second) - counts(first)
    assert row["p_mcnemar"] == mcnemar(sum(difference < 0), sum(difference > 0))
    assert row["p_mcnemar"] == pytest.approx(row["p"])


def test_a_run_with_itself_is_no_different(tmp_path):
    one, _ = run(tmp_path, "one", sums)
    (row,) = compare(one, one)["rows"]
    assert (row["difference"], row["interval"], row["p"]) == (0.0, [0.0, 0.0], 1.0)


def test_only_what_was_asked_in_the_same_words_is_paired(tmp_path):
    one, _ = run(tmp_path, "one", right, [("1 + 1", 2), ("2 + 2", 4), ("3 + 3", 6)])
    two, _ = run(tmp_path, "two", right, [("1 + 1", 2), ("2 + 3", 5), ("3 + 3", 6), ("1 + 2", 3)])
    found = compare(one, two)
    (row,) = found["rows"]
    assert (row["problems"], row["only_first"], row["only_second"]) == (2, 1, 2)
    assert "mine: 1 problems of A and 2 of B are not in the other" in comparison_table(found)


def test_without_common_problems_means_are_compared(tmp_path):
    one, _ = run(tmp_path, "one", right, [(f"1 + {i}", 1 + i) for i in range(9)])
    two, _ = run(tmp_path, "two", right, [(f"7 + {i}", 7 + i) for i in range(9, 14)])
    found = compare(one, two)
    (row,) = found["rows"]
    assert not row["paired"] and row["p"] is None and row["problems"] == 0
    assert row["first"] == pytest.approx(8 / 9) and row["second"] == pytest.approx(4 / 5)
    assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert "compared unpaired" in comparison_table(found)


def test_conditions_of_one_run_and_several_rows(tmp_path):
    demos = tmp_path / "demos.jsonl"
    demos.write_text('{"question": "1 and 1", "solution": "2"}\n')
    one, _ = run(tmp_path, "one", sums, shots=[0, 1], seeds=[0], demos={"source": str(demos)})
    rows = compare(one, one)["rows"]
    assert [row["shots"] for row in rows] == [[0, 0], [1, 1]]
    found = compare(Side(one.folder, 0), Side(one.folder, 1))
    (row,) = found["rows"]
    assert row["shots"] == [0, 1] and row["problems"] == 12
    assert [found[name]["title"] for name in ("first", "second")] == [
        "one, 0 shots",
        "one, 1 shots",
    ]
    assert [row["p_holm"] for row in rows] == holm([row["p"] for row in rows])
    with pytest.raises(ConfigError, match="runs: expected a benchmark that both"):
        compare(Side(one.folder, 3), one)


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    sides = []
    for name in ("grpo", "icpo"):
        (tmp_path / name).mkdir()
        sides.append(run(tmp_path / name, "eval", right, [("1 + 1", 2)])[0])
    found = compare(*sides)
    assert found["first"]["title"] == str(tmp_path / "grpo" / "eval")
    assert comparison_table(found).startswith(f"A: {tmp_path}/grpo/eval\nB: {tmp_path}/icpo/eval\n")


def test_the_table_says_it(tmp_path):
    one, _ = run(tmp_path, "one", sums, samples=1)
    two, _ = run(tmp_path, "two", right, samples=1)
    found = compare(one, two)
    (row,) = found["rows"]
    table = comparison_table(found)
    assert f"{100 * row['difference']:+.1f}" in table and table.startswith("A: one\nB: two\n")
    assert f"{row['better']} / {row['worse']}" in table


def test_what_is_no_evaluation(tmp_path):
    with pytest.raises(DataError, match=r"results\.json: expected the results of an evaluation"):
        compare(Side(tmp_path), Side(tmp_path))
