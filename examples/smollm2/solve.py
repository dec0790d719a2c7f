"""Searches for answers with SmolLM2-135M-Instruct, by the methods of the README's table.

The model folder is that of prepare.py. Further arguments go to `icpo solve`, and the last one wins:

    python examples/smollm2/solve.py                # half an hour on one core
    python examples/smollm2/solve.py --resume       # after it was stopped
    python examples/smollm2/solve.py --limit 6 --out runs/smollm2/solve-6
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from arithmetic import write

from icpo.cli import main as icpo

FOLDER = Path("runs/smollm2")

#: How many problems, and the seed of their numbers.
SIZE, SEED = 48, 0

#: Two worked exercises in front of every question, the same for all methods: without them the model
#: does not keep to a form, and answers one question in a hundred. Ideas stand between.
FORM = {
    "question": (
        "Question: Kim has 2 dogs and gets 1 more. How many dogs does Kim have?\n"
        "Answer: 2 + 1 = 3\n\n"
        "Question: There are 5 rows of 4 chairs. How many chairs are there?\n"
        "Answer: 5 * 4 = 20\n\n"
        "{ideas}Question: {question}\nAnswer:"
    ),
    "ideas": (
        "Earlier answers to the next question, which may be wrong. "
        "Reward 1: what most of them say. Reward 0: the others.\n"
        "Reward 0:\n{bad}Reward 1:\n{good}\n"
    ),
    "unrewarded": "Earlier answers to the next question, which may be wrong.\n{ideas}\n",
    "idea": "- {idea}\n",
    "nothing": "- none\n",
    "chat": False,
}

METHODS = ("me_icpo", "without_entropy", "without_reward", "sample", "sample:answers=96")

SETTINGS = (
    *("--rounds", "2", "--k", "6", "--probes", "6", "--answers", "16"),
    # An answer is one line, so it is its own summary.
    *("--no-summaries", "--max-tokens", "18", "--stop", "\n", "--prompt-tokens", "512"),
    # Numbers repeat digits, which a penalty would forbid. All tokens: to sort 49,152 of them takes
    # a core as long as the rest of the model.
    *("--temperature", "0.6", "--top-p", "1", "--repetition-penalty", "1"),
    *("--dtype", "bfloat16", "--batch", "128"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    problems = FOLDER / "arithmetic.jsonl"
    write(problems, SIZE, SEED)
    given = sys.argv[1:] if arguments is None else arguments
    return icpo(["solve", f"arithmetic={problems}", *command(FOLDER / "model"), *given])


def command(model: Path) -> list[str]:
    """The arguments of `icpo solve` that stand above, and where things are."""
    return [
        *("--model", str(model), "--out", str(FOLDER / "solve")),
        *("--form", json.dumps(FORM), "--methods", *METHODS),
        *SETTINGS,
    ]


if __name__ == "__main__":
    sys.exit(main())
