"""What ME-ICPO costs besides the model: milliseconds a candidate.

    python benches/solve.py [--problems 8] [--k 16] [--probes 16] [--rounds 5] [--repeats 5]

The model is a list of prepared responses, handed over at once. What is left is all of `icpo solve`:
prompts and whether they fit, votes by the checker's equivalence, entropies, the journal on disk,
results, table and trace. A candidate is one of k attempts of a round with its summary and its
probes. Responses are like those of a small model: some hundred words of working, most of them with
one of a few answers, written in different ways, some without any.

The clock is what counts where nothing else runs; where others share the processors, their time
tells more. The parts are by the clock, timing included.

With a server, which counts tokens itself; with a tokenizer in this process (one token a byte, the
slowest that there is), which measures every prompt that is not obviously within the limit; and with
the hardest answers: surds, hardly two of which are equal, so that each is compared with all others.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from icpo.evaluation.journal import Journal
from icpo.evaluation.table import markdown
from icpo.generation.text import TextCompletion, TextRequest
from icpo.test_time import SearchConfig, waves
from icpo.test_time.forms import Form
from icpo.test_time.run import solve
from icpo.test_time.settings import SolveSettings
from icpo.test_time.talk import Talk

#: What is timed apart, by what it is for: an owner and the name of a function.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "votes": [(Talk, "votes"), (Talk, "read")],
    "prompts": [(Talk, "_fits"), (Form, "ask"), (Form, "summarise")],
    "requests": [(waves.Job, "_made")],
    "journal": [(Journal, "add"), (Journal, "read"), (Journal, "__contains__")],
}

#: Answers that are given in different ways, and answers none of which is another.
FEW = (
    r"\boxed{\frac{1}{2}}",
    r"\boxed{0.5}",
    r"\boxed{1/2}",
    r"\boxed{3}",
    r"\boxed{\sqrt{2}}",
)


DIFFERENT = tuple(f"\\boxed{{{n} + \\sqrt{{{n * n + 2}}}}}" for n in range(1, 60))

#: How summaries are asked for, and their length: about a hundred tokens.
SUMMARY, SUMMARY_WORDS = SearchConfig().summary_sampling, 40


class Instant:
    """Answers at once; its own time is not counted."""

    together = 1

    def __init__(
        self, words: int, answers: Sequence[str], tokenizer: Callable[[str], int] | None
    ) -> None:
        rng = random.Random(0)
        self._responses = [_response(rng, words, answers) for _ in range(997)]
        self._summaries = [_response(rng, SUMMARY_WORDS, answers) for _ in range(997)]
        self._tokenizer = tokenizer
        self.seconds = 0.0

    def complete(
        self,
        requests: Sequence[TextRequest],
        done: Callable[[int, TextCompletion], None] | None = None,
    ) -> list[TextCompletion]:
        """See `icpo.generation.text.TextEngine`."""
        began = time.perf_counter()
        found = [
            TextCompletion(self._texts(one)[one.seed % 997], True, 300, 500) for one in requests
        ]
        self.seconds += time.perf_counter() - began
        if done is not None:
            for place, answer in enumerate(found):
                done(place, answer)
        return found

    def _texts(self, request: TextRequest) -> list[str]:
        return self._summaries if request.sampling == SUMMARY else self._responses

    def count(self, prompt: Any) -> int | None:
        """See `icpo.generation.text.TextEngine`."""
        if self._tokenizer is None:
            return None
        return self._tokenizer(prompt if isinstance(prompt, str) else prompt[0].content)

    def describe(self) -> dict[str, Any]:
        """See `icpo.generation.text.TextEngine`."""
        return {"engine": "instant", "model": "instant"}


def _response(rng: random.Random, words: int, answers: Sequence[str]) -> str:
    text = " ".join(
        rng.choice(("so", "then", "x = 3", "2 + 2 = 4", "we get")) for _ in range(words)
    )
    return text + (f" The answer is {rng.choice(answers)}." if rng.random() < 0.9 else "")


def byte_tokenizer() -> Callable[[str], int]:
    """Counts with Hugging Face's tokenizers, a token a byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    model = models.BPE({letter: number for number, letter in enumerate(sorted(alphabet))}, [])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: len(tokenizer.encode(text).ids)


@contextmanager
def timed(totals: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of `PARTS`; of calls within another, only the outer one's."""
    depth = 0

    def wrapped(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                depth -= 1
                if depth == 0:
                    totals[part] = totals.get(part, 0.0) + time.perf_counter() - began

        return call

    with ExitStack() as stack:
        for part, functions in PARTS.items():
            for owner, name in functions:
                stack.enter_context(patch.object(owner, name, wrapped(getattr(owner, name), part)))
        yield


def one_run(
    options: argparse.Namespace, answers: Sequence[str], tokenizer: Callable[[str], int] | None
) -> tuple[float, float]:
    """Seconds of a run without those of the engine: by the clock, and of processors."""
    engine = Instant(options.words, answers, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.jsonl"
        rows = [
            {"id": str(n), "question": f"Half of {n + 1} over {n + 1}?", "answer": "1/2"}
            for n in range(options.problems)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = SolveSettings.build(
            {
                "out": Path(folder) / "out",
                "benchmarks": [f"halves={path}"],
                "methods": ["me_icpo"],
                "search": {
                    "k": options.k,
                    "probes": options.probes,
                    "rounds": options.rounds,
                    "prompt_tokens": options.limit,
                },
            }
        )
        began, worked = time.perf_counter(), time.process_time()
        solve(settings, engine=lambda: engine, stream=io.StringIO())
        clock, work = time.perf_counter() - began, time.process_time() - worked
        return clock - engine.seconds, work - engine.seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {
        "problems": 8,
        "k": 16,
        "probes": 16,
        "rounds": 5,
        "words": 150,
        "limit": 4096,
        "repeats": 5,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="default: %(default)s")
    options = parser.parse_args()
    candidates = options.problems * options.rounds * options.k
    print(
        f"{platform.machine()}, Python {platform.python_version()}: {options.problems} problems, "
        f"{options.rounds} rounds of {options.k} candidates with {options.probes} probes, "
        f"responses of about {options.words} words; milliseconds a candidate, median and range of "
        f"{options.repeats} runs\n"
    )
    rows = []
    cases: dict[str, tuple[Sequence[str], Callable[[str], int] | None]] = {
        "server": (FEW, None),
        "with a tokenizer": (FEW, byte_tokenizer()),
        "server, surds": (DIFFERENT, None),
    }
    for name, case in cases.items():
        one_run(options, *case)  # warms up
        runs = [one_run(options, *case) for _ in range(options.repeats)]
        clock, work = (
            [1000 * one / candidates for one in times] for times in zip(*runs, strict=True)
        )
        totals: dict[str, float] = {}
        with timed(totals):
            one_run(options, *case)
        parts = [f"{1000 * totals[part] / candidates:.3f}" for part in PARTS]
        rows.append(
            [
                name,
                f"{statistics.median(clock):.3f}",
                f"{min(clock):.3f} to {max(clock):.3f}",
                f"{statistics.median(work):.3f}",
                *parts,
            ]
        )
    print(markdown(["", "clock", "range", "processors", *PARTS], rows), end="")


if __name__ == "__main__":
    main()
