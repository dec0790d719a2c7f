"""What `icpo info` says, here and on machines that have more or less."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import icpo
from icpo import cli, cuda, machine

GPU = {
    "name": "A GPU",
    "capability": (9, 0),
    "architecture": "sm_90",
    "multiprocessors": 132,
    "memory": 80 * 2**30,
    "units": {
        "scale.cu": {"origin": "compiled by NVRTC 13.2 (x)", "passed_over": ["y: no such file"]}
    },
}
PLAN = {"cluster": 4, "threads": 224, "held": 22, "slots": 31}


def found(**changes):
    """What the core finds on a machine with one GPU, with changes."""
    return {
        "driver": (13, 2),
        "devices": [dict(GPU)],
        "nvrtc": {"version": (13, 2), "file": "libnvrtc.so.13"},
        "image_dirs": [Path("/nowhere")],
        "cache_dir": Path("/nowhere/cache"),
        **changes,
    }


def pretend(monkeypatch, plan=PLAN, **changes):
    """Makes the core tell of another machine; its units stay what they are."""
    if not cuda.is_built():
        pytest.skip("built without the feature 'cuda'")
    core = SimpleNamespace(
        **{name: getattr(machine._core, name) for name in dir(machine._core) if name[0] != "_"},
        __version__="1.2.3",
    )
    core.cuda_info = lambda: found(**changes)
    core.cuda_plan = lambda device, vocab, dtype: plan
    monkeypatch.setattr(machine, "_core", core)


def test_of_this_machine():
    about = icpo.info(vocab=151_936)
    assert about["version"] == icpo.__version__
    assert about["cpu"]["threads"] == icpo.num_threads()
    assert about["cpu"]["instruction_set"] in ("AVX-512", "AVX2", "NEON", "baseline", "unknown")
    assert json.loads(json.dumps(about)) is not None
    text = machine.describe(about)
    assert text.startswith(f"icpo-rs {icpo.__version__}\nCPU: ")
    assert "None" not in text


def test_needs_neither_torch_nor_a_gpu():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from icpo import cli; sys.exit(cli.main(['info', '--vocab', '1000', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["cpu"]["threads"] >= 1


@pytest.mark.skipif(not cuda.is_built(), reason="built without the feature 'cuda'")
@pytest.mark.parametrize(
    ("vocab", "dtype", "architecture", "reason"),
    [
        (151_936, "bfloat16", "sm_90", None),
        (151_936, "float32", "sm_100", None),
        (128_256, "float16", "sm_120", None),
        (151_936, "bfloat16", "sm_80", "clusters"),
        (151_937, "bfloat16", "sm_90", "303874 bytes, which is no multiple of 16"),
        (10_000_000, "float32", "sm_90", "40000000 bytes, and registers hold at most"),
    ],
)
def test_fast_path_of_an_architecture(vocab, dtype, architecture, reason):
    answer = icpo.info(vocab, dtype)["vocabulary"]["architectures"][architecture]
    assert isinstance(answer["fast_path"], dict) == (reason is None)
    assert ("fused.cu" in answer["images"]) == (reason is None)
    assert reason is None or reason in answer["fast_path"]


@pytest.mark.skipif(not cuda.is_built(), reason="built without the feature 'cuda'")
def test_every_architecture_is_listed():
    with pytest.raises(icpo.ConfigError) as caught:
        machine._core.cuda_units("sm_1")
    assert tuple(re.findall(r"sm_\d{2,}", str(caught.value))) == machine.ARCHITECTURES


def test_a_machine_with_a_gpu(monkeypatch, tmp_path):
    (tmp_path / "a.cubin").touch()
    pretend(monkeypatch, image_dirs=[tmp_path], cache_dir=tmp_path)
    text = machine.describe(machine.info(151_936))
    for line in (
        "CUDA: driver for 13.2, 1 devices",
        "cuda:0: A GPU, compute capability 9.0, 132 multiprocessors, 80 GiB: sm_90",
        "loaded: scale.cu, compiled by NVRTC 13.2 (x)",
        "passed over: y: no such file",
        "fast path: yes: 4 blocks of 224 threads hold a row, 22 times 16 bytes a thread",
        f"with the package: 1 in {tmp_path}",
        f"cache: 1 in {tmp_path} (writable)",
        "compiler: NVRTC 13.2, libnvrtc.so.13",
        "Vocabulary of 151936, bfloat16",
    ):
        assert line in text


def test_images_are_found_where_they_lie(monkeypatch, tmp_path):
    pretend(monkeypatch, image_dirs=[tmp_path / "package"], cache_dir=tmp_path)
    units = machine._core.cuda_units("sm_90", 1024, "float16")
    for folder, (_, file, *_) in zip(("package", "."), units, strict=False):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / file).touch()
    images = machine.info(1024, "float16")["vocabulary"]["architectures"]["sm_90"]["images"]
    folders = [images[source]["folder"] for source, *_ in units]
    assert folders[:2] == [str(tmp_path / "package"), str(tmp_path)]
    assert set(folders[2:]) == {None}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"driver": None, "reason": "no libcuda", "devices": []}, "CUDA: none: no libcuda"),
        ({"devices": [{"reason": "it is asleep"}]}, "cuda:0: not usable: it is asleep"),
        (
            {"devices": [{**GPU, "architecture": None, "capability": (7, 5)}]},
            "7.5, 132 multiprocessors, 80 GiB: no kernels for this capability",
        ),
        ({"cache_dir": None}, "cache: none"),
        ({"cache_dir": Path("/proc/1/no")}, "not writable: nothing is kept"),
        ({"nvrtc": {"reason": "not found"}}, "compiler: none: not found"),
    ],
)
def test_what_is_missing_is_said(monkeypatch, changes, line):
    pretend(monkeypatch, plan="too short", **changes)
    about = machine.info(1000)
    assert line in machine.describe(about)
    json.dumps(about)


def test_a_reason_against_the_fast_path_is_said(monkeypatch):
    pretend(monkeypatch, plan="too short")
    assert "fast path: no: too short" in machine.describe(machine.info(1000))


def test_a_build_without_cuda(monkeypatch):
    monkeypatch.setattr(cuda, "_core", SimpleNamespace())
    about = machine.info(1000)
    assert about["cuda"] is None and "compiled without the feature 'cuda'" in about["reason"]
    assert "CUDA: none: this build" in machine.describe(about)
    with pytest.raises(icpo.DeviceError, match="compiled without the feature 'cuda'"):
        icpo.prepare(0, 1000, "float32")


def test_the_command(capsys):
    assert cli.main(["info", "--vocab", "1000", "--dtype", "float32"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("icpo-rs ") and ("float32" in text or not cuda.is_built())
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == icpo.__version__
    assert cli.main(["info", "--vocab", "0"]) == 2
    assert "vocab: expected a number of tokens" in capsys.readouterr().err


def test_mistakes():
    for device in ("cpu", "cuda:x", "mps", None, -1):
        with pytest.raises(icpo.DeviceError, match="device: expected a CUDA device"):
            icpo.prepare(device, 1000, "float32")
    for dtype in ("float64", "", None):
        with pytest.raises(icpo.DTypeError, match="dtype: expected bfloat16"):
            icpo.prepare(0, 1000, dtype)
        with pytest.raises(icpo.DTypeError, match="dtype: expected bfloat16"):
            icpo.info(1000, dtype)
    for vocab in (0, -5, 2**40):
        with pytest.raises(icpo.ConfigError, match="vocab: expected"):
            icpo.prepare(0, vocab, "float32")
        with pytest.raises(icpo.ConfigError, match="vocab: expected"):
            icpo.info(vocab)
