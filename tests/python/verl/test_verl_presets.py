"""Sixteen words on the command line: each is the algorithm of that name, but for what is verl's."""

from __future__ import annotations

import copy
import functools
from importlib import resources

import pytest
import verl_fakes as fakes
from omegaconf import OmegaConf
from verl.utils.config import validate_config

from icpo import LossConfig
from icpo.algorithms import ALGORITHMS, algorithm
from icpo.errors import ConfigError
from icpo.mixing import SOURCES
from icpo.verl.checks import check_config
from icpo.verl.settings import clips_of

pytestmark = pytest.mark.verl

FILES = resources.files("icpo.verl.config").joinpath("icpo")
#: Hydra's words for the command line, of which ``on`` is ICPO's old one.
WORDS = {file.name.removesuffix(".yaml") for file in FILES.iterdir() if file.name != "__init__.py"}

NO_CLIP = 1e9

#: Of the loss, what differs from the algorithm, by preset; ``*``: in all of them.
OF_VERL: dict[str, dict[str, float | None]] = {
    # verl can not do without a dual clip, and has one by default.
    "*": {"dual_clip": 3.0},
    # Nor without clips, which are out of reach here.
    "luffy": {"clip_low": NO_CLIP, "clip_high": NO_CLIP, "dual_clip": NO_CLIP},
    # Two parts in one: the likelihood term is that of the lessons; other steps have no expert rows.
    "relift": {"dual_clip": 3.0, "sft_coef": 1.0},
    "sft_then_rl": {"dual_clip": 3.0, "sft_coef": 1.0},
}

#: Fields of a loss that do nothing where no expert row has an advantage.
OF_ADVANTAGES = {"off_ratio", "lam", "off_clip", "dual_clip"}


@functools.lru_cache
def composed(name, *overrides):
    """verl's configuration. Composing takes a while; nobody changes what comes."""
    source = "icpo.demonstrations.source=demos.parquet"
    engine = ["actor_rollout_ref.rollout.name=vllm", "actor_rollout_ref.actor.use_dynamic_bsz=true"]
    return fakes.compose_config(f"+icpo={name}", source, *engine, *overrides)


def fields(loss):
    return {name: getattr(loss, name) for name in LossConfig.__dataclass_fields__ if name != "spec"}


def test_there_is_a_word_for_each_algorithm():
    assert {*ALGORITHMS, "on"} == WORDS


def test_icpo_is_what_the_flag_was():
    plain = OmegaConf.to_container(composed("on", "actor_rollout_ref.rollout.n=8"))
    assert OmegaConf.to_container(composed("icpo")) == plain


@pytest.mark.parametrize("name", ALGORITHMS)
def test_preset_is_the_algorithm(name):
    config, theirs = composed(name), algorithm(name)
    validate_config(config, use_reference_policy=False, use_critic=False)
    settings = check_config(config)
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert settings.plan(rollout.n) == theirs.plan
    assert settings.problems == theirs.problems
    assert settings.annealed_bonus() == theirs.bonus
    assert settings.imitation() == theirs.lessons
    continued = SOURCES[theirs.plan.source].continued
    assert (settings.beginnings() if continued else None) == theirs.prefix

    loss = settings.loss(**clips_of(actor))
    expected = fields(theirs.loss) | OF_VERL.get(name, OF_VERL["*"])
    # The aggregation and its constant, the divergence and the entropy are settings of verl.
    assert actor.loss_agg_mode == expected.pop("aggregation")
    own = fields(loss)
    assert own.pop("aggregation") == "token-mean"
    assert own == expected
    assert actor.use_kl_loss is (theirs.loss.kl != "none") is False
    assert actor.entropy_coeff == theirs.loss.entropy_coef
    if actor.loss_agg_mode == "seq-mean-token-sum-norm":
        # As the trainer: whatever else is in a micro-batch.
        assert actor.loss_scale_factor == rollout.response_length
    assert config.algorithm.norm_adv_by_std_in_grpo  # which the trainer sets by this:
    assert loss.advantage_std == theirs.loss.advantage_std


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if algorithm(name).lessons])
def test_lessons_have_their_loss(name):
    """The one loss of the run does in a lesson what `sft` does."""
    config = composed(name)
    loss = fields(check_config(config).loss(**clips_of(config.actor_rollout_ref.actor)))
    expected = fields(algorithm(name).lesson.loss)
    for field in OF_ADVANTAGES:
        del loss[field], expected[field]
    assert loss == expected


@pytest.mark.parametrize("name", ALGORITHMS)
def test_demonstrations_are_asked_for_only_where_they_are_shown(name):
    theirs = algorithm(name)
    config = copy.deepcopy(composed(name))
    config.icpo.demonstrations.source = None
    if theirs.plan.shows_demos or theirs.problems == "demos":
        with pytest.raises(ConfigError, match=r"icpo\.demonstrations\.source: expected a file"):
            check_config(config)
    else:
        assert not check_config(config).shows_demos


@pytest.mark.parametrize("name", ALGORITHMS)
def test_solutions_are_asked_for_where_they_are_read(name):
    assert check_config(composed(name)).reads_solutions is algorithm(name).needs_solutions


def test_a_preset_can_be_changed_on_the_command_line():
    config = composed("luffy", "actor_rollout_ref.rollout.n=4", "icpo.n_off=2")
    plan = check_config(config).plan(config.actor_rollout_ref.rollout.n)
    assert (plan.n, plan.n_off, plan.policy_rollouts) == (4, 2, 2)


def test_of_the_pool_nothing_else_is_trained_on():
    config = composed("grpo_expert_domain")
    assert config.data.train_files == "demos.parquet"
