"""The command `icpo train`: arguments, mistakes, and a disk that fills up."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy
import yaml

from icpo import cli
from icpo.trainer import TrainConfig
from icpo.trainer.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Model and data; not to be changed."""
    place = tmp_path_factory.mktemp("toy")
    toy.write(place)
    return place


@pytest.fixture
def folder(whole, tmp_path, monkeypatch) -> Path:
    """The same with a configuration, to be changed, and to be in."""
    place = shutil.copytree(whole, tmp_path / "here")
    settings = toy.settings(place)
    (place / "c.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    monkeypatch.chdir(place)
    return place


def refusal(capsys, *arguments: str) -> str:
    """What is said in the end, on one line."""
    assert cli.main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("icpo train: ")
    return line.removeprefix("icpo train: ")


##### Arguments


def test_trains_and_says_where(folder, capsys):
    assert cli.main(["train", "c.yaml", "steps=2", "--preset", "grpo", "out=runs/a"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "runs/a/checkpoints/step-000002\n"
    assert captured.err.startswith("step 1/2  reward ")
    written = TrainConfig.load(Path("runs/a/config.yaml"))
    assert written == TrainConfig.load(Path("c.yaml"), ["steps=2", "out=runs/a"], "grpo")
    assert [line["step"] for line in toy.metrics(Path("runs/a"))] == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["c.yaml", "steps=3", "--preset", "icpo_bonus"],
        ["--preset", "icpo_bonus", "c.yaml", "steps=3"],
        ["steps=3", "c.yaml", "--preset", "icpo_bonus"],
        ["c.yaml", "--preset=icpo_bonus", "steps=3"],
        ["c.yaml", "steps=9", "algorithm.name=icpo_bonus", "--dry-run", "steps=3"],
    ],
)
def test_words_in_any_order(folder, capsys, arguments):
    if "--dry-run" not in arguments:
        arguments = [*arguments, "--dry-run"]
    before = sorted(folder.rglob("*"))
    assert cli.main(["train", *arguments]) == 0
    config = TrainConfig.build(yaml.safe_load(capsys.readouterr().out))
    assert (config.steps, config.algorithm.name) == (3, "icpo_bonus")
    assert config.model.path == str(folder / "model")
    assert sorted(folder.rglob("*")) == before  # nothing was written


def test_a_folder_with_a_run_is_not_written_over(folder, capsys):
    assert cli.main(["train", "c.yaml", "steps=2"]) == 0
    capsys.readouterr()
    first = (folder / "run/metrics.jsonl").read_bytes()
    assert refusal(capsys, "c.yaml", "steps=4") == (
        f"out: {folder / 'run'} holds a run already: --resume continues it, --fresh starts anew "
        "and overwrites it, out=FOLDER leaves it alone"
    )
    assert (folder / "run/metrics.jsonl").read_bytes() == first
    (folder / "run/metrics.jsonl").rename(folder / "aside")  # checkpoints alone are worth as much
    assert "holds a run already" in refusal(capsys, "c.yaml", "steps=4")
    (folder / "aside").rename(folder / "run/metrics.jsonl")
    assert cli.main(["train", "c.yaml", "steps=4", "--resume"]) == 0
    assert [line["step"] for line in toy.metrics(folder / "run")] == [0, 1, 2, 3, 4]
    resumed = (folder / "run/metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert refusal(capsys, "c.yaml", "steps=3", "--resume") == (
        f"steps: expected at least 4, which {folder / 'run/checkpoints/step-000004'} has behind "
        "it, got 3"
    )
    assert cli.main(["train", "c.yaml", "--fresh"]) == 0
    # Started anew it is the same again, as far as its last step was not the last of a shorter run.
    fresh = (folder / "run/metrics.jsonl").read_bytes()
    assert [line["step"] for line in toy.metrics(folder / "run")] == [0, 1, 2, 3, 4]
    assert fresh.splitlines()[:2] == resumed.splitlines()[:2]


@pytest.mark.parametrize("how", ["--resume", "--fresh"])
def test_a_run_that_goes_on_keeps_its_checkpoints(folder, capsys, how):
    assert cli.main(["train", "c.yaml", "steps=2"]) == 0
    capsys.readouterr()
    before = sorted((folder / "run").rglob("*"))
    with (folder / "run/metrics.jsonl").open("ab") as records:
        fcntl.flock(records, fcntl.LOCK_EX)  # as a run in another process does
        assert refusal(capsys, "c.yaml", "steps=4", how) == (
            f"{folder / 'run/metrics.jsonl'}: expected the run to have stopped, but another "
            "process is writing to it"
        )
    assert sorted((folder / "run").rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--resume", "--fresh"], "not allowed with argument"),
        (["--preset"], "expected one argument"),
    ],
)
def test_wrong_options(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        cli.main(["train", "c.yaml", *arguments])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_other_commands_take_no_stray_words(capsys):
    with pytest.raises(SystemExit):
        cli.main(["verify", "a.jsonl", "b.jsonl"])
    assert "unrecognized arguments: b.jsonl" in capsys.readouterr().err


def test_help_explains_itself(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["train", "--help"])
    assert raised.value.code == 0
    out = capsys.readouterr().out
    for part in ("key=value", "--resume", "--dry-run", "examples:", "exit codes:"):
        assert part in out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "pretrain-tiny" in capsys.readouterr().out


def test_the_command_is_light():
    code = (
        "import icpo.cli, sys; print(sorted({'torch', 'transformers', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_torch_it_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from icpo import cli; sys.exit(cli.main(['train', 'c.yaml']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "icpo train: torch is needed, and is not installed: pip install icpo-rs[torch]\n"
    )


##### Mistakes, each found before any training


def rewrite(file: str, change) -> None:
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def rename(rows, old, new):
    return [{new if name == old else name: value for name, value in row.items()} for row in rows]


def with_row(rows, place, **changes):
    rows[place] |= changes
    return rows


MISTAKES = {
    "no such file": (
        lambda: Path("train.jsonl").unlink(),
        [],
        "{here}/train.jsonl: can not be read: No such file or directory",
    ),
    "missing column": (
        lambda: rewrite("train.jsonl", lambda rows: rename(rows, "answer", "target")),
        [],
        "{here}/train.jsonl: expected rows of a known schema (verl, openr1, gsm8k, math, "
        "math-instruct, plain), got columns question, target",
    ),
    "missing column of the test file": (
        lambda: rewrite("test.jsonl", lambda rows: rename(rows, "question", "text")),
        [],
        "{here}/test.jsonl: expected rows of a known schema (verl, openr1, gsm8k, math, "
        "math-instruct, plain), got columns text, ",
    ),
    "missing column of demonstrations": (
        lambda: rewrite("demos.jsonl", lambda rows: rename(rows, "solution", "answer")),
        [],
        "{here}/demos.jsonl: line 1: demos.solution: expected a worked solution, but the row has "
        "none",
    ),
    "no problems": (
        lambda: Path("train.jsonl").write_text("\n"),
        [],
        "{here}/train.jsonl: expected problems, but the file is empty",
    ),
    "empty pool": (
        lambda: Path("demos.jsonl").write_text(""),
        [],
        "{here}/demos.jsonl: expected demonstrations, but the pool is empty",
    ),
    "torn line": (
        lambda: Path("train.jsonl").write_bytes(Path("train.jsonl").read_bytes()[:-9]),
        [],
        "{here}/train.jsonl: line 24: no JSON: ",
    ),
    "no verifiable answer": (
        lambda: rewrite("train.jsonl", lambda rows: with_row(rows, 4, answer="-")),
        [],
        "{here}/train.jsonl: expected answers that the checker can verify with profile "
        "'math_verify', but 1 of 24 problems have none: line 5: answer '-': nothing in it can be "
        "read as an answer",
    ),
    "subject without demonstrations": (
        lambda: rewrite("train.jsonl", lambda rows: with_row(rows, 6, subject="green")),
        [],
        "{here}/train.jsonl: demos: expected 1 demonstrations for problem '7' (subject 'green'), "
        "got 0 from strategy ",
    ),
    "demonstration too long": (
        lambda: rewrite("demos.jsonl", lambda rows: with_row(rows, 2, solution="so " * 60)),
        [],
        "demonstration '3': with the shortest question its prompt has ",
    ),
    "question too long": (
        lambda: rewrite("train.jsonl", lambda rows: with_row(rows, 2, question="it " * 60)),
        [],
        "problem '3': its prompt has ",
    ),
    "unknown strategy": (
        lambda: None,
        ["demos.strategy=nearest"],
        "command line: demos.strategy: expected one of random, ",
    ),
    "unknown preset": (
        lambda: None,
        ["--preset", "ipco"],
        "command line: algorithm.name: expected one of grpo, ",
    ),
    "unknown key": (
        lambda: Path("c.yaml").write_text(Path("c.yaml").read_text() + "stepz: 4\n"),
        [],
        "c.yaml:{last}: stepz: no such setting; did you mean steps?",
    ),
    "no configuration": (
        lambda: Path("c.yaml").unlink(),
        [],
        "c.yaml: can not be read: No such file or directory",
    ),
    "no model": (
        lambda: shutil.rmtree("model"),
        [],
        "model.path: expected a folder or a name on the hub, got '{here}/model'",
    ),
    "no tokenizer": (
        lambda: [
            Path("model/tokenizer.json").unlink(),
            Path("model/tokenizer_config.json").unlink(),
        ],
        [],
        "model.path: {here}/model: expected a tokenizer in the folder (tokenizer.json, ",
    ),
    "no weights": (
        lambda: Path("model/model.safetensors").unlink(),
        [],
        "model.path: {here}/model: expected weights (model.safetensors, ",
    ),
    "more tokens than positions": (
        lambda: None,
        ["generation.max_new_tokens=100"],
        "generation.max_new_tokens: expected at most 128 - prompt.max_tokens = 88, ",
    ),
    "chat without a template": (
        lambda: None,
        ["prompt.template=paper-chat"],
        "prompt.template: expected one without chat, since the tokenizer has no chat template",
    ),
    "no such device": (
        lambda: None,
        ["model.device=tpu"],
        "model.device: expected a device that is here, got 'tpu': ",
    ),
    "nothing to resume": (
        lambda: None,
        ["--resume"],
        "{here}/run: expected a checkpoint to resume from, found none; start anew",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_before_training(folder, capsys, name):
    make, arguments, message = MISTAKES[name]
    make()
    last = len(Path("c.yaml").read_text().splitlines()) if Path("c.yaml").exists() else 0
    found = refusal(capsys, "c.yaml", *arguments)
    assert found.startswith(message.replace("{here}", str(folder)).replace("{last}", str(last)))
    assert not (folder / "run").exists()


##### A disk that fills up


def train_within(limit: int, arguments: list[str], said: Path) -> None:
    """`icpo train` where no file can have more than `limit` bytes; its last words in a file."""
    # A write beyond the limit fails like one to a full disk, if the signal for it is ignored.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with said.open("w") as sys.stderr:
        sys.exit(cli.main(["train", *arguments]))


def test_a_full_disk_leaves_the_last_checkpoint(folder):
    for out in ("straight", "run"):
        assert cli.main(["train", "c.yaml", "steps=2", f"out={out}"]) == 0
    assert cli.main(["train", "c.yaml", "steps=6", "out=straight", "--resume"]) == 0
    said = folder / "said"
    child = multiprocessing.get_context("fork").Process(
        # Room for the records, but not for a model.
        target=train_within,
        args=(10_000, ["c.yaml", "steps=6", "out=run", "--resume"], said),
    )
    child.start()
    child.join()
    assert child.exitcode == 2
    run, last = Path("run"), said.read_text().splitlines()[-1]
    place = run / "checkpoints/step-000004"
    assert last.startswith(f"icpo train: {place}: the checkpoint can not be written: ")
    assert last.endswith(f"; {run}/checkpoints/step-000002 is intact")
    assert [entry.name for entry in (run / "checkpoints").iterdir()] == ["step-000002"]
    assert Checkpoints(run / "checkpoints", keep=2).latest().step == 2
    # With room again it goes on as if nothing had been.
    assert cli.main(["train", "c.yaml", "steps=6", "out=run", "--resume"]) == 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (run / name).read_bytes() == (Path("straight") / name).read_bytes()
