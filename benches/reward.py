"""The answer checker against Math-Verify, on the same pairs in the same run.

    python benches/reward.py [--pairs FILE] [--limit 400] [--peer PYTHON] [--threads 1 2]

Four tables:

1. One check, gold and response parsed anew, one thread: ours and the peer's, with ratios. The two
   take turns over chunks of the pairs, so that a busy machine slows both.
2. Many responses of about 2,000 tokens at once, over numbers of threads; medians of 3.
3. Hostile inputs: the slowest of ours.
4. A response of one megabyte.

Pairs are JSON lines with "gold" and "pred". Without a file they come from the corpora (the folder
that ICPO_CHECKER_CORPORA names), and without those they are made up. The peer runs in an
environment of its own, since other packages pin an antlr runtime with which it is broken: `--peer`
names its interpreter, and `make bench-reward` makes one. Without a peer the first table has our
columns only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import icpo
from icpo import reward

CORPORA = Path(
    os.environ.get(
        "ICPO_CHECKER_CORPORA", Path(__file__).resolve().parents[2] / "shared" / "checker"
    )
)
Pair = tuple[str, str]


def made_up_pairs(count: int, rng: random.Random) -> list[Pair]:
    """Worked solutions with answers of the kinds that problem sets have, half of them right."""
    pairs = []
    for _ in range(count):
        a, b, c = rng.randint(2, 99), rng.randint(2, 99), rng.randint(1, 9)
        gold, same, other = rng.choice(
            [
                (f"{a * b}", f"{a * b:,}", f"{a * b + c}"),
                (
                    rf"\frac{{{a}}}{{{b}}}",
                    rf"\dfrac{{{2 * a}}}{{{2 * b}}}",
                    rf"\frac{{{b}}}{{{a}}}",
                ),
                (rf"{c}\sqrt{{{b}}}", rf"\sqrt{{{c * c * b}}}", rf"{c + 1}\sqrt{{{b}}}"),
                (f"x^2+{a}x+{b}", f"{b}+x({a}+x)", f"x^2+{b}x+{a + b}"),
                (f"({a},{b})", rf"\left({a}, {b}\right)", f"({b},{a + b})"),
                (f"[{a},{a + b})", f"[{a}, {a + b})", f"({a}, {a + b})"),
                (rf"{a}\pi", rf"{2 * a}\cdot\frac{{\pi}}{{2}}", rf"{b + a}\pi"),
            ]
        )
        steps = "".join(
            rf"Step {k}: we have ${a}+{k}={a + k}$, so \(y_{{{k}}} = {b * k}\). " for k in range(12)
        )
        answer = same if rng.random() < 0.5 else other
        pairs.append((gold, f"{steps}\nThe answer is $\\boxed{{{answer}}}$."))
    return pairs


def read_pairs(file: Path | None) -> list[Pair]:
    if file is None:
        file = CORPORA / "real.dev.jsonl"
        if not file.exists():
            return made_up_pairs(2000, random.Random(0))
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["gold"], row["pred"]) for row in rows]


def delimited(gold: str) -> str:
    """The gold as the peer expects it: in dollars, unless it has some."""
    return gold if "$" in gold.replace("\\$", "") else f"${gold}$"


class Peer:
    """Math-Verify in a process of its own."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("reward_peer.py")
        self.process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def check(self, gold: str, pred: str) -> tuple[float, bool]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"gold": delimited(gold), "pred": pred}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("The peer has ended; what it said is above.")
        row = json.loads(line)
        return row["seconds"], row["equal"]


def chunks(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def one_check(pairs: Sequence[Pair], peer: Peer | None) -> None:
    checkers = {name: reward.Checker(name) for name in ("strict", "math_verify")}
    ours: dict[str, list[float]] = {name: [] for name in checkers}
    theirs: list[float] = []
    same = 0
    for chunk in chunks(pairs, 20):
        said = {}
        for name, checker in checkers.items():
            said[name] = []
            for gold, pred in chunk:
                start = time.perf_counter()
                equal = checker.verify(gold, pred)
                ours[name].append(time.perf_counter() - start)
                said[name].append(equal)
        if peer:
            for (gold, pred), equal in zip(chunk, said["math_verify"], strict=True):
                seconds, peer_equal = peer.check(gold, pred)
                theirs.append(seconds)
                same += equal == peer_equal
    print(f"\n1. One check, one thread, {len(pairs)} pairs: microseconds")
    measures = {
        "median": statistics.median,
        "mean": statistics.fmean,
        "p95": lambda values: quantile(values, 0.95),
        "p99": lambda values: quantile(values, 0.99),
        "max": max,
    }
    header = f"{'':8}{'strict':>12}{'math_verify':>14}"
    print(header + (f"{'Math-Verify':>14}{'ratio':>10}" if theirs else ""))
    for name, measure in measures.items():
        line = f"{name:8}" + "".join(
            f"{1e6 * measure(values):>{width},.1f}"
            for values, width in zip(ours.values(), (12, 14), strict=True)
        )
        if theirs:
            them = measure(theirs)
            line += f"{1e6 * them:>14,.1f}{them / measure(ours['math_verify']):>10,.0f}"
        print(line)
    if theirs:
        print(f"Same verdict as the peer: {same} of {len(pairs)}")


def long_responses(pairs: Sequence[Pair], count: int) -> tuple[list[str], list[str]]:
    """Responses of 8,000 characters, about 2,000 tokens, each ending as the original does."""
    filler = "".join(pred for _, pred in pairs[:50])
    responses, golds = [], []
    for k in range(count):
        gold, pred = pairs[k % len(pairs)]
        # No two are the same text, and no box but the response's own.
        lead = filler[(k * 37) % max(1, len(filler) - 8000) :][:8000].replace("\\boxed", "")
        responses.append((lead + "\n\n" + pred)[-8000:])
        golds.append(gold)
    return responses, golds


def many(pairs: Sequence[Pair], count: int, threads: Sequence[int]) -> None:
    responses, golds = long_responses(pairs, count)
    megabytes = sum(map(len, responses)) / 1e6
    print(f"\n2. {count:,} responses of 8,000 characters ({megabytes:.0f} MB): score()")
    print(f"{'threads':>8}{'seconds':>10}{'responses/s':>14}{'MB/s':>8}{'speed-up':>10}")
    checker = reward.Checker("strict")
    first = None
    for number in threads:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            checker.score(responses, golds, threads=number)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        first = first or median
        print(
            f"{number:>8}{median:>10.2f}{count / median:>14,.0f}{megabytes / median:>8.0f}"
            f"{first / median:>10.2f}"
        )


def hostile() -> None:
    file = CORPORA / "hostile.dev.jsonl"
    if not file.exists():
        print("\n3. Hostile inputs: no corpus here")
        return
    checker = reward.Checker("strict")
    timed = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        pred = row.get("pred")
        if pred is None:
            pred = "".join(text * times for text, times in row["pred_parts"])
        start = time.perf_counter()
        verdict = checker.check(row["gold"], pred)
        seconds = time.perf_counter() - start
        told = row["want"] is not None and verdict.outcome != "unknown"
        wrong = told and verdict.equal != row["want"]
        timed.append((seconds, row["name"], verdict.outcome, wrong))
    timed.sort(reverse=True)
    print(f"\n3. {len(timed)} hostile inputs, the slowest: milliseconds")
    for seconds, name, outcome, _ in timed[:5]:
        print(f"{1e3 * seconds:>8.2f}  {outcome:10}  {name}")
    print(f"Wrong: {[name for _, name, _, wrong in timed if wrong] or 'none'}")


def megabyte(pairs: Sequence[Pair]) -> None:
    checker = reward.Checker("strict")
    text = "".join(pred for _, pred in pairs)
    text = (text * (1 + 1_000_000 // max(1, len(text))))[:1_000_000]
    endings = {"box at the end": r" so \boxed{42}", "no answer": "", "dollars": "$ $" * 1000}
    print("\n4. A response of one megabyte: milliseconds, median of 9")
    for name, ending in endings.items():
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            checker.verify("42", text + ending)
            seconds.append(time.perf_counter() - start)
        print(f"{1e3 * statistics.median(seconds):>8.2f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=Path, help="JSON lines with gold and pred")
    parser.add_argument("--limit", type=int, default=400, help="pairs for the first table")
    parser.add_argument("--count", type=int, default=16_384, help="responses for the second")
    parser.add_argument("--peer", default=os.environ.get("ICPO_PEER_PYTHON"), help="its Python")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.pairs)
    random.Random(0).shuffle(pairs)
    print(
        f"icpo {icpo.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{platform.machine()}"
    )
    one_check(pairs[: arguments.limit], Peer(arguments.peer) if arguments.peer else None)
    many(pairs, arguments.count, arguments.threads)
    hostile()
    megabyte(pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak resident memory of this process: {peak:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
