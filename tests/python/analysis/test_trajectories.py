"""Texts become the tokens that the model has seen."""

from __future__ import annotations

import analysis_cases as cases
import pytest

from icpo import ConfigError, DataError
from icpo.analysis.perplexity import solutions_of_file
from icpo.analysis.sources import open_named
from icpo.analysis.trajectories import prompts_of_verl, trajectories
from icpo.demos import Template

TOKENIZER = cases.tokenizer()


def words(ids) -> str:
    return " ".join(cases.WORDS[i] for i in ids)


def seen(found) -> list[tuple[str, str]]:
    return [(words(one.text.prompt), words(one.text.tokens)) for one in found]


def test_of_training(tmp_path):
    shown = {"expert": True, "prompt": "<bos> w8 w5", "demos": ["d"], "accepted": True}
    rows = [
        cases.sample(1, "w5", "w1 w2"),
        cases.sample(1, "w5", "w3", tokens=3),
        cases.sample(1, "w5", "w4 w4", **shown, finished=False, tokens=2),
    ]
    cases.write_lines(tmp_path / "samples.jsonl", rows)
    found = trajectories(open_named([f"a={tmp_path}"]), TOKENIZER)
    # What an expert rollout is trained on is the bare prompt.
    assert seen(found) == [("<bos> w5", "w1 w2"), ("<bos> w5", "w3"), ("<bos> w5", "w4 w4")]
    assert [one.as_sampled for one in found] == [True, False, True]
    assert [one.condition for one in found] == ["a", "a", "a, expert"]


@pytest.mark.parametrize(
    ("chat", "bare", "shown"),
    [(False, "<bos> w5", "<bos> w7 w5"), (True, "<bos> w5 w9", "<bos> w7 w5 w9")],
)
def test_of_an_evaluation(tmp_path, chat, bare, shown):
    rows = [cases.answer("w5", "w1"), cases.answer("w5", "w2", 1)]
    cases.write_evaluation(tmp_path, rows, chat=chat)
    found = trajectories(open_named([f"a={tmp_path}"]), TOKENIZER)
    assert seen(found) == [(bare, "w1"), (shown, "w2")]
    assert [one.condition for one in found] == ["a, 0-shot", "a, 1-shot"]


def test_of_verl_by_the_file_that_it_was_trained_on(tmp_path):
    train = tmp_path / "train.jsonl"
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("w5", "w6 w6")]
    cases.write_lines(train, rows)
    prompts = prompts_of_verl(train, TOKENIZER)
    dumped = {"output": "w1", "gts": "1", "step": 1, "score": 1.0}
    # The dump has lost <bos>.
    cases.write_lines(tmp_path / "run" / "1.jsonl", [{**dumped, "input": "w6 w6 w9"}])
    runs = open_named([str(tmp_path / "run")])
    assert seen(trajectories(runs, TOKENIZER, prompts=prompts)) == [("<bos> w6 w6 w9", "w1")]
    with pytest.raises(ConfigError, match="prompts: expected verl's training file"):
        trajectories(runs, TOKENIZER)
    with pytest.raises(DataError, match=r"line 1: prompts: .* makes 'w6 w6 w9' of, got 1"):
        trajectories(runs, TOKENIZER, prompts=dict(list(prompts.items())[:1]))
    cases.write_lines(train, [{"prompt": "w5"}])
    with pytest.raises(DataError, match="line 1: expected messages in column 'prompt', got 'w5'"):
        prompts_of_verl(train, TOKENIZER)


def test_a_text_without_tokens_is_named(tmp_path):
    cases.write_lines(tmp_path / "samples.jsonl", [cases.sample(1, "w5", "strange")])
    with pytest.raises(DataError, match=r"samples.jsonl: line 1: expected a text that has tokens"):
        trajectories(open_named([str(tmp_path)]), TOKENIZER)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # What the template has between question and solution belongs to the solution.
        ({"demo": "{question} w8 w7 {solution} w6", "question": "{question} w8"}, "w7 w1 w2 w6"),
        ({"demo": "w7 {question} {solution}", "question": "{question} w8"}, "w1 w2"),
    ],
)
def test_solutions_of_a_file(tmp_path, form, expected):
    file = tmp_path / "demos.jsonl"
    cases.write_lines(file, [{"question": "w5", "answer": "1", "solution": "w1 w2"}])
    (text,) = solutions_of_file(file, Template.of({**form, "separator": " "}), TOKENIZER)
    assert (words(text.prompt), words(text.tokens)) == ("<bos> w5 w8", expected)
    assert text.place.endswith("demos.jsonl: line 1")


def test_solutions_in_a_chat_stand_alone(tmp_path):
    file = tmp_path / "demos.jsonl"
    cases.write_lines(file, [{"question": "w5", "answer": "1", "solution": "w1 w2"}])
    form = {"demo": "{question} w8 {solution}", "question": "{question}", "separator": " "}
    (text,) = solutions_of_file(file, Template.of({**form, "chat": True}), TOKENIZER)
    assert (words(text.prompt), words(text.tokens)) == ("<bos> w5 w9", "w1 w2")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "w5", "answer": "1"}, "line 1: expected a worked solution"),
        ({"question": "w5", "answer": "1", "solution": "odd"}, "line 1: expected a text that has"),
        ({"question": "odd", "answer": "1", "solution": "w1"}, "line 1: its prompt has no tokens"),
    ],
)
def test_rows_that_can_not_be_used_are_named(tmp_path, row, message):
    file = tmp_path / "demos.jsonl"
    cases.write_lines(file, [row])
    form = {"demo": "{question} {solution}", "question": "{question}", "separator": " "}
    with pytest.raises(DataError, match=message):
        solutions_of_file(file, Template.of(form), TOKENIZER)
