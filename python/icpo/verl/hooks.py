"""The places of verl that ICPO hooks into, and whether they are still what they were.

Several are private. A release of verl may change them, and a hook that silently does nothing would
train plain GRPO, so every start compares them with what this package was written for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from typing import Any

from packaging.version import Version

from icpo.errors import IcpoError

__all__ = ["HookError", "check_hooks"]

#: From, and below.
VERSIONS = ("0.9", "0.10")


class HookError(IcpoError, ImportError):
    """The installed verl is not one that this package knows how to extend."""


#: What Ray adds to the methods of actors.
_RAYS_OWN = "_ray_trace_ctx"

#: Module, path within it, and the parameters that it takes.
HOOKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("verl.trainer.ppo.v1.trainer_base", "register_trainer", ("name",)),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.__init__", ("self", "config")),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_init_end", ("self",)),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_sample_end", ("self",)),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_step_end", ("self",)),
    (
        "verl.checkpoint_engine.base",
        "CheckpointEngineManager.abort_replicas",
        ("self", "reject_request"),
    ),
    (
        "verl.checkpoint_engine.base",
        "CheckpointEngineManager.resume_generation_replicas",
        ("self",),
    ),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._init_dataloader", ("self",)),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._init_resource_pool_mgr", ("self",)),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._next_train_batch", ("self", "num_prompts")),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._balance_batch",
        ("self", "batch", "metrics", "logging_prefix", "keep_minibatch"),
    ),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._compute_old_log_prob",
        ("self", "batch", "metrics"),
    ),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._compute_advantage",
        ("self", "batch", "metrics"),
    ),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._update_actor", ("self", "batch", "metrics")),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._compute_metrics",
        ("self", "batch", "metrics", "timing_raw", "global_steps", "epoch"),
    ),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._log_rollout_data",
        ("self", "batch", "timing_raw", "rollout_data_dir"),
    ),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._dump_generations",
        ("self", "inputs", "outputs", "gts", "scores", "reward_extra_infos_dict", "dump_path"),
    ),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._get_required_batch_multiple",
        ("self", "dp_size"),
    ),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._save_checkpoint", ("self",)),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._load_checkpoint", ("self",)),
    (
        "verl.trainer.ppo.v1.agent_loop_tq",
        "AgentLoopManagerTQ.__init__",
        ("self", "args", "kwargs"),
    ),
    ("verl.trainer.ppo.v1.agent_loop_tq", "AgentLoopWorkerTQ.__init__", ("self", "args", "kwargs")),
    (
        "verl.trainer.ppo.v1.agent_loop_tq",
        "AgentLoopWorkerTQ.generate_sequences",
        ("self", "batch"),
    ),
    (
        "verl.trainer.ppo.v1.agent_loop_tq",
        "AgentLoopWorkerTQ._run_prompt",
        ("self", "prompt", "sampling_params", "trajectory", "trace"),
    ),
    (
        "verl.trainer.ppo.v1.agent_loop_tq",
        "AgentLoopWorkerTQ._agent_loop_postprocess",
        ("self", "output", "validate", "kwargs"),
    ),
    (
        "verl.experimental.agent_loop.agent_loop",
        "AgentLoopWorker._run_agent_loop",
        ("self", "sampling_params", "trajectory", "agent_name", "trace", "kwargs"),
    ),
    (
        "verl.experimental.agent_loop.agent_loop",
        "AgentLoopWorker._compute_score",
        ("self", "outputs", "kwargs"),
    ),
    ("verl.experimental.agent_loop.agent_loop", "register", ("agent_name",)),
    (
        "verl.experimental.agent_loop.agent_loop",
        "AgentLoopBase.ct_build_initial_tokens",
        ("self", "messages", "tools", "images", "videos", "audios", "mm_inputs_out"),
    ),
    (
        "verl.experimental.agent_loop.single_turn_agent_loop",
        "SingleTurnAgentLoop.run",
        ("self", "sampling_params", "priority", "kwargs"),
    ),
    (
        "verl.workers.rollout.llm_server",
        "LLMServerClient.generate",
        (
            "self",
            "request_id",
            "prompt_ids",
            "sampling_params",
            "image_data",
            "video_data",
            "audio_data",
            "mm_processor_kwargs",
            "kwargs",
        ),
    ),
    (
        "verl.workers.rollout.replica",
        "TokenOutput",
        (
            "token_ids",
            "log_probs",
            "routed_experts",
            "stop_reason",
            "num_preempted",
            "extra_fields",
        ),
    ),
    ("verl.utils.tensordict_utils", "concat_tensordict", ("data",)),
    (
        "verl.utils.tensordict_utils",
        "assign_non_tensor_data",
        ("tensor_dict", "key", "val"),
    ),
    (
        "verl.utils.tokenizer.continuous_token_wiring",
        "create_continuous_token_builder",
        (
            "tokenizer",
            "model_family",
            "hf_model_type",
            "chat_template_kwargs",
            "mm_processor_kwargs",
            "processor",
            "builder_kwargs",
        ),
    ),
    (
        "verl.utils.tokenizer.continuous_token",
        "ContinuousTokenBuilder.build_initial_tokens",
        ("self", "messages", "tools", "images", "videos", "audios", "mm_inputs_out"),
    ),
    (
        "verl.workers.utils.losses",
        "ppo_loss",
        ("config", "model_output", "data", "dp_group"),
    ),
    (
        "verl.trainer.ppo.core_algos",
        "compute_policy_loss_vanilla",
        (
            "old_log_prob",
            "log_prob",
            "advantages",
            "response_mask",
            "loss_agg_mode",
            "config",
            "rollout_is_weights",
        ),
    ),
    (
        "verl.trainer.ppo.core_algos",
        "agg_loss",
        (
            "loss_mat",
            "loss_mask",
            "loss_agg_mode",
            "dp_size",
            "batch_num_tokens",
            "global_batch_size",
            "loss_scale_factor",
        ),
    ),
    ("verl.trainer.ppo.core_algos", "register_policy_loss", ("name",)),
    ("verl.utils.metric", "Metric.__init__", ("self", "aggregation", "value")),
    ("verl.utils.config", "omega_conf_to_dataclass", ("config", "dataclass_type")),
)


def check_hooks() -> str:
    """The version of verl, once it is known to be one that can be extended.

    Raises:
        HookError: naming version or hook, what was expected, and what was found.
    """
    version = importlib.metadata.version("verl")
    supported = f"verl>={VERSIONS[0]},<{VERSIONS[1]}"
    # A pre-release of 0.10 comes before 0.10, but is none of 0.9.
    release = Version(Version(version).base_version)
    if not Version(VERSIONS[0]) <= release < Version(VERSIONS[1]):
        raise HookError(f"verl: expected {supported}, which icpo extends, got {version}")
    for module, path, expected in HOOKS:
        try:
            parameters = inspect.signature(_lookup(module, path)).parameters
            found = tuple(name for name in parameters if name != _RAYS_OWN)
        except (ImportError, AttributeError) as error:
            raise HookError(
                f"verl {version}: expected {module}.{path}, which icpo extends, got {error}"
            ) from error
        if found != expected:
            raise HookError(
                f"verl {version}: {module}.{path} takes ({', '.join(found)}), expected "
                f"({', '.join(expected)}); icpo was written for {supported}"
            )
    return version


def _lookup(module: str, path: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = plain_class(getattr(found, name))
    return found


def plain_class(found: Any) -> Any:
    """The class behind one that Ray made an actor of; anything else as it is."""
    return getattr(getattr(found, "__ray_metadata__", None), "modified_class", found)
