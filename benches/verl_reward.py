"""What a score costs in verl: the reward manager `icpo` against verl's default manager and rewards.

    python benches/verl_reward.py [--count 256] [--rounds 5]

Each line is a reward in verl's own reward worker, without Ray: tokens in, decoded, scored. The
responses are worked solutions of about 250 tokens, and the same behind 8,000 characters of text.
`alone` is the median of scores one after another, `together` the time of all at once by their
number, as a batch of rollouts ends. All take turns, so that a busy machine slows all. `decoding` is
the part that no reward can avoid: verl's default manager with a function that does nothing.

Of verl's own functions those are here that only compare texts. The one that compares values,
prime_math, forks a process a comparison and stops it after ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.protocol import DataProto

import icpo
import icpo.verl.reward_manager  # registers it
from reward import made_up_pairs

FUNCTION = "reward.custom_reward_function.path=pkg://icpo.verl.reward"
#: Name of a line, the data source of its rows (which chooses verl's function), and its overrides.
LINES = (
    ("decoding", "any", ["reward.custom_reward_function.path=pkg://verl_reward"]),
    ("icpo manager", "any", ["reward.reward_manager.name=icpo"]),
    ("icpo function in naive", "any", [FUNCTION]),
    ("naive, gsm8k (regex)", "openai/gsm8k", []),
    ("naive, math_dapo (strings)", "math", []),
    ("naive, math_reward (strings)", "lighteval/MATH", []),
)


def compute_score(**_: Any) -> float:
    """The reward that costs nothing."""
    return 0.0


def make_tokenizer(folder: str, texts: list[str]) -> PreTrainedTokenizerFast:
    """Bytes and their pairs, as in the tokenizers of large models, from the texts at hand."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=2000, special_tokens=["<pad>", "<end>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, pad_token="<pad>", eos_token="<end>"
    )
    fast.save_pretrained(folder)
    return fast


def rows(tokenizer: Any, pairs: list[tuple[str, str]], source: str) -> list[DataProto]:
    """One batch of one row for each pair, as verl's agent loops send them."""
    batches = []
    for gold, response in pairs:
        ids = torch.tensor([[*tokenizer(response)["input_ids"], tokenizer.eos_token_id]])
        prompts = torch.ones(1, 100, dtype=torch.int64)
        mask = torch.ones(1, 100 + ids.shape[1], dtype=torch.int64)
        reward_model = np.array([{"style": "rule", "ground_truth": gold}], object)
        batches.append(
            DataProto.from_dict(
                tensors={"prompts": prompts, "responses": ids, "attention_mask": mask},
                non_tensors={
                    "data_source": np.array([source], object),
                    "reward_model": reward_model,
                    "extra_info": np.array([{"index": 0}], object),
                },
            )
        )
    return batches


async def measure(worker: RewardLoopWorker, batches: list[DataProto]) -> tuple[float, float]:
    """Seconds a score: one after another (median), and all at once."""
    alone = []
    for batch in batches[:64]:
        start = time.perf_counter()
        await worker.compute_score(batch)
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    await asyncio.gather(*(worker.compute_score(batch) for batch in batches))
    return statistics.median(alone), (time.perf_counter() - start) / len(batches)


async def table(title: str, pairs: list[tuple[str, str]], folder: str, rounds: int) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    verl = Path(importlib.util.find_spec("verl").origin).parent  # type: ignore[union-attr, arg-type]
    workers = {}
    for name, source, overrides in LINES:
        with initialize_config_dir(str(verl / "trainer" / "config"), version_base=None):
            settings = compose(
                "ppo_trainer", [f"actor_rollout_ref.model.path={folder}", *overrides]
            )
        workers[name] = RewardLoopWorker(settings), rows(tokenizer, pairs, source)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, (worker, batches) in workers.items():
            seconds[name].append(await measure(worker, batches))
    tokens = statistics.fmean(len(tokenizer(response)["input_ids"]) for _, response in pairs[:32])
    print(f"\n{title}: {tokens:.0f} tokens in the mean; microseconds a score")
    print(f"{'':32}{'alone':>10}{'together':>10}")
    for name, measured in seconds.items():
        alone, together = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{name:32}{1e6 * alone:>10.0f}{1e6 * together:>10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=256, help="scores at once")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pairs = made_up_pairs(arguments.count, random.Random(0))
    filler = "".join(response for _, response in pairs[:50]).replace("\\boxed", "")[:8000]
    long = [(gold, f"{filler}\n\n{response}") for gold, response in pairs]
    print(
        f"icpo {icpo.__version__}, verl {importlib.metadata.version('verl')}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(folder, [response for _, response in pairs])
        for title, chosen in (("Short", pairs), ("Long", long)):
            asyncio.run(table(title, chosen, folder, arguments.rounds))


if __name__ == "__main__":
    main()
