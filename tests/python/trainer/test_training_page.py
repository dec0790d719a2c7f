"""docs/training.md: its code runs, its commands work, its tables are complete."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import toy
import yaml

from icpo.algorithms import ALGORITHMS
from icpo.demos import STRATEGIES
from icpo.trainer import TrainConfig, train
from icpo.trainer.config import _FREE, EvalConfig

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "training.md").read_text()
PROSE = PAGE.split("## Settings")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


def table(head: str) -> list[str]:
    """The first cells of the table with this head."""
    rows = PAGE.split(f"| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip() for row in rows]


def names(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_settings_are_those_of_the_code():
    path = ROOT / "scripts" / "settings_table.py"
    spec = importlib.util.spec_from_file_location("settings_table", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page_with(module.tables(), PAGE) == PAGE, f"run {path.name}"
    # And the script has found all of them.
    needed = ["model.path=m", "data.train=t", "demos.path=d", "eval.every=null"]
    stored = ["data.solution=s", "algorithm.source=prefix", "algorithm.prefix.longest=0.9"]
    parts = ["algorithm.bonus.alpha=1", "algorithm.lessons.share=0.4"]
    optional = ["model.lora.rank=8", *parts, *stored]
    config = TrainConfig.load(None, [*needed, *optional])
    found = set(re.findall(r"^\| `([\w.]+)` \|", PAGE.split("## Settings")[1], flags=re.M))
    for key in keys(config.to_dict()):
        assert key in found or key.startswith(("reward.", "prompt.template")), key


def keys(values: dict, prefix: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found += keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


def test_snippet_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "snippet of training.md", "exec"), {})
    # Before the first update the policy is π_old.
    assert "ratio on policy 1.00000" in capsys.readouterr().out


def test_configurations_load(tmp_path):
    path = tmp_path / "config.yaml"
    whole, template = blocks("yaml")
    path.write_text(whole)
    config = TrainConfig.load(path)
    assert config.algorithm.name == "icpo"
    path.write_text(yaml.safe_dump({**yaml.safe_load(whole), **yaml.safe_load(template)}))
    assert TrainConfig.load(path).prompt.template.separator == ""


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("icpo ")]


@pytest.mark.parametrize("command", commands())
def test_commands_work(command, tmp_path):
    """As far as they can without training: options are known, settings load."""
    _, verb, *words = shlex.split(command, comments=True)
    usage = subprocess.run(
        [sys.executable, "-m", "icpo.cli", verb, "--help"], capture_output=True, text=True
    )
    assert usage.returncode == 0
    for word in words:
        assert not word.startswith("-") or word in usage.stdout
    if verb == "train":
        path = tmp_path / "config.yaml"
        path.write_text(blocks("yaml")[0])
        file = path if words[0] == path.name else ROOT / words[0]
        preset = words[words.index("--preset") + 1] if "--preset" in words else None
        TrainConfig.load(file, [word for word in words if "=" in word], preset)


def test_there_are_commands():
    assert len(commands()) >= 8


def test_presets_are_listed_with_what_they_need():
    cells = PAGE.split("| preset | what it is | needs |")[1].split("\n\n")[0].splitlines()[2:]
    needs = {}
    for cell in cells:
        presets, _, needed = cell.strip("|").split(" | ")
        links = set(re.findall(r"\[([^\]]+)\]\(#", needed))
        needs |= dict.fromkeys(names([presets]), names([needed]) | links)
    assert needs.keys() == ALGORITHMS.keys()
    for name, needed in needs.items():
        found = set()
        if ALGORITHMS[name]().needs_solutions:
            found.add("stored solutions")
        if ALGORITHMS[name]().plan.shows_demos or ALGORITHMS[name]().problems == "demos":
            found.add("demos")
        assert needed == found, name


def test_strategies_are_listed():
    assert names(table("strategy")) == set(STRATEGIES)


def test_what_may_change_on_resuming_is_listed():
    said = PROSE.split("These may change:")[1].split("; and `steps`")[0]
    listed = set(re.findall(r"`([\w.]+)`", said))
    evaluation = {f"eval.{field.name}" for field in dataclasses.fields(EvalConfig)}
    files = {"model.path", "data.train", "data.test", "demos.path"}
    assert listed - {"eval", "eval.probe"} == set(_FREE) - files - evaluation
    assert evaluation - set(_FREE) == listed & evaluation


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    toy.write(folder)
    loss = {"kl": "k3", "kl_coef": 0.01}
    changes = {"algorithm": {"name": "icpo_bonus", "n": 4, "loss": loss}, "steps": 2}
    train(toy.config(folder, **changes))
    return folder / "run"


def general(name: str) -> str:
    """The name under which the page has a metric."""
    name = re.sub(r"^eval_demos/", "eval/", name)
    name = re.sub(r"avg@\d+", "avg@k", re.sub(r"pass@\d+", "pass@j", name))
    return re.sub(r"^eval/subject/.*", "eval/subject/NAME", name)


def test_metrics_are_those_of_a_run(run):
    written = {general(name) for line in toy.metrics(run) for name in line}
    assert names(table("metric")) - {"eval_demos/..."} == written


def test_timings_are_those_of_a_run(run):
    lines = (run / "timings.jsonl").read_text().splitlines()
    written = {name for line in lines for name in json.loads(line)} - {"step"}
    cells = [row.split("|")[1] for row in PAGE.split("| timing |")[1].split("\n\n")[0].splitlines()]
    assert names(cells) == written


def test_files_are_those_of_a_run(run):
    named = {re.sub(r"/.*", "", name) for name in names(table("file in `out`"))}
    assert {entry.name for entry in run.iterdir()} <= named
    assert named - {"tensorboard"} == {entry.name for entry in run.iterdir()}
