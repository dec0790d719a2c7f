"""Demonstrations from files: several of them, and rows that can not be read."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from icpo import ConfigError, DataError
from icpo.demos import BAD_ROWS, DemoColumns, load_pool
from icpo.types import Demo


def lines(path: Path, *rows) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def good(number: int, **more) -> dict:
    return {"question": f"q{number}", "solution": f"s{number}", **more}


def test_files_in_their_order_numbered_on(tmp_path):
    csv = tmp_path / "b.csv"
    csv.write_text("question,solution\nq2,s2\n")
    files = [
        lines(tmp_path / "a.jsonl", good(0), good(1, subject="sums")),
        csv,
        lines(tmp_path / "c.jsonl.gz", good(3, id="own")),
    ]
    loaded = load_pool(files)
    assert list(loaded.pool) == [
        Demo("1", "q0", "s0"),
        Demo("2", "q1", "s1", "sums"),
        Demo("3", "q2", "s2"),
        Demo("own", "q3", "s3"),
    ]
    assert (loaded.skipped, loaded.faults, loaded.message) == (0, (), None)


def test_columns_by_name(tmp_path):
    row = {
        "messages": [{"content": "2 + 2?"}, {"content": "4"}],
        "meta": {"key": 17, "level": "easy"},
        "question": "not this",
    }
    columns = DemoColumns("messages.0.content", "messages.1.content", "meta.level", "meta.key")
    path = lines(tmp_path / "a.jsonl", row)
    (demo,) = load_pool([path], columns).pool
    assert demo == Demo("17", "2 + 2?", "4", "easy")
    columns = DemoColumns(
        "messages.0.content", "messages.1.content", difficulty="meta.level", length="meta.key"
    )
    (demo,) = load_pool([path], columns).pool
    assert demo == Demo("1", "2 + 2?", "4", None, "easy", 17)
    # What is said of one file alone has precedence.
    (demo,) = load_pool([f"{path},question=question,subject=meta.key"], columns).pool
    assert demo == Demo("1", "not this", "4", "17", "easy", 17)


def test_an_id_that_is_null_is_none(tmp_path):
    (demo,) = load_pool([lines(tmp_path / "a.jsonl", good(0, id=None))]).pool
    assert demo.id == "1"


SCHEMAS = {
    "what icpo data passes writes": (
        good(0, difficulty="hard", response_length=12, passes=0, samples=3),
        Demo("1", "q0", "s0", None, "hard", 12),
    ),
    "MATH": (
        {
            "problem": "1+1?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": "So $\\boxed{2}$.",
        },
        Demo("1", "1+1?", "So $\\boxed{2}$.", "Algebra"),
    ),
    "GSM8K": (
        {"question": "1+1?", "answer": "It is <<1+1=2>>2.\n#### 2"},
        Demo("1", "1+1?", "It is 2.\nThe answer is \\boxed{2}."),
    ),
    "MathInstruct": (
        {"source": "CoT/x.json", "instruction": "1+1?", "output": "2. The answer is 2"},
        Demo("1", "1+1?", "2. The answer is 2", "CoT/x.json"),
    ),
    "OpenR1": (
        {
            "problem": "1+1?",
            "answer": "2",
            "problem_type": "Algebra",
            "uuid": "u",
            "generations": ["3", "2"],
            "correctness_math_verify": [False, True],
        },
        Demo("u", "1+1?", "2", "Algebra"),
    ),
    "verl": (
        {
            "prompt": [{"role": "user", "content": "1+1? Think."}],
            "reward_model": {"style": "rule", "ground_truth": "2"},
            "extra_info": {"question": "1+1?", "solution": "Two.", "difficulty": "easy"},
        },
        Demo("1", "1+1?", "Two.", None, "easy"),
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_recognised(tmp_path, name):
    row, expected = SCHEMAS[name]
    assert list(load_pool([lines(tmp_path / "a.jsonl", row)]).pool) == [expected]


def test_each_file_has_a_schema_of_its_own(tmp_path):
    files = [
        lines(tmp_path / f"{number}.jsonl", row) for number, (row, _) in enumerate(SCHEMAS.values())
    ]
    expected = [demo for _, demo in SCHEMAS.values()]
    loaded = list(load_pool(files).pool)
    assert [demo.solution for demo in loaded] == [demo.solution for demo in expected]
    assert [demo.id for demo in loaded] == ["1", "2", "3", "4", "u", "6"]


def test_a_file_of_no_known_schema(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"text": "q", "reply": "s"})
    with pytest.raises(DataError, match=r"expected rows of a known schema .*, got columns text, "):
        load_pool([path])
    (demo,) = load_pool([path], DemoColumns("text", "reply")).pool
    assert demo == Demo("1", "q", "s")


def test_data_sets_by_name(monkeypatch):
    asked = []

    def load_dataset(name, config, split, revision):
        asked.append((name, config, split, revision))
        return [{"question": f"{n}?", "answer": f"It is {n}.\n#### {n}"} for n in range(3)]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    pool = load_pool([Path("openai/gsm8k,config=main,split=test")]).pool
    assert asked == [("openai/gsm8k", "main", "test", None)]
    assert [demo.question for demo in pool] == ["0?", "1?", "2?"]
    assert pool[2].solution == "It is 2.\nThe answer is \\boxed{2}."
    load_pool(["gsm8k"])
    assert asked[-1] == ("gsm8k", None, "train", None)
    with pytest.raises(ConfigError, match=r"source openai/gsm8k: expected NAME=VALUE with split, "):
        load_pool(["openai/gsm8k,main"])


def test_a_data_set_that_can_not_be_had(monkeypatch):
    def load_dataset(*arguments, **options):
        raise ConnectionError("Couldn't reach the hub\nwith details")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match=r"nobody/none/train: .*: Couldn't reach the hub\. Without"):
        load_pool(["nobody/none"])


def test_a_comma_in_the_name_of_a_file(tmp_path):
    assert len(load_pool([lines(tmp_path / "a,b=c.jsonl", good(0))]).pool) == 1


BAD = {
    "no JSON": ('{"question": ', "no JSON: "),
    "no object": ("[1]", "JSON, but no object"),
    "no column": ({"question": "q"}, "demonstrations.columns.solution: expected a worked solution"),
    "no question": (
        {"solution": "s"},
        "demonstrations.columns.question: no column 'question'; the row has solution",
    ),
    "empty text": (
        good(0, solution=" \n"),
        "demonstrations.columns.solution: expected a worked solution, but the row has none",
    ),
    "another type": (
        good(0, question=["q"]),
        "demonstrations.columns.question: expected a text in column 'question', got ['q']",
    ),
    "id of another type": (
        good(0, id=[1]),
        "demonstrations.columns.id: expected a text in column 'id', got [1]",
    ),
    "length of another type": (
        good(0, response_length="long"),
        "demonstrations.columns.length: expected a number from 0 in column 'response_length', got",
    ),
    "subject of another type": (
        good(0, subject={"a": 1}),
        "demonstrations.columns.subject: expected a text in column 'subject', got {'a': 1}",
    ),
    "id twice": (
        good(0, id="first"),
        "demonstrations.columns.id: expected unique ids, got 'first' as on line 1 of ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_the_first_fault_stops_or_is_passed_over(tmp_path, name):
    row, fault = BAD[name]
    files = [
        lines(tmp_path / "a.jsonl", good(1, id="first")),
        lines(tmp_path / "b.jsonl", good(2), "", row, good(3)),
    ]
    with pytest.raises(DataError) as raised:
        load_pool(files, key="demonstrations.columns")
    place = f"{files[1]}: line 3: {fault}"
    assert str(raised.value).startswith(place)

    loaded = load_pool(files, bad_rows="skip", key="demonstrations.columns")
    # Those behind it keep the numbers that they would have without the fault.
    assert [demo.id for demo in loaded.pool] == ["first", "2", "4"]
    assert loaded.skipped == 1
    assert loaded.faults[0].startswith(place)
    assert loaded.message == f"1 of 4 rows with demonstrations were passed over: {loaded.faults[0]}"


def test_an_id_that_came_in_the_same_file(tmp_path):
    path = lines(tmp_path / "a.jsonl", good(1, id="x"), good(2, id="y"), good(3, id="x"))
    with pytest.raises(DataError, match=r"line 3: columns.id: .* got 'x' as on line 1$"):
        load_pool([path])


def test_skipped_rows_are_all_counted_and_the_first_described(tmp_path):
    rng = np.random.default_rng(4)
    for _ in range(10):
        bad = rng.random(40) < 0.4
        rows = [{"question": "q"} if each else good(i) for i, each in enumerate(bad)]
        files = [
            lines(tmp_path / "a.jsonl", *rows[:25], good(99)),
            lines(tmp_path / "b.jsonl", *rows[25:]),
        ]
        loaded = load_pool(files, bad_rows="skip")
        assert loaded.skipped == bad.sum() > 3
        assert len(loaded.pool) == 41 - bad.sum()
        places = [
            f"{files[int(i >= 25)]}: line {i + 1 if i < 25 else i - 24}: "
            for i in np.flatnonzero(bad)
        ]
        assert len(loaded.faults) == 3
        for fault, place in zip(loaded.faults, places, strict=False):
            assert fault.startswith(place)
        assert loaded.message is not None
        assert loaded.message.startswith(f"{bad.sum()} of 41 rows ")
        assert loaded.message.endswith("; ...")


def test_rows_of_csv_that_are_no_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        'question,solution\n"a\nb",s0\nq1,s1,more\nq2\n"q3"x,s3\nq4,s4\n', encoding="utf-8"
    )
    loaded = load_pool([path], bad_rows="skip", key="k")
    assert [(demo.id, demo.question) for demo in loaded.pool] == [("1", "a\nb"), ("5", "q4")]
    expected = ("4: more fields than the header", "5: k.solution: expected a worked", "6: no CSV: ")
    assert loaded.skipped == 3
    for fault, start in zip(loaded.faults, expected, strict=True):
        assert fault.startswith(f"{path}: line {start}")


def test_rows_of_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(
        [good(0), {"question": None, "solution": "s"}, good(2)]
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    loaded = load_pool([tmp_path / "a.parquet"], bad_rows="skip")
    assert [demo.id for demo in loaded.pool] == ["1", "3"]
    assert loaded.faults[0].startswith(f"{tmp_path / 'a.parquet'}: row 2: columns.question: ")


def test_files_are_not_read_again_for_each_fault(tmp_path, monkeypatch):
    path = lines(tmp_path / "a.jsonl", *[good(0, id="x")] * 50, *[{"question": "q"}] * 50)
    opened = []
    plain = open

    def counted(file, *arguments, **options):
        opened.append(file)
        return plain(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", counted)
    assert load_pool([path], bad_rows="skip").skipped == 99
    # Three faults are described, each with two places.
    assert len(opened) <= 6


def test_nothing_left(tmp_path):
    empty = lines(tmp_path / "a.jsonl")
    other = lines(tmp_path / "b.jsonl", "", "")
    with pytest.raises(DataError) as raised:
        load_pool([empty, other])
    assert str(raised.value) == f"{empty}, {other}: expected demonstrations, but the pool is empty"
    bad = lines(tmp_path / "c.jsonl", *[{"question": "q", "answer": "1"}] * 4)
    with pytest.raises(DataError) as raised:
        load_pool([bad], bad_rows="skip")
    message = str(raised.value)
    assert message.startswith(
        f"{bad}: expected demonstrations, but all 4 rows were passed over: {bad}: line 1: "
        "columns.solution: expected a worked solution, but the row has none; "
    )
    assert message.endswith("; ...")


@pytest.mark.parametrize("bad_rows", BAD_ROWS)
def test_a_damaged_file_is_no_bad_row(tmp_path, bad_rows):
    whole = lines(tmp_path / "a.jsonl.gz", *(good(i, x="x" * i) for i in range(500)))
    whole.write_bytes(whole.read_bytes()[:-200])
    for path in (whole, tmp_path / "none.jsonl"):
        with pytest.raises(DataError, match=f"{path.name}: can not be read: "):
            load_pool([path], bad_rows=bad_rows)


def test_arguments(tmp_path):
    path = lines(tmp_path / "a.jsonl", good(1))
    with pytest.raises(ConfigError, match="bad_rows: expected error or skip, got 'ignore'"):
        load_pool([path], bad_rows="ignore")
    with pytest.raises(ConfigError, match="files: expected at least one"):
        load_pool([])
    for name in ("pool.txt", "a/b/pool"):
        with pytest.raises(ConfigError, match=rf"expected \.jsonl, .*, got .*{name}"):
            load_pool([tmp_path / name])
