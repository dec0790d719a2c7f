# What the scripts of this folder have in common. They source it; it runs nothing by itself.
#
# From the environment:
#   DATA   folder that `icpo data prepare` wrote (runs/data)
#   OUT    folder for checkpoints and dumps (runs)
#   MODEL  a model in place of the script's own: a name on the Hugging Face hub, or a folder
#   GPUS   GPUs of this machine (8)

DATA="${DATA:-runs/data}"
OUT="${OUT:-runs}"
GPUS="${GPUS:-8}"

# Table 8 of the paper; gradient clip, weight decay, entropy and evaluation as in the authors'
# scripts.
settings=(
    algorithm.adv_estimator=grpo
    algorithm.use_kl_in_reward=false
    data.train_files="$DATA/train.parquet"
    data.val_files="$DATA/validation.parquet"
    data.train_batch_size=128
    data.max_prompt_length=4096
    data.max_response_length=8192
    data.filter_overlong_prompts=true
    data.truncation=error
    actor_rollout_ref.actor.ppo_mini_batch_size=64
    actor_rollout_ref.actor.optim.lr=1e-6
    actor_rollout_ref.actor.optim.clip_grad=1.0
    actor_rollout_ref.actor.optim.weight_decay=0.01
    actor_rollout_ref.actor.clip_ratio=0.2
    actor_rollout_ref.actor.clip_ratio_low=0.2
    actor_rollout_ref.actor.clip_ratio_high=0.2
    actor_rollout_ref.actor.use_kl_loss=false
    actor_rollout_ref.actor.entropy_coeff=0
    actor_rollout_ref.actor.loss_agg_mode=token-mean
    actor_rollout_ref.rollout.n=8
    actor_rollout_ref.rollout.temperature=1.0
    actor_rollout_ref.rollout.top_p=1.0
    actor_rollout_ref.rollout.top_k=-1
    actor_rollout_ref.rollout.val_kwargs.do_sample=true
    actor_rollout_ref.rollout.val_kwargs.temperature=0.6
    actor_rollout_ref.rollout.val_kwargs.top_p=0.7
    actor_rollout_ref.rollout.val_kwargs.top_k=50
    actor_rollout_ref.rollout.val_kwargs.n=2
    trainer.total_training_steps=400
    trainer.test_freq=10
    trainer.save_freq=50
    trainer.val_before_train=false
)

# How it is computed: packed sequences in micro-batches of a number of tokens, FSDP2, vLLM.
# No result depends on these but by rounding.
engine=(
    actor_rollout_ref.model.use_remove_padding=true
    actor_rollout_ref.model.enable_gradient_checkpointing=true
    actor_rollout_ref.actor.strategy=fsdp2
    actor_rollout_ref.actor.use_dynamic_bsz=true
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.calculate_log_probs=true
    trainer.nnodes=1
    trainer.n_gpus_per_node="$GPUS"
)

# The checker of this package; other reward functions of verl serve as well.
reward=(
    reward.custom_reward_function.path=pkg://icpo.verl.reward
    reward.custom_reward_function.name=compute_score
)

# 8 GPUs of 80 GB. A micro-batch holds two of the longest sequences.
qwen3_1_7b=(
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen3-1.7B}"
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=24576
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.rollout.gpu_memory_utilization=0.7
)

# 8 GPUs of 80 GB: 16 of weights, gradients and optimizer state, 48 for vLLM.
qwen3_8b=(
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen3-8B}"
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=12288
    actor_rollout_ref.rollout.tensor_model_parallel_size=2
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6
)

grpo=()
icpo=(+icpo=on icpo.demonstrations.source="$DATA/demos.parquet")
icpo_bonus=("${icpo[@]}" icpo.bonus.alpha=1.0)

# Trains; later arguments win. Names the run after the script that was called.
train() {
    local name
    name="$(basename "$0" .sh)"
    python -m verl.trainer.main_ppo "${settings[@]}" "${engine[@]}" "${reward[@]}" \
        trainer.logger='["console"]' \
        trainer.project_name=icpo \
        trainer.experiment_name="$name" \
        trainer.default_local_dir="$OUT/$name/checkpoints" \
        trainer.rollout_data_dir="$OUT/$name/rollouts" \
        trainer.validation_data_dir="$OUT/$name/validation" \
        hydra.run.dir="$OUT/$name/hydra" \
        "$@"
}
