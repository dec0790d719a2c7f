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

import pytest
import sass

from icpo import _core, cuda
from icpo.errors import CudaError

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
#: By the names that kernels have at their end.
SIZES = {"bf16": 2, "f16": 2, "f32": 4}
NAMES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}

REGISTERS_PER_SM = 65_536
REGISTERS_OF_PLANS = 128


def missing() -> str | None:
    """What these tests need and is not there."""
    cuda.require()
    try:
        _core.cuda_compile("empty.cu", {"empty.cu": ""}, ["--gpu-architecture=sm_90"])
    except CudaError as error:
        return str(error)
    return None if sass.disassembler() else "nvidia-cuda-nvdisasm is not installed"


# CI installs both, so there their absence is a failure and not a reason to skip.
if not os.environ.get("CI") and (reason := missing()):
    pytest.skip(reason, allow_module_level=True)


@dataclass(frozen=True)
class Unit:
    """What is compiled by itself: the package's own source and options."""

    main: str
    options: tuple[str, ...]

    def macro(self, name: str) -> int:
        """A number that the options define."""
        (value,) = (o.partition("=")[2] for o in self.options if o.startswith(f"-DICPO_{name}="))
        return int(value)


@functools.cache
def units(target: str, *row: object) -> dict[str, Unit]:
    """By their main source: those that depend on nothing else, or those for a kind of row."""
    return {
        main: Unit(main, tuple(options)) for main, _, options, _ in _core.cuda_units(target, *row)
    }


@functools.cache
def sources() -> dict[str, str]:
    """All sources by name."""
    found: dict[str, str] = {}
    for *_, texts in _core.cuda_units("sm_90", 151_936, "bfloat16"):
        found |= texts
    return found


#: Vocabularies of Qwen 2.5 and 3 (two paddings), Llama 3, Llama 2 and Mistral, Gemma; and rows for
#: which only the larger blocks suffice.
ROWS = [
    (151_936, "bfloat16"),
    (152_064, "bfloat16"),
    (128_256, "bfloat16"),
    (32_000, "bfloat16"),
    (262_144, "bfloat16"),
    (151_936, "float16"),
    (151_936, "float32"),
    (262_144, "float32"),
]
PLAIN = ["logp_entropy.cu", "policy_loss.cu", "advantage.cu", "scale.cu"]


@functools.cache
def compiled(unit: Unit) -> tuple[bytes, str]:
    """The image, and the log with the resources of its kernels."""
    options = [*unit.options, "--ptxas-options=-v"]
    return _core.cuda_compile(unit.main, sources(), options)


@functools.cache
def code(unit: Unit) -> dict[str, sass.Function]:
    """Its machine code."""
    image, _ = compiled(unit)
    return sass.disassemble(image)


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


def resources(unit: Unit) -> dict[str, Resources]:
    """Of each kernel, from the log; none may be missing there."""
    _, log = compiled(unit)
    found = {
        name: Resources(int(registers), int(stack), int(stores) + int(loads))
        for name, stack, stores, loads, registers in REPORT.findall(log)
    }
    assert found.keys() == code(unit).keys(), log
    return found


#: The most that an element may take: for two bytes an element, and for four, where half as many
#: share what a vector costs (and twice as many bytes are moved). Much of `scale` is for the ends of
#: misaligned rows, which lies within its loop.
BOUNDS = {
    "row_states": (12.0, 14.5),
    "gradient": (11.5, 14.5),
    "scale": (16.0, 21.0),
    "fused": (21.0, 27.0),
    "fused_entropy": (23.5, 29.0),
}

#: KERNEL(name, Arguments, threads, blocks_per_sm)
DECLARED = re.compile(r"^KERNEL\((\w+), *\w+, *([^,]+), *([^)]+)\)", re.MULTILINE)

targets = pytest.mark.parametrize("target", TARGETS)


def declared(unit: Unit) -> dict[str, tuple[int, int]]:
    """Threads and blocks an SM of each kernel that the source declares."""
    found = DECLARED.findall(sources()[unit.main])
    return {name: (int(threads), int(blocks)) for name, threads, blocks in found}


def assert_stays_in_registers(unit: Unit) -> None:
    """Nothing spilled, nothing in local memory."""
    for name, used in resources(unit).items():
        assert used.spilled == 0, f"{name}: {used.spilled} bytes spilled"
        assert used.stack == 0, f"{name}: a stack of {used.stack} bytes"
        for operation in ("LDL", "STL"):
            assert code(unit)[name].count(operation) == 0, f"{name}: {operation}"


def assert_fits(name: str, registers: int, threads: int, blocks: int) -> None:
    """As many blocks as planned find registers on an SM, which come in eights a thread."""
    needed = math.ceil(registers / 8) * 8 * threads * blocks
    assert needed <= REGISTERS_PER_SM, f"{name}: {blocks} blocks need {needed} registers"


def assert_no_atomics(unit: Unit) -> None:
    """Sums are taken in a fixed order, so nothing adds to memory behind anybody's back."""
    for function in code(unit).values():
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
@pytest.mark.parametrize("main", PLAIN)
def test_kernels_compile_into_registers(main: str, target: str) -> None:
    unit = units(target)[main]
    assert_stays_in_registers(unit)
    assert_no_atomics(unit)
    used = resources(unit)
    assert used.keys() == declared(unit).keys()
    for name, (threads, blocks) in declared(unit).items():
        assert_fits(name, used[name].registers, threads, blocks)


@targets
@pytest.mark.parametrize("main", ["logp_entropy.cu", "scale.cu"])
def test_passes_over_rows(main: str, target: str) -> None:
    """Each pass loads (and stores) vectors in its hot loops, and spends few instructions."""
    for name, function in code(units(target)[main]).items():
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


@pytest.mark.parametrize(("vocabulary", "dtype"), ROWS)
@pytest.mark.parametrize("target", TARGETS[1:])
def test_row_resident_plans(vocabulary: int, dtype: str, target: str) -> None:
    """The row stays in registers, comes by bulk copies, and leaves as vectors."""
    unit = units(target, vocabulary, dtype)["fused.cu"]
    held, dtype = unit.macro("HELD"), NAMES[dtype]
    used = resources(unit)
    assert used.keys() == {"icpo_fused", "icpo_fused_entropy"}
    assert_stays_in_registers(unit)
    assert_no_atomics(unit)

    def moves_all(part: sass.Function) -> bool:
        return part.count("LDS", "128") >= held <= part.count("STG", "128")

    for name, function in code(unit).items():
        assert used[name].registers <= REGISTERS_OF_PLANS, f"{name}: {used[name].registers}"
        threads, blocks = unit.macro("THREADS") + 32, unit.macro("BLOCKS_PER_SM")
        assert_fits(name, used[name].registers, threads, blocks)
        assert_plain_loads(function)
        assert function.count("UBLKCP") >= 1, f"{name}: no bulk copy"
        rows = function.smallest_loops(moves_all)
        assert rows, f"{name}: no loop takes {held} vectors from the ring and writes them"
        row = min(rows, key=lambda loop: len(loop.code))
        elements = (held + held % 2) * 16 // SIZES[dtype]  # vectors come in twos
        assert row.count("MUFU", "EX2") >= 2 * elements, f"{name}: the scans are not unrolled"
        assert_bounded(target, kind_of(name), dtype, row, elements)


def test_there_are_no_clusters_on_sm_80() -> None:
    assert "fused.cu" not in units("sm_80", 151_936, "bfloat16")


def test_every_source_is_checked() -> None:
    folder = Path(__file__).parents[3] / "kernels"
    mains = {path.name for path in folder.glob("*.cu")}
    assert mains == {*PLAIN, "fused.cu"}
    assert mains == units("sm_90", 151_936, "bfloat16").keys()
    texts = {path.name: path.read_text() for path in folder.glob("*.cu*")}
    assert texts == sources(), "the extension was built from other sources"


def test_what_does_not_compile_is_reported() -> None:
    with pytest.raises(CudaError, match="unheard_of"):
        _core.cuda_compile("x.cu", {"x.cu": "int x = unheard_of;"}, ["--gpu-architecture=sm_90"])


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
    image, log = _core.cuda_compile("spill.cu", {"spill.cu": spilling}, options)
    ((_, stack, stores, loads, _),) = REPORT.findall(log)
    assert int(stack) > 0 and int(stores) > 0 and int(loads) > 0
    function = sass.disassemble(image)["spill"]
    assert function.count("LDL") and function.count("STL")
    assert function.count("REDG") + function.count("RED") + function.count("ATOMG")
