"""docs/verl.md: its tables are complete, its commands are what verl and the plugin accept."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import settings_table
import yaml

import icpo.verl
from icpo.algorithms import ALGORITHMS, algorithm
from icpo.demos import TEMPLATES
from icpo.objective import LossConfig
from icpo.objective.config import PRESETS
from icpo.objective.metrics import LossMetrics
from icpo.verl.checks import _REQUIRED, check_config
from icpo.verl.metrics import loss_figures, rollout_figures
from icpo.verl.settings import IcpoSettings

pytestmark = pytest.mark.verl

PEER = "verl.utils.config"
# CI installs the peer, so there its absence is a failure and not a reason to skip.
verl_config = (
    importlib.import_module(PEER)
    if os.environ.get("CI")
    else pytest.importorskip(PEER, reason="verl is not installed", exc_type=ImportError)
)

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "verl.md").read_text()
ON = yaml.safe_load((Path(icpo.verl.__file__).parent / "config" / "icpo" / "on.yaml").read_text())


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(head: str) -> list[list[str]]:
    """The cells of the table that begins with this head."""
    rows = PAGE.split(f"| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def names(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def flat(values: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in values.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        found |= {prefix + name: value} if inner is None else inner
    return found


def test_settings_are_those_of_the_code():
    assert settings_table.page_with(settings_table.verl_tables(), PAGE) == PAGE, (
        "run scripts/settings_table.py"
    )
    said = section("Settings")
    found = set(re.findall(r"^\| `(icpo\.[\w.]+)` \| [^|]+ \| ", said, flags=re.M))
    keys = set(flat({"icpo": ON["icpo"]}))
    assert found == keys
    assert set(settings_table.IN_PAPER) <= keys


def test_what_the_flag_sets():
    others = {name: value for name, value in ON.items() if name not in ("icpo", "hydra")}
    assert names([row[0] for row in table("key | to")]) == set(flat(others))


def test_presets():
    rows = table("`icpo.preset` | `off_ratio` | `lam` | `off_clip` | `advantages.std`")
    assert [row[0].strip("`") for row in rows] == list(PRESETS)
    for name, *cells in rows:
        preset = LossConfig.preset(name.strip("`"))
        lam = "" if preset.off_ratio == "none" else str(preset.lam)
        clip = str(preset.off_clip).lower()
        assert cells == [f"`{preset.off_ratio}`", lam, f"`{clip}`", f"`{preset.advantage_std}`"]
        assert preset.advantage_baseline == "mixed"


def test_other_methods():
    """The words are those that the code knows, and each sets what the table says, no more."""
    rows = table("word | method | what it sets besides | reads")
    assert [row[0].strip("`") for row in rows] == list(ALGORITHMS)
    folder = Path(icpo.verl.__file__).parent / "config" / "icpo"
    for word, _, sets, reads in rows:
        preset = yaml.safe_load((folder / f"{word.strip('`')}.yaml").read_text())
        del preset["defaults"]
        others = {**flat(preset.pop("actor_rollout_ref", {})), **flat(preset)}
        on = {**flat(ON["actor_rollout_ref"]), **flat({"icpo": ON["icpo"]})}
        said = dict(item.split("=", 1) for item in names([sets]))
        changed = {key: value for key, value in others.items() if on.get(key, "?") != value}
        assert said == {key: str(value) for key, value in changed.items()}
        theirs = algorithm(word.strip("`"))
        wanted = "solutions" if theirs.needs_solutions else ""
        if theirs.plan.shows_demos or theirs.problems == "demos":
            wanted = "demonstrations"
        assert reads.partition(" ")[0] == wanted


def test_templates():
    rows = table("template | demonstrations | question")
    assert [row[0].strip("`") for row in rows[:-1]] != []
    assert {row[0].strip("`") for row in rows[:-1]} == set(TEMPLATES)


def test_metrics():
    code = {*rollout_figures([]), *loss_figures(LossMetrics(np.zeros(len(LossMetrics.NAMES))))}
    for module in ("loss.py", "trainer.py"):
        text = (ROOT / "python" / "icpo" / "verl" / module).read_text()
        code |= set(re.findall(r'"(icpo/[\w/]+)"', text))
    assert names([row[0] for row in table("metric | what it is")]) == code
    # And what the text says of single ones exists.
    assert set(re.findall(r"`(icpo/[\w/]+)`", PAGE)) <= code


def test_what_is_refused():
    listed = names([row[0] for row in table("setting | why")])
    keys = {name.partition("=")[0] for name in listed} - {"grpo", "fsdp2", "fsdp", "icpo"}
    assert keys == {key for key, *_ in _REQUIRED}


def test_scripts():
    folder = ROOT / "examples" / "verl"
    named = names([row[0] for row in table("script in `examples/verl/` | what")])
    assert named == {path.name for path in folder.iterdir() if path.is_file()}


def commands(program: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if " ".join(words).startswith(program)]


@pytest.mark.parametrize("words", commands("python -m verl.trainer.main_ppo"), ids=" ".join)
def test_commands_compose(words):
    hydra = importlib.import_module("hydra")
    overrides = [word for word in words[3:] if word != "..."]
    needed = [
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.n=8",
        "actor_rollout_ref.actor.use_dynamic_bsz=true",
    ]
    ours = any(word.startswith("+icpo=") for word in words)
    if ours:
        needed.append("icpo.demonstrations.source=demos.jsonl")
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        config = hydra.compose("ppo_trainer", [*needed, *overrides])
    verl_config.validate_config(config, use_reference_policy=False, use_critic=False)
    if ours:
        assert isinstance(check_config(config), IcpoSettings)


def test_there_are_commands():
    assert len(commands("python -m verl.trainer.main_ppo")) == 5
    for words in commands("examples/verl/"):
        assert (ROOT / words[0]).exists()
    for words in commands("python examples/verl/"):
        assert (ROOT / words[1]).exists()
