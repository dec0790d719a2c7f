"""The command `icpo verify`: files in, verdicts and a summary out."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

import icpo
from icpo import cli
from icpo.reward import Checker, files

ROWS = [
    {"id": 0, "answer": "4", "response": r"so \boxed{4}", "theirs": True},
    {"id": 1, "answer": "4", "response": r"so \boxed{5}", "theirs": True},
    {"id": 2, "answer": "5", "response": "", "theirs": False},
    {"id": 3, "answer": "5", "response": r"so \boxed{5}", "theirs": False},
]


def write_jsonl(path: Path, rows=ROWS) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)
    return path


def write_csv(path: Path) -> Path:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if ".tsv" in path.name else ",")
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_parquet(path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    importlib = pytest.importorskip("pyarrow.parquet")
    importlib.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def run(*arguments) -> int:
    return cli.main(["verify", *map(str, arguments)])


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.JSONL", "a.ndjson", "a.jsonl.gz", "a.csv", "a.tsv", "a.csv.gz", "a.parquet"],
)
def test_every_format(tmp_path, name, capsys):
    path = tmp_path / name
    write = (
        write_parquet
        if ".parquet" in name
        else write_jsonl
        if "json" in name.lower()
        else write_csv
    )
    write(path)
    output = tmp_path / "verdicts.jsonl"
    assert run(path, "--against", "theirs", "--output", output, "--threads", "2") == 0
    table = " ".join(capsys.readouterr().out.split())
    for part in (
        *("rows 4", "samples 4", "equal 2 50.00%", "not equal 1 25.00%"),
        *("unknown: response 1 25.00%", "unreadable rows 0", "both equal 1", "neither equal 1"),
        *(
            "only here equal 1",
            "only there equal 1",
            "row 1, sample 0: not_equal here, equal there",
        ),
        "row 3, sample 0: equal here, not equal there; gold '5'",
    ):
        assert part in table, table
    verdicts = [json.loads(line) for line in output.read_text().splitlines()]
    assert [verdict["row"] for verdict in verdicts] == [0, 1, 2, 3]
    outcomes = [verdict["outcome"] for verdict in verdicts]
    assert outcomes == ["equal", "not_equal", "unknown", "equal"]
    assert verdicts[2]["reason"] == "response" and verdicts[0]["extracted"] == "4"


def test_several_samples_and_golds(tmp_path):
    rows = [
        {"gold": ["3", "4"], "responses": [r"\boxed{4}", r"\boxed{5}", ""], "theirs": [1, 0, 1]},
        {"gold": 4, "responses": r"\boxed{4}", "theirs": "true"},
    ]
    output = tmp_path / "out.jsonl"
    summary = files.verify_file(
        write_jsonl(tmp_path / "a.jsonl", rows), Checker(), against="theirs", output=output
    )
    assert (summary.rows, summary.samples) == (2, 4)
    assert summary.agreement == {(True, True): 2, (False, False): 1, (False, True): 1}
    assert [(item.row, item.sample) for item in summary.disagreements] == [(0, 2)]
    first, second = map(json.loads, output.read_text().splitlines())
    assert [sample["outcome"] for sample in first["samples"]] == ["equal", "not_equal", "unknown"]
    assert second["outcome"] == "equal"


BAD_ROWS = [
    '{"gold": "4"',
    "[1]",
    '{"gold": "4", "response": null}',
    '{"gold": "4"}',
    '{"gold": [], "response": "4"}',
    '{"gold": {"a": 1}, "response": "4"}',
    '{"gold": true, "response": "4"}',
    "[" * 100_000,
]
GOOD_ROW = r'{"gold": "4", "response": "\\boxed{4} \ud800"}'


def test_unreadable_rows_are_counted_and_shown(tmp_path, capsys):
    path = write_jsonl(tmp_path / "a.jsonl", [GOOD_ROW, *BAD_ROWS, "", GOOD_ROW])
    path.write_bytes(path.read_bytes() + b'\n{"gold": "4", "response": "\xff"}\n')
    output = tmp_path / "out.jsonl"
    assert run(path, "--output", output) == 0
    table = capsys.readouterr().out
    assert f"unreadable rows{len(BAD_ROWS) + 1:>19}" in table and "row 1: no JSON" in table
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert ["error" in line for line in lines] == [False] + [True] * len(BAD_ROWS) + [False, True]
    assert run(path, "--fail-on-unreadable") == 1
    assert run(write_jsonl(tmp_path / "b.jsonl", [GOOD_ROW]), "--fail-on-unreadable") == 0


def test_broken_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'gold,response\n4,\\boxed{4}\n4,a,b\n4\n4,"\xff\\boxed{4}"\n4,' + b"x" * 200_000
    )
    summary = files.verify_file(path, Checker())
    assert summary.outcomes["equal", None] == 2 and summary.rows == 5
    assert sum(summary.unreadable.values()) == 2


def test_columns(tmp_path, capsys):
    rows = [{"reward_model": {"ground_truth": "4", "style": "rule"}, "out": {"text": r"\boxed{4}"}}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert run(path, "--response", "out.text") == 0
    assert "equal" in capsys.readouterr().out
    for arguments, message in [
        ((), "response: expected a column of the file; the file has reward_model, reward_model.gr"),
        (("--response", "x"), "response: expected one of its columns for 'x'; the file has"),
        (("--response", "out.text", "--against", "y"), "against: expected one of its columns"),
    ]:
        assert run(path, *arguments) == 2
        assert message in capsys.readouterr().err


def test_settings(tmp_path, capsys):
    path = write_jsonl(tmp_path / "a.jsonl")
    good = ["--profile", "math_verify", "--float-rounding", "3", "--no-strict-variables"]
    assert run(path, *good) == 0
    assert run(path, "--float-rounding", "-1") == 2
    assert "float_rounding: expected an integer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(path, "--profile", "exact")


def test_files_that_are_none(tmp_path, capsys):
    assert run(tmp_path / "missing.jsonl") == 2
    assert run(tmp_path / "a.txt") == 2
    assert "file: expected .jsonl, .csv" in capsys.readouterr().err
    empty = tmp_path / "a.jsonl"
    empty.touch()
    assert run(empty) == 0 and "rows" in capsys.readouterr().out


def test_nothing_is_lost_by_a_mistake(tmp_path, capsys):
    path, output = write_jsonl(tmp_path / "a.jsonl"), tmp_path / "out.jsonl"
    assert run(path, "--output", path) == 2
    assert "output: expected another file than the input" in capsys.readouterr().err
    assert path.read_text().count("\n") == len(ROWS) - 1
    output.write_text("earlier results")
    assert run(path, "--output", output, "--response", "missing") == 2
    assert output.read_text() == "earlier results"


def test_exit_codes(tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no\njson\n")
    assert run(bad) == 1 and "unreadable rows" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        run(bad, "--examples", "-1")
    assert caught.value.code == 2 and "expected a number from 0" in capsys.readouterr().err
    assert run(tmp_path / "missing.jsonl") == 2
    assert capsys.readouterr().err.endswith("missing.jsonl: No such file or directory\n")


def test_interrupted(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "verify_file", interrupt)
    assert run(write_jsonl(tmp_path / "a.jsonl")) == 130
    assert capsys.readouterr().err == "icpo verify: interrupted\n"


def test_whoever_reads_may_stop(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl")
    command = f"{sys.executable} -m icpo.cli verify {path} --against theirs | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_progress_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "BATCH", 2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run(write_jsonl(tmp_path / "a.jsonl")) == 0
    shown = capsys.readouterr().err
    assert shown.startswith("\r2 rows, 2 samples, ") and "\r4 rows, 4 samples, " in shown
    assert shown.endswith("\n") and shown.count("\n") == 1


def test_help_explains_every_convention(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    shown = capsys.readouterr().out
    assert set(cli.CONVENTIONS) == set(Checker().settings)
    for name in cli.CONVENTIONS:
        assert "--" + name.replace("_", "-") in shown
    assert "9%" in shown and "%%" not in shown and "exit codes" in shown


def test_parquet_without_pyarrow(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert run(tmp_path / "a.parquet") == 2
    assert "pip install icpo-rs[parquet]" in capsys.readouterr().err


def test_batches_do_not_matter(tmp_path, monkeypatch):
    rows = [ROWS[i % 4] for i in range(50)]
    path, outputs, tables = write_jsonl(tmp_path / "a.jsonl", rows), [], []
    for batch in (1, 7, 50, 4096):
        monkeypatch.setattr(files, "BATCH", batch)
        output = tmp_path / f"{batch}.jsonl"
        seen = []
        summary = files.verify_file(
            path, Checker(), output=output, progress=lambda s, seen=seen: seen.append(s.rows)
        )
        assert seen[-1] == 50 and len(seen) == -(-50 // batch)
        outputs.append(output.read_text())
        tables.append(summary.table())
    assert len(set(outputs)) == 1 and len(set(tables)) == 1


def test_the_command_is_installed(tmp_path):
    for command in (
        ["-m", "icpo.cli"],
        ["-c", "from icpo.cli import main; raise SystemExit(main())"],
    ):
        done = subprocess.run(
            [sys.executable, *command, "verify", write_jsonl(tmp_path / "a.jsonl")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "samples" in done.stdout and done.stderr == ""
    done = subprocess.run(
        [sys.executable, "-m", "icpo.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == icpo.__version__
