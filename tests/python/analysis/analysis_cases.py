"""Runs written by hand, and a model with random weights to look at them with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in range(20))]


def model(**changes: Any) -> LlamaForCausalLM:
    """Distributions that are neither flat nor certain."""
    shape = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """Words between spaces, none other. Texts begin with <bos>."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    made.chat_template = "{% for m in messages %}<bos> {{ m.content }} {% endfor %}w9"
    return made


def model_folder(folder: Path) -> Path:
    model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sample(step: int, problem: str, text: str, **changes: Any) -> dict[str, Any]:
    """A line of a training run's samples.jsonl."""
    return {
        "step": step,
        "problem": problem,
        "answer": "w1",
        "expert": False,
        "demos": [],
        "prompt": f"<bos> {problem}",
        "response": text,
        "tokens": len(text.split()) + 1,
        "finished": True,
        "outcome": "not_equal",
        "reward": 0.0,
        "accepted": None,
        **changes,
    }


def right() -> dict[str, Any]:
    return {"outcome": "equal", "reward": 1.0}


def answer(problem: str, text: str, shots: int = 0, **changes: Any) -> dict[str, Any]:
    """A line of an evaluation's journal."""
    return {
        "benchmark": "quiz",
        "shots": shots,
        "seed": 0,
        "id": problem,
        "sample": 0,
        "problem": f"quiz/{problem}",
        "prompt": f"{'w7 ' * shots}{problem}",
        "demos": ["d"] * shots,
        "text": text,
        "gold": "w1",
        "answer": "w1",
        "outcome": "not_equal",
        "reward": 0.0,
        "finished": True,
        "tokens": len(text.split()) + 1,
        "prompt_tokens": 2,
        **changes,
    }


def write_evaluation(folder: Path, rows: Sequence[dict[str, Any]], *, chat: bool = False) -> Path:
    write_lines(folder / "journal.jsonl", rows)
    template = {"demo": "{question} {solution}", "separator": " ", "question": "{question}"}
    settings = {"settings": {"template": {**template, "chat": chat}, "engine": {"model": "m"}}}
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder
