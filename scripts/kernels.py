"""Compiles the kernels for the vocabularies that many models have, before the package is built.

    make kernels

installs NVIDIA's compiler from its PyPI wheels into an environment of its own and writes images to
python/icpo/kernels/, which a wheel built afterwards contains. A wheel without them works as well:
then kernels are compiled when they are first needed. The toolkit is the first of its major version,
whose images every driver of that version loads. An image with a kernel that spills registers is not
written, and the status is 1: it would be slow without saying so.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from icpo import _core

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "python" / "icpo" / "kernels"

TOOLKIT = (13, 0)
#: The compiler, its optimiser and its two sets of headers; together they are nvcc.
PACKAGES = ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-runtime")

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
#: Llama 2 and Mistral, SmolLM2, Llama 3, DeepSeek V3, Qwen 2.5 and 3 in two paddings, Gemma 3.
VOCABULARIES = (32_000, 49_152, 128_256, 129_280, 151_936, 152_064, 262_144)
ROWS = [
    *((vocabulary, "bfloat16") for vocabulary in VOCABULARIES),
    (151_936, "float16"),
    (151_936, "float32"),
]

#: Options of NVRTC that nvcc has no use for: every function of the kernels says where it runs.
ONLY_NVRTC = {"-default-device"}

REGISTERS = re.compile(r"Used (\d+) registers")
SPILLED = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Unit:
    """What is compiled by itself."""

    target: str
    main: str
    file_name: str
    options: Sequence[str]
    sources: dict[str, str]


@dataclass(frozen=True)
class Compiled:
    """An image, what its kernels take, and what compiling it took."""

    unit: Unit
    size: int
    registers: int
    spills: bool
    seconds: float


def units(targets: Sequence[str]) -> Iterator[Unit]:
    """Each image once: several vocabularies may share a plan."""
    seen = set()
    for target in targets:
        for row in ROWS:
            for main, file_name, options, sources in _core.cuda_units(target, *row):
                if file_name not in seen:
                    seen.add(file_name)
                    yield Unit(target, main, file_name, options, dict(sources))


def install(folder: Path) -> Path:
    """The compiler, in an environment that holds nothing else."""
    nvcc = folder / "nvcc"
    if not nvcc.exists():
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        wanted = [f"{package}=={TOOLKIT[0]}.{TOOLKIT[1]}.*" for package in PACKAGES]
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, *wanted], check=True)
        (found,) = folder.glob(f"lib/python*/site-packages/nvidia/cu{TOOLKIT[0]}/bin/nvcc")
        # Last of all, so that an interrupted installation is started again.
        nvcc.symlink_to(found.relative_to(folder))
    return nvcc.resolve()


def command(nvcc: Path, unit: Unit, folder: Path, image: Path) -> list[str]:
    """How nvcc is asked for what NVRTC would be asked for with the unit's options."""
    options = [option for option in unit.options if option not in ONLY_NVRTC]
    wanted = ["-cubin", "--resource-usage", "-I", str(folder), "-o", str(image)]
    return [str(nvcc), *options, *wanted, str(folder / unit.main)]


def compiled(nvcc: Path, unit: Unit, images: Path) -> Compiled:
    """Compiles a unit and writes its image, whole or not at all, unless a kernel spills."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder, image = Path(scratch), Path(scratch) / "image"
        for name, text in unit.sources.items():
            (folder / name).write_text(text)
        run = subprocess.run(
            command(nvcc, unit, folder, image), capture_output=True, text=True, check=False
        )
        log = run.stdout + run.stderr
        if run.returncode:
            raise SystemExit(f"{unit.file_name}: nvcc failed:\n{log}")
        sealed = _core.cuda_seal(image.read_bytes(), TOOLKIT)
    registers = max(int(count) for count in REGISTERS.findall(log))
    spills = any(int(count) for counts in SPILLED.findall(log) for count in counts)
    if not spills:
        partial = images / f".{unit.file_name}.{os.getpid()}"
        partial.write_bytes(sealed)
        partial.replace(images / unit.file_name)
    return Compiled(unit, len(sealed), registers, spills, time.perf_counter() - start)


def delete_stale(images: Path) -> None:
    """Deletes images of other sources than today's; nothing would ever look for them."""
    names = {unit.file_name for unit in units(TARGETS)}
    for image in images.glob("*.cubin"):
        if image.name not in names:
            image.unlink()


def table(made: Sequence[Compiled]) -> str:
    """A line an image, and the sum."""
    lines = [f"{'image':<60} {'kB':>8} {'registers':>10} {'seconds':>8}"]
    for one in made:
        kilobytes = one.size / 1e3
        name = one.unit.file_name
        line = f"{name:<60} {kilobytes:8.0f} {one.registers:10} {one.seconds:8.1f}"
        lines.append(line + ("  spills: not written" if one.spills else ""))
    size, seconds = sum(one.size for one in made) / 1e3, sum(one.seconds for one in made)
    lines.append(f"{f'{len(made)} images':<60} {size:8.0f} {'':>10} {seconds:8.1f}")
    return "\n".join(lines)


def main() -> int:
    """Installs the compiler if need be, compiles, reports; the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-kernels")
    parser.add_argument("--images", type=Path, default=IMAGES)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    images = arguments.images
    images.mkdir(exist_ok=True)
    delete_stale(images)
    nvcc = install(arguments.environment)
    wanted = units(arguments.targets)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        made = list(pool.map(lambda unit: compiled(nvcc, unit, images), wanted))
    print(table(made))
    return 1 if any(one.spills for one in made) else 0


if __name__ == "__main__":
    sys.exit(main())
