"""Edit distances between all pairs of trajectories, against rapidfuzz in the same run.

    python benches/analysis.py [--count 1000] [--length 2000] [--vocabulary 5000] [--threads 1 2]

Two sets of token sequences: drawn one by one with Zipf's frequencies, as different as trajectories
can be; and edited versions of one sequence, as alike as answers to one prompt, a fifth as many. For
each set and number of threads all pairs are computed by this package before and after rapidfuzz
has, and all distances are compared. rapidfuzz gets lists of integers, which it takes faster than
texts, and all pairs in one call.

Both use Myers's method, 64 cells of the table in one step on a word: (steps) = Σ ⌈shorter / 64⌉ ·
longer over the pairs is what neither can do with less of. A step is 12 instructions where a word is
shifted together with the bit that enters it, and a vector register holds 8 words, or 4, or 2.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import icpo
from icpo.analysis.edit_distance import edit_distances

Tokens = NDArray[np.int64]


def drawn(count: int, length: int, vocabulary: int, rng: np.random.Generator) -> list[Tokens]:
    """Each token on its own, by Zipf's law."""
    chances = 1 / np.arange(1, vocabulary + 1)
    chances /= chances.sum()
    return [rng.choice(vocabulary, size=length, p=chances) for _ in range(count)]


def edited(count: int, length: int, vocabulary: int, rng: np.random.Generator) -> list[Tokens]:
    """One sequence, with a tenth of its tokens replaced, a twentieth left out, as many put in."""
    (original,) = drawn(1, length, vocabulary, rng)
    found = []
    for _ in range(count):
        tokens = np.where(rng.random(length) < 0.1, rng.integers(vocabulary, size=length), original)
        tokens = tokens[rng.random(length) >= 0.05]
        places = rng.integers(len(tokens), size=length // 20)
        found.append(np.insert(tokens, places, rng.integers(vocabulary, size=length // 20)))
    return found


SETS: dict[str, Callable[[int, int, int, np.random.Generator], list[Tokens]]] = {
    "drawn one by one": drawn,
    "edited versions of one": edited,
}


def steps(sequences: Sequence[Tokens]) -> int:
    """Operations on words of 64 cells that all pairs need."""
    lengths = np.sort([len(one) for one in sequences])
    words = -(-lengths // 64)
    # The shorter one down the side, the longer one along the top.
    return int(sum(words[i] * lengths[i + 1 :].sum() for i in range(len(lengths))))


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result


def peer(sequences: Sequence[Tokens]) -> Callable[[int], NDArray[np.int64]] | str:
    """All pairs by rapidfuzz, given a number of threads; or why not."""
    try:
        from rapidfuzz import __version__, process
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        return "rapidfuzz is not installed: pip install rapidfuzz"
    lists = [one.tolist() for one in sequences]
    upper = np.triu_indices(len(lists), 1)
    print(f"rapidfuzz {__version__}")

    def run(threads: int) -> NDArray[np.int64]:
        # The same list twice: it computes half of the table, and mirrors it.
        table = process.cdist(
            lists, lists, scorer=Levenshtein.distance, workers=threads, dtype=np.int32
        )
        return table[upper].astype(np.int64)

    return run


def compare(name: str, sequences: Sequence[Tokens], threads: Sequence[int]) -> None:
    needed = steps(sequences)
    length = int(np.mean([len(one) for one in sequences]))
    print(f"\n{name}: {len(sequences):,} sequences of {length:,} tokens")
    print(f"{len(sequences) * (len(sequences) - 1) // 2:,} pairs, {needed:,} steps")
    theirs = peer(sequences)
    if isinstance(theirs, str):
        print(f"without a peer: {theirs}")
    print(f"{'threads':>7}  {'ours, s':>17}  {'ns a step':>9}  {'peer, s':>8}  {'ratio':>11}")
    for count in threads:
        icpo.set_num_threads(count)
        before, ours = timed(lambda: edit_distances(sequences))
        if isinstance(theirs, str):
            print(f"{count:>7}  {before:>17.2f}  {before / needed * 1e9:>9.3f}")
            continue
        spent, expected = timed(lambda count=count: theirs(count))
        after, again = timed(lambda: edit_distances(sequences))
        if not (np.array_equal(ours, expected) and np.array_equal(again, expected)):
            raise SystemExit(f"{name}: the distances differ")
        slow, fast = max(before, after), min(before, after)
        print(
            f"{count:>7}  {before:>8.2f} {after:>8.2f}  {fast / needed * 1e9:>9.3f}  {spent:>8.1f}"
            f"  {spent / slow:>5.1f}-{spent / fast:.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--count", type=int, default=1000, help="sequences (default: 1000)")
    add("--length", type=int, default=2000, help="tokens of each (default: 2000)")
    add("--vocabulary", type=int, default=5000, help="different tokens (default: 5000)")
    add("--threads", type=int, nargs="+", default=[1, icpo.num_threads()])
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"icpo {icpo.__version__}, {platform.machine()}, {icpo.num_threads()} threads here")
    for name, make in SETS.items():
        rng = np.random.default_rng(options.seed)
        count = options.count if make is drawn else max(2, options.count // 5)
        compare(name, make(count, options.length, options.vocabulary, rng), options.threads)


if __name__ == "__main__":
    main()
