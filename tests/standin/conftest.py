"""Tests of the CUDA path without a GPU: the driver is a stand-in, kernels run on the CPU.

The libraries are loaded before any test module is imported, so that the package finds them where it
looks for the driver. These tests run in a process of their own (`make test-standin`), lest others
believe that there is a device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import standin as standin_module
from icpo import _core

# One device for each architecture that there are kernels for, so that one process can use them all:
# number 0 has clusters, number 1 has none.
CAPABILITIES = "9.0,8.0,10.0,12.0"

missing: str | None = None
loaded: standin_module.StandIn | None = None


def pytest_configure(config: pytest.Config) -> None:
    global loaded, missing
    # torch looks for devices of its own, and finds that this driver is not for it.
    config.addinivalue_line("filterwarnings", "ignore:CUDA initialization")
    try:
        libraries = standin_module.build()
    except standin_module.NoCompiler as error:
        if os.environ.get("CI"):
            raise pytest.UsageError(f"CI must have a C++ compiler: {error}") from error
        missing = str(error)
        return
    os.environ.setdefault("ICPO_STANDIN_CAPABILITY", CAPABILITIES)
    os.environ["ICPO_NVRTC"] = str(libraries.compiler)
    # Images compiled under a planted fault or other compiler flags stay apart from sound ones.
    settings = (os.environ.get(f"ICPO_STANDIN_{name}", "") for name in ("MUTATION", "CXXFLAGS"))
    os.environ["ICPO_CACHE_DIR"] = str(libraries.cache(*settings))
    loaded = standin_module.StandIn(libraries)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if missing is not None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"no C++ compiler: {missing}"))


@pytest.fixture(scope="session")
def libraries() -> standin_module.Libraries:
    """Where the two libraries are."""
    assert loaded is not None
    return loaded.libraries


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[standin_module.StandIn]:
    """The stand-in in this process; what a test sets is taken back after it."""
    assert loaded is not None
    loaded.log = tmp_path / "launches.jsonl"
    loaded.set("log", loaded.log)
    yield loaded
    loaded.reset()
    loaded.log = None


@pytest.fixture
def stream(standin: standin_module.StandIn) -> _core.CudaStream:
    """A stream of the device with clusters, for whoever wants kernels one by one."""
    return _core.CudaStream(0, standin.stream(0))
