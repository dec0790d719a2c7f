"""The commands `icpo eval` and `icpo compare`, with a real model in process."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import byte_model
from fake_server import serving
from icpo import cli
from icpo.evaluation.run import stored


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return byte_model.write(tmp_path_factory.mktemp("bytes") / "model", positions=512)


@pytest.fixture
def place(tmp_path, monkeypatch):
    rows = [{"question": f"Say {i}", "answer": str(i)} for i in range(10)]
    (tmp_path / "say.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    demos = [{"question": "Say no", "solution": r"\boxed{no}"}]
    (tmp_path / "demos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demos))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(model, out, *more):
    return [
        "eval", "say=say.jsonl", "--model", str(model), "--dtype", "float32", "--samples", "3",
        "--batch", "7", "--max-tokens", "12", "--template", "qa", "--out", out, *more,
    ]  # fmt: skip


def refusal(capsys, *arguments):
    assert cli.main([*arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_a_model_in_process(place, model, capsys):
    assert cli.main(words(model, "a", "--shots", "0", "1", "--demos", "demos.jsonl")) == 0
    captured = capsys.readouterr()
    assert captured.out == (place / "a/table.md").read_text()
    assert "| say       |     0 |       10 |  avg@3 |" in captured.out
    assert "180/180 responses" in captured.err
    found = json.loads((place / "a/results.json").read_text())["benchmarks"][0]["conditions"]
    assert [one["seeds"] for one in found] == [[0], [0, 1, 2, 3, 4]]
    rows = [json.loads(line) for line in (place / "a/journal.jsonl").read_text().splitlines()]
    assert all(row["tokens"] == 12 for row in rows if not row["finished"])
    versions = json.loads((place / "a/versions.json").read_text())
    assert versions["model"]["positions"] == 512 and versions["torch"]

    assert refusal(capsys, *words(model, "a")).startswith(
        "icpo eval: out: a holds an evaluation already: --resume continues it"
    )
    assert cli.main(["compare", "a", "a", "--shots", "0", "1", "--json", "c.json"]) == 0
    assert "| say       |  0, 1 |       10 |" in capsys.readouterr().out
    assert json.loads((place / "c.json").read_text())["rows"][0]["problems"] == 10


def test_a_journal_cut_anywhere_is_completed_to_the_bit(place, model):
    """As a killed process leaves it: groups of seven are broken, and the last line is."""
    assert cli.main(words(model, "whole", "--max-tokens", "40")) == 0
    whole = (place / "whole/journal.jsonl").read_bytes()
    for cut in np.random.default_rng(0).integers(0, len(whole), 4):
        shutil.copytree("whole", "cut", dirs_exist_ok=True)
        for name in ("table.md", "results.json", "versions.json"):
            (place / "cut" / name).unlink()
        (place / "cut/journal.jsonl").write_bytes(whole[:cut])
        # The folder alone says what to go on with.
        assert cli.main(["eval", "--resume", "--out", "cut"]) == 0
        for name in ("table.md", "results.json", "versions.json", "journal.jsonl"):
            assert (place / "cut" / name).read_bytes() == (place / "whole" / name).read_bytes()


def test_half_precision_and_greedy(place, model, capsys):
    arguments = words(model, "b", "--dtype", "bfloat16", "--temperature", "0", "--samples", "1")
    assert cli.main(arguments) == 0
    assert "pass@1" in capsys.readouterr().out


def test_a_server(place, capsys):
    pytest.importorskip("httpx", reason="httpx is not installed")

    def answer(request):
        return r"\boxed{" + request["messages"][0]["content"].split()[2] + "}", "stop"

    faults = iter([500, "drop", "malformed"])
    with serving(answer, lambda request, before: next(faults, None)) as server:
        arguments = ["eval", "say=say.jsonl", "--server", server.url, "--out", "s"]
        more = ["--template", '{"demo": "{question}{solution}", "separator": "", "question": '
                '"Please: {question} now", "chat": true}', "--samples", "2"]  # fmt: skip
        assert cli.main([*arguments, *more]) == 0
        assert server.bodies[0][1]["messages"][0]["content"].startswith("Please: Say ")
        assert set(server.answered.values()) == {1}
    assert "| say       |     0 |       10 |  avg@2 | 100.0 |" in capsys.readouterr().out
    assert stored(place / "s").template.chat


def test_a_repetition_penalty_reaches_the_server_and_belongs_to_the_evaluation(place, capsys):
    pytest.importorskip("httpx", reason="httpx is not installed")
    with serving(lambda request: ("1", "stop")) as server:
        arguments = ["eval", "say=say.jsonl", "--server", server.url, "--out", "s"]
        more = ["--samples", "1", "--dialect", "llama.cpp", "--repetition-penalty"]
        assert cli.main([*arguments, *more, "1.1"]) == 0
        assert {body["repeat_penalty"] for _, body, _ in server.bodies} == {1.1}
        assert stored(place / "s").sampling.repetition_penalty == 1.1
        capsys.readouterr()
        assert "repetition_penalty was 1.1, and is 1.2" in refusal(
            capsys, *arguments, *more, "1.2", "--resume"
        )


def test_a_server_that_goes_away(place, capsys):
    pytest.importorskip("httpx", reason="httpx is not installed")
    faults = [None] * 4 + [404] * 99
    with serving(lambda request: ("1", "stop"), lambda *_: faults.pop(0)) as server:
        arguments = [
            "eval",
            "say=say.jsonl",
            "--server",
            server.url,
            "--out",
            "s",
            "--samples",
            "2",
        ]
        assert refusal(capsys, *arguments, "--concurrency", "1") == (
            f"icpo eval: {server.url}/completions: status 404: fault 404; 4 of 20 responses are in "
            "the journal, --resume continues"
        )
        faults[:] = [None] * 16
        assert cli.main(["eval", "--resume", "--out", "s", "--concurrency", "2"]) == 0
        assert faults == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "icpo eval: benchmarks: expected at least one, got none"),
        (["nope"], "icpo eval: benchmarks: expected aime24, aime25"),
        (["say=none.jsonl"], "icpo eval: none.jsonl: can not be read: No such file"),
        (["say=say.jsonl"], "icpo eval: engine.model: expected a folder or a name on the hub"),
        (["say=say.jsonl", "--model", "no/such/thing"], "icpo eval: model.path: expected a folder"),
        (["say=say.jsonl", "--top-p", "2"], "icpo eval: top_p: expected a number above 0 up to 1"),
        (
            ["say=say.jsonl", "--repetition-penalty", "0"],
            "icpo eval: repetition_penalty: expected a number above 0",
        ),
        (["--resume", "--out", "none"], "icpo eval: benchmarks: expected at least one, got none"),
    ],
)
def test_mistakes_are_one_line(place, capsys, arguments, message):
    assert refusal(capsys, "eval", *arguments).startswith(message)


@pytest.mark.parametrize("command", ["eval", "compare"])
def test_help_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as raised:
        cli.main([command, "--help"])
    assert raised.value.code == 0
    out = capsys.readouterr().out
    for part in ("examples:", "exit codes:", "--shots"):
        assert part in out


def test_compare_needs_results(place, capsys):
    assert "results.json: expected the results" in refusal(capsys, "compare", "a", "b")
