"""The tiny model's folder: reused when it can be, made again when not, and never half there."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from icpo.errors import ConfigError
from icpo.tiny import cli, folder
from icpo.tiny.corpus import Mixture
from icpo.tiny.evaluate import Accuracy
from icpo.tiny.folder import RECORD, pretrain_tiny
from icpo.tiny.pretrain import Recipe, pretrain
from icpo.tiny.tokenizer import make_tokenizer

SHORT = Recipe(steps=3, drawn_at_once=20, books_only=0.0)


@pytest.fixture(autouse=True)
def evaluation(monkeypatch):
    """Untrained models answer nothing, and take their time over it."""
    monkeypatch.setattr(folder, "evaluate", lambda *_: Accuracy(0.125, 0.875))


class Lines(list[str]):
    """What was reported."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def steps(self) -> int:
        return sum(line.startswith("step ") for line in self)


def make(out, recipe=SHORT, **options):
    lines = Lines()
    return pretrain_tiny(out, recipe, report=lines, **options), lines


def weights(out):
    return (out / "model.safetensors").read_bytes()


def test_the_folder_loads_as_any_other(tmp_path):
    made, lines = make(tmp_path / "model")
    assert (made.path, made.reused, lines.steps) == (tmp_path / "model", False, 3)
    tokenizer = AutoTokenizer.from_pretrained(made.path)
    loaded = AutoModelForCausalLM.from_pretrained(made.path)
    tokens = torch.tensor([tokenizer("Q:shop a=02 b=4?\nA:").input_ids])
    expected = pretrain(make_tokenizer(), SHORT)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, expected(tokens).logits)
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    assert list(tmp_path.iterdir()) == [made.path]


def test_the_same_model_is_reused(tmp_path):
    made, _ = make(tmp_path / "model")
    before = weights(made.path), (made.path / "model.safetensors").stat().st_mtime_ns
    again, lines = make(tmp_path / "model")
    assert again == replace(made, reused=True)
    assert len(lines) == 1 and "reused" in lines[0]
    assert before == (weights(made.path), (made.path / "model.safetensors").stat().st_mtime_ns)


def test_force_pretrains_again_to_the_same_weights(tmp_path):
    made, _ = make(tmp_path / "model")
    before = weights(made.path)
    again, lines = make(tmp_path / "model", force=True)
    assert (again.reused, lines.steps) == (False, 3)
    assert weights(made.path) == before


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (replace(SHORT, steps=4), "steps 3 instead of 4"),
        (replace(SHORT, seed=1), "seed 0 instead of 1"),
        (replace(SHORT, mixture=Mixture(right_habit=0.5)), "mixture.right_habit 0.002 instead"),
    ],
)
def test_other_settings_make_another_model(tmp_path, recipe, reason):
    made, _ = make(tmp_path / "model")
    before = weights(made.path)
    again, lines = make(tmp_path / "model", recipe)
    assert not again.reused and reason in lines[0]
    assert weights(made.path) != before
    assert make(tmp_path / "model", recipe)[0].reused


def test_other_code_makes_another_model(tmp_path, monkeypatch):
    make(tmp_path / "model")
    monkeypatch.setattr(folder, "_code", lambda: "of another version")
    again, lines = make(tmp_path / "model")
    assert not again.reused and "code" in lines[0]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_model_is_made_again(tmp_path, name, damage):
    made, _ = make(tmp_path / "model")
    before = weights(made.path)
    if damage == "gone":
        (made.path / name).unlink()
    else:
        (made.path / name).write_bytes(b"{}")
    again, lines = make(tmp_path / "model")
    assert not again.reused and name in lines[0]
    assert weights(made.path) == before


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    assert not make(tmp_path / "model")[0].reused


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"recipe": {}}'])
def test_other_folders_are_left_alone(tmp_path, content):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / "model" / RECORD).write_text(content)
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"out: expected .* got .*model, which has no"):
            make(tmp_path / "model", force=force)
    assert (tmp_path / "model" / "thesis.txt").read_text() == "years of work"


def test_a_file_is_left_alone(tmp_path):
    (tmp_path / "model").write_text("years of work")
    with pytest.raises(ConfigError, match="out: expected"):
        make(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "years of work"


def interrupt(_: str) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_first_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        pretrain_tiny(tmp_path / "model", SHORT, report=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", ["steps", "evaluation"])
def test_an_interrupted_second_run_leaves_the_first_model(tmp_path, monkeypatch, at):
    made, _ = make(tmp_path / "model")
    before = weights(made.path)
    if at == "evaluation":
        monkeypatch.setattr(folder, "evaluate", lambda *_: interrupt(""))
    with pytest.raises(KeyboardInterrupt):
        pretrain_tiny(
            made.path,
            replace(SHORT, seed=1),
            report=interrupt if at == "steps" else Lines(),
        )
    assert list(tmp_path.iterdir()) == [made.path]
    assert weights(made.path) == before
    assert make(tmp_path / "model")[0].reused


def test_a_killed_run_leaves_no_folder(tmp_path):
    code = (
        "import sys; from icpo.tiny.folder import *; from icpo.tiny.pretrain import Recipe\n"
        "pretrain_tiny(sys.argv[1], Recipe(steps=100000, drawn_at_once=20), "
        "report=lambda line: print(line, flush=True))"
    )
    # LINES of progress are too few to wait for: the staging folder tells that it has begun.
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "model")])
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model").exists()
    assert not make(tmp_path / "model")[0].reused


def test_the_record_says_how_it_was_made(tmp_path):
    made, _ = make(tmp_path / "model", replace(SHORT, mixture=Mixture(right_habit=0.25)))
    record = json.loads((made.path / RECORD).read_text())
    assert record["recipe"]["steps"] == 3
    assert record["recipe"]["mixture"]["right_habit"] == 0.25
    assert record["versions"]["torch"] == torch.__version__
    assert record["accuracy"] == {
        "zero_shot": made.accuracy.zero_shot,
        "one_shot": made.accuracy.one_shot,
    }


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    options = parser.parse_args(["pretrain-tiny", *arguments])
    return options.run(options)


def test_the_command(tmp_path, capsys):
    out = tmp_path / "tiny" / "model"
    options = ["--out", str(out), "--steps", "2", "--seed", "4", "--right-habit", "0.5"]
    assert run_command(*options) == 0
    said = capsys.readouterr()
    assert "zero-shot  12.5%" in said.out and "one-shot   87.5%" in said.out
    assert str(out) in said.out
    assert "step 2 of 2" in said.err
    assert sorted(path.name for path in (tmp_path / "tiny" / "data").iterdir()) == [
        "demos.jsonl",
        "test.jsonl",
        "train.jsonl",
    ]
    recipe = json.loads((out / RECORD).read_text())["recipe"]
    assert (recipe["steps"], recipe["seed"], recipe["mixture"]["right_habit"]) == (2, 4, 0.5)
    assert run_command(*options) == 0
    assert "reused" in capsys.readouterr().err


def test_the_command_refuses_bad_settings(tmp_path):
    with pytest.raises(ConfigError, match="right_habit: expected 0 to 1, got 3"):
        run_command("--out", str(tmp_path / "model"), "--right-habit", "3")
    assert list(tmp_path.iterdir()) == []
