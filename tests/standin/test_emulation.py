"""The emulation itself: does it show the faults that it is there to show?"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import pytest

import direct
import standin as standin_module
from standin import StandIn

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
HEADERS = {"device.cuh": (KERNELS / "device.cuh").read_text()}
SEEDS = range(12)

ARGUMENTS = """
#include "device.cuh"
struct Arguments { const u32* in; u32* out; u32 n; u32 unused; };
"""


class Arguments(ctypes.Structure):
    _fields_ = (
        ("source", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("n", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
    )


def module(standin: StandIn, body: str) -> direct.Module:
    return direct.load(standin, direct.compile_program(standin, ARGUMENTS + body, HEADERS))


@functools.cache
def image(standin: StandIn, body: str, architecture: str = "sm_90") -> bytes:
    """As compiled once for all tests that change no setting of the compiler."""
    options = [f"--gpu-architecture={architecture}"]
    return direct.compile_program(standin, ARGUMENTS + body, HEADERS, options=options)


class Case:
    """A kernel with an input and an output of 32-bit numbers."""

    def __init__(self, standin: StandIn, body: str, out: int, source: int = 0) -> None:
        self.module = direct.load(standin, image(standin, body))
        self.standin = standin
        self.source = np.arange(source + 4, dtype=np.uint32)
        # bulk_load needs 16 bytes' alignment
        self.source = self.source[-self.source.ctypes.data % 16 // 4 :][:source]
        self.out = np.zeros(out, dtype=np.uint32)

    def run(self, seed: int = 0, **shape: int) -> list[int]:
        self.standin.set("seed", seed)
        self.out[:] = 0
        arguments = Arguments(self.source.ctypes.data, self.out.ctypes.data, len(self.out), 0)
        self.module.launch("test", arguments, **shape)
        return self.out.tolist()

    def outcomes(self, **shape: int) -> set[tuple[int, ...]]:
        return {tuple(self.run(seed, **shape)) for seed in SEEDS}


# Each thread reads what its neighbour, in another warp, has written.
NEIGHBOUR = """
KERNEL(test, Arguments, 64, 1) {
    u32* const shared = (u32*)shared_memory();
    const u32 i = threadIdx.x;
    shared[i] = i + 1;
    %s
    arguments.out[blockIdx.x * 64 + i] = shared[(i + 32) %% 64];
}
"""


def test_threads_meet_at_a_barrier(standin: StandIn) -> None:
    case = Case(standin, NEIGHBOUR % "sync_block();", out=128)
    expected = [(i + 32) % 64 + 1 for i in range(64)] * 2
    assert case.outcomes(blocks=2, threads=64, shared=256) == {tuple(expected)}


def test_a_missing_barrier_shows(standin: StandIn) -> None:
    case = Case(standin, NEIGHBOUR % "", out=64)
    outcomes = case.outcomes(blocks=1, threads=64, shared=256)
    assert len(outcomes) > 1
    assert any(0xFFFFFFFF in outcome for outcome in outcomes), "memory starts poisoned"


def test_shuffles_and_identities(standin: StandIn) -> None:
    case = Case(
        standin,
        """
        KERNEL(test, Arguments, 64, 1) {
            const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
            const u32 other = shuffle_xor(i, 5);
            const float half = shuffle_xor((float)i + 0.5f, 1);
            const double wide = shuffle_xor((double)i + 0.25, 16);
            arguments.out[i] = other + 1000 * (u32)half + 1000000 * (u32)wide
                + 100000000 * shuffle_first(cluster_rank());
        }
        """,
        out=128,
    )
    threads = [(block, thread) for block in range(2) for thread in range(64)]
    expected = [
        (64 * b + (t ^ 5)) + 1000 * (64 * b + (t ^ 1)) + 1000000 * (64 * b + (t ^ 16)) + b * 10**8
        for b, t in threads
    ]
    assert case.outcomes(blocks=2, threads=64, cluster=2) == {tuple(expected)}


# One thread orders a copy of n numbers, all threads wait for it twice over.
BULK = """
KERNEL(test, Arguments, 64, 1) {
    u32* const shared = (u32*)shared_memory();
    u64* const full = (u64*)(shared + 64);
    if (threadIdx.x == 0) {
        barrier_init(full, 1);
        barrier_init_done();
    }
    sync_block();
    for (u32 round = 0; round < 2; round++) {
        if (threadIdx.x == 0) {
            barrier_arrive_expecting(full, 256);
            bulk_load(shared, arguments.in + round * 64, 256, full);
        }
        %s
        arguments.out[round * 64 + threadIdx.x] = shared[threadIdx.x];
        %s
    }
    barrier_wait(full, 1);
}
"""


def test_bulk_copies_arrive(standin: StandIn) -> None:
    case = Case(standin, BULK % ("barrier_wait(full, round);", "sync_block();"), 128, 128)
    shape = {"blocks": 1, "threads": 64, "shared": 264}
    assert case.outcomes(**shape) == {tuple(case.source.tolist())}


@pytest.mark.parametrize(
    ("wait", "settle"),
    [
        pytest.param("", "sync_block();", id="no-wait"),
        pytest.param("barrier_wait(full, 1);", "sync_block();", id="wrong-phase"),
        pytest.param("barrier_wait(full, round);", "", id="slot-taken-back-early"),
    ],
)
def test_a_copy_that_is_not_waited_for_shows(standin: StandIn, wait: str, settle: str) -> None:
    case = Case(standin, BULK % (wait, settle), 128, 128)
    outcomes = set()
    for seed in SEEDS:
        try:
            outcomes.add(tuple(case.run(seed, blocks=1, threads=64, shared=264)))
        except direct.DriverError as error:
            outcomes.add((error.code,))
    assert outcomes != {tuple(case.source.tolist())}


# Each CTA sends its number to all others; the bytes may come before anybody expects them.
SENDS = """
KERNEL(test, Arguments, 32, 1) {
    u32* const shared = (u32*)shared_memory();
    u64* const told = (u64*)(shared + 4 * 8);
    if (threadIdx.x == 0) {
        barrier_init(told, 1);
        barrier_init_done();
    }
    %s
    const u32 me = cluster_rank();
    if (threadIdx.x < 8) {
        send_16(shared + 4 * me, told, threadIdx.x, me, me + 1, me + 2, me + 3);
    }
    if (threadIdx.x == 0) barrier_arrive_expecting(told, 8 * 16);
    barrier_wait(told, 0);
    arguments.out[me * 32 + threadIdx.x] = shared[threadIdx.x];
    %s
}
"""


def test_sends_between_the_ctas_of_a_cluster(standin: StandIn) -> None:
    case = Case(standin, SENDS % ("sync_cluster();", "sync_cluster();"), out=256)
    expected = [me + i for me in range(8) for i in range(4)] * 8
    shape = {"blocks": 8, "threads": 32, "cluster": 8, "shared": 136}
    assert case.outcomes(**shape) == {tuple(expected)}


def test_sends_before_all_have_started_are_reported(
    standin: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    case = Case(standin, SENDS % ("", "sync_cluster();"), out=256)
    codes = set()
    for seed in SEEDS:
        try:
            case.run(seed, blocks=8, threads=32, cluster=8, shared=136)
        except direct.DriverError as error:
            codes.add(error.code)
    assert codes
    said = capfd.readouterr().err
    assert "may not have started" in said or "not initialised" in said


FAULTS = {
    "deadlock: a thread that misses a barrier": (
        "if (threadIdx.x != 5) sync_block();",
        702,
        "63 threads of block 0 wait at sync_block",
    ),
    "deadlock: a phase that nobody ends": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) barrier_init(b, 2);
        sync_block();
        if (threadIdx.x == 0) barrier_arrive(b);
        barrier_wait(b, 0);""",
        702,
        "lacks 1 arrivals",
    ),
    "deadlock: looking for ever": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) { barrier_init(b, 1); while (!barrier_ended(b, 0)) {} }""",
        702,
        "again and again",
    ),
    "over-arrival": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) barrier_init(b, 33);
        sync_block();
        barrier_arrive(b); barrier_arrive(b);
        if (threadIdx.x == 0) { barrier_wait(b, 0); barrier_init(b, 1); }""",
        715,
        "initialised again",
    ),
    "too many arrivals": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) {
            barrier_init(b, 1); barrier_init_done(); barrier_arrive_expecting(b, 16);
            barrier_arrive(b);
        }""",
        715,
        "more arrivals",
    ),
    "no init": ("barrier_arrive((u64*)shared_memory());", 715, "not initialised"),
    "overwritten barrier": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) { barrier_init(b, 1); *b = 0; barrier_arrive(b); }""",
        715,
        "overwritten",
    ),
    "init not made known": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) { barrier_init(b, 1); bulk_load(b + 2, arguments.in, 16, b); }""",
        715,
        "barrier_init_done",
    ),
    "misaligned load": (
        "arguments.out[0] = load_16((u8*)arguments.in + 4).x;",
        716,
        "no multiple of 16",
    ),
    "misaligned bulk copy": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) {
            barrier_init(b, 1); barrier_init_done();
            bulk_load(b + 2, arguments.in, 24, b);
        }""",
        716,
        "multiples of 16",
    ),
    "copy behind the end": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) {
            barrier_init(b, 1); barrier_init_done();
            bulk_load(shared_memory() + 256, arguments.in, 16, b);
        }""",
        700,
        "outside the CTA's shared memory",
    ),
    "write behind the end": (
        "((u32*)shared_memory())[64 + threadIdx.x / 63] = 1;",
        700,
        "behind the 256 bytes of shared memory",
    ),
    "wild pointer": ("*(u32*)(u64)(8 * threadIdx.x) = 1;", 700, "an access to address"),
    "mixed shuffles": (
        """if (threadIdx.x % 2) shuffle_xor(1u, 1); else shuffle_xor(1.0, 1);""",
        715,
        "different shuffles",
    ),
    "leaving before a copy has come": (
        """u64* const b = (u64*)shared_memory();
        if (threadIdx.x == 0) {
            barrier_init(b, 1); barrier_init_done();
            barrier_arrive_expecting(b, 16); bulk_load(b + 2, arguments.in, 16, b);
        }""",
        700,
        "a CTA left while",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_the_launch_with_a_reason(
    standin: StandIn, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    body, code, reason = FAULTS[name]
    case = Case(standin, f"KERNEL(test, Arguments, 64, 1) {{ {body} }}", out=64, source=64)
    with pytest.raises(direct.DriverError) as caught:
        case.run(blocks=1, threads=64, shared=256)
    assert caught.value.code == code
    assert reason in capfd.readouterr().err
    # The next launch is none the worse for it.
    sound = Case(standin, "KERNEL(test, Arguments, 64, 1) { arguments.out[threadIdx.x] = 1; }", 64)
    assert sound.run(blocks=1, threads=64) == [1] * 64


NUMBERS = """
KERNEL(test, Arguments, 64, 1) {
    const u32* const in = arguments.in;
    u32* const out = arguments.out;
    const u32 n = arguments.n / 6;
    for (u32 i = threadIdx.x; i < n; i += 64) {
        const float x = bits_to_float(in[i]), y = bits_to_float(in[(i + 1) % n]);
        out[i] = pack_bf16(x, y);
        out[n + i] = pack_f16(x, y);
        out[2 * n + i] = max_f16x2(in[i], in[(i + 1) % n]);
        out[3 * n + i] = float_to_bits(f16_high(in[i]));
        out[4 * n + i] = float_to_bits(exp2_fast(f16_low(in[i])));
        out[5 * n + i] = max_bf16x2(in[i], in[(i + 1) % n]);
    }
}
"""


def halves(words: np.ndarray) -> np.ndarray:
    """Low and high halves of 32-bit words, as f16."""
    return words.view(np.uint16).reshape(-1, 2).view(np.float16)


def from_bf16(words: np.ndarray) -> np.ndarray:
    """Low and high halves of 32-bit words, as bf16 widened to float."""
    both = words.view(np.uint16).reshape(-1, 2).astype(np.uint32) << 16
    return both.view(np.float32)


def greater(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.fmax(a, b)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_are_those_of_the_device(standin: StandIn) -> None:
    rng = np.random.default_rng(5)
    words = rng.integers(0, 2**32, 3000, dtype=np.uint32)
    small = (rng.standard_normal(3000) * 2.0 ** rng.integers(-26, 18, 3000)).astype(np.float32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, 65520, 2**-24, 2**-25])
    ties = np.array([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 3 * 2**-25])
    floats = np.concatenate([small, special, -ties, ties]).astype(np.float32)
    words = np.concatenate([words, floats.view(np.uint32)])
    n = len(words)
    case = Case(standin, NUMBERS, out=6 * n)
    case.source = words
    out = np.array(case.run(blocks=1, threads=64), dtype=np.uint32).reshape(6, n)

    x, y = words.view(np.float32), np.roll(words, -1).view(np.float32)
    # numpy rounds to f16 correctly; bf16 comes from adding half a unit to the bits.
    pairs = np.stack([x, y], 1)
    np.testing.assert_array_equal(halves(out[1]), pairs.astype(np.float16))
    wide = pairs.view(np.uint32).astype(np.uint64)
    rounded = ((wide + 0x7FFF + (wide >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    expected = np.where(np.isnan(pairs), np.nan, rounded.reshape(pairs.shape))
    np.testing.assert_array_equal(from_bf16(out[0]), expected)

    following = np.roll(words, -1)
    np.testing.assert_array_equal(halves(out[2]), greater(halves(words), halves(following)))
    np.testing.assert_array_equal(
        from_bf16(out[5]), greater(from_bf16(words), from_bf16(following))
    )
    np.testing.assert_array_equal(out[3].view(np.float32), halves(words)[:, 1].astype(np.float32))

    exponent = halves(words)[:, 0].astype(np.float64)
    found, exact = out[4].view(np.float32).astype(np.float64), np.exp2(exponent)
    flushed = exact < 2.0**-126
    assert (found[flushed & ~np.isnan(exact)] == 0).all()
    finite = np.isfinite(exact) & (exact < 3.4e38) & ~flushed
    error = np.abs(found[finite] / exact[finite] - 1)
    assert 2.0**-24 < error.max() <= 2.0**-22
    assert (found[exponent == 0] == 1).all()


SANITIZED = """
import ctypes, sys
sys.path.insert(0, {folder!r})
import direct, standin, test_emulation
stand_in = standin.StandIn(standin.build())
body = {body!r}
case = test_emulation.Case(stand_in, body, out=64, source=64)
print(case.run(blocks=1, threads=64, shared=256)[:2])
"""


@pytest.mark.parametrize(
    ("place", "found"),
    [("threadIdx.x", False), ("threadIdx.x + 1", True)],
    ids=["inside", "one-too-far"],
)
def test_the_address_sanitizer_sees_shared_memory(
    libraries: standin_module.Libraries, place: str, found: bool
) -> None:
    library = standin_module.sanitizer("asan")
    if library is None:
        pytest.skip("the compiler has no address sanitizer")
    env = standin_module.environment(libraries, cxxflags="-fsanitize=address", threads="1")
    env["LD_PRELOAD"] = library
    env["ASAN_OPTIONS"] = "detect_leaks=0"
    body = f"""KERNEL(test, Arguments, 64, 1) {{
        u32* const shared = (u32*)shared_memory();
        shared[threadIdx.x] = threadIdx.x;
        sync_block();
        arguments.out[threadIdx.x] = shared[{place}];
    }}"""
    folder = str(Path(__file__).resolve().parent)
    done = standin_module.run(SANITIZED.format(folder=folder, body=body), env)
    assert ("heap-buffer-overflow" in done.stderr) == found, done.stderr[-3000:]
    assert (done.returncode != 0) == found, done.stderr[-3000:]
    assert found or done.stdout == "[0, 1]\n"
