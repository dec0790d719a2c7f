"""Sources: how they are written, rows of files and of data sets, and errors that say what to do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import types
from pathlib import Path

import pytest

from icpo.data.paper import KNOWN
from icpo.data.schemas import SCHEMAS
from icpo.data.sources import Source, lines_of
from icpo.errors import ConfigError, DataError
from icpo.tables import placed_rows

pytest.importorskip("pyarrow")


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def hub(monkeypatch):
    """The package datasets with tables of our own; what was asked for."""
    asked: list[tuple] = []
    tables: dict[str, list[dict]] = {}

    def load_dataset(name, config, *, split, revision):
        asked.append((name, config, split, revision))
        if name not in tables:
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub\nsecond line")
        return tables[name]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return tables, asked


def test_as_it_is_written():
    source = Source.read("a/b,split=test,config=main,revision=v1,answer=x.y,schema=plain")
    assert source == Source("a/b", "test", "main", "v1", "plain", {"answer": "x.y"})
    assert str(source) == "a/b/main/test/v1"
    assert source.name == "a/b"
    file = Source.read("data/mine.jsonl.gz,question=text")
    assert (file.name, str(file), file.columns) == (
        "mine",
        "data/mine.jsonl.gz",
        {"question": "text"},
    )
    # What is known of a data set need not be said, but can be changed.
    assert Source.read("openai/gsm8k", KNOWN).config == "main"
    assert Source.read("HuggingFaceH4/MATH-500,split=train", KNOWN).split == "train"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected a file or the name of a data set, got ''"),
        ("a.jsonl,problem=x", "expected NAME=VALUE with split, config, .* got 'problem=x'"),
        ("a.jsonl,question", "expected NAME=VALUE .* got 'question'"),
        ("a.jsonl,question=", "expected NAME=VALUE .* got 'question='"),
        ("a.jsonl,split=test", "a file has no split, got split=test"),
        ("a.jsonl,schema=gsm", "schema: expected one of verl, .* got 'gsm'"),
    ],
)
def test_faults_of_writing(text, fault):
    with pytest.raises(ConfigError, match=fault):
        Source.read(text)


def test_rows_of_the_hub(hub):
    tables, asked = hub
    tables["team/set"] = [{"question": f"q{i}", "answer": "a\n#### 1"} for i in range(3)]
    source = Source.read("team/set,config=main,split=test")
    rows = list(source.rows())
    assert [row.values["question"] for row in rows] == ["q0", "q1", "q2"]
    assert source.recognised() is not SCHEMAS["plain"]
    assert source.recognised().name == "gsm8k"
    assert len(list(source.rows())) == 3
    # It is loaded once.
    assert asked == [("team/set", "main", "test", None)]
    assert source.place(1) == rows[1].place == "row 2"
    assert str(rows[1].error("bad")) == "team/set: row 2: bad"


def test_a_hub_that_can_not_be_reached(hub):
    with pytest.raises(DataError) as caught:
        list(Source.read("team/none").rows())
    message = str(caught.value)
    assert message.startswith("team/none/train: expected a file (.jsonl, ")
    assert "Couldn't reach 'team/none' on the Hub. Without network, name files" in message
    assert "second line" not in message


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"datasets is needed .* pip install icpo-rs\[data\]"):
        list(Source.read("team/set").rows())


def test_unknown_columns(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "q", "meta": {"gold": "1"}}])
    with pytest.raises(DataError, match=r"known schema \(verl, .*\), got columns text, meta, meta"):
        Source(str(path)).recognised()
    source = Source.read(f"{path},question=text,answer=meta.gold")
    (row,) = source.rows()
    assert source.recognised().problem(row, "p").answer == "1"
    # A schema that is named is believed.
    assert Source.read(f"{path},schema=math").recognised().name == "math"
    broken = tmp_path / "b.jsonl"
    broken.write_text("nonsense\n")
    with pytest.raises(DataError, match="got no row that can be read"):
        Source(str(broken)).recognised()


@pytest.mark.parametrize("zipped", [False, True])
def test_lines(tmp_path, zipped):
    """Those of `Row.place`, which reads the file again for each row."""
    fields = [["q", "a"], ["one", "1"], ["two\nlines", "2"], ["th,ree", "3"], ["four", "4\n\n4"]]
    text = io.StringIO()
    csv.writer(text).writerows(fields)
    blank = text.getvalue().replace('"th,ree"', '\n\n"th,ree"')
    jsonl = '{"q": 1}\n\n  \n{"q": 2}\nbroken\n\n{"q": 3}'
    for name, content in (("a.csv", blank), ("a.jsonl", jsonl)):
        path = tmp_path / (name + (".gz" if zipped else ""))
        with (gzip.open if zipped else open)(path, "wt", newline="") as file:
            file.write(content)
        places = [row.place for row in placed_rows(path)]
        assert len(places) == 4
        assert [f"line {line}" for line in lines_of(path)] == places
        assert [Source(str(path)).place(row) for row in range(4)] == places
