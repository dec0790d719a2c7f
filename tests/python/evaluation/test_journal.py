"""The journal: whatever happens to its last line, nothing before it is lost."""

from __future__ import annotations

import json

import pytest

from icpo import CheckpointError, DataError
from icpo.evaluation.journal import Journal

KEYS = [("a", shots, 0, id, sample) for shots in (0, 1) for id in ("x", "ü") for sample in (0, 1)]


def content(number):
    return {"text": f"{number} \u2028 \ud800 \n é", "finished": True}


def write(path, keys=KEYS):
    with Journal(path) as journal:
        for number, key in enumerate(keys):
            journal.add(key, content(number))


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "deep" / "j.jsonl")
    with Journal(tmp_path / "deep" / "j.jsonl") as journal:
        assert len(journal) == 8 and all(key in journal for key in KEYS)
        assert ("a", 2, 0, "x", 0) not in journal
        for number, key in reversed(list(enumerate(KEYS))):
            row = journal.read(key)
            assert row["text"] == content(number)["text"] and row["id"] == key[3]


def test_cut_at_every_byte_it_keeps_the_whole_lines_and_goes_on(tmp_path):
    path = tmp_path / "j.jsonl"
    write(path, KEYS[:2])
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert len(journal) == whole[:length].count(b"\n")
            for number, key in enumerate(KEYS[:2]):
                journal.add(key, content(number))
        assert path.read_bytes() == whole


def test_what_is_there_stays(tmp_path):
    write(tmp_path / "j.jsonl", KEYS[:2])
    before = (tmp_path / "j.jsonl").read_bytes()
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add(KEYS[0], {"text": "another"})
        assert journal.read(KEYS[0])["text"] == content(0)["text"]
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_lines_are_there_before_it_is_closed(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add(KEYS[0], {"text": "t"})
        assert json.loads((tmp_path / "j.jsonl").read_text())["text"] == "t"


@pytest.mark.parametrize("line", [b"{broken}\n", b"[1]\n", b'{"benchmark": "a"}\n', b"\xff\n"])
def test_a_broken_line_is_named(tmp_path, line):
    write(tmp_path / "j.jsonl", KEYS[:2])
    with (tmp_path / "j.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(DataError, match=r"j\.jsonl: line 3: expected a response, got"):
        Journal(tmp_path / "j.jsonl")


def test_one_writer_at_a_time(tmp_path):
    with (
        Journal(tmp_path / "j.jsonl"),
        pytest.raises(CheckpointError, match="another process is writing"),
    ):
        Journal(tmp_path / "j.jsonl")
    Journal(tmp_path / "j.jsonl").__exit__(None, None, None)
