"""examples/verl/*.sh for GPUs: what they ask of verl exists, and is what they say."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icpo.demos import TEMPLATES

pytestmark = pytest.mark.verl

PEER = "verl.utils.config"
# CI installs the peer, so there its absence is a failure and not a reason to skip.
verl_config = (
    importlib.import_module(PEER)
    if os.environ.get("CI")
    else pytest.importorskip(PEER, reason="verl is not installed", exc_type=ImportError)
)
hydra = importlib.import_module("hydra")
checks = importlib.import_module("icpo.verl.checks")

FOLDER = Path(__file__).parents[3] / "examples" / "verl"
METHODS = ("grpo", "icpo", "icpo_bonus")
SIZES = ("1.7b", "8b")
SIBLINGS = [f"qwen3_{size}_{method}.sh" for size in SIZES for method in METHODS]
SCRIPTS = [*SIBLINGS, "one_gpu_icpo.sh"]


def arguments(script: str, folder: Path, *more: str, **environment: str) -> list[str]:
    """What a script would call verl with."""
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]), file=sys.stderr)\n"
    )
    python.chmod(0o755)
    names = ("DATA", "OUT", "MODEL", "GPUS")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        ["bash", str(FOLDER / script), *more],
        env={**inherited, "PATH": f"{folder}:{os.environ['PATH']}", **environment},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    module, name, *overrides = json.loads(done.stderr)
    assert (module, name) == ("-m", "verl.trainer.main_ppo")
    return overrides


def composed(overrides: list[str]):
    """verl's configuration with these changes, checked as verl and the plugin check it."""
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        config = hydra.compose("ppo_trainer", overrides)
    verl_config.validate_config(config, use_reference_policy=False, use_critic=False)
    return config


def test_every_script_is_tested():
    found = {path.name for path in FOLDER.glob("*.sh")}
    assert found == {*SCRIPTS, "common.sh", "laptop.sh"}
    for name in SCRIPTS:
        assert os.access(FOLDER / name, os.X_OK), name


@pytest.mark.parametrize("script", [*SCRIPTS, "common.sh"])
def test_syntax(script):
    subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_verl_and_the_plugin_accept_it(script, tmp_path):
    config = composed(arguments(script, tmp_path))
    assert ("icpo" in config) == ("icpo" in script)
    if "icpo" in config:
        settings = checks.check_config(config)
        assert settings.demonstrations.source == (Path("runs/data/demos.parquet"),)
        assert settings.demonstrations.template == TEMPLATES["as-is"]
        assert settings.bonus.alpha == (1.0 if "bonus" in script else 0.0)
        # The paper's defaults are not repeated.
        assert (settings.preset, settings.n_off, settings.group) == ("paper", 1, "replace")
        assert config.trainer.v1.trainer_mode == "icpo_sync"
    else:
        assert config.trainer.v1.trainer_mode == "sync"
    assert config.trainer.experiment_name == script.removesuffix(".sh")
    for path in ("default_local_dir", "rollout_data_dir", "validation_data_dir"):
        assert config.trainer[path].startswith(f"runs/{script.removesuffix('.sh')}/")
    # A micro-batch has room for the longest sequence.
    actor, data = config.actor_rollout_ref.actor, config.data
    assert actor.ppo_max_token_len_per_gpu >= data.max_prompt_length + data.max_response_length
    assert (
        config.trainer.n_gpus_per_node
        % (config.actor_rollout_ref.rollout.tensor_model_parallel_size)
        == 0
    )


@pytest.mark.parametrize("script", SIBLINGS)
def test_table_8(script, tmp_path):
    config = composed(arguments(script, tmp_path))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert actor.optim.lr == 1e-6
    assert actor.optim.lr_scheduler_type == "constant"
    assert config.trainer.total_training_steps == 400
    assert config.data.train_batch_size == 128
    assert actor.ppo_mini_batch_size == 64
    assert not actor.use_kl_loss and not config.algorithm.use_kl_in_reward
    assert actor.clip_ratio == actor.clip_ratio_low == actor.clip_ratio_high == 0.2
    assert rollout.temperature == 1.0 and rollout.top_p == 1.0 and rollout.top_k == -1
    assert rollout.n == 8
    assert (config.data.max_prompt_length, config.data.max_response_length) == (4096, 8192)
    assert (rollout.prompt_length, rollout.response_length) == (4096, 8192)
    # From the authors' scripts.
    assert actor.optim.clip_grad == 1.0 and actor.entropy_coeff == 0
    evaluation = rollout.val_kwargs
    assert evaluation.do_sample
    assert (evaluation.temperature, evaluation.top_p, evaluation.top_k) == (0.6, 0.7, 50)
    assert actor.loss_agg_mode == "token-mean"
    assert config.trainer.n_gpus_per_node == 8


@pytest.mark.parametrize("size", SIZES)
def test_siblings_differ_in_one_line(size, tmp_path):
    codes = []
    for method in METHODS:
        text = (FOLDER / f"qwen3_{size}_{method}.sh").read_text()
        codes.append([line for line in text.splitlines() if not line.startswith("#")])
    for other in codes[1:]:
        assert sum(a != b for a, b in zip(codes[0], other, strict=True)) == 1
    grpo, icpo, bonus = (arguments(f"qwen3_{size}_{method}.sh", tmp_path) for method in METHODS)

    def without_names(overrides: list[str], method: str) -> list[str]:
        return [each.replace(f"qwen3_{size}_{method}", "NAME") for each in overrides]

    grpo, icpo, bonus = map(without_names, (grpo, icpo, bonus), METHODS)
    assert [each for each in icpo if each not in grpo] == [
        "+icpo=on",
        "icpo.demonstrations.source=runs/data/demos.parquet",
    ]
    assert [each for each in bonus if each not in icpo] == ["icpo.bonus.alpha=1.0"]
    assert all(each in bonus for each in icpo) and all(each in icpo for each in grpo)


def test_what_the_environment_and_the_caller_change(tmp_path):
    overrides = arguments(
        "qwen3_8b_icpo.sh",
        tmp_path,
        "icpo.demonstrations.k=2",
        "trainer.total_training_steps=7",
        DATA=str(tmp_path / "my data"),
        OUT="elsewhere",
        MODEL="some/model",
        GPUS="4",
    )
    config = composed(overrides)
    assert config.icpo.demonstrations.k == 2
    assert config.trainer.total_training_steps == 7
    assert config.data.train_files == str(tmp_path / "my data" / "train.parquet")
    assert config.actor_rollout_ref.model.path == "some/model"
    assert config.trainer.default_local_dir == "elsewhere/qwen3_8b_icpo/checkpoints"
    assert config.trainer.n_gpus_per_node == 4


def test_another_method_behind_the_baseline(tmp_path):
    """What the script sets has the last word, unless it is set again."""
    clips = [f"actor_rollout_ref.actor.clip_ratio_{side}=1e9" for side in ("low", "high", "c")]
    config = composed(arguments("qwen3_1.7b_grpo.sh", tmp_path, "+icpo=luffy", *clips))
    assert (config.icpo.source, config.icpo.group) == ("stored", "always")
    assert config.actor_rollout_ref.actor.clip_ratio_low == 1e9
    config = composed(arguments("qwen3_1.7b_grpo.sh", tmp_path, "+icpo=luffy"))
    assert config.actor_rollout_ref.actor.clip_ratio_low == 0.2


def test_a_misspelt_key_would_be_noticed(tmp_path):
    overrides = arguments("qwen3_1.7b_grpo.sh", tmp_path)
    with pytest.raises(Exception, match="ppo_mini_batch_siz"):
        composed([*overrides, "actor_rollout_ref.actor.ppo_mini_batch_siz=64"])
