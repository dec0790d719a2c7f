"""Configurations: every setting checked, every error placed."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from icpo import CheckpointError, ConfigError, LossConfig
from icpo.algorithms import ALGORITHMS, algorithm
from icpo.demos import TEMPLATES, Template
from icpo.mixing import Bonus, Lessons, Plan, Prefix
from icpo.reward import Checker
from icpo.trainer import yaml_file
from icpo.trainer.config import LoraConfig, ModelConfig, OptimConfig, TrainConfig

MINIMAL = """\
model: {path: m}
data:
  train: train.jsonl
  test: test.jsonl
demos: {path: demos.jsonl}
"""

#: With everything that any algorithm needs.
WHOLE = MINIMAL.replace("  test:", "  solution: solution\n  test:")


def load(text: str = MINIMAL, *overrides: str, preset=None, folder: Path) -> TrainConfig:
    path = folder / "c.yaml"
    path.write_text(text)
    return TrainConfig.load(path, overrides, preset)


def error(text: str, *overrides: str, preset=None, folder: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load(text, *overrides, preset=preset, folder=folder)
    return str(raised.value).replace(str(folder / "c.yaml"), "FILE")


def changed(**settings) -> TrainConfig:
    base = {
        "model": {"path": "m"},
        "data": {"train": "a.jsonl", "test": "b.jsonl"},
        "demos": {"path": "d.jsonl"},
    }
    return TrainConfig.build({**base, **settings})


##### What is read


def test_defaults_are_the_papers(tmp_path):
    config = load(folder=tmp_path)
    assert (config.optim.lr, config.steps, config.batch, config.mini_batch) == (1e-6, 400, 128, 64)
    assert config.algorithm == algorithm("icpo")
    assert (config.generation.max_new_tokens, config.prompt.max_tokens) == (8192, 4096)
    assert config.generation.temperature == 1.0
    assert config.reward == Checker("strict")
    assert config.prompt.template is TEMPLATES["paper"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_preset_survives_a_file(tmp_path, name):
    config = load(WHOLE, preset=name, folder=tmp_path)
    chosen = algorithm(name)
    if chosen.loss.aggregation == "seq-mean-token-sum-norm":
        chosen = chosen.replace(loss={"norm_constant": 8192.0})
    assert config.algorithm == chosen
    again = load(config.to_yaml(), folder=tmp_path)
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_random_changes_survive_a_file(tmp_path):
    """Any value that is accepted is written such that the same is read."""
    rng = random.Random(7)
    choices = {
        "optim.lr": lambda: 10 ** rng.uniform(-12, 3),
        "optim.betas": lambda: [rng.random(), rng.random()],
        "optim.schedule": lambda: rng.choice(["constant", "linear", "cosine"]),
        "optim.grad_clip": lambda: rng.choice([None, rng.expovariate(1)]),
        "algorithm.n": lambda: rng.randint(2, 16),
        "algorithm.group": lambda: rng.choice(["replace", "reserve", "always"]),
        "algorithm.bonus": lambda: rng.choice([None, {"alpha": rng.random()}]),
        "algorithm.loss.clip_high": lambda: rng.choice([math.inf, rng.random()]),
        "algorithm.loss.off_ratio": lambda: rng.choice(["behavior", "policy", "none"]),
        "model.lora": lambda: rng.choice([None, {}, {"rank": 3, "targets": ["a", "b"]}]),
        "demos.subject": lambda: rng.choice([None, "a: b", "1e3", "null", "off", "#x", "é\n"]),
        "demos.strategy": lambda: rng.choice(["random", "batch-m", "subject"]),
        "log.tensorboard": lambda: rng.choice(["auto", True, False]),
        "prompt.template": lambda: rng.choice(
            ["qa", {"demo": "{question}\n{solution}", "separator": " ", "question": "{question}"}]
        ),
        "reward.profile": lambda: rng.choice(["strict", "math_verify"]),
        "reward.work": lambda: rng.randint(1, 10**6),
        "seed": lambda: rng.randrange(2**63),
    }
    for _ in range(60):
        document = yaml_file.Document("x", changed().to_dict())
        for key in rng.sample(sorted(choices), 6):
            document.set(key.split("."), choices[key](), "x")
        config = TrainConfig.build(document.values)
        assert load(config.to_yaml(), folder=tmp_path) == config
        assert TrainConfig.build(json.loads(json.dumps(config.to_dict()))) == config


def test_overrides_come_last_and_in_order(tmp_path):
    config = load(
        MINIMAL + "steps: 7\nalgorithm: {name: icpo, n: 4}\n",
        "steps=8",
        "steps=9",
        "algorithm.loss.lam=0.5",
        "model.lora.rank=4",
        "demos={path: other.jsonl, k: 2}",
        "out=a=b",
        preset="icpo_bonus",
        folder=tmp_path,
    )
    assert config.steps == 9
    assert config.algorithm.name == "icpo_bonus"
    assert config.algorithm.plan.n == 4
    assert config.algorithm.bonus == Bonus()
    assert config.algorithm.loss.lam == 0.5
    assert config.model.lora == LoraConfig(rank=4)
    assert (config.demos.path, config.demos.k) == (Path("other.jsonl"), 2)
    assert config.out == Path("a=b")


def test_a_profile_by_its_name():
    minimal = {"model": {"path": "m"}, "data": {"train": "t"}, "eval": {"every": None}}
    whole = {**minimal, "algorithm": {"name": "grpo"}, "reward": "math_verify"}
    config = TrainConfig.build(whole)
    assert config.reward == Checker("math_verify") != Checker()
    assert config == TrainConfig.build({**whole, "reward": {"profile": "math_verify"}})


def test_without_a_file():
    config = TrainConfig.load(
        None, ["model.path=m", "data.train=t", "eval.every=null"], preset="grpo"
    )
    assert config.algorithm.plan.n_off == 0
    with pytest.raises(ConfigError, match=r"^command line: model: .* is not set$"):
        TrainConfig.load(None, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        ("1.5e+2", 150.0),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-3", -3),
        ("007", 7),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ("'1e-6'", "1e-6"),
        ('"true"', "true"),
        ("1e", "1e"),
        (".", "."),
        ("e5", "e5"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("[1, a, 2.0]", [1, "a", 2.0]),
        ("&x {a: [~]}", {"a": [None]}),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    for document in (yaml_file.Document("x"), yaml_file.Document("x", {"k": 1})):
        document.override(f"k={text}")
        found = document.values["k"]
        assert found == value
        assert type(found) is type(value)


def test_aliases(tmp_path):
    config = load(MINIMAL + "steps: &n 8\nbatch: *n\nmini_batch: *n\n", folder=tmp_path)
    assert (config.steps, config.batch, config.mini_batch) == (8, 8, 8)
    assert "no YAML" in error("a: &x {b: *x}\n", folder=tmp_path)


def test_a_loss_preset_replaces_the_algorithms_loss(tmp_path):
    loss = "algorithm.loss={preset: reference, kl_coef: 0.5}"
    assert load(MINIMAL, loss, folder=tmp_path).algorithm.loss == LossConfig.preset(
        "reference", kl_coef=0.5
    )
    # λ and the clip follow the ratio, unless they are given.
    ratio = load(MINIMAL, "algorithm.loss.off_ratio=policy", folder=tmp_path).algorithm.loss
    assert (ratio.lam, ratio.off_clip) == (0.1, False)


def test_null_takes_the_bonus_away(tmp_path):
    config = load(MINIMAL, "algorithm.bonus=null", preset="icpo_bonus", folder=tmp_path)
    assert config.algorithm.bonus is None
    kept = load(MINIMAL, "algorithm.bonus.alpha=2", preset="icpo_bonus", folder=tmp_path)
    assert kept.algorithm.bonus == Bonus(alpha=2)


def test_null_takes_any_part_away(tmp_path):
    config = load(WHOLE, "algorithm.lessons=null", preset="relift", folder=tmp_path)
    assert config.algorithm.lessons is None and not config.algorithm.needs_solutions
    kept = load(WHOLE, "algorithm.lessons.prompts=2", preset="relift", folder=tmp_path)
    assert kept.algorithm.lessons == Lessons("hardest", prompts=2)


def test_parts_that_need_each_other_are_read_together(tmp_path):
    """In whatever order the file has them."""
    beside = "algorithm={loss: {sft_coef: 0.5}, group: beside, source: stored}"
    found = load(WHOLE, beside, folder=tmp_path).algorithm
    assert (found.plan.group, found.loss.sft_coef) == ("beside", 0.5)
    given = "algorithm={prefix: {entropy_share: 0.4}, source: prefix, loss: {off_ratio: none}}"
    found = load(WHOLE, given, folder=tmp_path).algorithm
    assert found.prefix == Prefix(entropy_share=0.4) and found.plan.source == "prefix"


##### What is refused

MISTAKES = {
    # keys
    "unknown key": (
        "optim: {lrr: 1}",
        (),
        "FILE:6: optim.lrr: no such setting; did you mean optim.lr?",
    ),
    "key of another section": (
        "",
        ("lr=1",),
        "command line: lr: no such setting; did you mean optim.lr?",
    ),
    "key of a section two levels down": (
        "",
        ("model.rank=1",),
        "command line: model.rank: no such setting; did you mean model.lora.rank?",
    ),
    "list as a key": ("[a, b]: 1", (), "FILE:6: expected a name before the colon"),
    "name for a section": (
        "algorithm: icpo",
        (),
        "FILE:6: algorithm: expected a section with name, n, n_off, ",
    ),
    "unknown section": (
        "optimizer: {lr: 1}",
        (),
        "FILE:6: optimizer: no such setting; did you mean optim?",
    ),
    "nothing near": (
        "",
        ("demos.zzz=1",),
        "command line: demos.zzz: no such setting; demos has path, ",
    ),
    "unknown setting of the plan": (
        "algorithm:\n  n_of: 1",
        (),
        "FILE:7: algorithm.n_of: no such setting; did you mean algorithm.n_off?",
    ),
    "unknown setting of the loss": (
        "algorithm: {loss: {lamda: 1}}",
        (),
        "FILE:6: algorithm.loss.lamda: no such setting; did you mean algorithm.loss.lam?",
    ),
    "unknown setting of the bonus": (
        "algorithm: {bonus: {beta: 1}}",
        (),
        "FILE:6: algorithm.bonus.beta: no such setting",
    ),
    "unknown setting of lessons": (
        "algorithm: {name: relift, lessons: {prompt: 1}}",
        (),
        "FILE:6: algorithm.lessons.prompt: no such setting; did you mean algorithm.lessons.prompts",
    ),
    "lessons": (
        "algorithm: {lessons: {share: 2}}",
        (),
        "FILE:6: algorithm.lessons.share: expected a number between 0 and 1, got 2",
    ),
    "prefix of nothing": (
        "algorithm: {prefix: {longest: 0.5}}",
        (),
        "FILE:6: algorithm.prefix: expected none, because the source of expert rollouts is "
        "'demonstrations'",
    ),
    "no prefix": (
        "algorithm: {source: prefix}",
        (),
        "FILE:6: algorithm.prefix: expected settings of it, because the source of expert rollouts",
    ),
    "beside for nothing": (
        "algorithm: {group: beside}",
        (),
        "FILE:6: algorithm.loss.sft_coef: expected a number above 0, because nothing else is "
        "learnt from expert rollouts in group 'beside', got 0",
    ),
    "what defines": (
        "algorithm: {name: luffy, source: demonstrations}",
        (),
        "FILE:6: algorithm.source: expected 'stored', which algorithm 'luffy' is defined by",
    ),
    "no pool to train on": (
        "algorithm: {name: grpo_expert_domain}",
        ("demos=null",),
        "command line: demos: expected a section with path, ",
    ),
    "unknown convention": (
        "reward: {lenientt: true}",
        (),
        "FILE:6: reward.lenientt: no such setting; did you mean reward.lenient?",
    ),
    "a key that is a number": ("1: 2", (), "FILE:6: 1: no such setting"),
    # names
    "unknown algorithm": (
        "algorithm: {name: ipco}",
        (),
        "FILE:6: algorithm.name: expected one of grpo, ",
    ),
    "unknown loss": (
        "algorithm: {loss: {preset: papr}}",
        (),
        "FILE:6: algorithm.loss.preset: expected one of paper, ",
    ),
    "unknown strategy": (
        "",
        ("demos.strategy=nearest",),
        "command line: demos.strategy: expected one of random, random-m, ",
    ),
    "unknown template": ("prompt: {template: papper}", (), "FILE:6: prompt.template: "),
    "template without a place": (
        "prompt: {template: {demo: x, separator: y, question: z}}",
        (),
        "FILE:6: prompt.template: ",
    ),
    "unknown profile": (
        "reward: {profile: lax}",
        (),
        "FILE:6: reward.profile: expected 'strict' or 'math_verify', got 'lax'",
    ),
    "unknown schedule": (
        "optim: {schedule: square}",
        (),
        "FILE:6: optim.schedule: expected one of constant, linear, cosine, got 'square'",
    ),
    "unknown dtype": (
        "",
        ("model.dtype=float16",),
        "command line: model.dtype: expected 'float32' or 'bfloat16', got 'float16'",
    ),
    # types
    "text for a number": (
        "steps: many",
        (),
        "FILE:6: steps: expected an integer from 1, got 'many'",
    ),
    "fraction for an integer": (
        "steps: 1.5",
        (),
        "FILE:6: steps: expected an integer from 1, got 1.5",
    ),
    "float for an integer": (
        "steps: 1e3",
        (),
        "FILE:6: steps: expected an integer from 1, got 1000.0",
    ),
    "truth for a number": (
        "steps: true",
        (),
        "FILE:6: steps: expected an integer from 1, got true",
    ),
    "number for truth": (
        "eval: {greedy: 1}",
        (),
        "FILE:6: eval.greedy: expected true or false, got 1",
    ),
    "number for a choice": (
        "log: {tensorboard: 1}",
        (),
        "FILE:6: log.tensorboard: expected 'auto' or true or false, got 1",
    ),
    "null": ("optim: {lr: null}", (), "FILE:6: optim.lr: expected a number above 0, got null"),
    "empty section": ("optim:", (), "FILE:6: optim: expected a section with lr, "),
    "list for a section": ("optim: [1]", (), "FILE:6: optim: expected a section with lr, "),
    "empty path": ("out: ''", (), "FILE:6: out: expected a path, got ''"),
    "number for a path": ("out: 3", (), "FILE:6: out: expected a path, got 3"),
    "list too short": (
        "optim: {betas: [0.9]}",
        (),
        "FILE:6: optim.betas: expected a list of 2, each a number from 0 below 1, got [0.9]",
    ),
    "list of texts": (
        "",
        ("model.lora.targets=[1]",),
        "command line: model.lora.targets: expected a text or a list, each a text, got [1]",
    ),
    # ranges
    "negative rate": ("optim: {lr: -1}", (), "FILE:6: optim.lr: expected a number above 0, got -1"),
    "NaN": ("optim: {lr: .nan}", (), "FILE:6: optim.lr: expected a number above 0, got nan"),
    "infinite": ("optim: {lr: .inf}", (), "FILE:6: optim.lr: expected a number above 0, got inf"),
    "beta of one": ("optim: {betas: [0.9, 1]}", (), "FILE:6: optim.betas: "),
    "share above one": (
        "generation: {top_p: 1.01}",
        (),
        "FILE:6: generation.top_p: expected a number above 0 up to 1, got 1.01",
    ),
    "greedy training": (
        "generation: {temperature: 0}",
        (),
        "FILE:6: generation.temperature: expected a number above 0, got 0",
    ),
    "no steps": ("steps: 0", (), "FILE:6: steps: expected an integer from 1, got 0"),
    "seed too large": (f"seed: {2**63}", (), "FILE:6: seed: "),
    "plan": (
        "algorithm: {n: 2, n_off: 3}",
        (),
        "FILE:6: algorithm.n_off: expected at most n = 2, got 3",
    ),
    "loss": ("algorithm: {loss: {clip_low: -1}}", (), "FILE:6: algorithm.loss.clip_low: "),
    "bonus": ("algorithm: {bonus: {schedule: exp}}", (), "FILE:6: algorithm.bonus.tau: "),
    "convention": ("reward: {work: -1}", (), "FILE:6: reward.work: "),
    # contradictions
    "mini_batch above batch": (
        "batch: 4\nmini_batch: 8",
        (),
        "FILE:7: mini_batch: expected a divisor of batch = 4, got 8",
    ),
    "mini_batch no divisor": (
        "batch: 12",
        ("mini_batch=5",),
        "command line: mini_batch: expected a divisor of batch = 12, got 5",
    ),
    "no demonstrations": (
        "",
        ("demos=null",),
        "command line: demos: expected a section with path, ",
    ),
    "no test file": (
        "",
        ("data.test=null",),
        "command line: data.test: expected a path, because eval.every is set",
    ),
    "nothing to evaluate": (
        "eval: {k: 0, greedy: false}",
        (),
        "FILE:6: eval.k: expected at least 1",
    ),
    "probe without samples": ("eval: {k: 0, probe: 5}", (), "FILE:6: eval.k: expected at least 1"),
    "warm-up beyond the end": (
        "steps: 5\noptim: {warmup: 6}",
        (),
        "FILE:7: optim.warmup: expected at most steps = 5, got 6",
    ),
    "m of a strategy without": (
        "",
        ("demos.m=3",),
        "command line: demos.m: strategy 'random' has none, got 3",
    ),
    # YAML
    "set twice": ("steps: 1\nsteps: 2", (), "FILE:7: steps: it is set twice, first at FILE:6"),
    "set twice inside": (
        "optim:\n  lr: 1\n  lr: 2",
        (),
        "FILE:8: optim.lr: it is set twice, first at FILE:7",
    ),
    "tabs": ("optim:\n\tlr: 1", (), "FILE:7: no YAML: "),
    "open bracket": ("optim: {lr: 1", (), "no YAML: "),
    "two documents": ("---\nsteps: 1", (), "no YAML: "),
    "code": ("steps: !!python/object/apply:os.getcwd []", (), "FILE:6: "),
    "tag that does not fit": ("steps: !!int x", (), "FILE:6: expected int after "),
    "override without value": ("", ("steps",), "command line: expected key=value, got 'steps'"),
    "override of nothing": ("", ("=3",), "command line: expected key=value, got '=3'"),
    "override with a gap": (
        "",
        ("optim..lr=3",),
        "command line: expected key=value, got 'optim..lr=3'",
    ),
    "override into a value": (
        "steps: 3",
        ("steps.x=3",),
        "command line: steps.x: steps is 3, not a section",
    ),
    "override that is no YAML": ("", ("steps=[",), "command line: steps: no YAML: "),
    "override twice inside": ("", ("optim={lr: 1, lr: 2}",), "it is set twice"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_placed(tmp_path, name):
    text, overrides, message = MISTAKES[name]
    found = error(MINIMAL + text + "\n", *overrides, folder=tmp_path)
    assert message in found
    if message.startswith(("FILE", "command line")):
        assert found.startswith(message)


def test_missing_keys_name_the_section(tmp_path):
    assert error("model: {path: m}\n", folder=tmp_path).startswith(
        "FILE: data: expected a section with train, "
    )
    found = error("model: {path: m}\n\ndata:\n  test: t\n", folder=tmp_path)
    assert found == "FILE:3: data.train: expected a path, but it is not set"
    assert error("", folder=tmp_path).startswith("FILE: model: ")
    assert error("- a\n- b\n", folder=tmp_path) == (
        "FILE: expected `key: value` lines, got ['a', 'b']"
    )


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: can not be read: No such file"):
        TrainConfig.load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="can not be read"):
        TrainConfig.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("seed: é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: expected UTF-8"):
        TrainConfig.load(tmp_path / "latin.yaml")


def test_sections_check_themselves_in_python():
    with pytest.raises(ConfigError, match=r"^optim\.lr: expected a number above 0, got -1$"):
        OptimConfig(lr=-1)
    with pytest.raises(ConfigError, match=r"^model\.lora\.rank: "):
        ModelConfig("m", lora=LoraConfig(rank=0))
    assert OptimConfig(lr=1).lr.__class__ is float
    assert OptimConfig(betas=[0.5, 0]).betas == (0.5, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        OptimConfig().lr = 3
    with pytest.raises(ConfigError, match=r"^mini_batch: "):
        dataclasses.replace(changed(), batch=3)
    config = changed(prompt={"template": Template("own", "{question}{solution}", "", "{question}")})
    assert config.prompt.template.name == "own"


def test_errors_and_configurations_pickle():
    config = changed()
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ConfigError) as raised:
        changed(steps=0)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


##### What a resumed run may change

FREE = {
    "model.path": "other",
    "model.device": "cpu",
    "model.attention": "eager",
    "data.train": "moved.jsonl",
    "demos.path": "moved.jsonl",
    "generation.batch": 3,
    "micro_tokens": 5,
    "eval.every": 3,
    "eval.k": 3,
    "checkpoint.keep": 9,
    "log.samples": 9,
    "threads": 2,
    "out": "elsewhere",
    "steps": 500,
}
FIXED = {
    "seed": 1,
    "batch": 64,
    "model.dtype": "bfloat16",
    "model.lora": {},
    "data.limit": 5,
    "data.question": "q",
    "demos.k": 2,
    "demos.strategy": "subject",
    "prompt.max_tokens": 7,
    "prompt.template": "qa",
    "generation.top_p": 0.5,
    "algorithm.name": "grpo",
    "algorithm.delta": 0.5,
    "algorithm.loss.lam": 0.5,
    "algorithm.bonus": {},
    "reward.profile": "math_verify",
    "optim.lr": 1.0,
    "old_logp": "sampler",
    "eval.probe": 4,
}


def with_setting(key, value) -> TrainConfig:
    document = yaml_file.Document("x", changed().to_dict())
    if key == "algorithm.name":  # as a user has it: other settings follow the name
        document.values["algorithm"] = {}
    document.set(key.split("."), value, "x")
    return TrainConfig.build(document.values)


@pytest.mark.parametrize("key", FREE)
def test_free_to_change(key):
    saved = json.loads(json.dumps(changed().fingerprint()))
    with_setting(key, FREE[key]).check_fingerprint(saved, Path("c"))


@pytest.mark.parametrize("key", FIXED)
def test_not_to_be_changed(key):
    saved = json.loads(json.dumps(changed().fingerprint()))
    config = with_setting(key, FIXED[key])
    with pytest.raises(CheckpointError) as raised:
        config.check_fingerprint(saved, Path("runs/a"))
    assert str(raised.value).startswith("runs/a: ")
    assert key in str(raised.value)
    config.check_fingerprint(json.loads(json.dumps(config.fingerprint())), Path("c"))


@pytest.mark.parametrize(
    "setting", [("optim.schedule", "linear"), ("algorithm.bonus", {}), ("optim.schedule", "cosine")]
)
def test_steps_are_fixed_where_something_fades_with_them(setting):
    document = yaml_file.Document("x", with_setting(*setting).to_dict())
    saved = TrainConfig.build(document.values).fingerprint()
    document.set(("steps",), 500, "x")
    with pytest.raises(CheckpointError, match="steps was 400, is 500"):
        TrainConfig.build(document.values).check_fingerprint(saved, Path("c"))


@pytest.mark.parametrize(
    "setting", [("model.lora", {}), ("algorithm.loss", {"kl": "k3", "kl_coef": 0.1})]
)
def test_the_model_is_fixed_where_checkpoints_do_not_hold_it(setting):
    document = yaml_file.Document("x", with_setting(*setting).to_dict())
    saved = TrainConfig.build(document.values).fingerprint()
    document.set(("model", "path"), "other", "x")
    with pytest.raises(CheckpointError, match=r"model\.path was 'm', is 'other'"):
        TrainConfig.build(document.values).check_fingerprint(saved, Path("c"))


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = changed(model={"path": "~/m"}, out="~/runs")
    assert (config.model.path, config.out) == ("/home/someone/m", Path("/home/someone/runs"))


##### Completeness


def test_every_setting_is_free_or_fixed():
    """Nothing is forgotten: what is not in the fingerprint is known to be free."""
    config = changed()
    everything = {key for key, _ in _flat(config.to_dict())}
    free = everything - set(config.fingerprint())
    known = {*FREE, "data.test", "model.gradient_checkpointing"}
    roots = ("eval.", "checkpoint.", "log.")
    assert {key for key in free if not key.startswith(roots)} == {
        key for key in known if not key.startswith(roots)
    }


def _flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_parts_are_written_whole():
    written = changed().to_dict()["algorithm"]
    plan = {field.name for field in dataclasses.fields(Plan)}
    loss = {field.name for field in dataclasses.fields(LossConfig) if field.init}
    assert set(written) == {"name", "bonus", "lessons", "loss", "prefix", *plan}
    assert set(written["loss"]) == loss


def test_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import icpo.trainer.config"
    subprocess.run([sys.executable, "-c", code], check=True)
