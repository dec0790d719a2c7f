"""Benchmarks: every form of a file, broken rows one by one, and the real files."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from icpo import ConfigError, DataError
from icpo.evaluation.benchmarks import BENCHMARKS, Question, benchmark, load
from icpo.evaluation.judge import judge
from icpo.reward import Checker

CHECKER = Checker()
SHARED = Path(__file__).parents[4] / "shared" / "benchmarks"


def write(path: Path, rows) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def quiz(tmp_path, name, rows, seed=None, **settings):
    file = write(tmp_path / "file.jsonl", rows)
    return load(benchmark(f"{name}={file}"), CHECKER, option_seed=seed, **settings)


def test_the_nine_of_the_paper():
    assert list(BENCHMARKS) == [
        "aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench", "arc_c",
        "gpqa_diamond", "mmlu_pro",
    ]  # fmt: skip
    assert {name for name, row in BENCHMARKS.items() if row.samples == 32} == {
        "aime24", "aime25", "amc23",
    }  # fmt: skip
    assert [name for name, row in BENCHMARKS.items() if row.choice] == list(BENCHMARKS)[-3:]
    assert all(not row.source.is_file for row in BENCHMARKS.values())


def test_names_and_sources():
    mine = benchmark("amc23=x.jsonl,question=q")
    assert (mine.samples, mine.title, mine.source.columns) == (32, "AMC23", {"question": "q"})
    assert (benchmark("mine=a.csv").samples, benchmark("mine=a.csv").group) == (1, None)
    for text in ("nothing", "=x.jsonl", "amc23="):
        with pytest.raises(ConfigError, match="benchmarks: expected"):
            benchmark(text)


##### Forms


def asked(found) -> list[tuple[str, str, str]]:
    return [(one.problem.id, one.problem.question, one.problem.answer) for one in found.questions]


def test_open_questions_of_known_schemas(tmp_path):
    rows = [
        {"id": 7, "problem": "1 + 1?", "question": "1 + 1?", "answer": 2.0},
        {"unique_id": "u/3", "problem": "2 + 2?", "solution": r"so \boxed{4}", "subject": "sums"},
        {"question": "eggs?", "answer": "so 3+4=<<3+4=7>>7\n#### 7"},
        {"prompt": [{"role": "user", "content": "9?"}], "reward_model": {"ground_truth": "9"}},
    ]
    found = quiz(tmp_path, "mine", rows)
    assert asked(found) == [
        ("7", "1 + 1?", "2.0"), ("u/3", "2 + 2?", "4"), ("3", "eggs?", "7"), ("4", "9?", "9"),
    ]  # fmt: skip
    assert [one.problem.subject for one in found.questions] == [None, "sums", None, None]


@pytest.mark.parametrize("nothing", ["", " ", None, []])
def test_questions_need_no_solution(tmp_path, nothing):
    """Of a file in which only some have one, all are asked."""
    rows = [
        {"question": "1 + 1?", "answer": "2", "solution": "Two."},
        {"question": "2 + 2?", "answer": "4", "solution": nothing},
    ]
    found = quiz(tmp_path, "mine", rows)
    assert [one.problem.solutions for one in found.questions] == [("Two.",), ()]
    assert not found.skipped


def test_numbered_statements_are_no_options(tmp_path):
    """Shuffled, they would turn the number that is asked for into another one."""
    text = "How many of these hold for all odd n?\n\n1) n is odd\n2) n+1 is even\n3) n is prime"
    rows = [{"question": text, "answer": "2"}]
    for name in ("mine", "olympiadbench"):
        for seed in range(4):
            (one,) = quiz(tmp_path, name, rows, seed).questions
            assert one.options is None
            assert (one.problem.question, one.problem.answer) == (text, "2")
    (one,) = quiz(tmp_path, "arc_c", rows).questions
    assert one.options is not None and one.options.labels == "123"


def test_columns_of_a_benchmark_and_of_ones_own(tmp_path):
    row = {"question": "x?", "final_answer": ["3", "4"], "solution": ["..."], "subfield": "Algebra"}
    (found,) = quiz(tmp_path, "olympiadbench", [row]).questions
    assert (found.problem.answer, found.problem.subject) == (("3", "4"), "Algebra")
    file = write(tmp_path / "own.jsonl", [{"text": "y?", "gold": {"value": 5}}])
    chosen = benchmark(f"mine={file},question=text,answer=gold.value")
    assert asked(load(chosen, CHECKER, option_seed=None)) == [("1", "y?", "5")]


MMLU = {
    "question_id": 5,
    "question": "M?",
    "options": ["p", "q", "r"],
    "answer": "B",
    "category": "law",
}
ARC = {
    "id": "Mercury_1",
    "question": "A?",
    "choices": {"text": ["p", "q", "r"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}
GPQA = {
    "Record ID": "rec",
    "Question": "G?",
    "Correct Answer": "q",
    "Incorrect Answer 1": "p",
    "Incorrect Answer 2": "r",
    "Incorrect Answer 3": "s",
    "Subdomain": "Optics",
}
TEXT = {"question": "T?\n\nA) p\nB) q\nC) r", "answer": "B"}


@pytest.mark.parametrize(
    ("name", "row", "id"),
    [
        ("mmlu_pro", MMLU, "5"),
        ("arc_c", ARC, "Mercury_1"),
        ("gpqa_diamond", GPQA, "rec"),
        ("arc_c", TEXT, "1"),
    ],
)
def test_options_of_every_form(tmp_path, name, row, id):
    golds = set()
    for seed in [None, *range(12)]:
        (found,) = quiz(tmp_path, name, [row], seed).questions
        assert found.problem.id == id
        lines = found.problem.question.splitlines()
        assert f"{found.problem.answer}) q" in lines
        assert judge(found, f"ANSWER: {found.problem.answer}", CHECKER).right
        assert judge(found, r"\boxed{q}", CHECKER).right
        assert judge(found, r"\boxed{r}", CHECKER).outcome == "not_equal"
        assert judge(found, "no idea", CHECKER).outcome == "unknown"
        golds.add(found.problem.answer)
    assert golds >= {"A", "B", "C"}


def test_the_order_of_options_follows_from_seed_benchmark_and_problem_alone(tmp_path):
    rows = [{**MMLU, "question_id": number, "options": list("pqrstuvw")} for number in range(20)]
    whole = asked(quiz(tmp_path, "mmlu_pro", rows, 3))
    assert asked(quiz(tmp_path, "mmlu_pro", rows, 3, limit=7)) == whole[:7]
    assert asked(quiz(tmp_path, "mmlu_pro", rows[::-1], 3)) == whole[::-1]
    other = asked(quiz(tmp_path, "mmlu_pro", rows, 4))
    assert sum(a == b for a, b in zip(whole, other, strict=True)) < 5
    answers = [answer for _, _, answer in whole]
    assert len(set(answers)) > 4


##### Broken rows


BROKEN = [
    ({"question": "1?", "answer": "1"}, None),
    ("{no json", "no JSON"),
    ({"question": "", "answer": "1"}, "question: expected a text in column 'question'"),
    ({"question": "2?", "answer": None}, "answer: expected a text in column 'answer', got None"),
    ({"text": "3?"}, "question: expected columns of a known schema, the row has text"),
    ("[1, 2]", "JSON, but no object"),
    ({"question": "4?", "answer": "?"}, "nothing in it can be read as an answer"),
    ({"id": "1", "question": "5?", "answer": "5"}, "id: expected unique ids, got '1' twice"),
    ({"question": "6?", "options": ["a"], "answer": "A"}, "options: expected 2 to 10, got 1"),
    ({"question": "7?", "options": ["a", "b"], "answer": "C"}, "expected one of A, B, got 'C'"),
    ({"question": "8?", "options": ["a", None], "answer": "A"}, "options: expected a text"),
    ({**ARC, "answerKey": "9"}, "answerKey: expected one of 1, 2, 3, got '9'"),
    ({"question": "9?", "answer": "9"}, None),
]


def test_every_broken_row_is_told_and_the_rest_is_asked(tmp_path):
    rows = ["", *(row for row, _ in BROKEN)]  # a blank line moves the others by one
    found = quiz(tmp_path, "mine", rows)
    told = [(number, why) for number, (_, why) in enumerate(BROKEN, 2) if why]
    assert len(found.skipped) == len(told)
    for skipped, (line, why) in zip(found.skipped, told, strict=True):
        assert skipped.where == f"{tmp_path / 'file.jsonl'}: line {line}"
        assert why in skipped.why, skipped
    assert [one.problem.question for one in found.questions] == ["1?", "9?"]


def test_multiple_choice_needs_options(tmp_path):
    found = quiz(
        tmp_path, "arc_c", [TEXT, {"question": "Q?", "answer": "B"}, {**TEXT, "answer": "D"}]
    )
    assert len(found.questions) == 1
    assert [skipped.why for skipped in found.skipped] == [
        "answer: expected the label of an option in the question, got 'B'",
        "answer: expected the label of an option in the question, got 'D'",
    ]


def test_a_file_without_questions_stops(tmp_path):
    with pytest.raises(DataError, match="expected questions that can be asked, but there are no"):
        quiz(tmp_path, "mine", [])
    with pytest.raises(DataError, match=r"that can be asked: .*line 1: no JSON"):
        quiz(tmp_path, "mine", ["{"])
    with pytest.raises(DataError, match="can not be read: No such file"):
        load(benchmark(f"mine={tmp_path / 'none.jsonl'}"), CHECKER, option_seed=None)


def test_parquet_rows_have_numbers(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet

    file = tmp_path / "a.parquet"
    table = pa.table({"question": ["1?", None, "3?"], "answer": ["1", "2", "3"]})
    pyarrow.parquet.write_table(table, file)
    found = load(benchmark(f"mine={file}"), CHECKER, option_seed=None)
    assert [one.where for one in found.skipped] == [f"{file}: row 2"]
    assert len(found.questions) == 2


def test_the_hub_is_asked_for_what_the_registry_says(monkeypatch):
    asked = []

    def load_dataset(path, config, split, revision):
        asked.append((path, config, split))
        return {"allenai/ai2_arc": [ARC, {**ARC, "answerKey": "x", "id": "2"}]}[path]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    # A benchmark keeps what it has read, so not the one that others use.
    chosen = dataclasses.replace(
        BENCHMARKS["arc_c"], source=dataclasses.replace(BENCHMARKS["arc_c"].source)
    )
    found = load(chosen, CHECKER, option_seed=0)
    assert asked == [("allenai/ai2_arc", "ARC-Challenge", "test")]
    assert [one.problem.id for one in found.questions] == ["Mercury_1"]
    assert [one.where for one in found.skipped] == ["allenai/ai2_arc: row 2"]


##### Real files


@pytest.mark.parametrize(
    ("name", "file", "rows", "skipped"),
    [
        ("amc23", "amc23", 40, 0),
        ("math500", "math500_with_solutions", 500, 0),
        ("arc_c", "arc_c", 1172, 0),
        ("gpqa_diamond", "gpqa", 198, 0),
        ("gsm8k", "gsm8k_test", 1319, 0),
    ],
)
def test_real_files_are_read_whole_and_their_answers_are_right(name, file, rows, skipped):
    path = SHARED / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    found = load(benchmark(f"{name}={path}"), CHECKER, option_seed=11)
    assert (len(found.questions), len(found.skipped)) == (rows, skipped)

    def says_the_answer(one: Question) -> str:
        return f"Thus it is \\boxed{{{one.problem.answer}}}."

    assert all(judge(one, says_the_answer(one), CHECKER).right for one in found.questions)
