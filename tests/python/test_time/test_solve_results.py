"""Figures, tables and the plot of searches, against values worked by hand."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
from fractions import Fraction

import numpy as np
import pytest
from solve_cases import task

from icpo.data.sources import Source
from icpo.errors import DataError
from icpo.evaluation.benchmarks import Benchmark, Quiz, Skipped
from icpo.evaluation.majority import maj_at_k
from icpo.test_time import plot
from icpo.test_time.results import results
from icpo.test_time.search import Point, Solution, Spending
from icpo.test_time.solved import Solved
from icpo.test_time.table import tables


def quiz(count, name="sums", title="Sums", **more):
    questions = tuple(task(f"p{place}", f"question {place}").question for place in range(count))
    about = {"skipped": (), "unmoved": 0, **more}
    return Quiz(Benchmark(name, title, Source("sums.jsonl")), questions, **about)


def solved(method, place, votes, right, *, seed=0, spent=(4, 40, 400), points=(), has_gold=True):
    """K responses to a problem: answers by number, and which of these are right."""
    flags = tuple(vote in right for vote in votes) if has_gold else None
    mean = sum(flags) / len(flags) if has_gold else None
    majority = maj_at_k(votes, flags, len(votes)) if has_gold else None
    curve = (*points, Point("end", *spent, mean, majority))
    texts = tuple(f"text {vote}" for vote in votes)
    answer = None if max(votes) < 0 else str(max(votes, key=votes.count))
    made = Solution(answer, texts, tuple(votes), flags, mean, majority, Spending(*spent), curve)
    return Solved(method, seed, task(f"p{place}", has_gold=has_gold, seed=seed), made)


def two_methods():
    """Three problems under two seeds; answer 1 is right."""
    ours = {
        (0, 0): [1, 1, 1, 1],
        (1, 0): [1, 1, 2, -1],
        (2, 0): [1, 2, 3, -1],
        (0, 1): [1, 1, 1, 2],
        (1, 1): [1, 2, 2, 2],
        (2, 1): [1, 1, 2, 2],
    }
    plain = {
        (0, 0): [1, 1, 2, 2],
        (1, 0): [0, 0, 0, 1],
        (2, 0): [-1, -1, -1, -1],
        (0, 1): [1, 1, 1, 2],
        (1, 1): [1, 2, 3, 4],
        (2, 1): [2, 2, 1, -1],
    }
    return [
        solved(method, place, votes, {1}, seed=seed, spent=(calls + place, 40, 400))
        for method, rows, calls in (("me_icpo", ours, 50), ("sample", plain, 4))
        for (place, seed), votes in rows.items()
    ]


def test_figures_by_hand():
    (benchmark,) = results(two_methods(), [quiz(3)])["benchmarks"]
    ours, plain = benchmark["methods"]
    assert [ours["method"], plain["method"]] == ["me_icpo", "sample"]
    assert (ours["answers"], ours["seeds"], benchmark["asked"]) == (4, [0, 1], 3)
    # Right: 4, 2, 1 of 4 under seed 0; 3, 1, 2 under seed 1.
    assert ours["mean"]["per_seed"] == [pytest.approx(7 / 12), pytest.approx(6 / 12)]
    assert ours["mean"]["mean"] == pytest.approx(13 / 24)
    # By problem 7/8, 3/8, 3/8: s^2 = 1/12, and s / sqrt(3).
    assert ours["mean"]["standard_error"] == pytest.approx(1 / 6)
    # 7/12 and 6/12 differ by 1/12: half of that.
    assert ours["mean"]["seed_error"] == pytest.approx(1 / 24)
    # Majorities: 1, 1, 1/3; 1, 0, 1/2.
    assert ours["majority"]["mean"] == pytest.approx((7 / 3 + 3 / 2) / 6)
    assert ours["no_answer"] == pytest.approx(2 / 24)
    assert (ours["calls"], ours["tokens"], ours["prompt_tokens"]) == (51, 40, 400)
    assert ours["problems"][2]["right"] == [1, 2]
    assert ours["problems"][2]["majority"] == pytest.approx([1 / 3, 1 / 2])
    low, high = ours["mean"]["interval"]
    assert 3 / 8 <= low < 13 / 24 < high <= 7 / 8
    # Plainly: 2, 1, 0; 3, 1, 1.
    assert plain["mean"]["mean"] == pytest.approx(8 / 24) and plain["against"] is None
    assert plain["majority"]["mean"] == pytest.approx((1 / 2 + 1 + 1 / 4) / 6)
    # Differences by problem 2, 1, 2 of 8: only all signs alike are as far from 0.
    assert ours["against"]["mean"]["difference"] == pytest.approx(5 / 24)
    assert ours["against"]["mean"]["p"] == pytest.approx(2 / 8)
    assert ours["against"]["method"] == "sample"


def test_one_seed_and_one_problem_have_no_error():
    (benchmark,) = results([solved("sample", 0, [1, 2], {1})], [quiz(1)])["benchmarks"]
    (row,) = benchmark["methods"]
    assert row["mean"]["standard_error"] is None and row["mean"]["seed_error"] is None
    assert row["curve"][0]["mean_error"] is None and row["against"] is None


def brute_force(differences):
    """The share of all choices of signs that are as far from 0, in fractions."""
    observed = abs(sum(differences))
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    sums = (sum(s * d for s, d in zip(chosen, differences, strict=True)) for chosen in signs)
    return sum(abs(total) >= observed for total in sums) / len(signs)


def holm_by_definition(values):
    """The least level at which each would be rejected."""
    found = []
    for value in values:
        below = sorted(other for other in values if other <= value)
        found.append(min(1, max((len(values) - i) * other for i, other in enumerate(below))))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_tests_are_exact_where_majorities_tie_and_k_differs(seed):
    """Thirds and halves are no binary fractions: rounded ones would tip ties of the test."""
    rng = np.random.default_rng(seed)
    counts = {"sample:answers=5": 5, "me_icpo": 6, "self_refine": 6, "oracle": 4}
    every = {
        (method, place): rng.integers(-1, 4, k).tolist()
        for method, k in counts.items()
        for place in range(7)
    }
    those = [solved(method, place, votes, {1, 3}) for (method, place), votes in every.items()]
    (benchmark,) = results(those, [quiz(7)])["benchmarks"]
    rows = {row["method"]: row for row in benchmark["methods"]}
    assert rows["sample:answers=5"]["against"] is None

    def exact(method, place, measure):
        votes = every[method, place]
        if measure == "mean":
            return Fraction(sum(vote in (1, 3) for vote in votes), len(votes))
        told = [vote for vote in votes if vote >= 0]
        most = {vote for vote in told if told.count(vote) == max(map(told.count, told))}
        return Fraction(len(most & {1, 3}), max(1, len(most)))

    for measure in ("mean", "majority"):
        expected = [
            brute_force(
                [
                    exact(method, place, measure) - exact("sample:answers=5", place, measure)
                    for place in range(7)
                ]
            )
            for method in list(counts)[1:]
        ]
        tested = [rows[method]["against"][measure] for method in list(counts)[1:]]
        assert [one["p"] for one in tested] == pytest.approx(expected)
        assert [one["p_holm"] for one in tested] == pytest.approx(holm_by_definition(expected))


def test_order_does_not_matter_but_for_that_of_methods():
    those = two_methods()
    expected = json.dumps(results(those, [quiz(3)]))
    for seed in range(3):
        mixed = random.Random(seed).sample(those, len(those))
        mixed.sort(key=lambda one: one.method)
        assert json.dumps(results(mixed, [quiz(3)])) == expected


def test_curves_are_means_of_the_same_points():
    def begun(tokens, mean):
        return [Point("round 0", 4, tokens, 10, mean, 0.0)]

    those = [
        solved("me_icpo", 0, [1, 1], {1}, spent=(9, 30, 50), points=begun(10, 0.0)),
        solved("me_icpo", 1, [1, 2], {1}, spent=(7, 50, 70), points=begun(30, 1.0)),
    ]
    (benchmark,) = results(those, [quiz(2)])["benchmarks"]
    first, last = benchmark["methods"][0]["curve"]
    assert (first["name"], first["tokens"], first["mean"]) == ("round 0", 20, 0.5)
    assert first["mean_error"] == pytest.approx(0.5) and first["majority_error"] == 0
    assert (last["calls"], last["tokens"], last["prompt_tokens"]) == (8, 40, 60)
    assert (last["mean"], last["majority"]) == (0.75, 0.75)

    other = solved("me_icpo", 1, [1, 2], {1})
    with pytest.raises(DataError, match=r"curve: expected the points \['round 0', 'end'\]"):
        results([those[0], other], [quiz(2)])


def test_tokens_are_unknown_if_one_is():
    those = [
        solved("sample", 0, [1, 2], {1}, spent=(2, None, 20)),
        solved("sample", 1, [1, 2], {1}, spent=(2, 30, 40)),
    ]
    found = results(those, [quiz(2)])
    (row,) = found["benchmarks"][0]["methods"]
    assert (row["calls"], row["tokens"], row["prompt_tokens"]) == (2, None, 30)
    assert row["curve"][0]["tokens"] is None
    assert tables(found).splitlines()[4].split("|")[-3:-1] == ["      - ", "     30 "]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda those: those[:-1], "got none of sums/p2 by sample under seed 1"),
        (lambda those: [*those, those[0]], "got two of sums/p0 by me_icpo under seed 0"),
        (lambda those: [], "expected solutions of sums, got none"),
    ],
)
def test_what_is_missing_or_twice_is_named(change, message):
    with pytest.raises(DataError, match=message):
        results(change(two_methods()), [quiz(3)])


def question(method, place, votes, **more):
    return solved(method, place, votes, {1}, has_gold=False, **more)


def test_questions_have_answers_and_costs_only():
    skipped = (Skipped("here", "too long"),)
    those = [question("sample", 0, [5, 5, 5, -1, 2], seed=seed) for seed in (0, 1)]
    found = results(those, [quiz(1, skipped=skipped)])
    assert found["benchmarks"] == []
    (asked,) = found["questions"]
    assert asked["question"] == "question 0"
    (row,) = asked["methods"]
    assert (row["answer"], row["agreement"], row["no_answer"]) == (["5", "5"], [0.6, 0.6], 0.2)
    assert "right" not in json.dumps(found) and "mean" not in json.dumps(found)
    assert tables(found).startswith("question 0\n\n| method | seed | answer | agree |")
    assert "questions: 1 rows were skipped:\n- here: too long\n" in tables(found)


##### Tables


def test_table_by_hand():
    more = {"skipped": (Skipped("sums.jsonl: line 9", "no | answer"),), "unmoved": 2}
    assert tables(results(two_methods(), [quiz(3, **more)])) == (
        "Sums (problems: 3; seeds: 0, 1)\n"
        "\n"
        "| method  |  K |      mean@K |       maj@K | no answer | calls | tokens | prompt "
        "| p, mean | p, maj |\n"
        "| :------ | -: | ----------: | ----------: | --------: | ----: | -----: | -----: "
        "| ------: | -----: |\n"
        "| me_icpo |  4 | 54.2 ± 16.7 | 63.9 ± 18.2 |       8.3 |    51 |     40 |    400 "
        "|   0.250 |  0.250 |\n"
        "| sample  |  4 | 33.3 ± 15.0 | 29.2 ± 23.2 |      20.8 |     5 |     40 |    400 "
        "|       - |      - |\n"
        "\n"
        "Sums: 1 rows were skipped:\n"
        "- sums.jsonl: line 9: no | answer\n"
        "\n"
        "Sums: options of 2 questions speak of each other, and were not shuffled.\n"
        "\n"
        "mean@K: share of right ones among K final responses, in %. maj@K: chance that their "
        "majority is\n"
        "right. ±: standard error over problems. No answer: share of final responses without one. "
        "Calls,\n"
        "sampled tokens and tokens of prompts: of a problem, from its first question to its last; "
        "what\n"
        "several methods ask alike is asked once, and counted for each of them. p: sign-flip test "
        "over\n"
        "problems of the difference to sample, adjusted by Holm's method for the number of "
        "methods.\n"
    )


def test_tables_fit_a_terminal():
    large = (123_456, 123_456_789, 1_234_567_890)
    those = [
        solved(method, place, [1] * 16 if place else [2] * 16, {1}, spent=large)
        for method in ("without_entropy", "without_reward", "sample")
        for place in range(2)
    ]
    lines = tables(results(those, [quiz(2)])).splitlines()
    assert max(map(len, lines)) <= 130


def test_answers_that_no_terminal_can_show():
    found = results([question("sample", 0, [0])], [quiz(1)])
    found["questions"][0]["methods"][0]["answer"] = ["x | \ud800 y\n" * 30]
    table = tables(found)
    table.encode()
    line = table.splitlines()[4]
    assert r"| x \| ? y x" in line and "…" in line and len(line) < 160


def test_very_small_p_is_no_zero():
    found = results(two_methods(), [quiz(3)])
    found["benchmarks"][0]["methods"][0]["against"]["mean"]["p_holm"] = 0.0004
    assert "|  <0.001 |  0.250 |" in tables(found)


##### The figure


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, instead of drawing it."""
    lines = []

    def line(axes, index, x, y, label):
        lines.append((label, list(x), list(y)))
        axes.plot(x, y, label=label)

    monkeypatch.setattr(plot, "line", line)
    return lines


def curves(first, last):
    return [
        solved(
            method,
            place,
            [1, 1 + place],
            {1},
            spent=last,
            points=[Point("round 0", *first, 0.25, 0.5)],
        )
        for method in ("me_icpo", "sample")
        for place in range(2)
    ]


def test_figure_shows_both_measures_against_tokens(tmp_path, drawn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = results(curves((4, 100, 1), (9, 5000, 2)), [quiz(2)])
    paths = plot.draw(found, tmp_path / "tokens")
    assert [path.name for path in paths] == ["tokens.png", "tokens.svg"]
    assert all(path.stat().st_size > 1000 for path in paths)
    assert drawn == [
        ("me_icpo", [100, 5000], [0.25, 0.75]),
        ("sample", [100, 5000], [0.25, 0.75]),
        ("me_icpo", [100, 5000], [0.5, 0.75]),
        ("sample", [100, 5000], [0.5, 0.75]),
    ]
    words = paths[1].read_text()
    for text in ("Sums: mean@K", "Sums: maj@K", "tokens sampled a problem", "me_icpo", "1,000"):
        assert f"<!-- {text} -->" in words


@pytest.mark.parametrize("tokens", [None, 0])
def test_figure_shows_calls_where_tokens_are_not_known(tmp_path, drawn, tokens):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = results(curves((4, tokens, 1), (9, 5000, 2)), [quiz(2)])
    _, svg = plot.draw(found, tmp_path / "tokens")
    assert drawn[0] == ("me_icpo", [4, 9], [0.25, 0.75])
    assert "<!-- calls a problem -->" in svg.read_text()


@pytest.mark.parametrize("reach", [1.0, 1.01, 3, 40, 700, 1e6])
def test_axes_are_numbered_whatever_their_range(tmp_path, reach):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from icpo.analysis.style import sheet

    with sheet(3.5, 2.9) as (figure, axes):
        plot._logarithmic(axes, [137, 137 * reach])
        figure.draw_without_rendering()
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert low < 137 and high > 137 * reach
        assert 1 <= len(ticks) <= 8, ticks


def test_figure_is_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = results(two_methods(), [quiz(3)])
    for name in ("a", "b"):
        plot.draw(found, tmp_path / name)
    for kind in ("png", "svg"):
        one, other = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert one == other


def test_without_gold_answers_there_is_nothing_to_draw(tmp_path):
    assert plot.draw(results([question("sample", 0, [1])], [quiz(1)]), tmp_path / "tokens") == ()
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install icpo-rs\[plots\]"):
        plot.draw(results(two_methods(), [quiz(3)]), tmp_path / "tokens")


def test_numbers_survive_json():
    found = results(two_methods(), [quiz(3)])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert math.isfinite(found["benchmarks"][0]["methods"][0]["mean"]["mean"])
