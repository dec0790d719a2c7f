"""Faults planted into the kernels, one at a time, to see that the other tests find them.

Each is a small edit of a source that still compiles: a barrier, a phase, a width, an end forgotten.
The tests named beside it are run on the kernels that result, in a process of their own, and have to
fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import standin as standin_module

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"


@dataclass(frozen=True)
class Fault:
    """What is edited where, and who should notice."""

    name: str
    file: str
    old: str
    new: str
    #: A test file, and of its tests those that match.
    tests: tuple[str, str]
    #: Whether it takes the address sanitizer to see it.
    sanitized: bool = False


PASSES = ("test_logp_entropy.py", "layout or schedule")
FUSED = ("test_fused.py", "schedule or vocabulary_that_a_plan_holds")

FAULTS = [
    Fault(
        "no barrier between the warps of a block and the one that adds them up",
        "logp_entropy.cu",
        "        sync_block();\n",
        "",
        PASSES,
    ),
    Fault(
        "offsets of rows 32 bits wide",
        "arguments.cuh",
        "return base + (outer * outer_stride + inner * inner_stride) * Element::SIZE;",
        "return base + (int)(outer * outer_stride + inner * inner_stride) * Element::SIZE;",
        ("test_logp_entropy.py", "64_bits"),
    ),
    Fault(
        "the tail of a row dropped in the forward pass",
        "logp_entropy.cu",
        "const u32 behind = a.vocabulary - layout.tail;",
        "const u32 behind = 0;",
        PASSES,
    ),
    Fault(
        "the head of a row dropped in the backward pass",
        "logp_entropy.cu",
        "be the whole row.\n    const u32 outside = layout.head + vocabulary - layout.tail;\n",
        "be the whole row.\n    const u32 outside = vocabulary - layout.tail;\n",
        PASSES,
    ),
    Fault(
        "the rows of two buffers in one",
        "logp_entropy.cu",
        "        turn ^= 1;\n",
        "",
        PASSES,
    ),
    Fault(
        "no new reference when the old one is exceeded",
        "row.cuh",
        "    if (top > sums.reference + 8.f) {\n",
        "    if (sums.reference == NOTHING) {\n",
        PASSES,
    ),
    Fault(
        "-inf times nothing",
        "row.cuh",
        "const float t = max_or_nan(fmaf(x[i], c, -sums.reference), FLOOR);",
        "const float t = fmaf(x[i], c, -sums.reference);",
        PASSES,
    ),
    Fault(
        "the rounding of the offset lost",
        "row.cuh",
        "const double lost = ((double)row.offset - offset) * LN2;",
        "const double lost = 0.0;",
        PASSES,
    ),
    Fault(
        "holders do not wait for the copy engine",
        "fused.cu",
        "                    barrier_wait(&shared->full[slot], slot_parity);\n",
        "",
        FUSED,
    ),
    Fault(
        "holders wait for the wrong phase",
        "fused.cu",
        "                        slot_parity ^= 1;\n",
        "",
        FUSED,
    ),
    Fault(
        "the loader does not wait for an empty slot",
        "fused.cu",
        "return row < a.rows && barrier_ended(&shared->empty[slot], parity);",
        "return row < a.rows;",
        FUSED,
    ),
    Fault(
        "a slot given back by one lane while others still read it",
        "fused.cu",
        "                    sync_warp();\n                    if (lane == 0) barrier_arrive",
        "                    if (lane == 0) barrier_arrive",
        FUSED,
    ),
    Fault(
        "holders do not wait for orders",
        "fused.cu",
        "            barrier_wait(&shared->settled, settled_parity);\n",
        "",
        FUSED,
    ),
    Fault(
        "orders given before they are written",
        "fused.cu",
        "    if (lane == 0) {\n        shared->orders.gradient = gradient;\n",
        "    if (lane == 0) {\n        barrier_arrive(&shared->settled);\n"
        "        shared->orders.gradient = gradient;\n",
        FUSED,
    ),
    Fault(
        "one barrier for the messages of all rows",
        "fused.cu",
        "                u64* const told = &shared->told[turn];\n",
        "                u64* const told = &shared->told[0];\n",
        FUSED,
    ),
    Fault(
        "half of each message not waited for",
        "fused.cu",
        "static const u32 MESSAGE_BYTES = 24;",
        "static const u32 MESSAGE_BYTES = 16;",
        FUSED,
    ),
    Fault(
        "blocks send before others have set up their barriers",
        "fused.cu",
        "    sync_cluster();\n    const Slice slice",
        "    const Slice slice",
        FUSED,
    ),
    Fault(
        "loads beyond the end of the slice",
        "fused.cu",
        "const u32 bytes = (left < SLOT_VECTORS ? left : SLOT_VECTORS) * 16;",
        "const u32 bytes = SLOT_VECTORS * 16;",
        ("test_fused.py", "vocabulary_that_a_plan_holds"),
        sanitized=True,
    ),
    Fault(
        "the wrong token's weight decides",
        "fused.cu",
        "        task = next_task;\n",
        "",
        FUSED,
    ),
    Fault(
        "sums of a chunk of tokens left out",
        "policy_loss.cu",
        "for (u64 block = lane; block < a.blocks; block += 32)",
        "for (u64 block = lane; block < a.blocks && block < 32; block += 32)",
        ("test_policy_loss.py", "block"),
    ),
]


def sanitized(kind: str) -> dict[str, str]:
    """What to add to an environment for a sanitizer to watch the kernels."""
    library = standin_module.sanitizer({"address": "asan", "undefined": "ubsan"}[kind])
    if library is None:
        pytest.skip(f"the compiler has no {kind} sanitizer")
    # Torch throws and catches: the sanitizer has to find the C++ library when it is loaded itself.
    asked = [standin_module.compiler(), "-print-file-name=libstdc++.so.6"]
    cxx = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return {"LD_PRELOAD": f"{library} {cxx}", "ASAN_OPTIONS": "detect_leaks=0"}


def run_tests(
    libraries: standin_module.Libraries, tests: tuple[str, str], watch: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs tests on kernels compiled under these settings."""
    if watch:
        settings["cxxflags"] = f"-fsanitize={watch} -fno-sanitize-recover=all"
    env = standin_module.environment(libraries, threads="1", **settings)
    env.update(sanitized(watch) if watch else {})
    env["OMP_NUM_THREADS"] = "1"
    files, expression = tests
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-k", expression]
    options += ["-s"] if watch else []  # a sanitizer ends the process, and captured text with it
    paths = [str(HERE / file) for file in files.split()]
    command = [sys.executable, "-m", "pytest", *paths, *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)


def outcome(fault: Fault, libraries: standin_module.Libraries) -> subprocess.CompletedProcess[str]:
    """Runs the tests on the kernels with this fault."""
    assert (KERNELS / fault.file).read_text(encoding="utf-8").count(fault.old) == 1, fault.name
    planted = standin_module.mutation(fault.file, fault.old, fault.new)
    watch = "address" if fault.sanitized else ""
    return run_tests(libraries, fault.tests, watch, mutation=planted)


def test_planted_faults_are_found(libraries):
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        outcomes = list(pool.map(lambda fault: outcome(fault, libraries), FAULTS))
    missed = []
    for fault, done in zip(FAULTS, outcomes, strict=True):
        said = done.stdout + done.stderr
        words = ("E ", "FAILED", "SUMMARY")
        reasons = [line for line in said.splitlines() if line.startswith(words)]
        found = "found" if done.returncode == 1 else "NOT FOUND"
        print(f"{found:10} {fault.name}: {reasons[0][:150] if reasons else ''}")
        # A fault that does not compile would be found by everybody, and show nothing.
        assert "does not compile" not in said, (fault.name, said[-2000:])
        assert done.returncode in (0, 1), (fault.name, said[-3000:])
        missed += [fault.name] if done.returncode == 0 else []
    assert not missed


def test_the_tests_pass_without_a_fault(libraries):
    """What finds a fault finds none in the kernels as they are."""
    sound = Fault("none", "row.cuh", "// A row of logits in one pass", "// A row", FUSED)
    done = outcome(sound, libraries)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("kind", ["address", "undefined"])
def test_sanitizers_have_nothing_to_say(libraries, kind):
    files = "test_logp_entropy.py test_fused.py test_policy_loss.py test_advantage.py test_scale.py"
    chosen = "layout or slice or faults or shards or agree or plan_holds or anywhere or shapes"
    done = run_tests(libraries, (files, chosen), kind)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
