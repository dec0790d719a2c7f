"""Settings of verl that ICPO needs or can not work with: each refused by its name."""

from __future__ import annotations

import ast
import inspect

import pytest
import verl_fakes as fakes
from omegaconf import OmegaConf, open_dict

from icpo.errors import ConfigError
from icpo.verl import checks
from icpo.verl.checks import check_config, differing_from_preset

pytestmark = pytest.mark.verl

SOURCE = "icpo.demonstrations.source=demos.jsonl"


def compose(*overrides):
    return fakes.compose_config("+icpo=on", SOURCE, *overrides)


#: For each setting that has to be something: what it must not be.
WRONG = {
    "trainer.use_v1": False,
    "trainer.v1.trainer_mode": "separate_async",
    "actor_rollout_ref.actor.policy_loss.loss_mode": "vanilla",
    "actor_rollout_ref.rollout.agent.agent_loop_manager_class": None,
    "algorithm.adv_estimator": "gae",
    "critic.enable": True,
    "algorithm.use_kl_in_reward": True,
    "algorithm.rollout_correction.bypass_mode": True,
    "algorithm.rollout_correction.rollout_is": "token",
    "algorithm.rollout_correction.rollout_rs": "token_k1",
    "actor_rollout_ref.actor.strategy": "megatron",
    "actor_rollout_ref.rollout.calculate_log_probs": False,
    "actor_rollout_ref.rollout.logprobs_mode": "raw_logprobs",
    "actor_rollout_ref.rollout.enable_rollout_routing_replay": True,
    "actor_rollout_ref.rollout.multi_turn.enable": True,
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": "loops.yaml",
    "actor_rollout_ref.rollout.agent.default_agent_loop": "tool_agent",
    "distillation.enabled": True,
    "skip.rollout_tq.enable": True,
}

#: Settings that do not go together, and how the error begins.
CONTRADICTIONS = {
    "n_off fills the group": (
        ["icpo.group=always", "icpo.n_off=4", "actor_rollout_ref.rollout.n=4"],
        "icpo.n_off: expected less than actor_rollout_ref.rollout.n = 4",
    ),
    "other questions than those of the demonstrations": (
        ["icpo.problems=demos", "data.train_files=train.parquet"],
        "data.train_files: expected icpo.demonstrations.source = demos.jsonl",
    ),
    "groups that are imitated, chosen by their rewards": (
        ["icpo.group=beside", "icpo.sft_coef=1.0", "algorithm.filter_groups.enable=true"],
        "algorithm.filter_groups.enable: expected false",
    ),
    "reward model comes too late": (
        ["reward.reward_model.enable=true"],
        "reward.reward_model.enable_resource_pool: expected true",
    ),
    "and for on-policy rollouts too": (
        ["reward.reward_model.enable=true", "icpo.n_off=0", "icpo.demonstrations.source=null"],
        "reward.reward_model.enable_resource_pool: expected true",
    ),
    "several batches a step": (
        ["+trainer.v1.sync.parameter_sync_step=2"],
        "trainer.v1.sync.parameter_sync_step: expected 1",
    ),
    "probabilities of a part of the vocabulary": (
        ["actor_rollout_ref.rollout.top_p=0.9"],
        "actor_rollout_ref.rollout.top_p: expected to sample from the whole vocabulary",
    ),
    "divisor on one side only": (
        ["algorithm.norm_adv_by_std_in_grpo=false"],
        "algorithm.norm_adv_by_std_in_grpo: expected true",
    ),
    "prompts that the engine has no room for": (
        ["icpo.max_prompt_tokens=513", "actor_rollout_ref.rollout.prompt_length=512"],
        "icpo.max_prompt_tokens: expected at most 512",
    ),
}


def test_what_the_flag_gives_is_right():
    assert check_config(compose()).n_off == 1


@pytest.mark.parametrize("key", WRONG)
def test_required_setting(key):
    config = compose()
    with open_dict(config):
        OmegaConf.update(config, key, WRONG[key])
    with pytest.raises(ConfigError) as raised:
        check_config(config)
    message = str(raised.value)
    assert message.startswith(f"{key}: expected "), message
    assert message.endswith(f"got {WRONG[key]!r}"), message


def test_each_required_setting_has_a_case():
    assert list(WRONG) == [row[0] for row in checks._REQUIRED]


@pytest.mark.parametrize("key", WRONG)
def test_required_settings_are_verls(key):
    """One that verl does not have is passed over, so a misspelt one would never be looked at."""
    *sections, name = key.split(".")
    assert name in OmegaConf.select(compose(), ".".join(sections)), key


def test_what_is_required_is_what_is_told():
    """Where the text names a value, that value passes."""
    for key, right, expected, why in checks._REQUIRED:
        values = {"true": True, "false": False, "null": None}
        for word in expected.split(" or "):
            value = values.get(word, word.strip("'"))
            assert right(value), (key, value)
        assert why


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradiction(case):
    overrides, begin = CONTRADICTIONS[case]
    with pytest.raises(ConfigError) as raised:
        check_config(compose(*overrides))
    assert str(raised.value).startswith(begin)


@pytest.mark.parametrize("key", [key for key, _ in checks._NOT_WITH_IMITATION])
def test_prompts_of_a_lesson_are_known_before_it(key):
    lessons = ["icpo.n_off=0", "icpo.sft_coef=1.0", "icpo.lessons.when=hardest"]
    with pytest.raises(ConfigError, match=rf"^{key}: expected false, .*lessons\.when=hardest"):
        check_config(compose(*lessons, f"{key}=true"))
    check_config(compose(f"{key}=true"))


def test_top_k_leaves_a_part_of_the_vocabulary_too():
    with pytest.raises(ConfigError, match=r"^actor_rollout_ref\.rollout\.top_k: .* got 50$"):
        check_config(compose("actor_rollout_ref.rollout.top_k=50"))


@pytest.mark.parametrize("without", ["icpo.off_ratio=policy", "icpo.n_off=0"])
def test_a_part_of_the_vocabulary_will_do_where_nothing_is_divided_by_it(without):
    check_config(compose(without, "actor_rollout_ref.rollout.top_p=0.9"))


def test_each_contradiction_has_a_case():
    tree = ast.parse(inspect.getsource(checks._contradictions))
    begins = {begin.partition(":")[0] for _, begin in CONTRADICTIONS.values()}
    assert len(begins) == sum(isinstance(node, ast.Yield) for node in ast.walk(tree))


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        (["icpo.n_off=5", "actor_rollout_ref.rollout.n=4"], "icpo.n_off: expected at most n = 4"),
        (["actor_rollout_ref.rollout.n=0"], "actor_rollout_ref.rollout.n: "),
        (
            [
                "icpo.group=reserve",
                "icpo.target=non_pass",
                "icpo.n_off=8",
                "actor_rollout_ref.rollout.n=8",
            ],
            "icpo.n_off: expected less than n = 8",
        ),
        (["+icpo.n_of=2"], "icpo.n_of: no such setting; did you mean icpo.n_off?"),
        (["icpo.demonstrations.source=null"], "icpo.demonstrations.source: expected "),
    ],
)
def test_settings_of_icpo_alone(overrides, begin):
    with pytest.raises(ConfigError) as raised:
        check_config(compose(*overrides))
    assert str(raised.value).startswith(begin)


@pytest.mark.parametrize(
    "overrides",
    [
        # As many as there are: each may take the place of an on-policy one.
        ["icpo.n_off=4", "actor_rollout_ref.rollout.n=4"],
        ["icpo.n_off=3", "icpo.group=reserve", "actor_rollout_ref.rollout.n=4"],
        ["reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=true"],
        ["algorithm.norm_adv_by_std_in_grpo=false", "icpo.advantages.std=none"],
        ["icpo.max_prompt_tokens=512", "actor_rollout_ref.rollout.prompt_length=512"],
        # The engine has more room than plain prompts take.
        [
            "icpo.max_prompt_tokens=1536",
            "actor_rollout_ref.rollout.prompt_length=512",
            "actor_rollout_ref.rollout.response_length=512",
            "actor_rollout_ref.rollout.max_model_len=2048",
        ],
        ["actor_rollout_ref.actor.use_kl_loss=true"],
        ["actor_rollout_ref.actor.strategy=fsdp2"],
    ],
)
def test_what_goes_together(overrides):
    check_config(compose(*overrides))


def test_room_is_that_of_the_engine():
    with pytest.raises(
        ConfigError, match=r"icpo\.max_prompt_tokens: expected at most 1536, .*1537"
    ):
        check_config(
            compose(
                "icpo.max_prompt_tokens=1537",
                "actor_rollout_ref.rollout.response_length=512",
                "actor_rollout_ref.rollout.max_model_len=2048",
            )
        )


def test_room_of_the_engine_binds_the_default_too():
    """Responses to expert prompts, and to these alone, would be cut off."""
    lengths = {"prompt_length": 512, "response_length": 1024, "max_model_len": 1280}
    room = [f"actor_rollout_ref.rollout.{name}={value}" for name, value in lengths.items()]
    with pytest.raises(ConfigError, match=r"max_prompt_tokens: expected at most 256, .* = 512$"):
        check_config(compose(*room))
    check_config(compose(*room, "icpo.max_prompt_tokens=256"))
    check_config(compose(*room, "icpo.n_off=0"))


def test_without_the_flag_it_says_how():
    with pytest.raises(ConfigError, match=r"\+icpo=on"):
        check_config(fakes.compose_config())


##### Notes


def notes(*overrides):
    config = compose(*overrides)
    return differing_from_preset(config, check_config(config))


def test_notes_name_what_differs():
    found = notes(
        "actor_rollout_ref.actor.use_kl_loss=true",
        "actor_rollout_ref.actor.kl_loss_coef=0.02",
        "actor_rollout_ref.actor.clip_ratio_high=0.28",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean",
    )
    text = "\n".join(found)
    for part in ("kl_loss_coef", "0.02", "clip_ratio_high", "0.28", "seq-mean-token-mean"):
        assert part in text
    assert "clip_ratio_low" not in text


def test_no_note_where_all_is_as_in_the_preset():
    # The paper's presets have a dual clip of none, verl can not do without one.
    rest = [note for note in notes() if "clip_ratio_c" not in note]
    assert rest == []
