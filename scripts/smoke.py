"""Shows that an installed icpo works with NumPy alone.

`make wheel-test` runs this file in an environment that holds the wheel and NumPy, where neither
Rust nor the source tree can be reached.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import icpo


def check_isolation() -> None:
    """The imported package is the installed one, and importing it loaded no heavy peer."""
    assert Path(icpo.__file__).is_relative_to(sys.prefix), icpo.__file__
    for tool in ("cargo", "rustc"):
        assert shutil.which(tool) is None, f"{tool} is on the path"
    for module in ("torch", "verl"):
        assert module not in sys.modules, f"importing icpo imported {module}"


def check_version() -> None:
    """The extension, compiled from Cargo.toml, and the distribution agree."""
    assert icpo.__version__ == metadata.version("icpo-rs")


def check_numbers() -> None:
    """A tiny computation through the public API."""
    # --- numerical API: begin ---
    # --- numerical API: end ---


if __name__ == "__main__":
    check_isolation()
    check_version()
    check_numbers()
    check_isolation()
    print(f"icpo {icpo.__version__} works on Python {sys.version.split()[0]}")
