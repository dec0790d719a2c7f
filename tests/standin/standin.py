"""Builds the stand-in driver and compiler, and talks to them.

Libraries are kept in a folder named after a hash of their sources, so that they are built once for
each version of them. Images that the package compiles with them are kept beside.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DRIVER_SOURCES = ("driver", "image", "launch", "cluster", "barriers", "fiber", "settings")
COMPILER_SOURCES = ("compiler", "settings")
SEPARATOR = "\x1f"


class NoCompiler(Exception):
    """There is no C++ compiler to build the stand-in with."""


def compiler() -> str:
    """The C++ compiler: $CXX, or the first of the usual ones."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoCompiler(f"none of {', '.join(names)} is installed")


@dataclass(frozen=True)
class Libraries:
    """Where the two libraries are, and a place for what is compiled with them."""

    folder: Path

    @property
    def driver(self) -> Path:
        return self.folder / "libcuda.so.1"

    @property
    def compiler(self) -> Path:
        return self.folder / "libnvrtc.so"

    def cache(self, *settings: str) -> Path:
        """A cache folder of images, for compilations under these settings."""
        digest = hashlib.sha256(SEPARATOR.join(settings).encode()).hexdigest()[:16]
        return self.folder / f"images-{digest}"


def build() -> Libraries:
    """The libraries, built unless they are there."""
    cxx = compiler()
    sources = sorted([*HERE.glob("*.cpp"), *HERE.glob("*.h")])
    digest = hashlib.sha256(cxx.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    name = digest.hexdigest()[:16]
    base = Path(os.environ.get("ICPO_STANDIN_FOLDER") or tempfile.gettempdir())
    libraries = Libraries(base / f"icpo-standin-{os.getuid()}" / name)
    if libraries.driver.exists() and libraries.compiler.exists():
        return libraries
    libraries.folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared"]
    flags += ["-fvisibility=hidden", f'-DSTANDIN_SOURCES="{name}"']
    where = [f'-DSTANDIN_FOLDER="{HERE}"', f'-DSTANDIN_CXX="{cxx}"']
    driver = [*flags, "-Wl,-soname,libcuda.so.1"]
    link(cxx, driver, DRIVER_SOURCES, libraries.driver)
    link(cxx, [*flags, *where], COMPILER_SOURCES, libraries.compiler)
    return libraries


def link(cxx: str, flags: list[str], sources: tuple[str, ...], to: Path) -> None:
    """Builds one library; another process that does the same does no harm."""
    made = to.with_name(f"{to.name}.{os.getpid()}")
    files = [str(HERE / f"{source}.cpp") for source in sources]
    command = [cxx, *flags, *files, "-o", str(made), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    made.replace(to)


def environment(libraries: Libraries, **settings: str) -> dict[str, str]:
    """An environment for a process of its own in which the package finds the stand-in.

    ``settings`` are those of the README without their prefix, in small letters. Images compiled
    under a planted fault or other compiler flags stay apart from sound ones.
    """
    env = dict(os.environ)
    env["LD_LIBRARY_PATH"] = os.pathsep.join(
        [str(libraries.folder), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    )
    env["ICPO_NVRTC"] = str(libraries.compiler)
    env["ICPO_CACHE_DIR"] = str(
        libraries.cache(settings.get("mutation", ""), settings.get("cxxflags", ""))
    )
    env.update({f"ICPO_STANDIN_{name.upper()}": value for name, value in settings.items()})
    return env


def mutation(file: str, old: str, new: str) -> str:
    """The setting that plants a fault: ``new`` in place of ``old``, which must be there once."""
    return SEPARATOR.join([file, old, new])


def sanitizer(kind: str = "asan") -> str | None:
    """A sanitizer's library, for LD_PRELOAD; None if the compiler has none."""
    asked = [compiler(), f"-print-file-name=lib{kind}.so"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return os.path.realpath(path) if os.path.isabs(path) and os.path.exists(path) else None


def run(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


class StandIn:
    """The libraries as loaded into this process, where the package finds them too."""

    def __init__(self, libraries: Libraries) -> None:
        self.libraries = libraries
        # glibc finds a loaded library by its SONAME: who opens libcuda.so.1 from now on gets this.
        self.driver = ctypes.CDLL(str(libraries.driver), mode=ctypes.RTLD_GLOBAL)
        self.compiler = ctypes.CDLL(str(libraries.compiler))
        for library in (self.driver, self.compiler):
            library.icpo_standin_set.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
            library.icpo_standin_set.restype = None
            library.icpo_standin_calls.argtypes = [ctypes.c_char_p]
            library.icpo_standin_calls.restype = ctypes.c_long
        self.changed: set[str] = set()
        self.log: Path | None = None

    def set(self, name: str, value: object | None) -> None:
        """Changes a setting: ``set("fail", "cuLaunchKernelEx:1")``. None takes it back."""
        self.changed.add(name)
        full = f"ICPO_STANDIN_{name.upper()}".encode()
        for library in (self.driver, self.compiler):
            library.icpo_standin_set(full, None if value is None else str(value).encode())

    def reset(self) -> None:
        """Takes all settings back, and forgets captured launches."""
        for name in list(self.changed):
            self.set(name, None)
        self.changed.clear()
        self.driver.icpo_standin_forget()

    def calls(self, entry: str) -> int:
        """How often an entry of either library was called, in all."""
        libraries = (self.driver, self.compiler)
        return sum(library.icpo_standin_calls(entry.encode()) for library in libraries)

    def launches(self) -> list[dict[str, Any]]:
        """The launches of this test: kernel, grid, block, cluster, shared, stream, device."""
        if self.log is None or not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stream(self, device: int = 0) -> int:
        """A new stream of a device."""
        context, handle = ctypes.c_void_p(), ctypes.c_void_p()
        with self.context(device, context):
            self.check("cuStreamCreate", ctypes.byref(handle), 1)
        assert handle.value is not None
        return handle.value

    @contextmanager
    def context(self, device: int, context: ctypes.c_void_p | None = None) -> Iterator[None]:
        """The primary context of a device, current in this thread for a while."""
        context = ctypes.c_void_p() if context is None else context
        self.check("cuInit", 0)
        self.check("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.check("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self.check("cuCtxPopCurrent_v2", None)

    @contextmanager
    def capture(self, stream: int) -> Iterator[None]:
        """While it lasts, launches into the stream are kept instead of run."""
        self.set("capturing", stream)
        try:
            yield
        finally:
            self.set("capturing", None)

    def replay(self, stream: int) -> None:
        """Runs what was captured from a stream."""
        self.check("icpo_standin_replay", ctypes.c_void_p(stream))

    def check(self, entry: str, *arguments: Any) -> None:
        """Calls an entry of the driver, which must succeed."""
        code = getattr(self.driver, entry)(*arguments)
        if code != 0:
            raise RuntimeError(f"{entry}: code {code}")
