#!/usr/bin/env bash
# GRPO on Qwen3-1.7B, the baseline: Table 8's settings, 8 GPUs of 80 GB.
# Has not run on a GPU.
set -euo pipefail
source "$(dirname "$0")/common.sh"
train "${qwen3_1_7b[@]}" "${grpo[@]}" "$@"
