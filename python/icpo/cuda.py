"""CUDA devices: what is needed to use them, and where it is looked for.

Nothing here imports torch. Kernels come as images: from the package, from a cache on disk, or from
the compiler NVRTC, which torch brings along.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

from icpo import _core
from icpo.errors import DeviceError

__all__ = ["require"]

#: Where the wheels that torch depends on put NVRTC, below the namespace package `nvidia`.
_NVRTC_IN_WHEELS = ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12")
#: Where the system's loader looks for it by name.
_NVRTC_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")


def require() -> None:
    """Makes sure that this build of the package can use CUDA devices.

    Raises:
        DeviceError: if it was built without.
    """
    if not hasattr(_core, "CudaStream"):
        raise DeviceError(
            "this build of icpo-rs has no CUDA support: it was compiled without the feature "
            "'cuda' (maturin develop --features cuda)"
        )
    _configure()


@functools.cache
def _configure() -> None:
    """Tells the core where to look for kernel images and NVRTC."""
    folder = cache_folder()
    _core.cuda_configure(
        [str(Path(__file__).parent / "kernels")],
        None if folder is None else str(folder),
        nvrtc_places(),
    )


def cache_folder() -> Path | None:
    """Where compiled kernels are kept; None: nowhere, for there is no home."""
    if named := os.environ.get("ICPO_CACHE_DIR"):
        return Path(named)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "icpo"
    try:
        return Path.home() / ".cache" / "icpo"
    except RuntimeError:
        return None


def nvrtc_places() -> list[str]:
    """Where NVRTC may be, best first."""
    if named := os.environ.get("ICPO_NVRTC"):
        return [named]
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = [Path(folder) / name for name in _NVRTC_IN_WHEELS for folder in folders]
    return [str(file) for file in files if file.is_file()] + list(_NVRTC_NAMES)
