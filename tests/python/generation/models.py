"""Small models with random weights, and what they say when asked plainly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from icpo.generation import Completion

VOCABULARY = 23
END_IDS = (2, 5)
PAD_ID = 0

#: Weights far from their usual start: distributions that are neither flat nor certain.
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": PAD_ID,
}


def qwen3_tied(**changes: Any) -> Qwen3ForCausalLM:
    """Grouped queries, head and embedding one."""
    shape = {**_SHAPE, "num_key_value_heads": 2, "tie_word_embeddings": True, **changes}
    return Qwen3ForCausalLM(Qwen3Config(**shape)).eval()


def llama(**changes: Any) -> LlamaForCausalLM:
    """Grouped queries, a head of its own."""
    shape = {**_SHAPE, "num_key_value_heads": 1, "tie_word_embeddings": False, **changes}
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def qwen3_eager(**changes: Any) -> Qwen3ForCausalLM:
    """Another implementation of attention; as many keys as queries."""
    return qwen3_tied(attn_implementation="eager", num_key_value_heads=4, **changes)


def mistral_windowed(**changes: Any) -> MistralForCausalLM:
    """Each token sees the last six only."""
    shape = {**_SHAPE, "num_key_value_heads": 2, "sliding_window": 6, **changes}
    return MistralForCausalLM(MistralConfig(**shape)).eval()


MODELS = {
    "qwen3_tied": qwen3_tied,
    "llama": llama,
    "qwen3_eager": qwen3_eager,
    "mistral_windowed": mistral_windowed,
}


def random_prompts(rng: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
    """Prompts of these lengths, of any tokens."""
    return [rng.integers(0, VOCABULARY, length) for length in lengths]


@torch.no_grad()
def next_logits(model: Any, tokens: np.ndarray) -> torch.Tensor:
    """What follows, without cache or padding, (V,)."""
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    return model(input_ids=ids, use_cache=False).logits[0, -1]


@torch.no_grad()
def training_logp(
    model: Any, prompt: np.ndarray, completion: Completion, temperature: float = 1.0
) -> np.ndarray:
    """The completion's log-probabilities from one forward pass over it all, in float64."""
    ids = torch.from_numpy(np.concatenate([prompt, completion.tokens]))[None]
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    logp = (logits.double() / temperature).log_softmax(-1)
    return logp.gather(-1, ids[0, len(prompt) :, None])[:, 0].numpy()
