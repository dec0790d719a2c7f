"""Machine code of cubins, read through nvdisasm (the PyPI package nvidia-cuda-nvdisasm)."""

from __future__ import annotations

import functools
import json
import shutil
import site
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: On these targets an instruction is 16 bytes long.
INSTRUCTION_BYTES = 16


@dataclass(frozen=True)
class Instruction:
    """One line: ``@P0 LDG.E.128 R4, ...`` is opcode LDG.E.128."""

    opcode: str
    operands: str
    predicate: str = ""

    def does(self, name: str, *modifiers: str) -> bool:
        """Whether it is this operation, with all of these modifiers: ``does("LDG", "128")``."""
        operation, *rest = self.opcode.split(".")
        return operation == name and set(modifiers) <= set(rest)


@dataclass(frozen=True)
class Function:
    """The code of a kernel, in the order of its addresses."""

    name: str
    code: tuple[Instruction, ...]
    start: int = 0  # index of the first in the whole function

    @property
    def end(self) -> int:
        return self.start + len(self.code)

    def count(self, name: str, *modifiers: str) -> int:
        """How many such instructions there are."""
        return sum(instruction.does(name, *modifiers) for instruction in self.code)

    def part(self, start: int, end: int) -> Function:
        """The code from one index in the whole function up to another."""
        start = max(start, self.start)
        end = max(end, start)
        return Function(self.name, self.code[start - self.start : end - self.start], start)

    def branches(self) -> Iterator[tuple[int, int]]:
        """Indices in the whole function: of each branch, and of its target."""
        for i, instruction in enumerate(self.code, self.start):
            if instruction.does("BRA"):
                yield i, int(instruction.operands.split(",")[-1], 0) // INSTRUCTION_BYTES

    def loops(self) -> list[Function]:
        """From the target of each backward branch to the branch. A branch to itself, which fills
        the end of a function, is none; a block laid out of line that branches back looks like one.
        """
        return [self.part(target, i + 1) for i, target in self.branches() if target < i]

    def smallest_loops(self, wanted: Callable[[Function], bool]) -> list[Function]:
        """The loops of which something is true, but of no loop that they hold."""
        loops = [loop for loop in self.loops() if wanted(loop)]
        return [loop for loop in loops if not any(loop.holds(other) for other in loops)]

    def holds(self, other: Function) -> bool:
        """Whether the other part lies in this one."""
        inside = self.start <= other.start and other.end <= self.end
        return inside and len(other.code) < len(self.code)

    def always(self) -> int:
        """How many instructions remain without detours: what a predicated branch jumps over that
        touches no memory and takes no exponential, such as the code for the selected token."""
        detours: set[int] = set()
        for i, target in self.branches():
            skipped = self.part(i + 1, min(target, self.end))
            if self.code[i - self.start].predicate and not any(
                instruction.does(operation, *modifiers)
                for instruction in skipped.code
                for operation, *modifiers in (("LDG",), ("LDS",), ("STG",), ("MUFU", "EX2"))
            ):
                detours.update(range(i + 1, skipped.end))
        return len(self.code) - len(detours)


@functools.cache
def disassembler() -> str | None:
    """The program, from the environment's wheel or from the path."""
    folders = [Path(folder) / "nvidia/cu13/bin/nvdisasm" for folder in site.getsitepackages()]
    found = next((str(path) for path in folders if path.exists()), None)
    return found or shutil.which("nvdisasm")


def disassemble(cubin: bytes) -> dict[str, Function]:
    """The kernels of a cubin by name."""
    program = disassembler()
    assert program is not None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.check_output([program, "--emit-json", file.name])
    _, functions = json.loads(text)
    return {kernel.name: kernel for kernel in map(as_function, whole(functions))}


def whole(functions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Kernels with the subroutines behind them (a 64-bit division is one), which some versions of
    the program list by themselves."""
    kernel: dict[str, Any] | None = None
    for function in functions:
        if kernel is not None and function["start"] > 0:
            kernel["sass-instructions"] += function["sass-instructions"]
            continue
        if kernel is not None:
            yield kernel
        kernel = function
    if kernel is not None:
        yield kernel


def as_function(described: dict[str, Any]) -> Function:
    """A kernel as the program describes it."""
    code = tuple(
        Instruction(line["opcode"], line.get("operands", ""), line.get("predicate", ""))
        for line in described["sass-instructions"]
    )
    name, length = described["function-name"], described["length"]
    assert length == len(code) * INSTRUCTION_BYTES, f"{name}: {length} bytes, {len(code)} lines"
    return Function(name, code)
