"""From Rust to the driver: launches, images, and everything that may fail on the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from icpo import _core
from icpo.errors import CudaError, DTypeError, ShapeError
from icpo.ops.tensors import view
from launching import LOG2_E, VOCABULARY
from standin import Libraries, StandIn, compiler, environment

HERE = Path(__file__).parent
DRIVER_SOURCE = (HERE.parents[1] / "src/cuda/driver.rs").read_text()
#: The entries that src/cuda/driver.rs declares with a checked call.
CALLS = re.findall(r'\w+ = "(cu\w+)"', DRIVER_SOURCE)
COMPILER_CALLS = re.findall(
    r'\w+ = "(nvrtc\w+)"', (HERE.parents[1] / "src/cuda/nvrtc.rs").read_text()
)
#: Gives a program back whose image or errors are known: its failure is nobody's.
LAST_CALL = "nvrtcDestroyProgram"
TOOLKIT = (13, 0)

PREAMBLE = """
import os
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import numpy as np
from icpo import _core
from icpo.errors import CudaError
from icpo.objective.memory import view
from launching import VOCABULARY, everything, log_probs, machine
standin = machine({folder!r})

def refused(job, *words):
    try:
        job()
    except CudaError as error:
        assert all(word in str(error) for word in words), str(error)
        return str(error)
    raise AssertionError("expected a CudaError, got none")
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty folder for images."""
    return tmp_path / "images"


def child(libraries: Libraries, cache: Path, code: str, **settings: str) -> str:
    """Runs code in a new process with an empty history and a cache of its own; what it prints."""
    done = start(libraries, cache, code, **settings)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, f"{out}\n{err}"
    return out


def start(libraries: Libraries, cache: Path, code: str, **settings: str) -> subprocess.Popen[str]:
    preamble = PREAMBLE.format(here=str(HERE), folder=str(libraries.folder))
    env = environment(libraries, **settings) | {"ICPO_CACHE_DIR": str(cache)}
    for name, value in settings.items():
        if name.isupper():
            env[name] = value
    return subprocess.Popen(
        [sys.executable, "-c", preamble + textwrap.dedent(code)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def warm(libraries: Libraries) -> Path:
    """A cache with all images that `launching.everything` needs on the first device."""
    folder = libraries.cache()
    child(libraries, folder, "assert everything(0) < 2e-6")
    return folder


# ---- what is launched


def test_grids_are_as_large_as_the_work_or_the_device(standin: StandIn) -> None:
    """The stand-in refuses what a device would; here is what a device would take."""
    stream = _core.CudaStream(0, standin.stream(0))
    info = _core.cuda_prepare(0, VOCABULARY, "bfloat16")
    resident = {
        name: kernel["resident"]
        for unit in info["units"].values()
        for name, kernel in unit["kernels"].items()
    }
    for rows in (1, 2, 3, 129, 300):
        logits = torch.randn(rows, 24)
        ids = torch.zeros(rows, dtype=torch.int64)
        states = torch.empty(rows, 5, dtype=torch.float64)
        scales = torch.full((rows,), LOG2_E, dtype=torch.float64)
        stream.row_states(view(logits), view(ids), view(scales), view(states))
        stream.finish_rows(view(states), view(ids), view(scales), 24)
        stream.scale(view(logits), view(torch.tensor([2.0])))
    launches = standin.launches()
    assert len(launches) == 15
    for launch in launches:
        name, grid = launch["kernel"], launch["grid"]
        rows = (1, 2, 3, 129, 300)[launches.index(launch) // 3]
        work = -(-rows // 128) if name == "icpo_finish_rows" else rows
        persistent = name != "icpo_finish_rows"
        assert grid == (min(work, resident[name]) if persistent else work), launch
        assert launch["block"] <= 1024 and launch["cluster"] == 1
    assert any(launch["grid"] == resident["icpo_row_states_f32"] for launch in launches)


def test_nothing_is_launched_for_nothing(standin: StandIn) -> None:
    stream = _core.CudaStream(0, standin.stream(0))
    logits, ids = torch.empty(0, 7), torch.empty(0, dtype=torch.int64)
    states = torch.empty(0, 5, dtype=torch.float64)
    stream.row_states(view(logits), view(ids), 1.0, view(states))
    stream.finish_rows(view(states), view(ids), 1.0, 7)
    stream.scale(view(torch.empty(2, 0)), view(torch.ones(1)))
    assert standin.launches() == []


def test_launches_go_to_their_stream_and_device(standin: StandIn) -> None:
    streams = [(device, standin.stream(device)) for device in (0, 1, 2, 3, 0)]
    for device, handle in streams:
        logits = torch.randn(3, 9)
        ids, states = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 5, dtype=torch.float64)
        stream = _core.CudaStream(device, handle)
        stream.row_states(view(logits), view(ids), 1.0, view(states))
        assert states[:, 3].equal(logits[:, 0].double())
    assert [(launch["device"], launch["stream"]) for launch in standin.launches()] == streams


def test_the_context_of_the_thread_is_left_as_it_was(standin: StandIn) -> None:
    import ctypes

    def current() -> int | None:
        handle = ctypes.c_void_p()
        standin.check("cuCtxGetCurrent", ctypes.byref(handle))
        return handle.value

    logits, states = view(torch.randn(2, 5)), view(torch.empty(2, 5, dtype=torch.float64))
    ids = view(torch.zeros(2, dtype=torch.int64))
    with standin.context(1):
        before = current()
        assert before is not None
        _core.CudaStream(0, 0).row_states(logits, ids, 1.0, states)
        assert current() == before
        standin.set("fail", "cuLaunchKernelEx:1:700")
        with pytest.raises(CudaError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
            _core.CudaStream(0, 0).row_states(logits, ids, 1.0, states)
        assert current() == before


def test_a_stream_of_another_device_is_refused(standin: StandIn) -> None:
    stream = _core.CudaStream(0, standin.stream(1))
    with pytest.raises(CudaError, match="cuLaunchKernelEx on device 0: CUDA_ERROR_INVALID_HANDLE"):
        stream.row_states(
            view(torch.randn(2, 5)),
            view(torch.zeros(2, dtype=torch.int64)),
            1.0,
            view(torch.empty(2, 5, dtype=torch.float64)),
        )


# ---- what is refused before a launch


def arrays() -> dict[str, torch.Tensor]:
    return {
        "logits": torch.randn(4, 8),
        "ids": torch.zeros(4, dtype=torch.int64),
        "scales": torch.ones(4, dtype=torch.float64),
        "states": torch.empty(4, 5, dtype=torch.float64),
    }


@pytest.mark.parametrize(
    ("argument", "wrong", "error"),
    [
        ("logits", torch.randn(4, 8, dtype=torch.float64), DTypeError),
        ("logits", torch.randn(4), ShapeError),
        ("logits", torch.randn(8, 4).T, ShapeError),
        ("ids", torch.zeros(4, dtype=torch.int32), DTypeError),
        ("ids", torch.zeros(3, dtype=torch.int64), ShapeError),
        ("ids", torch.zeros(8, dtype=torch.int64)[::2], ShapeError),
        ("scales", torch.ones(4), DTypeError),
        ("scales", torch.ones(5, dtype=torch.float64), ShapeError),
        ("states", torch.empty(4, 5), DTypeError),
        ("states", torch.empty(4, 4, dtype=torch.float64), ShapeError),
        ("states", torch.empty(1, 5, dtype=torch.float64).expand(4, 5), ShapeError),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    standin: StandIn, argument: str, wrong: torch.Tensor, error: type[Exception]
) -> None:
    given = {name: view(tensor) for name, tensor in (arrays() | {argument: wrong}).items()}
    with pytest.raises(error, match=f"^{argument}: expected "):
        _core.CudaStream(0, 0).row_states(**given)
    assert standin.launches() == []


def test_memory_that_is_misaligned_or_may_not_be_written_is_refused(standin: StandIn) -> None:
    given = arrays()
    stream = _core.CudaStream(0, 0)

    def put(address: int, writable: bool) -> _core.TensorView:
        return _core.TensorView(address, (4, 5), (5, 1), "float64", writable, given["states"])

    others = {name: view(tensor) for name, tensor in given.items() if name != "states"}
    at = given["states"].data_ptr()
    with pytest.raises(ShapeError, match="states: expected memory aligned to 8 bytes"):
        stream.row_states(states=put(at + 4, True), **others)
    with pytest.raises(ShapeError, match="states: expected memory aligned to 8 bytes"):
        stream.row_states(states=put(0, True), **others)
    with pytest.raises(ShapeError, match="states: expected memory that may be written"):
        stream.row_states(states=put(at, False), **others)
    assert standin.launches() == []


def test_gradients_that_would_overwrite_unread_logits_are_refused(standin: StandIn) -> None:
    memory = torch.randn(5, 8)
    stream = _core.CudaStream(0, 0)
    rest = {
        "ids": view(torch.zeros(4, dtype=torch.int64)),
        "coefficients": view(torch.zeros(4, 4)),
        "scales": 1.0,
    }
    with pytest.raises(ShapeError, match="dlogits: expected memory of its own"):
        stream.gradient(view(memory[:4]), view(memory[1:]), **rest)
    stream.gradient(view(memory[:4]), view(memory[:4]), **rest)
    assert memory[:4].eq(0).all() and len(standin.launches()) == 1


# ---- the driver


def test_without_a_driver_the_package_says_so() -> None:
    """In a process that has no stand-in; skipped where there is a real driver."""
    code = """
    from icpo import CudaError, _core
    info = _core.cuda_info()
    if info["driver"] is not None:
        print("a driver")
        raise SystemExit
    assert info["devices"] == [] and "libcuda.so.1" in info["reason"], info
    for job in (lambda: _core.CudaStream(0, 0), lambda: _core.cuda_prepare(0, 64, "float32"),
                lambda: _core.cuda_plan(0, 64, "float32")):
        try:
            job()
        except CudaError as error:
            assert "driver" in str(error)
        else:
            raise AssertionError("expected a CudaError, got none")
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("ICPO_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "a driver" in done.stdout:
        pytest.skip("this machine has a CUDA driver")


def test_a_library_that_is_no_driver_is_named(libraries: Libraries, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    library = str(folder / "libcuda.so.1")
    command = [compiler(), "-shared", "-x", "c++", "/dev/null", "-o", library]
    subprocess.run(command, check=True)
    code = """
    from icpo import CudaError, _core
    try:
        _core.CudaStream(0, 0)
    except CudaError as error:
        assert "lacks cuInit" in str(error) and "12.0 or newer" in str(error), error
    else:
        raise AssertionError("expected a CudaError, got none")
    """
    env = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=env, check=True)


def test_the_table_of_calls_is_not_empty() -> None:
    assert {"cuInit", "cuModuleLoadData", "cuLaunchKernelEx"} < set(CALLS) and len(CALLS) > 15
    assert {"nvrtcCompileProgram", "nvrtcGetCUBIN"} < set(COMPILER_CALLS)


#: With a cache that has all images, an image that does not load is compiled, and loads: only when
#: no image loads is there an error. A module is unloaded only after another failure.
FAILURES = {
    "cuModuleLoadData": "cuModuleLoadData:0",
    "cuModuleUnload": "cuModuleGetFunction:1,cuModuleUnload:1",
}


@pytest.mark.parametrize("call", CALLS)
def test_each_failing_call_is_named_and_the_next_attempt_works(
    libraries: Libraries, warm: Path, call: str
) -> None:
    rules = FAILURES.get(call, f"{call}:1")
    code = f"""
    standin.set("fail", {rules!r})
    before = standin.calls({call!r})
    error = refused(lambda: everything(0))
    assert standin.calls({call!r}) > before, "the call was not made: the test proves nothing"
    blamed = {rules.split(":")[0]!r}
    assert error.startswith(blamed), error
    assert "CUDA_ERROR_UNKNOWN (999), unknown error" in error, error
    standin.set("fail", None)
    assert everything(0) < 2e-6
    units = _core.cuda_info()["devices"][0]["units"]
    assert len(units) == 5, units.keys()
    """
    child(libraries, warm, code)


def test_codes_that_the_driver_does_not_know_are_given_as_numbers(
    libraries: Libraries, warm: Path
) -> None:
    code = """
    standin.set("fail", "cuDeviceGetCount:1:123456")
    refused(lambda: everything(0), "cuDeviceGetCount: ", "(123456)", "does not know")
    """
    child(libraries, warm, code)


def test_errors_about_a_device_give_its_number(libraries: Libraries, warm: Path) -> None:
    code = """
    assert everything(0) < 2e-6
    for call in ("cuLaunchKernelEx", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"):
        standin.set("fail", f"{call}:1:2")
        refused(lambda: everything(0), f"{call} on device 0: CUDA_ERROR_OUT_OF_MEMORY (2)")
        standin.set("fail", None)
        assert everything(0) < 2e-6
    """
    child(libraries, warm, code)


def test_old_drivers_and_foreign_devices_are_named(libraries: Libraries, cache: Path) -> None:
    old = 'refused(lambda: everything(0), "12.0 or newer", "11.8")'
    child(libraries, cache, old, driver="11080")
    foreign = """
    refused(lambda: everything(0), "device 0", "8.x, 9.x, 10.x or 12.x", "7.5")
    assert _core.cuda_info()["devices"][0]["architecture"] is None
    refused(lambda: everything(1), "one of 1 CUDA devices, got 1")
    """
    child(libraries, cache, foreign, capability="7.5")
    none = 'refused(lambda: everything(0), "one of 0 CUDA devices, got 0")'
    child(libraries, cache, none, devices="0")


def test_images_serve_all_devices_of_a_major_version(libraries: Libraries, cache: Path) -> None:
    code = """
    for device in range(4):
        assert everything(device) < 2e-6
    """
    child(libraries, cache, code, capability="8.0,8.6,8.9,12.1")
    assert {file.name.split(".")[1] for file in cache.iterdir()} == {"sm_80", "sm_120"}


def test_a_forked_child_is_told_to_spawn(libraries: Libraries, warm: Path) -> None:
    code = """
    stream = _core.CudaStream(0, 0)
    assert log_probs(stream) < 2e-6
    child = os.fork()
    if child == 0:
        try:
            refused(lambda: log_probs(stream), "spawn")
            refused(lambda: _core.CudaStream(0, 0), "spawn")
            assert "spawn" in _core.cuda_info()["reason"]
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert log_probs(stream) < 2e-6
    """
    child(libraries, warm, code)


def test_a_fork_before_the_first_use_is_none_of_our_business(
    libraries: Libraries, warm: Path
) -> None:
    code = """
    child = os.fork()
    assert everything(0) < 2e-6
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    child(libraries, warm, code)


def test_rooms_too_small_for_a_cluster_are_an_obstacle(libraries: Libraries, warm: Path) -> None:
    code = """
    standin.set("clusters", 0)
    logits = np.zeros((2, VOCABULARY), np.float32)
    stream = _core.CudaStream(0, 0)
    reason = stream.fused_obstacle(view(logits), view(logits))
    assert "no room for a cluster of 4 blocks" in reason, reason
    assert reason in _core.cuda_prepare(0, VOCABULARY, "float32")["plan"]
    """
    child(libraries, warm, code)


def test_threads_compile_a_unit_once(libraries: Libraries, cache: Path) -> None:
    code = """
    from concurrent.futures import ThreadPoolExecutor
    stream = _core.CudaStream(0, 0)
    with ThreadPoolExecutor(8) as pool:
        far = list(pool.map(lambda seed: log_probs(stream, seed), range(32)))
    assert max(far) < 2e-6, far
    assert standin.calls("nvrtcCompileProgram") == standin.calls("cuModuleLoadData") == 1
    """
    child(libraries, cache, code)


# ---- graphs


def test_kernels_are_not_loaded_while_a_graph_is_captured(
    libraries: Libraries, cache: Path
) -> None:
    code = """
    handle = standin.stream(0)
    stream = _core.CudaStream(0, handle)
    with standin.capture(handle):
        refused(lambda: log_probs(stream), "icpo.prepare", "logp_entropy", "device 0")
        logits = np.zeros((2, 8), np.float32)
        refused(lambda: stream.fused_obstacle(view(logits), view(logits)), "icpo.prepare", "fused")
    assert standin.calls("cuModuleLoadData") == standin.calls("nvrtcCompileProgram") == 0
    _core.cuda_prepare(0, VOCABULARY, "bfloat16")
    loads = standin.calls("cuModuleLoadData")
    with standin.capture(handle):
        assert log_probs(stream) != 0.0  # nothing has run yet
    assert standin.calls("cuModuleLoadData") == loads
    """
    child(libraries, cache, code)


def test_a_captured_graph_runs_on_what_is_there_then(standin: StandIn) -> None:
    handle = standin.stream(0)
    stream = _core.CudaStream(0, handle)
    logits, ids = torch.randn(4, 50), torch.tensor([3, 0, 49, 7])
    states, logp = torch.empty(4, 5, dtype=torch.float64), torch.zeros(4)
    _core.cuda_prepare(0, 64, "float32")
    with standin.capture(handle):
        stream.row_states(view(logits), view(ids), LOG2_E, view(states))
        stream.finish_rows(view(states), view(ids), LOG2_E, 50, logp=view(logp))
    assert logp.eq(0).all()
    for _ in range(2):
        logits.normal_()
        standin.replay(handle)
        truth = logits.double().log_softmax(-1).gather(1, ids[:, None])[:, 0]
        assert (logp - truth).abs().max() < 2e-6


# ---- images


def test_the_compilers_words_are_in_the_error(libraries: Libraries, cache: Path) -> None:
    code = """
    standin.set("compile_fail", 1)
    refused(lambda: everything(0), "logp_entropy does not compile", "NVRTC 13.0",
            "--gpu-architecture=sm_90", "error: ICPO_STANDIN_COMPILE_FAIL")
    standin.set("compile_fail", None)
    assert everything(0) < 2e-6
    """
    child(libraries, cache, code)


@pytest.mark.parametrize("call", [call for call in COMPILER_CALLS if call != LAST_CALL])
def test_each_failing_call_of_the_compiler_is_named(
    libraries: Libraries, cache: Path, call: str
) -> None:
    code = f"""
    stream = _core.CudaStream(0, 0)
    standin.set("fail", "{call}:1:1")
    refused(lambda: log_probs(stream), "{call}", "NVRTC_ERROR_OUT_OF_MEMORY (1)")
    standin.set("fail", None)
    assert log_probs(stream) < 2e-6
    """
    child(libraries, cache, code)


def test_a_program_that_is_not_given_back_is_no_error(libraries: Libraries, cache: Path) -> None:
    code = f"""
    standin.set("fail", "{LAST_CALL}:0")
    assert log_probs(_core.CudaStream(0, 0)) < 2e-6
    assert standin.calls("{LAST_CALL}") == 1
    """
    child(libraries, cache, code)


def test_compiled_images_are_kept_for_the_next_process(libraries: Libraries, cache: Path) -> None:
    code = """
    assert everything(0) < 2e-6
    units = _core.cuda_info()["devices"][0]["units"]
    print(sorted({unit["origin"].split()[0] for unit in units.values()}))
    print(standin.calls("nvrtcCompileProgram"))
    """
    assert child(libraries, cache, code).split("\n")[:2] == ["['compiled']", "5"]
    assert child(libraries, cache, code).split("\n")[:2] == ["['cached:']", "0"]
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_damaged_images_are_replaced(libraries: Libraries, cache: Path, damage: str) -> None:
    child(libraries, cache, "assert log_probs(_core.CudaStream(0, 0)) < 2e-6")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    # Whole, and nothing that the driver knows.
    foreign = _core.cuda_seal(b"\x7fno image" * 100, TOOLKIT)
    file.write_bytes(
        {"cut": whole[:middle], "flipped": flipped, "empty": b"", "foreign": foreign}[damage]
    )
    code = """
    assert log_probs(_core.CudaStream(0, 0)) < 2e-6
    unit = _core.cuda_info()["devices"][0]["units"]["logp_entropy"]
    assert unit["origin"].startswith("compiled"), unit
    (passed_over,) = unit["passed_over"]
    print(passed_over)
    """
    why = "CUDA_ERROR_INVALID_IMAGE" if damage == "foreign" else "damaged"
    assert why in child(libraries, cache, code)
    assert len(list(cache.iterdir())) == 1
    code = """
    assert log_probs(_core.CudaStream(0, 0)) < 2e-6
    assert standin.calls("nvrtcCreateProgram") == 0
    """
    child(libraries, cache, code)


def test_a_cache_that_can_not_be_written_is_done_without(
    libraries: Libraries, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("where a folder should be")
    code = """
    assert everything(0) < 2e-6
    for unit in _core.cuda_info()["devices"][0]["units"].values():
        assert "not cached" in unit["origin"], unit
    """
    child(libraries, blocked, code)


def test_without_a_home_nothing_is_kept(libraries: Libraries, cache: Path) -> None:
    code = """
    assert everything(0) < 2e-6
    info = _core.cuda_info()
    assert info["cache_dir"] is None
    assert "ICPO_CACHE_DIR is not set" in info["devices"][0]["units"]["scale"]["origin"]
    """
    child(libraries, cache, code, HOME="", XDG_CACHE_HOME="", ICPO_CACHE_DIR="")


def test_processes_may_compile_the_same_at_once(libraries: Libraries, cache: Path) -> None:
    code = "assert everything(0) < 2e-6"
    running = [start(libraries, cache, code) for _ in range(4)]
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out}\n{err}"
    names = [file.name for file in cache.iterdir()]
    assert len(names) == 5 and not any(name.startswith(".") for name in names), names
    child(libraries, cache, code + '\nassert standin.calls("nvrtcCompileProgram") == 0')


@pytest.fixture(scope="module")
def prebuilt(libraries: Libraries, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images as `make kernels` writes them: of all units but the row-resident one."""
    folder = tmp_path_factory.mktemp("prebuilt")
    for main, file, options, sources in _core.cuda_units("sm_90"):
        image, _ = _core.cuda_compile(main, sources, options, [str(libraries.compiler)])
        (folder / file).write_bytes(_core.cuda_seal(image, TOOLKIT))
    return folder


def test_images_of_the_package_come_first(
    libraries: Libraries, prebuilt: Path, cache: Path
) -> None:
    code = f"""
    _core.cuda_configure([{str(prebuilt)!r}])
    assert log_probs(_core.CudaStream(0, 0)) < 2e-6
    unit = _core.cuda_info()["devices"][0]["units"]["logp_entropy"]
    assert unit["origin"].startswith("prebuilt: "), unit
    assert standin.calls("nvrtcCreateProgram") == 0
    """
    child(libraries, cache, code)
    assert not cache.exists()


def test_without_a_compiler_what_is_missing_is_named(
    libraries: Libraries, prebuilt: Path, cache: Path
) -> None:
    code = f"""
    refused(lambda: everything(0), "no image of logp_entropy for sm_90", "/images/logp_entropy-",
            "no such file", "/nowhere/libnvrtc.so")
    _core.cuda_configure([{str(prebuilt)!r}])
    stream = _core.CudaStream(0, 0)
    assert log_probs(stream) < 2e-6
    # The row-resident kernel is a matter of speed: without its image there are other ways.
    logits = np.zeros((2, 8), np.float32)
    reason = stream.fused_obstacle(view(logits), view(logits))
    assert "no image of fused" in reason, reason
    prepared = _core.cuda_prepare(0, VOCABULARY, "bfloat16")
    assert len(prepared["units"]) == 4 and "no image of fused" in prepared["plan"], prepared
    """
    child(libraries, cache, code, ICPO_NVRTC="/nowhere/libnvrtc.so")


@pytest.mark.parametrize("fault", ["newer", "refused"])
def test_images_of_the_package_that_do_not_load_are_compiled(
    libraries: Libraries, prebuilt: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    for file in prebuilt.iterdir():
        sealed = {
            "newer": _core.cuda_seal(b"of the future", (99, 1)),
            "refused": _core.cuda_seal(b"no image at all" * 10, TOOLKIT),
        }
        (folder / file.name).write_bytes(sealed[fault])
    code = f"""
    _core.cuda_configure([{str(folder)!r}])
    assert log_probs(_core.CudaStream(0, 0)) < 2e-6
    unit = _core.cuda_info()["devices"][0]["units"]["logp_entropy"]
    assert unit["origin"].startswith("compiled"), unit
    print(*unit["passed_over"])
    """
    expected = {"newer": "made by CUDA 99.1", "refused": "CUDA_ERROR_INVALID_IMAGE"}
    assert expected[fault] in child(libraries, tmp_path / "images", code)


def test_a_compiler_newer_than_the_driver_is_not_used(libraries: Libraries, cache: Path) -> None:
    code = 'refused(lambda: everything(0), "of CUDA 13.0, and the driver\'s is 12.4")'
    child(libraries, cache, code, driver="12040")


# ---- the parts that make images ahead of time


def test_units_name_all_that_they_are_made_from() -> None:
    common = _core.cuda_units("sm_90")
    needed = _core.cuda_units("sm_90", 151_936, "bfloat16")
    assert needed[: len(common)] == common and len(needed) == len(common) + 1
    assert _core.cuda_units("sm_80", 151_936, "bfloat16") == _core.cuda_units("sm_80")
    assert _core.cuda_units("sm_90", 151_937, "bfloat16") == common
    files = [file for arch in ("sm_80", "sm_90") for _, file, _, _ in _core.cuda_units(arch)]
    assert len(set(files)) == len(files)
    for main, file, options, sources in needed:
        assert main in sources and file.endswith(".sm_90.cubin")
        assert "--gpu-architecture=sm_90" in options


def test_plans_of_an_architecture_are_those_of_its_devices(standin: StandIn) -> None:
    for device, arch in enumerate(("sm_90", "sm_80", "sm_100", "sm_120")):
        for vocabulary, dtype in ((151_936, "bfloat16"), (262_144, "float32"), (7, "float16")):
            of_device = _core.cuda_plan(device, vocabulary, dtype)
            assert of_device == _core.cuda_plan(arch, vocabulary, dtype)
            assert isinstance(of_device, str) == (arch == "sm_80" or vocabulary == 7)
    with pytest.raises(ValueError, match="arch: expected sm_80"):
        _core.cuda_plan("sm_70", 64, "float32")


def test_units_refuse_half_a_question() -> None:
    with pytest.raises(TypeError, match="dtype: needed for a vocabulary"):
        _core.cuda_units("sm_90", 64)
    with pytest.raises(TypeError, match="vocabulary: needed"):
        _core.cuda_units("sm_90", dtype="float32")
    with pytest.raises(ValueError, match="arch: expected sm_80 or sm_90 or sm_100 or sm_120"):
        _core.cuda_units("sm_75")
    with pytest.raises(DTypeError, match="dtype: expected bfloat16, float16 or float32"):
        _core.cuda_units("sm_90", 64, "float64")


def test_sources_with_errors_are_refused_with_the_log(libraries: Libraries) -> None:
    options = ["--gpu-architecture=sm_90"]
    nvrtc = [str(libraries.compiler)]
    with pytest.raises(CudaError, match=r"(?s)bad\.cu does not compile.*missing_name"):
        _core.cuda_compile("bad.cu", {"bad.cu": "int x = missing_name;"}, options, nvrtc)
    with pytest.raises(CudaError, match="unrecognized option --frobnicate"):
        _core.cuda_compile("a.cu", {"a.cu": ""}, [*options, "--frobnicate"], nvrtc)
    with pytest.raises(TypeError, match=r"b\.cu is to be compiled"):
        _core.cuda_compile("b.cu", {"a.cu": ""}, options, nvrtc)
