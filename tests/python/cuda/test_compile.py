"""What the compiler makes of every kernel, for every target. No GPU is needed: NVRTC comes with
torch, and nvdisasm reads the machine code.

Instructions per element are counted so:

- Kernels that pass over a row: the smallest loops that load 16 bytes at a time are hot (heads and
  tails of misaligned rows load one by one). The instructions of a body are divided by the elements
  that its 16-byte loads bring.
- The row-resident kernel has no such loop, since its scans are unrolled over the registers that
  hold the row. The body of its holders' loop over rows, waiting and exchange included, is divided
  by the elements that a thread holds: the smallest loop that reads and writes all of them.

Bounded is what every element passes, without detours (`Function.always`). A predicated instruction
counts, on or off: it takes its turn in the pipeline. An H200 issues 132 x 128 instructions a clock,
30e12 a second at 1.755 GHz. At 4.3 TB/s one bf16 pass reads 2.15e12 elements a second, which leaves
14 instructions for each; read and written it is 1.07e12, which leaves 28.

`python -m pytest tests/python/cuda/test_compile.py -s` prints the figures.
"""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import nvrtc
import pytest
import sass

KERNELS = Path(__file__).parents[3] / "kernels"
TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
SIZES = {"bf16": 2, "f16": 2, "f32": 4}

REGISTERS_PER_SM = 65_536
REGISTERS_OF_PLANS = 128

# CI installs both, so there their absence is a failure and not a reason to skip.
if not os.environ.get("CI"):
    if nvrtc.library() is None:
        pytest.skip("torch brought no NVRTC", allow_module_level=True)
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed", allow_module_level=True)


@dataclass(frozen=True)
class Unit:
    """A source, its macros, and the names under which reports show it."""

    source: str
    macros: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.source.removesuffix(".cu"), *self.macros])


@dataclass(frozen=True)
class Plan:
    """How the row-resident kernel holds rows of a vocabulary on a target."""

    dtype: str
    cluster: int
    threads: int
    held: int
    slots: int
    blocks: int
    shared: int

    @property
    def unit(self) -> Unit:
        figures = {
            "ELEMENT": self.dtype.upper(),
            "CLUSTER": self.cluster,
            "THREADS": self.threads,
            "HELD": self.held,
            "SLOTS": self.slots,
            "BLOCKS_PER_SM": self.blocks,
            "SHARED": self.shared,
        }
        return Unit("fused.cu", tuple(f"ICPO_{name}={value}" for name, value in figures.items()))


#: Shared memory of an SM and of a block, in bytes, where there are clusters.
SHARED = {
    "sm_90": (233_472, 232_448),
    "sm_100": (233_472, 232_448),
    "sm_120": (102_400, 101_376),
}


def plan_of(vocabulary: int, dtype: str, target: str) -> Plan:
    """The first shape that fits, as src/cuda/plan.rs chooses it."""
    per_sm, per_block = SHARED[target]
    vectors = vocabulary * SIZES[dtype] // 16
    for threads, most_held, blocks in ((224, 22, 2), (480, 20, 1)):
        for cluster in (1, 2, 4, 8):
            held = math.ceil(math.ceil(vectors / cluster) / threads)
            if held <= most_held:
                available = min(per_block, per_sm // blocks - 1024)

                def needed(slots: int, cluster: int = cluster, threads: int = threads) -> int:
                    barriers = 128 + math.ceil((2 * slots + 3) * 8 / 16) * 16
                    exchange = 2 * cluster * (threads // 32) * 32 + 64
                    return slots * threads * 16 + barriers + exchange

                slots = max(n for n in range(1, 32) if needed(n) <= available)
                return Plan(dtype, cluster, threads, held, slots, blocks, needed(slots))
    raise AssertionError(f"no plan for {vocabulary} in {dtype}")


#: Vocabularies of Qwen 2.5 and 3 (two paddings), Llama 3, Llama 2 and Mistral, Gemma.
ROWS = [
    (151_936, "bf16"),
    (152_064, "bf16"),
    (128_256, "bf16"),
    (32_000, "bf16"),
    (262_144, "bf16"),
    (151_936, "f16"),
    (151_936, "f32"),
    (262_144, "f32"),
]
PLAIN = [Unit(path.name) for path in sorted(KERNELS.glob("*.cu")) if path.name != "fused.cu"]
PLANS = [(v, d, t) for t in SHARED for v, d in ROWS if (KERNELS / "fused.cu").exists()]


@functools.cache
def compiled(unit: Unit, target: str) -> nvrtc.Image:
    """The unit with its resources in the log."""
    headers = {path.name: path.read_text() for path in KERNELS.glob("*.cuh")}
    options = [f"--gpu-architecture={target}", "--std=c++17", "-default-device"]
    options += [f"-D{macro}" for macro in unit.macros]
    source = (KERNELS / unit.source).read_text()
    return nvrtc.compile_cubin(unit.source, source, headers, [*options, "--ptxas-options=-v"])


@functools.cache
def code(unit: Unit, target: str) -> dict[str, sass.Function]:
    """Its machine code."""
    return sass.disassemble(compiled(unit, target).cubin)


@dataclass(frozen=True)
class Resources:
    """What a kernel takes of an SM."""

    registers: int
    stack: int
    spilled: int


REPORT = re.compile(
    r"Function properties for (\w+)\s+ptxas\W+(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads\s+ptxas info\W+Used (\d+) registers"
)


def resources(unit: Unit, target: str) -> dict[str, Resources]:
    """Of each kernel, from the log; none may be missing there."""
    log = compiled(unit, target).log
    found = {
        name: Resources(int(registers), int(stack), int(stores) + int(loads))
        for name, stack, stores, loads, registers in REPORT.findall(log)
    }
    assert found.keys() == code(unit, target).keys(), log
    return found


#: The most that an element may take: for two bytes an element, and for four, where half as many
#: share what a vector costs (and twice as many bytes are moved). Much of `scale` is for the ends of
#: misaligned rows, which lies within its loop.
BOUNDS = {
    "row_states": (16.0, 17.0),
    "gradient": (13.5, 18.0),
    "scale": (16.0, 21.0),
    "fused": (21.5, 28.0),
    "fused_entropy": (23.5, 30.0),
}

#: KERNEL(name, Arguments, threads, blocks_per_sm)
DECLARED = re.compile(r"^KERNEL\((\w+), *\w+, *([^,]+), *([^)]+)\)", re.MULTILINE)

targets = pytest.mark.parametrize("target", TARGETS)
plain = pytest.mark.parametrize("unit", PLAIN, ids=str)
plans = pytest.mark.parametrize(("vocabulary", "dtype", "target"), PLANS)


def declared(unit: Unit) -> dict[str, tuple[int, int]]:
    """Threads and blocks an SM of each kernel that the source declares."""
    found = DECLARED.findall((KERNELS / unit.source).read_text())
    return {name: (int(threads), int(blocks)) for name, threads, blocks in found}


def assert_stays_in_registers(unit: Unit, target: str) -> None:
    """Nothing spilled, nothing in local memory."""
    for name, used in resources(unit, target).items():
        assert used.spilled == 0, f"{name}: {used.spilled} bytes spilled"
        assert used.stack == 0, f"{name}: a stack of {used.stack} bytes"
        for operation in ("LDL", "STL"):
            assert code(unit, target)[name].count(operation) == 0, f"{name}: {operation}"


def assert_fits(name: str, registers: int, threads: int, blocks: int) -> None:
    """As many blocks as planned find registers on an SM, which come in eights a thread."""
    needed = math.ceil(registers / 8) * 8 * threads * blocks
    assert needed <= REGISTERS_PER_SM, f"{name}: {blocks} blocks need {needed} registers"


def assert_no_atomics(unit: Unit, target: str) -> None:
    """Sums are taken in a fixed order, so nothing adds to memory behind anybody's back."""
    for function in code(unit, target).values():
        for operation in ("RED", "REDG", "REDAS", "ATOM", "ATOMG", "ATOMS"):
            assert function.count(operation) == 0, f"{function.name}: {operation}"


def assert_plain_loads(function: sass.Function) -> None:
    """A kernel that may run in place must not read through the read-only path, which may be stale
    once somebody has written there."""
    assert function.count("LDG", "CONSTANT") == 0, f"{function.name}: LDG.CONSTANT"


def kind_of(name: str) -> str:
    """icpo_gradient_bf16 is a gradient."""
    return re.sub(r"^icpo_|_(bf16|f16|f32)$", "", name)


def assert_bounded(target: str, kind: str, dtype: str, what: sass.Function, elements: int) -> None:
    """Instructions an element, shown and bounded."""
    always, all_of_them = what.always() / elements, len(what.code) / elements
    bound = BOUNDS[kind][SIZES[dtype] // 4]
    shown = f"{kind} {dtype} {target}: {always:.1f} instructions an element"
    print(f"\n{shown}, {all_of_them:.1f} with detours", end="")
    assert always <= bound, f"{shown}, more than {bound}"


@targets
@plain
def test_kernels_compile_into_registers(unit: Unit, target: str) -> None:
    assert_stays_in_registers(unit, target)
    assert_no_atomics(unit, target)
    used = resources(unit, target)
    assert used.keys() == declared(unit).keys()
    for name, (threads, blocks) in declared(unit).items():
        assert_fits(name, used[name].registers, threads, blocks)


@targets
@pytest.mark.parametrize("source", ["logp_entropy.cu", "scale.cu"])
def test_passes_over_rows(source: str, target: str) -> None:
    """Each pass loads (and stores) vectors in its hot loops, and spends few instructions."""
    for name, function in code(Unit(source), target).items():
        kind, dtype = kind_of(name), name.rpartition("_")[2]
        if dtype not in SIZES:
            continue
        writes = kind != "row_states"
        if writes:
            assert_plain_loads(function)
        hot = function.smallest_loops(lambda loop: loop.count("LDG", "128") > 0)
        assert hot, f"{name}: no loop loads 16 bytes at a time"
        for loop in hot:
            vectors = loop.count("LDG", "128")
            if writes:
                assert loop.count("STG", "128") == vectors, f"{name}: stores are not vectors"
            assert_bounded(target, kind, dtype, loop, vectors * 16 // SIZES[dtype])


@plans
def test_row_resident_plans(vocabulary: int, dtype: str, target: str) -> None:
    """The row stays in registers, comes by bulk copies, and leaves as vectors."""
    plan = plan_of(vocabulary, dtype, target)
    used = resources(plan.unit, target)
    assert used.keys() == {"icpo_fused", "icpo_fused_entropy"}
    assert_stays_in_registers(plan.unit, target)
    assert_no_atomics(plan.unit, target)
    for name, function in code(plan.unit, target).items():
        assert used[name].registers <= REGISTERS_OF_PLANS, f"{name}: {used[name].registers}"
        assert_fits(name, used[name].registers, plan.threads + 32, plan.blocks)
        assert_plain_loads(function)
        assert function.count("UBLKCP") >= 1, f"{name}: no bulk copy"

        def moves_all(part: sass.Function) -> bool:
            return part.count("LDS", "128") >= plan.held <= part.count("STG", "128")

        rows = function.smallest_loops(moves_all)
        assert rows, f"{name}: no loop takes {plan.held} vectors from the ring and writes them"
        row = min(rows, key=lambda loop: len(loop.code))
        held = plan.held * 16 // SIZES[dtype]
        assert row.count("MUFU", "EX2") >= 2 * held, f"{name}: the scans are not unrolled"
        assert_bounded(target, kind_of(name), dtype, row, held)


def test_every_source_is_checked() -> None:
    assert {path.name for path in KERNELS.glob("*.cu")} == {u.source for u in PLAIN} | {"fused.cu"}


def test_what_does_not_compile_is_reported() -> None:
    with pytest.raises(nvrtc.CompileError, match="identifier"):
        nvrtc.compile_cubin("x.cu", "int x = unheard_of;", {}, ["--gpu-architecture=sm_90"])


def test_spills_and_local_memory_would_show() -> None:
    """The checks above see what they look for."""
    spilling = """
    extern "C" __global__ void __launch_bounds__(1024, 2) spill(float* p, int n) {
        float x[64];
        for (int i = 0; i < 64; i++) x[i] = p[i * n];
        for (int k = 0; k < n; k++)
            for (int i = 0; i < 64; i++) x[i] = x[i] * x[(i + 7) % 64] + p[k];
        for (int i = 0; i < 64; i++) p[i * n] = x[i];
        atomicAdd(p, x[n % 64]);
    }"""
    options = ["--gpu-architecture=sm_90", "--ptxas-options=-v"]
    image = nvrtc.compile_cubin("spill.cu", spilling, {}, options)
    ((_, stack, stores, loads, _),) = REPORT.findall(image.log)
    assert int(stack) > 0 and int(stores) > 0 and int(loads) > 0
    function = sass.disassemble(image.cubin)["spill"]
    assert function.count("LDL") and function.count("STL")
    assert function.count("REDG") + function.count("RED") + function.count("ATOMG")
