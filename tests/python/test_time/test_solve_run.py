"""Runs that meet each other, bad luck and bad text: nothing is lost, and nothing is mixed up."""

from __future__ import annotations

import io
import json

import pytest
from kill_child import settings
from scripted_search import boxed
from scripted_text import ScriptedText, sums

from icpo import CheckpointError, ConfigError, DataError
from icpo.evaluation.benchmarks import Question
from icpo.evaluation.judge import votes
from icpo.generation.text import TextCompletion
from icpo.reward import Checker
from icpo.test_time import SearchConfig, SolveSettings, me_icpo
from icpo.test_time.methods import choose
from icpo.test_time.run import replay, solve
from icpo.types import Problem


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [
        {
            "id": f"p{n}",
            "question": f"What is {n} + {n + 1}{' really' * n}?",
            "answer": f"{2 * n + 1}",
        }
        for n in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def small(folder, questions, **changes):
    values = settings(folder, questions).to_dict()
    values["search"] |= {"prompt_tokens": 500} | changes.pop("search", {})
    return SolveSettings.build({**values, "methods": ["me_icpo"], "seeds": [0], **changes})


def run(chosen, answer=sums, engine=None, **how):
    model = engine or ScriptedText(answer)
    solve(chosen, engine=lambda: model, stream=io.StringIO(), **how)
    return model


class Meanwhile(ScriptedText):
    """While its model is loaded, or at its first answer, somebody else begins."""

    def __init__(self, act, *, loading):
        super().__init__(sums)
        self.act, self.loading = act, loading

    def describe(self):
        if self.loading:
            self.loading = False
            self.act()
        return super().describe()

    def complete(self, requests, done=None):
        act, self.act = self.act, lambda: None
        act()
        return super().complete(requests, done)


def test_who_comes_second_changes_nothing(questions, tmp_path):
    folder = tmp_path / "out"

    def second():
        with pytest.raises(CheckpointError, match="another process is writing"):
            run(small(folder, questions, methods=["sample"]), resume=True)

    run(small(folder, questions), engine=Meanwhile(second, loading=False))
    assert replay(folder, stream=io.StringIO()).differing == ()
    assert json.loads((folder / "settings.json").read_text())["settings"]["methods"] == ["me_icpo"]


def test_who_loads_longer_finds_the_folder_taken(questions, tmp_path):
    folder = tmp_path / "out"
    other = Meanwhile(lambda: run(small(folder, questions)), loading=True)
    with pytest.raises(ConfigError, match="holds an answer search already"):
        run(small(folder, questions, search={"k": 2}), engine=other)
    assert replay(folder, stream=io.StringIO()).differing == ()


def test_fresh_overwrites_only_what_can_be_begun(questions, tmp_path):
    folder = tmp_path / "out"
    run(small(folder, questions))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="expected questions that can be asked"):
        run(small(folder, questions, search={"prompt_tokens": 3}), fresh=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    run(small(folder, questions, search={"k": 2}), fresh=True)
    assert replay(folder, stream=io.StringIO()).differing == ()


def test_a_start_that_fails_leaves_no_folder(questions, tmp_path):
    with pytest.raises(DataError):
        run(small(tmp_path / "out", questions, search={"prompt_tokens": 3}))
    assert not (tmp_path / "out").exists()
    run(small(tmp_path / "out", questions))


def test_a_method_that_can_not_ask_every_question_does_not_join(questions, tmp_path):
    folder = tmp_path / "out"
    run(small(folder, questions, methods=["sample"]))
    # "Question: What is 0 + 1? Put the final answer in \boxed{}. Answer:" has 13 words, the last
    # question two more.
    with pytest.raises(CheckpointError, match=r"questions\.sums was"):
        run(small(folder, questions, methods=["sample", "sample:prompt_tokens=14"]), resume=True)
    assert replay(folder, stream=io.StringIO()).differing == ()


def test_prompts_that_a_method_does_not_use_do_not_count(questions, tmp_path):
    # The request for a summary is much longer than the question.
    chosen = small(tmp_path / "out", questions, methods=["sample"], search={"prompt_tokens": 17})
    run(chosen)
    with pytest.raises(DataError, match="prompts of at most 17 tokens"):
        run(small(tmp_path / "b", questions, search={"prompt_tokens": 17}))


@pytest.mark.parametrize("bad", ["\ud83d", "\x00", "\u2028", "</think>", "{ideas} {question} \\1"])
def test_whatever_a_model_says(questions, tmp_path, bad):
    def answer(request):
        assert "\ud83d" not in request.prompt  # what httpx and tokenizers can not encode
        return f"{bad} {sums(request)[0]} {bad}", True

    folder = tmp_path / "out"
    run(small(folder, questions, search={"summarise": bad != "</think>"}), answer)
    before = (folder / "results.json").read_bytes()
    assert replay(folder, stream=io.StringIO()).differing == ()
    assert (
        run(
            small(folder, questions, search={"summarise": bad != "</think>"}), answer, resume=True
        ).asked
        == []
    )
    assert (folder / "results.json").read_bytes() == before


def test_half_a_character_in_a_question(tmp_path):
    chosen = SolveSettings.build(
        {
            "out": tmp_path / "out",
            "questions": ["What is 1 + 1 \udcff?"],
            "methods": ["sample"],
            "search": {"form": "text", "answers": 2},
        }
    )
    asked = run(chosen).asked
    assert all("\N{REPLACEMENT CHARACTER}?" in request.prompt for request in asked)
    assert run(chosen, resume=True).asked == []
    assert replay(tmp_path / "out", stream=io.StringIO()).differing == ()


def test_a_replay_needs_no_more_than_to_read(questions, tmp_path):
    folder = tmp_path / "out"
    run(small(folder, questions))
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"request": "torn')
    before = {path: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o500)
    (folder / "journal.jsonl").chmod(0o400)
    try:
        assert replay(folder, stream=io.StringIO()).differing == ()
    finally:
        folder.chmod(0o700)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


LABELS = "ABCDEFGHIJ"


@pytest.mark.parametrize(
    "said",
    ["\\boxed{%s}", "The answer is (%s).", "\\boxed{(%s)}", "Answer: %s", "\\boxed{\\text{%s}}"],
)
def test_every_label_votes(said):
    question = Question(Problem("p", "Which? (A) 1 (B) 2", ""))
    texts = [said % label for label in LABELS for _ in (0, 1)]
    found = votes(question, texts, Checker())
    assert [found[place] == found[place + 1] >= 0 for place in range(0, 20, 2)] == [True] * 10
    assert len(set(found)) == 10


CONFIG = SearchConfig(form="text", k=2, probes=2, answers=2, rounds=1)


def test_one_journal_serves_several_models(tmp_path):
    class Named(ScriptedText):
        def __init__(self, model, answer):
            super().__init__(lambda request: (boxed(answer), True))
            self.model = model

        def describe(self):
            return {"model": self.model}

    def asked(model, answer, **how):
        engine = Named(model, answer)
        solution = me_icpo(
            "1 + 1?", engine, CONFIG, journal=str(tmp_path / "j.jsonl"), stream=io.StringIO(), **how
        )
        return solution.answer, len(engine.asked)

    assert asked("one", "2") == ("2", 10)
    assert asked("two", "3") == ("3", 10)
    assert asked("one", "4") == ("2", 0)
    assert asked("one", "4", seed=1) == ("4", 10)


def test_an_engine_that_only_returns():
    class Quiet(ScriptedText):
        def complete(self, requests, done=None):
            return [TextCompletion(boxed("2"), True, 1, 1) for _ in requests]

        def describe(self):
            return {}

    assert me_icpo("1 + 1?", Quiet(None), CONFIG, stream=io.StringIO()).answer == "2"


def test_an_empty_gold_answer_is_none():
    found = me_icpo(
        Problem("p", "1 + 1?", (" ",)),
        ScriptedText(lambda request: (boxed("2"), True)),
        CONFIG,
        stream=io.StringIO(),
    )
    assert found.right is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample:k=3", "sample reads .*got 'k=3'"),
        ("self_refine:reward=oracle", "got 'reward=oracle'"),
        ("me_icpo:refinements=1", "got 'refinements=1'"),
        ("me_icpo:", "got ''"),
        ("me_icpo:k=4,k=8", "expected k once, got it twice"),
        ("me_icpo:k=0", "k: expected"),
        ("guess", "expected one of me_icpo"),
    ],
)
def test_bad_methods(text, message):
    with pytest.raises(ConfigError, match=f"^methods: .*{message}"):
        choose(text, SearchConfig())


@pytest.mark.parametrize(("word", "measured"), [("really", False), ("wirklich, ﷺ", True)])
def test_prompts_that_are_obviously_short_are_not_measured(word, measured):
    class Counting(ScriptedText):
        counted = 0

        def count(self, prompt):
            self.counted += 1
            return super().count(prompt)

    def counted(limit):
        engine = Counting(lambda request: (boxed("2"), True))
        config = SearchConfig(form="text", k=2, probes=2, answers=2, prompt_tokens=limit)
        me_icpo(f"1 + 1 {word}?", engine, config, stream=io.StringIO())
        return engine.counted

    assert counted(1000) > 0
    assert (counted(4000) > 0) == measured
