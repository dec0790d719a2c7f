"""Problems and demonstrations from files, good and bad; the order of problems."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from icpo import CheckpointError, ConfigError, DataError
from icpo.demos import DemoPool
from icpo.reward import Checker, Verdict
from icpo.reward.golds import unverifiable
from icpo.trainer.config import DataConfig, DemosConfig
from icpo.trainer.data import PromptOrder, load_demos, load_problems, pool_problems
from icpo.types import Demo, Problem

STRICT = Checker()

ROWS = [
    {"id": "a", "question": "1 + 1?", "answer": "2", "subject": "sums", "solution": "it is 2"},
    {"id": "b", "question": "a,\nb", "answer": "\\frac{1}{2}", "subject": "", "solution": "x"},
    {"id": "c", "question": 'é "∅"', "answer": "(1, 2]", "subject": "ranges", "solution": "y"},
]


def write(path: Path, rows=ROWS) -> Path:
    """In the format that the name says."""
    name = path.name
    if name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with (gzip.open if name.endswith(".gz") else open)(
        path, "wt", encoding="utf-8", newline=""
    ) as file:
        if "json" in name.lower():
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if ".tsv" in name else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def lines(path: Path, *rows) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def problems(path: Path, *, checker=STRICT, limit=None, **columns) -> list[Problem]:
    return load_problems(path, DataConfig(train=path, **columns), checker, limit=limit)


def refusal(path: Path, **settings) -> str:
    with pytest.raises(DataError) as raised:
        problems(path, **settings)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def demo_refusal(path: Path, **columns) -> str:
    with pytest.raises(DataError) as raised:
        load_demos(DemosConfig(path=path, **columns))
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


##### Good files


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.csv", "a.tsv", "a.jsonl.gz", "a.csv.gz", "a.JSONL", "a.parquet"]
)
def test_every_format_gives_the_same(tmp_path, name):
    path = write(tmp_path / name)
    found = problems(path)
    assert found == [
        Problem(row["id"], row["question"], row["answer"], row["subject"] or None) for row in ROWS
    ]
    assert problems(path, limit=2) == found[:2]
    pool = load_demos(DemosConfig(path=path))
    assert list(pool) == [
        Demo(row["id"], row["question"], row["solution"], row["subject"] or None) for row in ROWS
    ]


def test_ids_and_subjects_need_no_columns(tmp_path):
    path = lines(tmp_path / "a.jsonl", *({"question": "q", "answer": i} for i in range(3)))
    assert [(p.id, p.answer, p.subject) for p in problems(path)] == [
        (str(i + 1), str(i), None) for i in range(3)
    ]


def test_columns_by_name(tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "reward_model": {"style": "rule", "ground_truth": ["4", "four"]},
        "extra_info": {"index": 17, "split": "train"},
        "a.b": "dotted",
        "id": "not this",
    }
    columns = {
        "question": "prompt.0.content",
        "answer": "reward_model.ground_truth",
        "id": "extra_info.index",
        "subject": "a.b",
    }
    expected = [Problem("17", "2 + 2?", ("4", "four"), "dotted")]
    assert problems(lines(tmp_path / "a.jsonl", row), **columns) == expected
    assert problems(write(tmp_path / "a.parquet", [row]), **columns) == expected


SCHEMAS = {
    "verl": (
        {
            "prompt": [{"role": "user", "content": "2 + 2? Think."}],
            "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": {"id": "a:7", "question": "2 + 2?", "subject": "sums", "solution": "So."},
        },
        Problem("a:7", "2 + 2?", "4", "sums", ("So.",)),
    ),
    "gsm8k": (
        {"question": "2 + 2?", "answer": "Add <<2+2=4>>them.\n#### 4"},
        Problem("1", "2 + 2?", "4", None, ("Add them.\nThe answer is \\boxed{4}.",)),
    ),
    "math": (
        {"problem": "2 + 2?", "solution": "It is \\boxed{4}.", "type": "sums", "unique_id": "s/1"},
        Problem("s/1", "2 + 2?", "4", "sums", ("It is \\boxed{4}.",)),
    ),
    "plain": (
        {"question": "2 + 2?", "answer": 4, "solutions": ["a", "b"]},
        Problem("1", "2 + 2?", "4", None, ("a", "b")),
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_recognised(tmp_path, name):
    row, expected = SCHEMAS[name]
    path = write(tmp_path / "a.parquet", [row])
    columns = DataConfig(train=path)
    assert load_problems(path, columns, STRICT, solutions=True) == [expected]
    # What is not needed is not held.
    assert problems(path) == [replace(expected, solutions=())]
    # A name has precedence, and leaves the rest as it is.
    longer = write(tmp_path / "b.parquet", [{**row, "mine": "5"}])
    assert problems(longer, answer="mine") == [replace(expected, answer="5", solutions=())]


def test_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question": "q", "answer": "1"}\r\n\r\n  \n{"question": "r", "answer": "2"}'
    )
    assert [p.question for p in problems(path)] == ["q", "r"]
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfquestion,answer\r\nq,1\r\nr,2\r\n")
    assert [p.question for p in problems(path)] == ["q", "r"]


##### Bad files


def test_files_that_are_not_there(tmp_path):
    assert refusal(tmp_path / "no.jsonl") == "can not be read: No such file or directory"
    assert "can not be read" in demo_refusal(tmp_path / "no.parquet")
    (tmp_path / "folder.csv").mkdir()
    assert refusal(tmp_path / "folder.csv") == "can not be read: Is a directory"
    with pytest.raises(ConfigError, match=r"expected \.jsonl, .*got .*a\.txt"):
        problems(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
def test_empty_files(tmp_path, name):
    path = tmp_path / name
    with (gzip.open if name.endswith(".gz") else open)(path, "wt") as file:
        file.write("question,answer\n" if name == "a.csv" else "\n \n")
    assert refusal(path) == "expected problems, but the file is empty"
    assert demo_refusal(path) == "expected demonstrations, but the pool is empty"


@pytest.mark.parametrize("cut", [0.4, 0.9])
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.parquet"])
def test_files_cut_short(tmp_path, name, cut):
    rng = np.random.default_rng(1)
    rows = [{"question": rng.bytes(50).hex(), "answer": str(i)} for i in range(2000)]
    path = write(tmp_path / name, rows)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(DataError, match=f"{name}: can not be read: |{name}: line "):
        problems(path)


GOOD = {"question": "q", "answer": "1"}
FAULTS = {
    "no column": (
        [GOOD, "", {"question": "q"}],
        {},
        "line 3: data.answer: no column 'answer'; the row has question",
    ),
    "none of this name": (
        [{"text": "q", "answer": "1", "meta": {"level": 3}}],
        {},
        "expected rows of a known schema (verl, openr1, gsm8k, math, math-instruct, plain), got "
        "columns text, answer, meta, meta.level. Name them: data.question=COLUMN "
        "data.answer=COLUMN",
    ),
    "none that can be read": (['{"question": '], {}, "line 1: no JSON: "),
    "nested too deep": (
        [{**GOOD, "a": {"b": "1"}}],
        {"answer": "a.b.c"},
        "line 1: data.answer: no column 'a.b.c'; the row has ",
    ),
    "list too short": (
        [{**GOOD, "a": ["1"]}],
        {"answer": "a.1"},
        "line 1: data.answer: no column 'a.1'; ",
    ),
    "subject asked for": ([GOOD], {"subject": "topic"}, "line 1: data.subject: no column 'topic'"),
    "id asked for": ([GOOD], {"id": "uid"}, "line 1: data.id: no column 'uid'"),
    "no JSON": ([GOOD, '{"question": '], {}, "line 2: no JSON: "),
    "no object": ([GOOD, "[1, 2]"], {}, "line 2: JSON, but no object"),
    "empty question": (
        [GOOD, {"question": " \n", "answer": "1"}],
        {},
        "line 2: data.question: expected a text in column 'question', got an empty one",
    ),
    "question of another type": (
        [{"question": ["q"], "answer": "1"}],
        {},
        "line 1: data.question: expected a text in column 'question', got ['q']",
    ),
    "null question": (
        [{"question": None, "answer": "1"}],
        {},
        "line 1: data.question: expected a text in column 'question', got None",
    ),
    "truth as answer": (
        [{"question": "q", "answer": True}],
        {},
        "line 1: data.answer: expected a text in column 'answer', got True",
    ),
    "NaN as answer": (
        ['{"question": "q", "answer": NaN}'],
        {},
        "line 1: data.answer: expected a text in column 'answer', got nan",
    ),
    "no answers": (
        [{"question": "q", "answer": []}],
        {},
        "line 1: data.answer: expected at least one text in column 'answer', got an empty list",
    ),
    "null among answers": (
        [{"question": "q", "answer": ["1", None]}],
        {},
        "line 1: data.answer: expected a text in column 'answer', got None",
    ),
    "half a surrogate pair": (
        ['{"question": "\\ud800", "answer": "1"}'],
        {},
        "line 1: data.question: expected UTF-8 in column 'question', got '\\ud800'",
    ),
    "ids twice": (
        [{**GOOD, "id": 7}, {**GOOD, "id": 8}, {**GOOD, "id": "7"}],
        {},
        "line 3: data.id: expected unique ids, got '7' as on line 1",
    ),
    "null id": (
        [{**GOOD, "uid": None}],
        {"id": "uid"},
        "line 1: data.id: expected a text in column 'uid'",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_placed(tmp_path, name):
    rows, columns, message = FAULTS[name]
    assert refusal(lines(tmp_path / "a.jsonl", *rows), **columns).startswith(message)


def test_faults_of_demonstrations_are_placed(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"question": "q", "solution": "s"}, {"question": "q"})
    assert demo_refusal(path).startswith("line 2: demos.solution: expected a worked solution")
    path = lines(tmp_path / "b.jsonl", {"question": "q", "solution": ""})
    assert demo_refusal(path).startswith("line 1: demos.solution: expected a worked solution")
    twice = [{"question": "q", "solution": "s", "id": "x"}] * 2
    assert demo_refusal(lines(tmp_path / "c.jsonl", *twice)) == (
        "line 2: demos.id: expected unique ids, got 'x' as on line 1"
    )


def test_lines_of_csv_are_counted_over_fields_that_span_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('question,answer\n"one\ntwo\n\nthree",1\n\n\nq,2\nr,\n')
    assert refusal(path).startswith("line 9: data.answer: expected a text")
    path.write_text("question,answer\nq,1\nr,1,1\n")
    assert refusal(path) == "line 3: more fields than the header"
    path.write_text("question,answer\nq,1\nr\n")
    assert refusal(path).startswith("line 3: data.answer: expected a text in column 'answer', got")
    path.write_bytes(b"question,answer\nq,1\n\xe9,1\n")
    assert refusal(path).startswith("line 3: data.question: expected UTF-8")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv.gz", "a.parquet"])
def test_places_against_a_file_with_one_bad_row(tmp_path, name):
    """Wherever the bad row stands, it is the one that is named."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        rows = [
            {"question": "q" + "\n" * int(rng.integers(3)), "answer": "1", "n": str(i)}
            for i in range(int(rng.integers(1, 30)))
        ]
        bad = int(rng.integers(len(rows)))
        rows[bad]["question"] = " "
        path = write(tmp_path / name, rows)
        if name.endswith(".parquet"):
            place = f"row {bad + 1}"
        elif "json" in name:
            place = f"line {bad + 1}"
        else:
            place = f"line {2 + sum(1 + row['question'].count(chr(10)) for row in rows[:bad])}"
        assert refusal(path).startswith(f"{place}: data.question: ")


##### Answers that can be verified


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
@pytest.mark.parametrize(
    "answer",
    [
        "42",
        "-3.5",
        "\\frac{1}{2}",
        "$x^2 + 1$",
        "\\boxed{7}",
        "(A)",
        "no solution",
        "[1, 2)",
        "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
        "{1, 2, 3}",
        "x = 5",
        "10 \\text{ cm}",
        "So it is 5.\n#### 5",
        "1/0",
        "12:30",
        "9" * 300,
        ("-", "42"),
        ("three", "3"),
    ],
)
def test_verifiable(profile, answer):
    assert unverifiable([Problem("a", "q", answer)], Checker(profile)) == {}


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
@pytest.mark.parametrize(
    "answer", [" ", "-", "?", "...", "\\boxed{}", "{", "\\frac{", "$$", ("-", "?"), "\\"]
)
def test_not_verifiable(profile, answer):
    faults = unverifiable(
        [Problem("a", "q", "1"), Problem("b", "q", answer), Problem("c", "q", "2")],
        Checker(profile),
    )
    assert list(faults) == [1]
    assert "nothing in it can be read as an answer" in faults[1]


class Says:
    """A checker that has one verdict on everything."""

    def __init__(self, outcome, reason=None):
        self.verdict = Verdict(outcome, reason, "rule", "x", "x", "x")

    def check(self, gold, pred):
        return self.verdict

    def check_many(self, responses, golds):
        return [self.verdict] * len(responses)


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (
            ("unknown", "budget"),
            "answer '7': it could not be told whether it equals itself (budget)",
        ),
        (("unknown", "gold"), "answer '7': nothing in it can be read as an answer"),
        (("not_equal",), "answer '7' does not equal itself in a box"),
    ],
)
def test_wrong_and_could_not_tell_stay_different(verdict, why):
    assert unverifiable([Problem("a", "q", "7")], Says(*verdict)) == {0: why}


def test_problems_without_an_answer_are_counted_and_placed(tmp_path):
    rows = [{"question": "q", "answer": "-" if i % 3 == 1 else str(i)} for i in range(30)]
    message = refusal(lines(tmp_path / "a.jsonl", *rows))
    assert message.startswith(
        "expected answers that the checker can verify with profile 'strict', but 10 of 30 problems "
        "have none: line 2: answer '-': nothing in it can be read as an answer; line 5: "
    )
    assert message.endswith("; ...")
    assert message.count("line ") == 3
    # Beyond the limit nobody looks.
    assert len(problems(tmp_path / "a.jsonl", limit=1)) == 1


##### Solutions, and pools as problems


@pytest.mark.parametrize(
    ("value", "found"), [("it is 2", ("it is 2",)), (["a", "b"], ("a", "b")), (3, ("3",))]
)
def test_stored_solutions(tmp_path, value, found):
    path = lines(tmp_path / "a.jsonl", {"question": "q", "answer": "2", "deep": {"trace": value}})
    columns = DataConfig(train=path, solution="deep.trace")
    (problem,) = load_problems(path, columns, STRICT, solutions=True)
    assert problem.solutions == found
    # Nobody else looks there.
    assert load_problems(path, DataConfig(train=path, solution="gone"), STRICT)[0].solutions == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "no column 'trace'; the row has question, answer"),
        ({"trace": ""}, "expected a stored solution, but the row has none"),
        ({"trace": " \n"}, "expected a stored solution, but the row has none"),
        ({"trace": None}, "expected a stored solution, but the row has none"),
        ({"trace": []}, "expected a stored solution, but the row has none"),
        ({"trace": ["a", ""]}, "expected a text in column 'trace', got an empty one"),
    ],
)
def test_solutions_that_are_not_there(tmp_path, row, message):
    good = {"question": "q", "answer": "1", "trace": "t"}
    path = lines(tmp_path / "a.jsonl", good, {"question": "r", "answer": "2", **row})
    with pytest.raises(DataError) as raised:
        load_problems(path, DataConfig(train=path, solution="trace"), STRICT, solutions=True)
    assert str(raised.value) == f"{path}: line 2: data.solution: {message}"


def test_a_pool_as_problems(tmp_path):
    demos = [
        Demo("a", "1 + 1?", "Two ones are \\boxed{2}.", "sums"),
        Demo("b", "1/3?", "\\boxed{\\frac{1}{3}}"),
    ]
    found = pool_problems(DemoPool(demos), tmp_path, STRICT)
    assert [(one.id, one.question, one.subject) for one in found] == [
        ("a", "1 + 1?", "sums"),
        ("b", "1/3?", None),
    ]
    # What is right is what its own solution comes to.
    for one, right, wrong in zip(found, ("2", "1/3"), ("3", "0.3"), strict=True):
        assert STRICT.check(one.answer, f"\\boxed{{{right}}}").equal
        assert not STRICT.check(one.answer, f"\\boxed{{{wrong}}}").equal
    with pytest.raises(DataError) as raised:
        pool_problems(DemoPool([*demos, Demo("c", "?", "?")]), tmp_path, STRICT)
    assert str(raised.value).startswith(
        f"{tmp_path}: expected solutions whose answer the checker can verify with profile "
        "'strict', because the pool is trained on, but 1 of 3 have none: demonstration 'c': "
        "answer '?'"
    )


##### Order


def numbered(count: int) -> list[Problem]:
    return [Problem(str(i), "q", "1") for i in range(count)]


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (1, 5), (7, 3), (12, 4), (10, 25)])
def test_every_epoch_has_every_problem_once(count, batch):
    order = PromptOrder(numbered(count), seed=5)
    drawn = [problem.id for _ in range(3 * count) for problem in order.draw(batch)]
    assert len(drawn) == 3 * count * batch
    for epoch in range(3 * batch):
        part = drawn[epoch * count : (epoch + 1) * count]
        assert Counter(part) == Counter(str(i) for i in range(count))
    assert order.epoch == 3 * batch


def test_orders_differ_by_epoch_and_seed_and_are_uniform():
    orders = {
        tuple(problem.id for problem in order.draw(50))
        for seed in range(3)
        for order in [PromptOrder(numbered(50), seed)]
        for _ in range(3)
    }
    assert len(orders) == 9
    # Position of the first problem among five: chi-square with 4 degrees of freedom.
    counts = np.zeros(5)
    for seed in range(500):
        ids = [problem.id for problem in PromptOrder(numbered(5), seed).draw(5)]
        counts[ids.index("0")] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 18.5  # p = 0.001


def test_a_resumed_order_is_the_same_sequence():
    rng = np.random.default_rng(2)
    for _ in range(20):
        count, seed = int(rng.integers(1, 30)), int(rng.integers(2**62))
        sizes = rng.integers(1, 12, 20)
        whole = PromptOrder(numbered(count), seed)
        expected = [whole.draw(int(size)) for size in sizes]
        stop = int(rng.integers(20))
        first = PromptOrder(numbered(count), seed)
        for size in sizes[:stop]:
            first.draw(int(size))
        state = json.loads(json.dumps(first.state_dict()))
        second = PromptOrder(numbered(count), seed)
        second.load_state_dict(state)
        assert [second.draw(int(size)) for size in sizes[stop:]] == expected[stop:]
        assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    "change", [lambda p: p[:-1], lambda p: p[::-1], lambda p: [*p[:-1], Problem("4", "q", "2")]]
)
def test_other_problems_are_refused(change):
    order = PromptOrder(numbered(5), seed=0)
    with pytest.raises(CheckpointError, match="the file has changed"):
        PromptOrder(change(numbered(5)), seed=0).load_state_dict(order.state_dict())
    with pytest.raises(DataError, match="expected at least one"):
        PromptOrder([], seed=0)
