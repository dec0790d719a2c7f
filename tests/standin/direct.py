"""Kernels compiled and launched through the stand-in alone, without the package."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from standin import StandIn


class CompileError(Exception):
    """The compiler refused a program; the message is its log."""


class DriverError(Exception):
    """An entry of the driver returned an error."""

    def __init__(self, entry: str, code: int) -> None:
        super().__init__(f"{entry}: code {code}")
        self.code = code


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint),
        ("pad", ctypes.c_char * 4),
        ("value", ctypes.c_uint * 16),
    )


class _Config(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("attribute_count", ctypes.c_uint),
    )


CLUSTER_DIMENSION = 4
MOST_SHARED = 8
LARGE_CLUSTERS = 14


def compile_program(
    standin: StandIn,
    source: str,
    headers: Mapping[str, str],
    *,
    name: str = "test.cu",
    options: Sequence[str] = ("--gpu-architecture=sm_90",),
) -> bytes:
    """The image of a program."""
    nvrtc, program = standin.compiler, ctypes.c_void_p()
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    flags = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    size = ctypes.c_size_t()
    _check(
        "nvrtcCreateProgram",
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), name.encode(), len(headers), texts, names
        ),
    )
    try:
        code = nvrtc.nvrtcCompileProgram(program, len(options), flags)
        if code != 0:
            _check(
                "nvrtcGetProgramLogSize", nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            )
            log = ctypes.create_string_buffer(size.value)
            _check("nvrtcGetProgramLog", nvrtc.nvrtcGetProgramLog(program, log))
            raise CompileError(log.value.decode())
        _check("nvrtcGetCUBINSize", nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        image = ctypes.create_string_buffer(size.value)
        _check("nvrtcGetCUBIN", nvrtc.nvrtcGetCUBIN(program, image))
        return image.raw
    finally:
        _check("nvrtcDestroyProgram", nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))


@dataclass
class Module:
    """A loaded image."""

    standin: StandIn
    handle: ctypes.c_void_p
    device: int

    def function(self, name: str) -> ctypes.c_void_p:
        """The handle of a kernel."""
        function = ctypes.c_void_p()
        with self.standin.context(self.device):
            code = self.standin.driver.cuModuleGetFunction(
                ctypes.byref(function), self.handle, name.encode()
            )
        _check("cuModuleGetFunction", code)
        return function

    def launch(
        self,
        name: str,
        arguments: ctypes.Structure,
        *,
        blocks: int,
        threads: int,
        cluster: int = 1,
        shared: int = 0,
        stream: int = 0,
        opt_in: bool = True,
        large_clusters: bool = False,
    ) -> None:
        """Runs a kernel. ``opt_in``: allow it the shared memory that it is launched with."""
        driver, function = self.standin.driver, self.function(name)
        attribute = _Attribute(id=CLUSTER_DIMENSION)
        attribute.value[:3] = cluster, 1, 1
        config = _Config(
            (blocks, 1, 1),
            (threads, 1, 1),
            shared,
            stream,
            ctypes.pointer(attribute),
            int(cluster > 1),
        )
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        with self.standin.context(self.device):
            if opt_in:
                code = driver.cuFuncSetAttribute(function, MOST_SHARED, shared)
                _check("cuFuncSetAttribute", code)
            if large_clusters:
                code = driver.cuFuncSetAttribute(function, LARGE_CLUSTERS, 1)
                _check("cuFuncSetAttribute", code)
            code = driver.cuLaunchKernelEx(ctypes.byref(config), function, parameters, None)
        _check("cuLaunchKernelEx", code)

    def unload(self) -> None:
        """Gives the image back."""
        with self.standin.context(self.device):
            _check("cuModuleUnload", self.standin.driver.cuModuleUnload(self.handle))


def load(standin: StandIn, image: bytes, device: int = 0) -> Module:
    """Loads an image into the primary context of a device."""
    handle = ctypes.c_void_p()
    with standin.context(device):
        code = standin.driver.cuModuleLoadData(ctypes.byref(handle), image)
    _check("cuModuleLoadData", code)
    return Module(standin, handle, device)


def _check(entry: str, code: int) -> None:
    if code != 0:
        raise DriverError(entry, code)
