"""Demonstrations from files: several of them, and rows that can not be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

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
    (demo,) = load_pool([lines(tmp_path / "a.jsonl", row)], columns).pool
    assert demo == Demo("17", "2 + 2?", "4", "easy")


BAD = {
    "no JSON": ('{"question": ', "no JSON: "),
    "no object": ("[1]", "JSON, but no object"),
    "no column": ({"question": "q"}, "demonstrations.columns.solution: no column 'solution'; "),
    "empty text": (
        good(0, solution=" \n"),
        "demonstrations.columns.solution: expected a text in column 'solution', got an empty one",
    ),
    "another type": (
        good(0, question=["q"]),
        "demonstrations.columns.question: expected a text in column 'question', got ['q']",
    ),
    "null id": (
        good(0, id=None),
        "demonstrations.columns.id: expected a text in column 'id', got None",
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
    expected = ("4: more fields than the header", "5: k.solution: expected a text", "6: no CSV: ")
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
    bad = lines(tmp_path / "c.jsonl", *[{"problem": "q"}] * 4)
    with pytest.raises(DataError) as raised:
        load_pool([bad], bad_rows="skip")
    message = str(raised.value)
    assert message.startswith(
        f"{bad}: expected demonstrations, but all 4 rows were passed over: {bad}: line 1: "
        "columns.question: no column 'question'; the row has problem; "
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
    with pytest.raises(ConfigError, match=r"expected \.jsonl, .*, got .*pool\.txt"):
        load_pool([tmp_path / "pool.txt"])
