"""The stand-in driver: it must refuse what a real one refuses, or tests over it prove nothing."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest

import direct
from standin import StandIn, mutation
from test_emulation import HEADERS, Arguments, Case, image, module

# Writes how it was launched.
SHAPE = """
KERNEL(test, Arguments, 128, 2) {
    if (threadIdx.x == 0) {
        arguments.out[4 * blockIdx.x] = gridDim.x;
        arguments.out[4 * blockIdx.x + 1] = blockDim.x;
        arguments.out[4 * blockIdx.x + 2] = cluster_index() * 16 + cluster_rank();
        arguments.out[4 * blockIdx.x + 3] = cluster_count();
    }
}
"""
ONE = "KERNEL(test, Arguments, 128, 2) { if (threadIdx.x == 0) arguments.out[blockIdx.x] += 1; }"

# Shared memory that a block may have, by device: sm_90, sm_80, sm_100, sm_120.
OPT_IN = [227 << 10, 163 << 10, 227 << 10, 99 << 10]
ARCHITECTURES = ["sm_90", "sm_80", "sm_100", "sm_120"]


def test_a_grid_of_clusters(standin: StandIn) -> None:
    case = Case(standin, SHAPE, out=24)
    out = np.array(case.run(blocks=6, threads=96, cluster=3)).reshape(6, 4)
    assert out.tolist() == [[6, 96, i // 3 * 16 + i % 3, 2] for i in range(6)]


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ({"blocks": 0, "threads": 32}, 1),
        ({"blocks": 6, "threads": 32, "cluster": 4}, 1),
        ({"blocks": 8, "threads": 32, "cluster": 8}, 0),
        ({"blocks": 9, "threads": 32, "cluster": 9}, 912),
        ({"blocks": 16, "threads": 32, "cluster": 16, "large_clusters": True}, 0),
        ({"blocks": 17, "threads": 32, "cluster": 17, "large_clusters": True}, 912),
        ({"blocks": 1, "threads": 0}, 1),
        ({"blocks": 1, "threads": 128}, 0),
        ({"blocks": 1, "threads": 129}, 1),
        ({"blocks": 1, "threads": 32, "shared": 48 << 10, "opt_in": False}, 0),
        ({"blocks": 1, "threads": 32, "shared": (48 << 10) + 1, "opt_in": False}, 1),
        ({"blocks": 1, "threads": 32, "shared": 227 << 10}, 0),
        ({"blocks": 1, "threads": 32, "shared": (227 << 10) + 1}, 1),
        ({"blocks": 1, "threads": 32, "stream": 12345}, 400),
        ({"blocks": 1, "threads": 32, "stream": 1}, 0),
    ],
    ids=str,
)
def test_limits_of_a_launch(standin: StandIn, shape: dict[str, int], code: int) -> None:
    case = Case(standin, ONE, out=32)
    if code == 0:
        assert sum(case.run(**shape)) == shape["blocks"]
        return
    with pytest.raises(direct.DriverError) as caught:
        case.run(**shape)
    assert caught.value.code == code
    assert not case.out.any()


@pytest.mark.parametrize("device", range(4))
def test_limits_of_each_device(standin: StandIn, device: int) -> None:
    loaded = direct.load(standin, image(standin, ONE, ARCHITECTURES[device]), device)
    out = np.zeros(2, np.uint32)
    arguments = Arguments(0, out.ctypes.data, 2, 0)
    loaded.launch("test", arguments, blocks=1, threads=32, shared=OPT_IN[device])
    assert out.tolist() == [1, 0]
    with pytest.raises(direct.DriverError, match=r"cuFuncSetAttribute: code 1$"):
        loaded.launch("test", arguments, blocks=1, threads=32, shared=OPT_IN[device] + 1)
    if ARCHITECTURES[device] == "sm_80":
        with pytest.raises(direct.DriverError, match="code 801"):
            loaded.launch("test", arguments, blocks=2, threads=32, cluster=2)
    assert out.tolist() == [1, 0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_images_are_for_their_architecture(standin: StandIn, architecture: str) -> None:
    compiled = image(standin, ONE, architecture)
    for device in range(4):
        if ARCHITECTURES[device] == architecture:
            direct.load(standin, compiled, device).unload()
            continue
        with pytest.raises(direct.DriverError) as caught:
            direct.load(standin, compiled, device)
        assert caught.value.code == 209


def test_sm_80_code_has_no_clusters(standin: StandIn) -> None:
    with pytest.raises(direct.CompileError, match="cluster_rank"):
        image(standin, SHAPE, "sm_80")


@pytest.mark.parametrize("place", [0, 1, 18, 40, 64, 5000])
def test_damaged_images_are_refused(standin: StandIn, place: int) -> None:
    compiled = bytearray(image(standin, ONE, "sm_90"))
    compiled[place] ^= 0x10
    with pytest.raises(direct.DriverError, match="cuModuleLoadData: code 200"):
        direct.load(standin, bytes(compiled))


def test_the_nth_call_fails(standin: StandIn) -> None:
    loaded = module(standin, ONE)
    before = standin.calls("cuModuleGetFunction")
    standin.set("fail", "cuModuleGetFunction:2:500,cuModuleUnload:0:2")
    loaded.function("test")
    with pytest.raises(direct.DriverError, match="cuModuleGetFunction: code 500"):
        loaded.function("test")
    loaded.function("test")
    assert standin.calls("cuModuleGetFunction") == before + 3
    for _ in range(2):
        with pytest.raises(direct.DriverError, match="cuModuleUnload: code 2"):
            loaded.unload()
    standin.set("fail", None)
    loaded.unload()


def test_functions_of_unloaded_modules_are_unknown(standin: StandIn) -> None:
    loaded = module(standin, ONE)
    function = loaded.function("test")
    loaded.unload()
    value = ctypes.c_int()
    assert standin.driver.cuFuncGetAttribute(ctypes.byref(value), 0, function) == 400


def test_captured_launches_run_when_replayed(standin: StandIn) -> None:
    case = Case(standin, ONE, out=1)
    stream, other = standin.stream(), standin.stream()
    with standin.capture(stream):
        assert case.run(blocks=1, threads=32, stream=stream) == [0]
        assert case.run(blocks=1, threads=32, stream=other) == [1]
        with pytest.raises(direct.DriverError, match="code 900"):
            module(standin, ONE)
    standin.replay(stream)
    standin.replay(stream)
    assert case.out.tolist() == [3]


def test_launches_are_logged(standin: StandIn, tmp_path: Path) -> None:
    case = Case(standin, ONE, out=4)
    case.run(blocks=4, threads=64, cluster=2, shared=100)
    launch = {"kernel": "test", "grid": 4, "block": 64, "cluster": 2, "shared": 100}
    assert standin.launches() == [{**launch, "stream": 0, "device": 0}]
    assert json.loads((tmp_path / "launches.jsonl").read_text())["kernel"] == "test"


def test_the_compiler_plants_faults_and_fails_on_demand(standin: StandIn) -> None:
    def result() -> int:
        out = np.zeros(1, np.uint32)
        arguments = Arguments(0, out.ctypes.data, 1, 0)
        module(standin, ONE).launch("test", arguments, blocks=1, threads=32)
        return int(out[0])

    standin.set("mutation", mutation("test.cu", "+= 1", "+= 2"))
    assert result() == 2
    standin.set("mutation", mutation("other.cu", "+= 1", "+= 2"))
    assert result() == 1
    standin.set("mutation", mutation("test.cu", "arguments", "x"))
    with pytest.raises(direct.CompileError, match="must hold the old text once"):
        module(standin, ONE + ONE)
    standin.set("mutation", None)
    standin.set("compile_fail", 1)
    with pytest.raises(direct.CompileError, match="COMPILE_FAIL"):
        module(standin, ONE)


@pytest.mark.parametrize(
    ("options", "log"),
    [
        (["--gpu-architecture=sm_90", "--no-such-option"], "--no-such-option"),
        (["--gpu-architecture=compute_90"], "--gpu-architecture=sm_NN"),
    ],
)
def test_options_that_nvrtc_lacks_are_refused(
    standin: StandIn, options: list[str], log: str
) -> None:
    with pytest.raises(direct.CompileError, match=log):
        direct.compile_program(standin, ONE, HEADERS, options=options)
