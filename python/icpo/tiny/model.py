"""The tiny model: a decoder of Qwen3's shape, with about 126,000 parameters."""

from __future__ import annotations

import math

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

__all__ = ["make_model"]

#: Prompts with several demonstrations fit.
LONGEST_TEXT = 512


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A model with random weights for the tokens of a tokenizer."""
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=LONGEST_TEXT,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        **ends,
    )
    # transformers draws weights from torch's global generator, which is none of our business.
    with torch.random.fork_rng(devices=[]):
        model = Qwen3ForCausalLM(config)
    _fill(model, torch.Generator().manual_seed(seed))
    model.generation_config = GenerationConfig(do_sample=True, **ends)
    return model


@torch.no_grad()
def _fill(model: Qwen3ForCausalLM, random: torch.Generator) -> None:
    # transformers would take 0.02 everywhere. For 64 columns that is little, and rules would be
    # learnt later.
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            embedding = name.endswith("embed_tokens.weight")
            spread = 0.02 if embedding else 0.7 / math.sqrt(weight.shape[1])
            weight.normal_(std=spread, generator=random)
