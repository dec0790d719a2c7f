"""Diversity, flips, non-pass prompts and lengths against counting by hand."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict

import analysis_cases as cases
import numpy as np
import pytest

from icpo import ConfigError, DataError
from icpo.analysis import diversity, flips, lengths, non_pass
from icpo.analysis.runs import open_run
from icpo.analysis.sources import open_named
from icpo.analysis.words import encoder, model_of


def distance(a: list[str], b: list[str]) -> int:
    """By the definition, recursively with memory."""
    memory: dict[tuple[int, int], int] = {}
    for i, j in itertools.product(range(len(a) + 1), range(len(b) + 1)):
        if 0 in (i, j):
            memory[i, j] = i + j
        else:
            change = memory[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            memory[i, j] = min(change, memory[i - 1, j] + 1, memory[i, j - 1] + 1)
    return memory[len(a), len(b)]


def share(a: str, b: str) -> float:
    one, other = a.split(), b.split()
    return distance(one, other) / max(len(one), len(other), 1)


def texts(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, size=count)
    return [" ".join(f"w{i}" for i in rng.integers(4, size=length)) for length in lengths]


@pytest.fixture
def run(tmp_path):
    """Two steps of two problems, five policy rollouts and one expert rollout each."""
    rows = []
    for number, (step, problem) in enumerate(itertools.product([1, 2], ["w5", "w6"])):
        for place, text in enumerate(texts(number, 5)):
            rows.append(
                cases.sample(step, problem, text, **(cases.right() if place < step else {}))
            )
        shown = {"expert": True, "prompt": f"D {problem}", "demos": ["d"], "accepted": step == 1}
        rows.append(cases.sample(step, problem, "w1 w2", **shown, **cases.right()))
    cases.write_lines(tmp_path / "run" / "samples.jsonl", rows)
    return tmp_path / "run"


@pytest.fixture
def evaluated(tmp_path):
    """Three problems, without and with a demonstration, several samples each."""
    rng = np.random.default_rng(3)
    rows = []
    for shots, problem in itertools.product([0, 1], ["w3", "w4", "w5"]):
        for place, text in enumerate(texts(10 * shots + int(problem[1:]), 4 - shots)):
            is_right = rng.random() < 0.5
            verdict = cases.right() if is_right else {}
            rows.append(cases.answer(problem, text, shots, sample=place, **verdict))
    return cases.write_evaluation(tmp_path / "eval", rows)


##### Diversity


def test_diversity_is_the_mean_over_the_pairs_of_a_group(run):
    found = diversity.diversity(open_named([str(run)]), encoder("words"))
    # The expert rollout of a group has nobody to be compared with.
    assert [(row["step"], row["problem"]) for row in found] == [
        (1, "w5"), (1, "w6"), (2, "w5"), (2, "w6"),
    ]  # fmt: skip
    for number, row in enumerate(found):
        pairs = list(itertools.combinations(texts(number, 5), 2))
        expected = [distance(a.split(), b.split()) for a, b in pairs]
        assert row["distance"] == pytest.approx(sum(expected) / 10)
        assert row["normalised"] == pytest.approx(sum(share(a, b) for a, b in pairs) / 10)
        assert row["different"] == len(set(texts(number, 5))) and row["responses"] == 5
    total = diversity.summary(found)[0]
    shares = [row["normalised"] for row in found]
    assert total["normalised"] == pytest.approx(np.mean(shares))
    assert total["standard_error"] == pytest.approx(np.std(shares, ddof=1) / 2)


def test_steps_can_be_chosen(run):
    runs = open_named([str(run)])
    found = diversity.diversity(runs, encoder("words"), range(2, 3))
    assert {row["step"] for row in found} == {2}
    with pytest.raises(DataError, match="responses of steps 5 to 9, found none"):
        diversity.diversity(runs, encoder("words"), range(5, 10))


def test_single_responses_have_no_diversity(tmp_path):
    cases.write_lines(tmp_path / "samples.jsonl", [cases.sample(1, "w1", "w2")])
    with pytest.raises(DataError, match="expected several responses to a problem"):
        diversity.diversity(open_named([str(tmp_path)]), encoder("words"))


##### Flips


def test_flips_are_shares_of_pairs(evaluated):
    runs = open_named([f"m={evaluated}"])
    found = flips.flips(runs, encoder("words"))
    answers = defaultdict(list)
    for response in open_run(evaluated).responses():
        answers[response.problem, response.shots].append((response.text, response.right))
    assert [row["problem"] for row in found] == ["quiz/w3", "quiz/w4", "quiz/w5"]
    gained = lost = wrong = right = 0.0
    for row in found:
        assert (row["base"], row["condition"]) == ("m, 0-shot", "m, 1-shot")
        pairs = list(itertools.product(answers[row["problem"], 0], answers[row["problem"], 1]))
        assert len(pairs) == 12
        flipped = sum(not a[1] and b[1] for a, b in pairs) / 12
        spoiled = sum(a[1] and not b[1] for a, b in pairs) / 12
        assert row["wrong_to_right"] == pytest.approx(flipped)
        assert row["right_to_wrong"] == pytest.approx(spoiled)
        assert row["distance"] == pytest.approx(
            sum(distance(a[0].split(), b[0].split()) for a, b in pairs) / 12
        )
        assert row["normalised"] == pytest.approx(sum(share(a[0], b[0]) for a, b in pairs) / 12)
        gained, lost = gained + flipped, lost + spoiled
        accuracy = sum(is_right for _, is_right in answers[row["problem"], 0]) / 4
        wrong, right = wrong + 1 - accuracy, right + accuracy
    total = flips.summary(found)[0]
    assert total["of_wrong"] == pytest.approx(gained / wrong)
    assert total["of_right"] == pytest.approx(lost / right)
    assert total["accuracy"] - total["base_accuracy"] == pytest.approx(
        total["wrong_to_right"] - total["right_to_wrong"]
    )


def test_the_test_of_flips_is_exact(tmp_path):
    """Of 6 problems all flip: p = 2/2^6."""
    rows = [
        cases.answer(f"w{i}", "w1", shots, **(cases.right() if shots else {}))
        for shots in (0, 1)
        for i in range(6)
    ]
    runs = open_named([str(cases.write_evaluation(tmp_path, rows))])
    total = flips.summary(flips.flips(runs, encoder("words")))[0]
    assert (total["of_wrong"], total["of_right"], total["p"]) == (1.0, None, 2 / 2**6)


def test_policy_and_expert_rollouts_are_compared_within_a_step(run):
    found = flips.flips(open_named([f"a={run}"]), encoder("words"), base="a, expert")
    assert {(row["base"], row["condition"]) for row in found} == {("a, expert", "a")}
    assert [(row["base_responses"], row["responses"], row["right"]) for row in found] == [
        (1, 5, 1), (1, 5, 1), (1, 5, 2), (1, 5, 2),
    ]  # fmt: skip


def test_what_can_not_be_compared_is_named(run, evaluated, tmp_path):
    words = encoder("words")
    with pytest.raises(ConfigError, match="base: expected one of 'run', 'run, expert', got 'x'"):
        flips.flips(open_named([str(run)]), words, base="x")
    other = cases.write_evaluation(tmp_path / "other", [cases.answer("w9", "w1")])
    with pytest.raises(ConfigError, match="expected a second condition to compare 'other, 0-shot'"):
        flips.flips(open_named([str(other)]), words)
    with pytest.raises(DataError, match="problems in common of 'other, 0-shot' and 'eval, 0-shot'"):
        flips.flips(open_named([str(other), str(evaluated)]), words)


##### Non-pass prompts


def test_prompts_are_counted_in_dumps(tmp_path):
    rng = np.random.default_rng(5)
    expected = {}
    for step in (1, 2, 3):
        rows, counts = [], [0, 0, 0]
        for problem in range(9):
            verdicts = rng.random(4) < rng.choice([0.0, 0.5, 1.0])
            counts[0 if not verdicts.any() else 2 if verdicts.all() else 1] += 1
            for is_right in verdicts:
                row = {"input": f"{problem}?", "output": "", "gts": "1", "step": step}
                rows.append({**row, "score": float(is_right)})
            # An expert rollout does not make a prompt solved.
            rows.append({**rows[-1], "score": 1.0, "expert": True, "demos": ["d"]})
        cases.write_lines(tmp_path / f"{step}.jsonl", rows)
        expected[step] = tuple(counts)
    assert non_pass.count_prompts(open_run(tmp_path).responses()) == expected
    found = non_pass.non_pass(open_named([str(tmp_path)]))
    assert [row["value"] for row in found] == [counts[0] / 9 for counts in expected.values()]
    assert {row["source"] for row in found} == {"dumps"}


def test_what_a_run_has_counted_is_taken(run):
    rows = [
        {"step": step, "prompts": 8, "prompts/non_pass": 8 - step, "prompts/some_pass": step,
         "prompts/all_pass": 0}
        for step in (1, 2)
    ]  # fmt: skip
    cases.write_lines(run / "metrics.jsonl", [{"step": 0, "prompts": None}, *rows])
    found = non_pass.non_pass(open_named([f"a={run}"]))
    assert [(row["step"], row["non_pass"], row["value"]) for row in found] == [
        (1, 7, 7 / 8), (2, 6, 6 / 8),
    ]  # fmt: skip
    (total,) = non_pass.summary(found)
    assert (total["prompts"], total["non_pass"], total["last"]) == (16, 13, 6 / 8)


def test_samples_of_a_few_prompts_are_not_counted(run):
    with pytest.raises(DataError, match="expected counts of non-pass prompts in its metrics"):
        non_pass.non_pass(open_named([str(run)]))


##### Lengths


def test_histograms_hold_every_length_once():
    rng = np.random.default_rng(7)
    given = {"a": rng.integers(0, 977, size=200), "b": np.array([0, 976]), "c": np.array([], int)}
    found = lengths.histogram(given, bins=10)
    for name, values in given.items():
        rows = [row for row in found if row["of"] == name]
        assert [row["from"] for row in rows[1:]] == [row["below"] for row in rows[:-1]]
        for row in rows:
            assert row["count"] == sum(row["from"] <= value < row["below"] for value in values)
        assert sum(row["count"] for row in rows) == len(values)
    assert len({row["from"] for row in found}) == 10
    with pytest.raises(DataError, match="lengths: expected some, got none"):
        lengths.histogram({"c": np.array([], int)})


def test_lengths_are_those_noted_or_those_counted(run):
    runs = open_named([f"a={run}"])
    noted = lengths.lengths_of_runs(runs, None)
    counted = lengths.lengths_of_runs(runs, encoder("characters"))
    written = [text for number in range(4) for text in texts(number, 5)]
    assert noted["a"].tolist() == [len(text.split()) + 1 for text in written]
    assert counted["a"].tolist() == list(map(len, written))
    # Of four expert rollouts two were rejected.
    assert len(noted["a, expert"]) == 4 and len(noted["a, expert, rejected"]) == 2
    row = lengths.summary(counted)[0]
    assert row["texts"] == 20 and row["mean"] == pytest.approx(np.mean(list(map(len, written))))


def test_dumps_need_a_tokenizer(tmp_path):
    row = {"input": "?", "output": "w1", "gts": "1", "step": 1, "score": 1.0}
    cases.write_lines(tmp_path / "1.jsonl", [row])
    with pytest.raises(ConfigError, match=r"tokenizer: expected one, since .*1\.jsonl does"):
        lengths.lengths_of_runs(open_named([str(tmp_path)]), None)


def test_questions_and_solutions_of_a_file(tmp_path):
    rows = [{"question": "w1 w2", "answer": "1", "solution": "w3 w4 w5"}] * 2
    cases.write_lines(tmp_path / "demos.jsonl", rows)
    found = lengths.lengths_of_file("demos", tmp_path / "demos.jsonl", encoder("words"))
    assert {name: values.tolist() for name, values in found.items()} == {
        "demos, questions": [2, 2],
        "demos, solutions": [3, 3],
    }
    cases.write_lines(tmp_path / "odd.jsonl", [{"a": 1}])
    with pytest.raises(DataError, match=r"odd.jsonl: expected questions, in a schema of"):
        lengths.lengths_of_file("odd", tmp_path / "odd.jsonl", encoder("words"))


##### Names


def test_labels(run, evaluated, tmp_path):
    runs = open_named([f"a={run}", f"a={run}", str(evaluated)])
    assert [one.label for one in runs] == ["a", "a", "eval"]
    with pytest.raises(ConfigError, match="expected labels for folders of the same name"):
        other = tmp_path / "elsewhere" / "run"
        other.mkdir(parents=True)
        (other / "samples.jsonl").write_bytes((run / "samples.jsonl").read_bytes())
        open_named([str(run), str(other)])
    with pytest.raises(ConfigError, match="run: expected FOLDER or LABEL=FOLDER, got '=x'"):
        open_named(["=x"])


def test_the_model_of_runs(evaluated, run, tmp_path):
    assert model_of(open_named([str(evaluated)]), "tokenizer") == "m"
    with pytest.raises(ConfigError, match=r"tokenizer: expected one, .* 'm' and no model"):
        model_of(open_named([str(evaluated), str(run)]), "tokenizer")


def test_models_with_the_same_tokenizer(tmp_path):
    """Two evaluations that are compared are of two models, most often of one beginning."""
    runs = []
    for name in "ab":
        folder = cases.model_folder(tmp_path / f"model-{name}")
        cases.write_lines(tmp_path / name / "journal.jsonl", [cases.answer("w3", "w1")])
        settings = {"settings": {"engine": {"model": str(folder)}}}
        (tmp_path / name / "settings.json").write_text(json.dumps(settings))
        runs.append(str(tmp_path / name))
    assert model_of(open_named(runs), "tokenizer") == str(tmp_path / "model-a")
    file = tmp_path / "model-b" / "tokenizer.json"
    file.write_text(file.read_text().replace('"w19"', '"other"'))
    with pytest.raises(ConfigError, match=r"tokenizer: expected one, because .*model-a' and .*-b'"):
        model_of(open_named(runs), "tokenizer")


def test_words_and_characters():
    words = encoder("words")
    assert words("a=b, a").tolist() == [0, 1, 2, 3, 0]
    assert words("b").tolist() == [2]
    assert encoder("characters")("añ\udc80").tolist() == [97, 241, 0xDC80]


def test_evaluations_are_read_with_their_prompts(tmp_path):
    rows = [
        cases.answer("w3", "w1 \udc80", **cases.right()),
        cases.answer("w3", "w2", 1, tokens=None),
        cases.answer("w4", "w2", 1),
        cases.answer("w6", "w2", 1),
        cases.answer("w6", "w2"),
    ]
    cases.write_evaluation(tmp_path, rows)
    line = json.dumps(rows[0], ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    rest = "".join(json.dumps(row) + "\n" for row in rows[1:]).encode()
    (tmp_path / "journal.jsonl").write_bytes(line + rest)
    bare, shown, other, before, _ = open_run(tmp_path).responses()
    assert (before.prompt, before.expert_prompt) == ("w6", "w7 w6")
    assert (bare.text, bare.shots, bare.prompt, bare.expert_prompt) == ("w1 \udc80", 0, "w3", None)
    assert (shown.expert, shown.prompt, shown.expert_prompt) == (True, "w3", "w7 w3")
    assert (other.prompt, other.benchmark, other.step) == (None, "quiz", None)
    assert bare.right and not shown.right and shown.tokens is None
    assert math.isclose(bare.reward, 1.0)
