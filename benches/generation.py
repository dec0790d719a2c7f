"""The engine of generation against ``generate`` of transformers: completion tokens a second.

    python benches/generation.py [--prompts 36] [--rollouts 8] [--threads 1] [--repeats 5]
                                 [--shape tiny] [--new 36] [--device cpu]

A model with random weights and prompts of 10 to 40 random tokens; every completion ends by itself
with the probability of one token in the vocabulary, or at the limit. All contestants sample at
temperature 1 with the same rows at once, take turns, and are compared by the median. transformers
gets the prompts padded on the left and is not asked for log-probabilities, which the engine gives.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Qwen3Config, Qwen3ForCausalLM

from icpo.generation import Sampling
from icpo.generation.torch_engine import TorchEngine
from icpo.types import Tokens

PAD_ID, END_ID = 0, 2

#: The tiny task's model, and one with the proportions of a small real one.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 45,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },
    "small": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
    },
}


def left_padded(prompts: list[Tokens], device: str) -> dict[str, torch.Tensor]:
    """The prompts as transformers takes them."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD_ID] * (width - len(p)) + p.tolist() for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def contestants(
    model: Qwen3ForCausalLM, prompts: list[Tokens], different: list[Tokens], new: int, device: str
) -> dict[str, Callable[[], int]]:
    """Each makes completions and returns how many tokens they hold."""
    engine = TorchEngine(model, end_ids=[END_ID], pad_id=PAD_ID, batch=len(prompts))
    padded = left_padded(prompts, device)
    width = padded["input_ids"].shape[1]

    def ours(rows: list[Tokens]) -> int:
        completions = engine.generate(rows, Sampling(new), range(len(rows)))
        return sum(len(completion.tokens) for completion in completions)

    def theirs(**options: Any) -> int:
        with torch.no_grad():
            sequences = model.generate(
                **padded,
                max_new_tokens=new,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                pad_token_id=PAD_ID,
                eos_token_id=END_ID,
                **options,
            )
        ended = (sequences[:, width:] == END_ID).cumsum(1)
        return int((ended == 0).sum() + (ended.amax(1) > 0).sum())

    return {
        "icpo": lambda: ours(prompts),
        "icpo, no two prompts equal": lambda: ours(different),
        "transformers": theirs,
        "transformers, static cache": lambda: theirs(
            cache_implementation="static", disable_compile=True
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--prompts", type=int, default=36)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--new", type=int, default=36)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()

    config = Qwen3Config(**SHAPES[args.shape], tie_word_embeddings=True, initializer_range=0.05)
    model = Qwen3ForCausalLM(config).eval().to(args.device)
    rng = np.random.default_rng(0)

    def prompts(count: int) -> list[Tokens]:
        return [
            rng.integers(3, config.vocab_size, length) for length in rng.integers(10, 41, count)
        ]

    grouped = [prompt for prompt in prompts(args.prompts) for _ in range(args.rollouts)]
    rivals = contestants(model, grouped, prompts(len(grouped)), args.new, args.device)
    rates: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(args.repeats + 1):
        for name, run in rivals.items():
            start = time.perf_counter()
            tokens = run()
            if turn:
                rates[name].append(tokens / (time.perf_counter() - start))

    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{platform.machine()}, {args.device}, {args.threads} thread(s), torch "
        f"{torch.__version__}, transformers {transformers.__version__}\n"
        f"{parameters:,} parameters; {args.prompts} prompts, {args.rollouts} rollouts each, "
        f"up to {args.new} new tokens; median of {args.repeats}\n"
    )
    reference = statistics.median(rates["transformers"])
    print(f"{'':28}{'tokens/s':>10}{'ratio':>8}")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:28}{rate:10,.0f}{rate / reference:8.2f}")


if __name__ == "__main__":
    main()
