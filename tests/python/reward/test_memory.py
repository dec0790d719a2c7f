"""Memory stays as it is, however long a checker is used."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from icpo.math_verify import parse
from icpo.math_verify import verify as peer_verify
from icpo.reward import Checker

STATUS = Path("/proc/self/status")

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")

GOLDS = ["42", r"\frac{1}{3}", "x^2+1", "(1, 2)", r"\sqrt{2}"]
#: With letters beyond ASCII too, of which Python keeps a second form as long as the text lives.
RESPONSES = [
    f"{'We add the numbers, é. ' * 40} so $\\boxed{{{answer}}}$" for answer in (*GOLDS, "7", "x^{")
]
#: Allocators keep some of what is freed. A leak of some hundred bytes a call would be more.
ALLOWED_KB = 4096


def resident_kb() -> int:
    gc.collect()
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def growth_kb(work: Callable[[int], object], calls: int) -> int:
    for call in range(calls // 10):  # caches and free lists fill
        work(call)
    before = resident_kb()
    for call in range(calls):
        work(call)
    return resident_kb() - before


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_single_checks(profile: str) -> None:
    checker = Checker(profile)

    def work(call: int) -> None:
        # A text of its own each time, as in training.
        checker.verify(GOLDS[call % 5], f"{RESPONSES[call % 7]} {call}")

    assert growth_kb(work, 40_000) < ALLOWED_KB


def test_readings() -> None:
    checker = Checker()

    def work(call: int) -> None:
        checker.parse(RESPONSES[call % 7])
        checker.extract(RESPONSES[call % 7])
        checker.equivalent(GOLDS[call % 5], RESPONSES[call % 7])
        answer = parse(RESPONSES[call % 7])
        peer_verify(answer, answer)
        str(answer)

    assert growth_kb(work, 8_000) < ALLOWED_KB


def test_batches() -> None:
    checker = Checker()

    def work(call: int) -> None:
        responses = [f"{RESPONSES[k % 7]} {call} {k}" for k in range(256)]
        checker.score(responses, [GOLDS[k % 5] for k in range(256)])
        checker.cluster(responses[:16])

    assert growth_kb(work, 100) < ALLOWED_KB
