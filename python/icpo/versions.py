"""What results may depend on beside settings and data: for the records of a run."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from icpo import _core

__all__ = ["FILE", "versions"]

#: In the folder of a run.
FILE = "versions.json"

#: Packages whose numbers end up in results.
_PACKAGES = ("numpy", "torch", "transformers", "tokenizers", "peft", "verl", "vllm")


def versions() -> dict[str, str]:
    """Versions of Python, of this package, and of those that are installed beside it."""
    found = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "icpo": _core.__version__,
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
