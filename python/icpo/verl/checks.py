"""verl's settings that ICPO needs, or can not work with: each named, with what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from icpo.errors import ConfigError
from icpo.mixing.rules import GROUPS
from icpo.objective.config import PRESETS
from icpo.verl.reward_settings import check_reward
from icpo.verl.settings import IcpoSettings, clips_of

__all__ = ["TRAINER", "check_config", "differing_from_preset"]

#: Name of the trainer, and of the policy loss, in verl's registries.
TRAINER, LOSS = "icpo_sync", "icpo"

_SHAPED_BY_ICPO = "expert rows have ratios of their own, which it would weight a second time"

#: Key, what it has to be, and why. Keys that a version does not have are passed over.
_REQUIRED: tuple[tuple[str, Callable[[Any], bool], str, str], ...] = (
    ("trainer.use_v1", bool, "true", "the older trainer has no place for expert rollouts"),
    (
        "trainer.v1.trainer_mode",
        lambda value: value == TRAINER,
        repr(TRAINER),
        "asynchronous trainers mix policies of several steps; ICPO has not been built for them",
    ),
    (
        "actor_rollout_ref.actor.policy_loss.loss_mode",
        lambda value: value == LOSS,
        repr(LOSS),
        "other losses know nothing of expert rows",
    ),
    (
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class",
        lambda value: value == "icpo.verl.rollout.IcpoAgentLoopManager",
        "'icpo.verl.rollout.IcpoAgentLoopManager'",
        "it is what samples expert rollouts",
    ),
    (
        "algorithm.adv_estimator",
        lambda value: value == "grpo",
        "'grpo'",
        "advantages are relative to the group",
    ),
    ("critic.enable", lambda value: not value, "false or null", "there is no critic"),
    (
        "algorithm.use_kl_in_reward",
        lambda value: not value,
        "false",
        "acceptance looks at rewards as checked; use actor.use_kl_loss",
    ),
    (
        "algorithm.rollout_correction.bypass_mode",
        lambda value: not value,
        "false",
        "log-probabilities of the rollout are under the expert prompt, not under the plain one",
    ),
    (
        "algorithm.rollout_correction.rollout_is",
        lambda value: value is None,
        "null",
        _SHAPED_BY_ICPO,
    ),
    (
        "algorithm.rollout_correction.rollout_rs",
        lambda value: value is None,
        "null",
        "it would reject expert rows, whose probabilities differ on purpose",
    ),
    (
        "actor_rollout_ref.actor.strategy",
        lambda value: value in ("fsdp", "fsdp2"),
        "'fsdp2' or 'fsdp'",
        "other engines have not been tried",
    ),
    (
        "actor_rollout_ref.rollout.calculate_log_probs",
        bool,
        "true",
        "the expert ratio needs the rollout's log-probabilities",
    ),
    (
        "actor_rollout_ref.rollout.logprobs_mode",
        lambda value: value == "processed_logprobs",
        "'processed_logprobs'",
        "the expert ratio divides by probabilities at the sampling temperature",
    ),
    (
        "actor_rollout_ref.rollout.enable_rollout_routing_replay",
        lambda value: not value,
        "false",
        "an expert row's routes are those of the expert prompt, not of the plain one",
    ),
    (
        "actor_rollout_ref.rollout.multi_turn.enable",
        lambda value: not value,
        "false",
        "expert prompts are of one turn",
    ),
    (
        "actor_rollout_ref.rollout.agent.agent_loop_config_path",
        lambda value: value is None,
        "null",
        "on-policy prompts would be made by another agent loop than expert prompts",
    ),
    (
        "actor_rollout_ref.rollout.agent.default_agent_loop",
        lambda value: value == "single_turn_agent",
        "'single_turn_agent'",
        "expert prompts are of one turn",
    ),
    ("distillation.enabled", lambda value: not value, "false", "the two losses do not mix"),
    (
        "skip.rollout_tq.enable",
        lambda value: not value,
        "false",
        "stored rollouts lack what expert rows need",
    ),
)

#: What does not go together with solutions that are just imitated, and why.
_NOT_WITH_IMITATION: tuple[tuple[str, str], ...] = (
    ("algorithm.filter_groups.enable", "rewards do not tell which of them are worth a step"),
    (
        "trainer.v1.sampler.sync_refill_failed_groups",
        "which prompts have a step that imitates is known at its beginning",
    ),
)


def check_config(config: Any) -> IcpoSettings:
    """The settings of ICPO in verl's whole configuration.

    Raises:
        ConfigError: naming the first setting that is unknown, out of range, or contradicts another
            one, and what would be right.
    """
    if "icpo" not in config:
        raise ConfigError("icpo: expected a section; add +icpo=on to the command line")
    settings = IcpoSettings.build(OmegaConf.to_container(config.icpo, resolve=True))
    missing = object()
    for key, right, expected, why in _REQUIRED:
        value = OmegaConf.select(config, key, default=missing)
        if value is not missing and not right(value):
            raise ConfigError(f"{key}: expected {expected} with icpo=on ({why}), got {value!r}")
    for message in _contradictions(config, settings):
        raise ConfigError(message)
    check_reward(config)
    return settings


def _contradictions(config: Any, settings: IcpoSettings) -> Iterator[str]:
    rollout = config.actor_rollout_ref.rollout
    settings.plan(rollout.n)
    rule = GROUPS[settings.group]
    if settings.n_off and rule.counts and rule.policy_rollouts(rollout.n, settings.n_off) == 0:
        yield (
            f"icpo.n_off: expected less than actor_rollout_ref.rollout.n = {rollout.n}, because "
            f"group {settings.group!r} would sample no on-policy rollout, got {settings.n_off}"
        )
    if settings.problems == "demos":
        pool, files = _paths(settings.demonstrations.source), _paths(config.data.train_files)
        if pool != files:
            yield (
                f"data.train_files: expected icpo.demonstrations.source = {', '.join(pool)}, "
                f"because icpo.problems=demos, got {', '.join(files)}; leave it out"
            )
    for key, why in _NOT_WITH_IMITATION:
        if settings.imitates and OmegaConf.select(config, key, default=False):
            yield (
                f"{key}: expected false, because of icpo.group={settings.group} and "
                f"icpo.lessons.when={settings.lessons.when or 'null'} ({why}), got true"
            )
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        yield (
            "reward.reward_model.enable_resource_pool: expected true with icpo=on (groups are "
            "formed by their rewards, before a batch is made), got false"
        )
    updates = OmegaConf.select(config, "trainer.v1.sync.parameter_sync_step", default=1)
    if updates != 1:
        yield (
            "trainer.v1.sync.parameter_sync_step: expected 1 with icpo=on (the bonus and the "
            f"metrics go by steps of one batch), got {updates!r}"
        )
    loss = settings.loss()
    if settings.shows_demos and loss.off_ratio != "policy":
        for key, whole in (("top_p", rollout.top_p >= 1), ("top_k", rollout.top_k <= 0)):
            if not whole:
                yield (
                    f"actor_rollout_ref.rollout.{key}: expected to sample from the whole "
                    f"vocabulary with icpo.off_ratio={loss.off_ratio} (the rollout engine's "
                    "log-probabilities are otherwise those of what was left, and r̂ would be too "
                    f"small), got {rollout[key]}"
                )
    std = loss.advantage_std
    if std == "unbiased" and not config.algorithm.norm_adv_by_std_in_grpo:
        yield (
            "algorithm.norm_adv_by_std_in_grpo: expected true, because icpo.advantages.std is "
            "'unbiased', got false; set icpo.advantages.std=none instead"
        )
    limit, room = settings.max_prompt_tokens, rollout.prompt_length
    if rollout.get("max_model_len") is not None:
        room = rollout.max_model_len - rollout.response_length
    if settings.shows_demos and (limit or rollout.prompt_length) > room:
        got = f"null, that is rollout.prompt_length = {rollout.prompt_length}"
        yield (
            f"icpo.max_prompt_tokens: expected at most {room}, which is what the rollout engine "
            f"has room for (rollout.max_model_len - rollout.response_length, or "
            f"rollout.prompt_length), got {got if limit is None else limit}"
        )


def _paths(files: Any) -> list[str]:
    if files is None:
        return ["null"]
    return [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]


def differing_from_preset(config: Any, settings: IcpoSettings) -> list[str]:
    """What the preset would have otherwise, among the settings that are verl's."""
    actor = config.actor_rollout_ref.actor
    preset, clips = PRESETS[settings.preset], clips_of(actor)
    kl = preset.get("kl_coef", 0.0)
    own_kl = actor.kl_loss_coef if actor.use_kl_loss else 0.0
    found = {
        "actor.kl_loss_coef (with use_kl_loss)": (own_kl, kl),
        "actor.clip_ratio_low": (clips["clip_low"], preset.get("clip_low", 0.2)),
        "actor.clip_ratio_high": (clips["clip_high"], preset.get("clip_high", 0.2)),
        "actor.clip_ratio_c": (clips["dual_clip"], preset.get("dual_clip")),
        "actor.loss_agg_mode": (actor.loss_agg_mode, preset.get("aggregation", "token-mean")),
    }
    return [
        f"{key} is {own}, the preset {settings.preset!r} has {'none' if its is None else its}"
        for key, (own, its) in found.items()
        if own != its
    ]
