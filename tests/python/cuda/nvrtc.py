"""Compiles kernel sources with the NVRTC that torch brings: a plain ctypes door, no GPU needed."""

from __future__ import annotations

import ctypes
import functools
import site
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Where torch's wheels put the library, below site-packages; newest first.
PLACES = ("nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12")


class CompileError(Exception):
    """The compiler's log."""


@dataclass(frozen=True)
class Image:
    """A cubin, and what the compiler said of it."""

    cubin: bytes
    log: str


def library() -> Path | None:
    """The NVRTC beside torch, if there is one."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    return next((f / place for place in PLACES for f in folders if (f / place).exists()), None)


@functools.cache
def loaded() -> ctypes.CDLL:
    """The library, which finds its own parts in its folder."""
    path = library()
    assert path is not None
    return ctypes.CDLL(str(path))


def checked(program: ctypes.c_void_p | None, call: str, *arguments: object) -> None:
    """Calls a function of NVRTC; its error carries the log."""
    code = getattr(loaded(), call)(*arguments)
    if code:
        describe = loaded().nvrtcGetErrorString
        describe.restype = ctypes.c_char_p
        log = "" if program is None else read(program, "ProgramLog").decode()
        raise CompileError(f"{call}: {describe(code).decode()}\n{log}")


def read(program: ctypes.c_void_p, what: str) -> bytes:
    """One of the byte strings that a program has."""
    size = ctypes.c_size_t()
    checked(None, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    checked(None, f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """A C array of them."""
    return (ctypes.c_char_p * len(texts))(*[text.encode() for text in texts])


def compile_cubin(
    name: str, source: str, headers: Mapping[str, str], options: Sequence[str]
) -> Image:
    """The cubin of one compile unit; raises `CompileError` with the log."""
    program = ctypes.c_void_p()
    checked(
        None,
        "nvrtcCreateProgram",
        ctypes.byref(program),
        source.encode(),
        name.encode(),
        len(headers),
        strings(list(headers.values())),
        strings(list(headers)),
    )
    try:
        checked(program, "nvrtcCompileProgram", program, len(options), strings(options))
        return Image(read(program, "CUBIN"), read(program, "ProgramLog").rstrip(b"\0").decode())
    finally:
        loaded().nvrtcDestroyProgram(ctypes.byref(program))
