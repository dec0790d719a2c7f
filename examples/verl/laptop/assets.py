"""Makes what laptop.sh trains on: a tiny model with random weights, questions, demonstrations.

Nothing is downloaded, and the same files come out each time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

#: Rows of the data. Each step of the example takes 16 of the first.
TRAIN, VALIDATION = 192, 16

CHAT = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into")
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(out / "model")
    make_model(tokenizer).save_pretrained(out / "model")
    pairs = list(itertools.product(range(10), repeat=2))
    random.Random(0).shuffle(pairs)
    # Questions of training are asked again and again; those of the other two files never are.
    shown, held_out, asked = pairs[:30], pairs[30 : 30 + VALIDATION], pairs[30 + VALIDATION :]
    write_rows(out / "train.parquet", itertools.islice(itertools.cycle(asked), TRAIN))
    write_rows(out / "validation.parquet", held_out)
    write_demonstrations(out / "demos.jsonl", shown)
    write_rows(out / "demos.parquet", shown)


def question(a: int, b: int) -> str:
    """What is asked."""
    return f"What is {a}+{b}?"


def solution(a: int, b: int) -> str:
    """How an expert would answer."""
    return f"{a}+{b}={a + b}, so \\boxed{{{a + b}}}"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, with merges for the words of the task."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    numbers = itertools.product(range(10), repeat=2)
    text = [f"Question: {question(a, b)}\nAnswer: {solution(a, b)}\n" for a, b in numbers]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*text, "system user assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT,
        model_max_length=512,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Two layers of Qwen3, 100,000 parameters."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config)


def write_rows(path: Path, pairs: Iterable[tuple[int, int]]) -> None:
    """Questions in the columns that verl reads."""
    rows: list[dict[str, Any]] = [
        {
            "data_source": "toy_sums",
            "prompt": [{"role": "user", "content": question(a, b)}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(a + b)},
            "extra_info": {
                "index": index,
                "question": question(a, b),
                "solution": solution(a, b),
            },
        }
        for index, (a, b) in enumerate(pairs)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_demonstrations(path: Path, pairs: Iterable[tuple[int, int]]) -> None:
    """Worked examples in the columns that `icpo.demonstrations` reads."""
    rows = [
        {"id": f"sum-{a}-{b}", "question": question(a, b), "solution": solution(a, b)}
        for a, b in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
