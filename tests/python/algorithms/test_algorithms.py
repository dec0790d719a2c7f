"""The table of compositions: what each one is, what can be changed, and that the page has it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from icpo import LossConfig
from icpo.algorithms import ALGORITHMS, Algorithm, Bonus, algorithm
from icpo.errors import ConfigError
from icpo.mixing import Lessons, Plan, Prefix

ROOT = Path(__file__).parents[3]
PAPER = LossConfig.preset("paper")


def test_each_is_named_as_in_the_table_and_has_a_file_of_that_name():
    folder = ROOT / "python" / "icpo" / "algorithms"
    for name, compose in ALGORITHMS.items():
        assert compose().name == name
        assert (folder / f"{name}.py").exists()
    others = {"__init__", "composition"}
    assert {path.stem for path in folder.glob("*.py")} - others == set(ALGORITHMS)


def test_each_is_documented():
    page = (ROOT / "docs" / "paper.md").read_text()
    section = page.split("## Compositions")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", section, flags=re.M) == [*ALGORITHMS, *ALGORITHMS]


def test_the_page_names_files_that_are_there():
    page = (ROOT / "docs" / "paper.md").read_text()
    tests = {path.name for path in (ROOT / "tests" / "python").rglob("test_*.py")}
    rows = page.split("| preset | equations |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(rows) == len(ALGORITHMS)
    for row in rows:
        name, _, made_of, tested = (cell.strip() for cell in row.strip("|").split(" | "))
        files = re.findall(r"`([\w/]+\.py)`", made_of)
        assert files[0] == f"algorithms/{name.strip('` ')}.py"
        assert all((ROOT / "python" / "icpo" / file).exists() for file in files)
        named = re.findall(r"`(test_\w+\.py)`", tested)
        assert named and set(named) <= tests


def test_grpo():
    """Eq. 5 on N on-policy rollouts, with ICPO's loss of policy tokens."""
    grpo = algorithm("grpo")
    assert grpo.plan == Plan(n=8, n_off=0)
    assert grpo.bonus is None
    assert grpo.loss == PAPER.replace(off_ratio="none")


def test_grpo_extra_rollouts():
    extra = algorithm("grpo_extra_rollouts")
    assert extra.plan == Plan(n=16, n_off=0)
    assert extra.loss == algorithm("grpo").loss


def test_icpo():
    icpo = algorithm("icpo")
    assert icpo.plan == Plan(n=8, n_off=1, group="replace", target="all", delta=1.0)
    assert icpo.loss == PAPER
    assert icpo.bonus is None


def test_icpo_bonus_is_icpo_with_a_bonus():
    assert algorithm("icpo_bonus") == Algorithm("icpo_bonus", Plan(), PAPER, Bonus(1.0, "linear"))


def test_icpo_always_is_icpo_without_rejection():
    plan = Plan(group="always")
    assert plan.policy_rollouts == 7
    expected = Algorithm("icpo_always", plan, PAPER, defining=("group",))
    assert algorithm("icpo_always") == expected


##### What the others have in common with these; what tells them apart is for test_preset_losses.py


def test_dr_grpo():
    """Of its loss everything but the deviation and the lengths is GRPO's."""
    differences = {"advantage_std": "none", "aggregation": "seq-mean-token-sum-norm"}
    assert algorithm("dr_grpo").loss == algorithm("grpo").loss.replace(**differences)
    assert algorithm("dr_grpo").plan == algorithm("grpo").plan


def test_luffy():
    luffy = algorithm("luffy")
    assert luffy.plan == Plan(n=8, n_off=1, group="always", source="stored")
    assert luffy.loss == LossConfig.preset("luffy")


def test_lessons_are_those_of_sft():
    sft, grpo = algorithm("sft"), algorithm("grpo")
    for name, lessons in (
        ("sft_then_rl", Lessons("first", share=0.5)),
        ("relift", Lessons("hardest")),
    ):
        found = algorithm(name)
        assert found.lessons == lessons
        assert found.lesson == sft.reinforcement == sft.lesson
        assert found.reinforcement == grpo.reinforcement


def test_rl_sft_term_is_grpo_with_a_term():
    found = algorithm("rl_sft_term")
    assert found.loss == algorithm("grpo").loss.replace(sft_coef=1.0)
    assert found.plan == Plan(n=8, n_off=1, group="beside", source="stored")


def test_prefix_rft():
    found = algorithm("prefix_rft")
    assert found.plan == Plan(n=8, n_off=1, group="always", source="prefix")
    assert found.prefix == Prefix(longest=0.95, shortest=0.05, entropy_share=0.2)
    assert found.loss == algorithm("dr_grpo").loss


def test_who_needs_what():
    solutions = {name for name in ALGORITHMS if algorithm(name).needs_solutions}
    assert solutions == {"luffy", "sft", "sft_then_rl", "rl_sft_term", "relift", "prefix_rft"}
    shows = {name for name in ALGORITHMS if algorithm(name).plan.shows_demos}
    assert shows == {name for name in ALGORITHMS if name.startswith("icpo")}
    assert [name for name in ALGORITHMS if algorithm(name).problems == "demos"] == [
        "grpo_expert_domain"
    ]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_changes(name):
    original = algorithm(name)
    changes = {"n": 5, "n_off": 2, "group": "reserve", "target": "non_pass", "delta": 0.5}
    for setting in original.defining:
        changes.pop(setting, None)
    if name == "sft":
        del changes["target"]  # nothing is sampled to choose by
    changed = algorithm(name, **changes)
    assert changed.plan == dataclasses.replace(original.plan, **changes)
    assert (changed.loss, changed.bonus) == (original.loss, original.bonus)
    assert algorithm(name) == original
    assert original.replace() == original


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("grpo", "n_off", 1),
        ("grpo_extra_rollouts", "n_off", 1),
        ("icpo_always", "group", "replace"),
        ("icpo_reserve", "group", "always"),
        ("icpo_non_pass", "target", "all"),
        ("icpo_some_pass", "target", "non_pass"),
        ("grpo_expert_domain", "n_off", 1),
        ("dr_grpo", "n_off", 1),
        ("luffy", "source", "demonstrations"),
        ("prefix_rft", "source", "stored"),
        ("rl_sft_term", "group", "always"),
        ("rl_sft_term", "source", "demonstrations"),
        ("sft", "group", "always"),
        ("relift", "n_off", 1),
        ("sft_then_rl", "n_off", 1),
    ],
)
def test_what_defines_an_algorithm_can_not_be_changed(name, setting, value):
    """Or `grpo` with the rest of a file for `icpo` would show demonstrations."""
    own = getattr(algorithm(name).plan, setting)
    assert algorithm(name, **{setting: own}) == algorithm(name)
    message = f"{setting}: expected {own!r}, which algorithm '{name}' is defined by, got {value!r}"
    with pytest.raises(ConfigError, match=message):
        algorithm(name, **{setting: value})


def test_losses_can_be_chosen():
    luffy = LossConfig.preset("luffy")
    assert algorithm("icpo", loss=luffy).loss is luffy
    assert algorithm("icpo", loss="luffy").loss == luffy
    assert algorithm("icpo", loss={"preset": "luffy"}).loss == luffy
    changed = algorithm("icpo", loss={"preset": "luffy", "lam": 0.5, "entropy_coef": 0.01}).loss
    assert changed == LossConfig.preset("luffy", lam=0.5, entropy_coef=0.01)


def test_fields_of_a_loss_change_the_algorithms_own():
    grpo = algorithm("grpo", loss={"clip_high": 0.28}).loss
    assert grpo == algorithm("grpo").loss.replace(clip_high=0.28)
    assert algorithm("icpo", loss={}).loss == PAPER


def test_lambda_and_clip_follow_the_ratio():
    changed = algorithm("icpo", loss={"off_ratio": "policy"}).loss
    assert (changed.lam, changed.off_clip) == (0.1, False)
    kept = algorithm("icpo", loss={"off_ratio": "policy", "lam": 0.03}).loss
    assert (kept.lam, kept.off_clip) == (0.03, False)


def test_bonuses_can_be_chosen():
    half = Bonus(0.5, "exp", 50.0)
    assert algorithm("icpo", bonus=half).bonus is half
    assert algorithm("icpo", bonus={"alpha": 0.5}).bonus == Bonus(alpha=0.5)
    both = algorithm("icpo_bonus", bonus={"schedule": "exp", "tau": 50.0}).replace(
        bonus={"alpha": 0.5}
    )
    assert both.bonus == half


def test_lessons_and_prefixes_can_be_chosen():
    assert algorithm("relift", lessons={"prompts": 3}).lessons == Lessons("hardest", prompts=3)
    assert algorithm("grpo", lessons={"share": 0.1}).lessons == Lessons("first", share=0.1)
    thin = algorithm("prefix_rft", prefix={"entropy_share": 0.1}).prefix
    assert thin == Prefix(entropy_share=0.1)
    # A source and what it needs, at once.
    given = algorithm("icpo", source="prefix", prefix={})
    assert given.prefix == Prefix() and given.needs_solutions and not given.plan.shows_demos
    beside = algorithm("icpo", group="beside", loss={"sft_coef": 0.1})
    assert beside.loss.sft_coef == 0.1


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ppo", {}, "algorithm: expected one of grpo, grpo_extra_rollouts, .*, got 'ppo'"),
        (["icpo"], {}, r"algorithm: expected one of .*, got \['icpo'\]"),
        (
            "icpo",
            {"N": 8},
            "N: expected one of n, n_off, group, target, delta, source, bonus, lessons, loss, "
            "prefix as setting of 'icpo'",
        ),
        ("icpo", {"n": 0}, "n: expected a whole number from 1, got 0"),
        ("icpo", {"n": 2, "n_off": 3}, "n_off: expected at most n = 2, got 3"),
        ("icpo", {"loss": "icpo"}, "preset: expected one of paper, .*, got 'icpo'"),
        ("icpo", {"loss": {"clip": 1}}, "clip: expected one of off_ratio, .* as field"),
        ("icpo", {"loss": {"preset": "paper", "clip": 1}}, "clip: expected one of off_ratio"),
        ("icpo", {"loss": {"clip_low": -1}}, "clip_low"),
        ("icpo", {"loss": 3}, "loss: expected a preset or fields of the loss, got 3"),
        ("icpo", {"bonus": {"gamma": 1}}, "gamma: expected one of alpha, schedule, tau"),
        ("icpo", {"bonus": {"schedule": "exp"}}, "tau: expected a number of steps"),
        ("icpo", {"bonus": 1.0}, "bonus: expected fields of the bonus, got 1.0"),
        ("relift", {"lessons": {"when": "later"}}, "when: expected 'first' or 'hardest'"),
        ("relift", {"lessons": {"step": 1}}, "step: expected one of when, share, prompts, lr"),
        ("relift", {"lessons": "first"}, "lessons: expected fields of the lessons, got 'first'"),
        ("prefix_rft", {"prefix": {"most": 1}}, "most: expected one of longest, shortest, entropy"),
        ("icpo", {"prefix": {}}, "prefix: expected none, because the source .* 'demonstrations'"),
        ("icpo", {"source": "prefix"}, "prefix: expected settings of it, because the source"),
        ("icpo", {"group": "beside"}, "loss.sft_coef: expected a number above 0, because nothing"),
        ("rl_sft_term", {"loss": {"sft_coef": 0}}, "loss.sft_coef: expected a number above 0"),
        ("sft", {"loss": "paper"}, "loss.sft_coef: expected a number above 0"),
    ],
)
def test_what_does_not_exist(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        algorithm(name, **changes)


def test_neither_mixing_nor_algorithms_load_torch():
    code = "import icpo.algorithms, icpo.mixing, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
