"""on.yaml and `IcpoSettings` are the same tree; Hydra makes of them what the code reads."""

from __future__ import annotations

import re
from importlib import resources

import pytest
import verl_fakes as fakes
import yaml
from omegaconf import OmegaConf

from icpo.demos import Online
from icpo.errors import ConfigError
from icpo.objective.config import PRESETS, LossConfig
from icpo.verl.settings import DemoSettings, IcpoSettings, clips_of

pytestmark = pytest.mark.verl

SOURCE = "icpo.demonstrations.source=demos.jsonl"


def text():
    return resources.files("icpo.verl.config").joinpath("icpo", "on.yaml").read_text()


def flat(tree, prefix=""):
    """Dotted keys to values."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def build(**values):
    """Settings that lack nothing, with these values."""
    tree = yaml.safe_load(text())["icpo"]
    tree["demonstrations"]["source"] = "demos.jsonl"
    for key, value in values.items():
        *sections, name = key.split("__")
        place = tree
        for section in sections:
            place = place[section]
        place[name] = value
    return IcpoSettings.build(tree)


##### The file


def test_keys_are_those_of_the_settings():
    settings = IcpoSettings(demonstrations=DemoSettings(source="demos.jsonl"))
    assert list(flat(yaml.safe_load(text())["icpo"])) == list(flat(settings.to_dict()))


def test_defaults_are_those_of_the_settings():
    ours = flat(IcpoSettings(demonstrations=DemoSettings(source="demos.jsonl")).to_dict())
    ours["demonstrations.source"] = None
    for key, value in flat(yaml.safe_load(text())["icpo"]).items():
        assert (key, value) == (key, ours[key])
        assert type(value) is type(ours[key]), key


def test_each_setting_has_a_comment():
    #: Several of these share the comment above the first, or above their section.
    together = {f"demonstrations.{name}" for name in ("subject", "difficulty", "length")} | {
        f"demonstrations.columns.{name}"
        for name in ("id", "question", "solution", "subject", "difficulty", "length")
    }
    lines = text().split("\n")
    sections: list[str] = []
    seen = set()
    for number, line in enumerate(lines):
        found = re.match(r"( *)([a-z_]+):( .*)?$", line)
        if not found:
            continue
        depth = len(found[1]) // 2
        sections = [*sections[:depth], found[2]]
        if sections[0] != "icpo" or found[3] is None:
            continue
        key = ".".join(sections[1:])
        seen.add(key)
        assert key in together or lines[number - 1].strip().startswith("# "), key
    assert seen == set(flat(yaml.safe_load(text())["icpo"]))


##### What Hydra composes


def test_flag_gives_what_the_code_reads():
    config = fakes.compose_config("+icpo=on", SOURCE, "icpo.n_off=2", "icpo.bonus.alpha=0.5")
    rollout = config.actor_rollout_ref.rollout
    assert config.trainer.v1.trainer_mode == "icpo_sync"
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "icpo"
    assert config.algorithm.adv_estimator == "grpo"
    assert rollout.calculate_log_probs is True
    assert rollout.agent.agent_loop_manager_class == "icpo.verl.rollout.IcpoAgentLoopManager"
    # What stands behind the flag reaches the workers, too.
    assert IcpoSettings.of_workers(config) == build(n_off=2, bonus__alpha=0.5)


def test_only_what_the_flag_names_is_changed():
    def composed(*overrides):
        return flat(OmegaConf.to_container(fakes.compose_config(*overrides)))

    plain, on = composed(), composed("+icpo=on")
    changed = {key for key in on if key not in plain or plain[key] != on[key]}
    assert {key for key in changed if not key.startswith("icpo.")} == {
        "trainer.v1.trainer_mode",
        "actor_rollout_ref.actor.policy_loss.loss_mode",
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class",
        "actor_rollout_ref.rollout.custom.icpo",
        "algorithm.adv_estimator",
    }
    assert not set(plain) - set(on)


def test_verl_takes_them_to_its_workers():
    from verl.utils.config import omega_conf_to_dataclass

    config = fakes.compose_config("+icpo=on", SOURCE, "actor_rollout_ref.rollout.name=vllm")
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert rollout.custom["icpo"]["n_off"] == 1


def test_the_command_line_has_the_last_word():
    config = fakes.compose_config("+icpo=on", SOURCE, "trainer.v1.trainer_mode=sync")
    assert config.trainer.v1.trainer_mode == "sync"  # which is refused later, by its name


@pytest.mark.parametrize("source", ["a.jsonl", "[a.jsonl,b.parquet]"])
def test_one_file_or_several(source):
    config = fakes.compose_config("+icpo=on", f"icpo.demonstrations.source={source}")
    found = IcpoSettings.of_workers(config).demonstrations.source
    assert [path.name for path in found] == source.strip("[]").split(",")


def test_template_of_ones_own():
    template = '{demo:"Q {question} A {solution}",separator:"; ",question:"Q {question}",chat:true}'
    override = f"icpo.demonstrations.template={template}"
    settings = IcpoSettings.of_workers(fakes.compose_config("+icpo=on", SOURCE, override))
    assert settings.demonstrations.template.render("2?", []) == "Q 2?"


##### Values that are refused

REFUSED = {
    "preset": "papers",
    "problems": "validation",
    "n_off": -1,
    "source": "teacher",
    "solution": None,
    "group": "mixed",
    "target": "hard",
    "delta": "right",
    "bonus.alpha": -0.5,
    "bonus.schedule": "quadratic",
    "bonus.tau": 0,
    "off_ratio": "expert",
    "lam": 0,
    "off_clip": "yes",
    "sft_coef": -1.0,
    "lessons.when": "last",
    "lessons.share": 1.0,
    "prefix.longest": 1.5,
    "prefix.shortest": -0.5,
    "prefix.entropy_share": 2.0,
    "advantages.std": "biased",
    "advantages.baseline": "expert",
    "demonstrations.source": 3,
    "demonstrations.columns.id": 3,
    "demonstrations.columns.question": 3,
    "demonstrations.columns.solution": ["a"],
    "demonstrations.columns.subject": 3,
    "demonstrations.columns.difficulty": 3,
    "demonstrations.columns.length": 3,
    "demonstrations.bad_rows": "drop",
    "demonstrations.k": 0,
    "demonstrations.strategy": "hardest",
    "demonstrations.m": 4,  # strategy random has none
    "demonstrations.online.size": -1,
    "demonstrations.online.share": 1.5,
    "demonstrations.template": "papers",
    "demonstrations.seed": -1,
    "demonstrations.question": None,
    "demonstrations.subject": 1,
    "demonstrations.difficulty": None,
    "demonstrations.length": None,
    "max_prompt_tokens": 0,
    "expert_timeout": 0.0,
    "seed_requests": 1,
    "seed": 1.5,
    "kernels": "fast",
}


@pytest.mark.parametrize("key", REFUSED)
def test_value_is_refused_by_its_key(key):
    value = REFUSED[key]
    with pytest.raises(ConfigError) as raised:
        build(**{key.replace(".", "__"): value})
    message = str(raised.value)
    assert message.startswith(f"icpo.{key}:"), message
    assert "expected" in message or "has none" in message
    assert ("null" if value is None else str(value).lower()) in message.lower()


def test_every_setting_has_a_value_that_is_refused():
    assert set(REFUSED) == set(flat(yaml.safe_load(text())["icpo"]))


@pytest.mark.parametrize(
    ("changes", "begin", "told"),
    [
        ({"n_of": 1}, "icpo.n_of:", "icpo.n_off"),
        ({"alpha": 1.0}, "icpo.alpha:", "icpo.bonus.alpha"),
        ({"bonus__alhpa": 1.0}, "icpo.bonus.alhpa:", "icpo.bonus.alpha"),
        ({"demonstrations__sources": "x"}, "icpo.demonstrations.sources:", "source"),
        ({"rollouts": 1}, "icpo.rollouts:", "no such setting"),
    ],
)
def test_misspelt_key_is_refused_and_the_nearest_named(changes, begin, told):
    with pytest.raises(ConfigError) as raised:
        build(**changes)
    assert str(raised.value).startswith(begin)
    assert told in str(raised.value)


def test_a_fixed_part_of_the_pool_does_not_grow():
    with pytest.raises(ConfigError, match=r"^icpo\.demonstrations\.online\.size: .*, got 9$"):
        build(demonstrations__strategy="random-m", demonstrations__online__size=9)


def test_solved_prompts_join_if_it_is_asked_for():
    assert build().demonstrations.rule is None
    rule = build(demonstrations__online__size=9, demonstrations__online__share=0.5)
    assert rule.demonstrations.rule == Online(9, 0.5)


@pytest.mark.parametrize("source", [None, []])
def test_experts_need_demonstrations(source):
    with pytest.raises(ConfigError, match=r"^icpo\.demonstrations\.source: .*icpo\.n_off = 1"):
        build(demonstrations__source=source)
    assert build(demonstrations__source=source, n_off=0).n_off == 0


def test_exponential_bonus_needs_its_time():
    with pytest.raises(ConfigError, match=r"^icpo\.bonus\.tau: "):
        build(bonus__alpha=1.0, bonus__schedule="exp")
    bonus = build(bonus__alpha=1.0, bonus__schedule="exp", bonus__tau=10).annealed_bonus()
    assert bonus is not None
    assert bonus.gamma(10, total_steps=5) == pytest.approx(0.36787944117144233, rel=1e-12)


##### What follows from the settings


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_alone(preset):
    loss, whole = build(preset=preset).loss(), LossConfig.preset(preset)
    for name in ("off_ratio", "lam", "off_clip", "advantage_std", "advantage_baseline"):
        assert getattr(loss, name) == getattr(whole, name), name
    # These are verl's: it adds the divergence to the loss itself.
    assert (loss.kl, loss.kl_coef, loss.aggregation) == ("none", 0.0, "token-mean")


def test_settings_beside_the_preset_have_precedence():
    loss = build(
        preset="reference",
        off_ratio="behavior",
        lam=0.05,
        off_clip=True,
        advantages__std="none",
        advantages__baseline="on_policy",
    ).loss()
    assert (loss.off_ratio, loss.lam, loss.off_clip) == ("behavior", 0.05, True)
    assert (loss.advantage_std, loss.advantage_baseline) == ("none", "on_policy")


@pytest.mark.parametrize(
    ("ratio", "lam", "clip"), [("behavior", 0.01, True), ("policy", 0.1, False)]
)
def test_each_ratio_has_its_own_constants(ratio, lam, clip):
    loss = build(preset="paper", off_ratio=ratio).loss()
    assert (loss.lam, loss.off_clip) == (lam, clip)


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({}, False),
        ({"advantages__std": "none"}, False),  # verl's GRPO can do without the divisor
        ({"bonus__alpha": 0.5}, True),
        ({"advantages__baseline": "on_policy"}, True),
        ({"advantages__baseline": "mixed"}, False),
    ],
)
def test_when_advantages_are_not_verls(changes, own):
    assert build(**changes).own_advantages is own


def test_clips_are_verls():
    actor = {"clip_ratio": 0.2, "clip_ratio_low": None, "clip_ratio_high": 0.28}
    assert clips_of(actor) == {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0}
    actor = {"clip_ratio": 0.2, "clip_ratio_low": 0.1, "clip_ratio_c": 5.0}
    assert clips_of(actor) == {"clip_low": 0.1, "clip_high": 0.2, "dual_clip": 5.0}


def test_plan_names_whose_setting_is_wrong():
    settings = build(n_off=3)
    with pytest.raises(ConfigError, match=r"^actor_rollout_ref\.rollout\.n: "):
        settings.plan(0)
    with pytest.raises(ConfigError, match=r"^icpo\.n_off: "):
        settings.plan(2)
    assert settings.plan(8).n_off == 3
