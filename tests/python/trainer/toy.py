"""A model folder, data and a configuration for whole runs that take a second.

The policy writes digits at random, and the last number that it writes is its answer: so it is right
now and then from the start, and learns quickly what to write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import tiny_policy
from icpo.trainer import TrainConfig

WORDS = ["<pad>", "<bos>", "<eos>", "Q", "A", "red", "blue", "so", *"0123", "=", "it", "is"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Words between spaces. Texts begin with <bos>."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "so"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def write(folder: Path) -> None:
    """A model and data files."""
    model = tiny_policy.qwen3(scale=1.0)
    model.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    colours = {"red": "1", "blue": "2"}
    rows = [
        {
            "question": f"{colour} {i % 4} {i // 4}",
            "answer": answer,
            "subject": colour,
            "trace": f"it is = {answer}",
        }
        for i in range(12)
        for colour, answer in colours.items()
    ]
    _lines(folder / "train.jsonl", rows)
    _lines(
        folder / "test.jsonl", [{**row, "question": row["question"] + " is"} for row in rows[:8]]
    )
    _lines(
        folder / "demos.jsonl",
        [
            {
                "question": f"it {row['question']}",
                "solution": f"so = {row['answer']}",
                "subject": row["subject"],
            }
            for row in rows
        ],
    )


def _lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """A configuration as a file has it."""
    return {
        "model": {"path": str(folder / "model")},
        "data": {
            "train": str(folder / "train.jsonl"),
            "test": str(folder / "test.jsonl"),
            "solution": "trace",
        },
        "demos": {"path": str(folder / "demos.jsonl"), "strategy": "subject"},
        "prompt": {
            "max_tokens": 40,
            "template": {
                "demo": "Q {question} A {solution} <eos>",
                "separator": " ",
                "question": "Q {question} A",
            },
        },
        "generation": {"max_new_tokens": 6},
        "algorithm": {"name": "icpo", "n": 4},
        "reward": {"profile": "math_verify"},
        "optim": {"lr": 0.003},
        "steps": 4,
        "batch": 4,
        "mini_batch": 2,
        "micro_tokens": 200,
        "eval": {"every": 2, "k": 2, "probe": 6},
        "checkpoint": {"every": 2},
        "log": {"tensorboard": False, "samples_every": 2, "samples": 2},
        "threads": 1,
        "out": str(folder / "run"),
        **changes,
    }


def config(folder: Path, **changes: Any) -> TrainConfig:
    """The same, checked."""
    return TrainConfig.build(settings(folder, **changes))


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
