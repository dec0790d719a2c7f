#!/usr/bin/env bash
# ICPO on one GPU of 24 GB: Qwen3-0.6B, all of its parameters, 32 prompts a step, shorter texts.
# Computed, not measured: it has not run on a GPU. The largest parts, in GB:
#   rollouts   7.2 weights and Adam's state (float32), 8.4 vLLM (of it 6 for some 50,000 tokens)
#   update     9.5 weights, gradients and Adam's state, 7.5 logits of 6,144 tokens and what is made
#              of them (bfloat16), 1.5 activations and a sleeping vLLM
# With less, add actor_rollout_ref.actor.fsdp_config.param_offload=true and .optimizer_offload=true;
# for a larger model, adapters: docs/verl.md.
set -euo pipefail
GPUS="${GPUS:-1}"
source "$(dirname "$0")/common.sh"
train "${icpo[@]}" \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen3-0.6B}" \
    data.train_batch_size=32 \
    data.max_prompt_length=2048 \
    data.max_response_length=4096 \
    actor_rollout_ref.actor.ppo_mini_batch_size=16 \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=6144 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.35 \
    "$@"
