#!/usr/bin/env bash
# Stock verl with ICPO, three steps on a CPU: one to two minutes, about 6 GB of memory, no download.
#
#   pip install "icpo-rs[verl]"        # or, from a clone: make build
#   examples/verl/laptop.sh            # whatever follows goes to verl, for example
#   examples/verl/laptop.sh trainer.total_training_steps=12 actor_rollout_ref.actor.optim.lr=5e-3
#
# Not keys of verl, hence environment variables:
#   OUT     folder for everything that is written (runs/verl_laptop)
#   ICPO    another method: luffy, sft, relift, ... (docs/verl.md#the-other-methods); off: verl's own
#           GRPO, without the plugin (on)
#   RANKS   processes that train, each with a server of its own (1)
#   PYTHON  interpreter (the clone's .venv if there is one, else python)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

OUT=$(realpath -m "${OUT:-runs/verl_laptop}")
ICPO=${ICPO:-on}
RANKS=${RANKS:-1}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ -x "$root/.venv/bin/python" ] && PYTHON=$root/.venv/bin/python
fi
assets=$OUT/assets

# verl on a CPU: see icpo/verl/cpu/__init__.py.
export VERL_USE_EXTERNAL_MODULES=icpo.verl.cpu VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda
export VERL_FILE_LOGGER_PATH=${VERL_FILE_LOGGER_PATH:-$OUT/metrics.jsonl}
# A dozen processes share the machine: more threads in each make it slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TOKENIZERS_PARALLELISM=false
export TQ_NUM_THREADS=1 HF_HUB_OFFLINE=1 RAY_USAGE_STATS_ENABLED=0

mkdir -p "$OUT"
if ! [ "$assets/made" -nt "$here/laptop/assets.py" ]; then
    "$PYTHON" "$here/laptop/assets.py" "$assets"
    touch "$assets/made"
fi

train=$assets/train.parquet
# What of ICPO's settings this toy needs: an expert rollout with a few digits counts as right.
case $ICPO in
    off)
        icpo=(actor_rollout_ref.rollout.n=8)
        export VERL_USE_EXTERNAL_PLUGINS=${VERL_USE_EXTERNAL_PLUGINS:-none}
        ;;
    grpo_expert_domain) # is trained on the pool
        train=$assets/demos.parquet
        icpo=(+icpo="$ICPO" icpo.demonstrations.source="$train")
        ;;
    *)
        icpo=(+icpo="$ICPO" icpo.demonstrations.source="$assets/demos.jsonl" icpo.delta=0.05)
        # The others have an N of their own.
        if [ "$ICPO" = on ]; then icpo+=(actor_rollout_ref.rollout.n=8); fi
        ;;
esac

# Everything in float32, and nothing of CUDA's: FSDP2 on gloo, torch's own attention.
cpu=(
    trainer.device=cpu
    trainer.n_gpus_per_node="$RANKS"
    +ray_kwargs.ray_init.num_gpus="$RANKS"
    actor_rollout_ref.model.external_lib=icpo.verl.cpu.workers
    +actor_rollout_ref.model.override_config.attn_implementation=sdpa
    actor_rollout_ref.rollout.name=torch_cpu
    actor_rollout_ref.rollout.dtype=float32
    actor_rollout_ref.rollout.free_cache_engine=False
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.actor.strategy=fsdp2
)
for model in actor ref; do
    cpu+=(
        actor_rollout_ref.$model.use_torch_compile=False
        actor_rollout_ref.$model.fsdp_config.use_torch_compile=False
        +actor_rollout_ref.$model.fsdp_config.mixed_precision.param_dtype=fp32
        +actor_rollout_ref.$model.fsdp_config.mixed_precision.reduce_dtype=fp32
        +actor_rollout_ref.$model.fsdp_config.mixed_precision.buffer_dtype=fp32
    )
done

# One process of each kind, and no waiting: starting them takes longer than the training.
few=(
    ray_kwargs.ray_init.num_cpus=16
    +ray_kwargs.ray_init.include_dashboard=False
    +ray_kwargs.ray_init.object_store_memory=300000000
    transfer_queue.backend.SimpleStorage.num_data_storage_units=1
    transfer_queue.backend.SimpleStorage.total_storage_size=10000
    actor_rollout_ref.rollout.agent.num_workers=1
    reward.num_workers=1
    data.dataloader_num_workers=0
    trainer.v1.sampler.custom_sampler.path="$here/laptop/sampler.py"
    trainer.v1.sampler.custom_sampler.name=PromptReplayBuffer
)

"$PYTHON" -m verl.trainer.main_ppo "${icpo[@]}" "${cpu[@]}" "${few[@]}" \
    algorithm.adv_estimator=grpo \
    data.train_files="$train" \
    data.val_files="$assets/validation.parquet" \
    data.train_batch_size=16 \
    data.max_prompt_length=128 \
    data.max_response_length=16 \
    data.shuffle=False \
    reward.custom_reward_function.path="$here/laptop/reward.py" \
    actor_rollout_ref.model.path="$assets/model" \
    actor_rollout_ref.model.use_remove_padding=True \
    actor_rollout_ref.model.enable_gradient_checkpointing=False \
    actor_rollout_ref.rollout.calculate_log_probs=True \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=64 \
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=64 \
    actor_rollout_ref.actor.ppo_mini_batch_size=16 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=64 \
    actor_rollout_ref.actor.optim.lr=1e-3 \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.001 \
    hydra.run.dir="$OUT/hydra" \
    trainer.logger='[console,file]' \
    trainer.total_epochs=100 \
    trainer.total_training_steps=3 \
    trainer.val_before_train=False \
    trainer.test_freq=3 \
    trainer.save_freq=3 \
    trainer.resume_mode=disable \
    trainer.default_local_dir="$OUT/checkpoints" \
    trainer.rollout_data_dir="$OUT/rollouts" \
    "$@"

echo
"$PYTHON" "$here/laptop/report.py" "$VERL_FILE_LOGGER_PATH"
cat <<END

reward: of the rows that were trained on. policy, expert: of the rollouts from the plain prompt, and
from the prompt with a demonstration. accepted: expert rollouts that took a policy rollout's place.
expert weight: how much of the gradient of a log-probability reaches an expert token. docs/verl.md
has the other metrics.

In $OUT:
  metrics.jsonl  all metrics, a line a step
  rollouts/      what was sampled in each step, and how it was scored
  checkpoints/   to continue: the same command with trainer.resume_mode=auto and more steps
  assets/        model, data and demonstrations, made by examples/verl/laptop/assets.py
END
