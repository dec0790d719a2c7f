"""A random model in the transformers format, small enough for any test, and batches for it."""

from __future__ import annotations

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from icpo.mixing import Batch, Plan, assemble, mix
from icpo.objective import LossConfig
from icpo.types import Problem, Rollout, RolloutGroup

VOCABULARY, PAD, END = 23, 0, 2


def qwen3(seed: int = 0, scale: float = 3.0) -> Qwen3ForCausalLM:
    """Its weights are spread widely enough that tokens are not equally likely."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=END,
    )
    return _spread(Qwen3ForCausalLM(config), seed, scale)


def llama(seed: int = 0, scale: float = 3.0) -> LlamaForCausalLM:
    """Another architecture, with a head of its own."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=END,
    )
    return _spread(LlamaForCausalLM(config), seed, scale)


def _spread(model: torch.nn.Module, seed: int, scale: float) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator)
                    * scale
                    / parameter.shape[1] ** 0.5
                )
    return model.eval()


def logp_alone(model, prompt, tokens, temperature: float = 1.0) -> torch.Tensor:
    """log π(τ_t | prompt, τ_<t), (L,), of one row by itself: no padding, no mask, float64."""
    ids = torch.tensor(np.concatenate([prompt, tokens]))[None]
    logits = model(ids).logits[0, len(prompt) - 1 : -1].double() / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]


def random_groups(rng, model, problems=3, n=4, n_off=1, temperature=1.0) -> list[RolloutGroup]:
    """Rollouts of random tokens, with the log-probs that the model gives them."""

    def tokens(least, most):
        return rng.integers(3, VOCABULARY, rng.integers(least, most))

    def rollout(prompt, expert):
        completion = tokens(1, 9)
        with torch.no_grad():
            logp = logp_alone(model, prompt, completion, temperature)
        right = expert or bool(rng.random() < 0.4)
        return Rollout(
            prompt=prompt,
            tokens=completion,
            logp=logp.float().numpy(),
            text="",
            finished=True,
            reward=float(right),
            outcome="equal" if right else "not_equal",
            expert=expert,
            demos=("d",) if expert else (),
        )

    groups = []
    for number in range(problems):
        plain = tokens(2, 8)
        longer = np.concatenate([tokens(4, 9), plain])
        groups.append(
            RolloutGroup(
                Problem(str(number), "?", "1"),
                plain,
                tuple(rollout(plain, False) for _ in range(n)),
                tuple(rollout(longer, True) for _ in range(n_off)),
            )
        )
    return groups


def random_batch(rng, model, loss: LossConfig, **settings) -> Batch:
    """These rollouts mixed as the paper does."""
    n, n_off = settings.get("n", 4), settings.get("n_off", 1)
    groups = random_groups(rng, model, **settings)
    plan = Plan(n=n, n_off=n_off)
    return assemble([mix(group, plan, rng) for group in groups], loss=loss)
