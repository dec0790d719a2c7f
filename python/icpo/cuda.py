"""CUDA devices: what is needed to use them, and where it is looked for.

Nothing here imports torch. Kernels come as images: from the package, from a cache on disk, or from
the compiler NVRTC, which torch brings along.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

from icpo import _core
from icpo.errors import ConfigError, DeviceError, DTypeError

__all__ = ["check_vocab", "dtype_name", "is_built", "prepare", "require"]

NOT_BUILT = "this build of icpo-rs has no CUDA support: it was compiled without the feature 'cuda'"

#: Where the wheels that torch depends on put NVRTC, below the namespace package `nvidia`.
_NVRTC_IN_WHEELS = ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12")


def prepare(device: object, vocab: int, dtype: object) -> dict[str, Any]:
    """Loads all kernels for a vocabulary onto a device, so that none is loaded later.

    Kernels are otherwise loaded, and compiled if need be, when they are first used: a second or
    two, once for each machine. While a CUDA graph is captured they can not be, so call this before.

    Args:
        device: a number, ``"cuda"``, ``"cuda:1"`` or a `torch.device`.
        vocab: the number of logits of a token.
        dtype: of the logits: ``"bfloat16"``, ``"float16"``, ``"float32"`` or a `torch.dtype`.

    Returns:
        Under ``units`` where each image came from, with the registers of its kernels; under
        ``plan`` how a row is cut that stays in registers, or why none does.

    Raises:
        DeviceError, DTypeError, ConfigError.
    """
    number, name = _number(device), dtype_name(dtype)
    check_vocab(vocab)
    require()
    return _core.cuda_prepare(number, vocab, name)


def dtype_name(dtype: object) -> str:
    """The name of a dtype of logits, given as text or as torch's.

    Raises:
        DTypeError: if it is none.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in ("bfloat16", "float16", "float32"):
        raise DTypeError(f"dtype: expected bfloat16, float16 or float32, got {name}")
    return name


def check_vocab(vocab: int) -> None:
    """Checks that a vocabulary has tokens, and not too many."""
    if not 1 <= vocab <= 2**31:
        raise ConfigError(f"vocab: expected a number of tokens from 1 to 2^31, got {vocab}")


def is_built() -> bool:
    """Whether this build of the package has CUDA support."""
    return hasattr(_core, "CudaStream")


def require() -> None:
    """Makes sure that this build of the package can use CUDA devices.

    Raises:
        DeviceError: if it was built without.
    """
    if not is_built():
        raise DeviceError(f"{NOT_BUILT}; icpo.ops.reference runs on any device")
    _configure()


@functools.cache
def _configure() -> None:
    """Tells the core what only Python knows: where packages lie."""
    _core.cuda_configure([str(Path(__file__).parent / "kernels")], None, _nvrtc_of_wheels())


def _nvrtc_of_wheels() -> list[str]:
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = [Path(folder) / name for name in _NVRTC_IN_WHEELS for folder in folders]
    return [str(file) for file in files if file.is_file()]


def _number(device: object) -> int:
    """The number of a device."""
    kind, _, number = str(device).rpartition(":")
    if not kind and number == "cuda":
        torch = sys.modules.get("torch")
        return int(torch.cuda.current_device()) if torch is not None else 0
    if kind in ("", "cuda") and number.isdecimal():
        return int(number)
    raise DeviceError(f"device: expected a CUDA device such as 'cuda:0' or 0, got {device}")
