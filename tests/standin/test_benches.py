"""The GPU benchmark on the stand-in: all but its times and its graphs."""

from __future__ import annotations

import gpu
import gpu_correctness
import gpu_measure
import gpu_problem
import pytest
import torch

from icpo import _core
from icpo.ops.backend import BACKENDS
from icpo.ops.cuda import CudaBackend


class Emulated(gpu_measure.Cpu):
    """The CPU with a stream of the stand-in."""

    def __init__(self, stream: _core.CudaStream) -> None:
        self._stream = stream

    def stream(self) -> _core.CudaStream:
        return self._stream


@pytest.fixture
def bench(stream: _core.CudaStream) -> gpu.Bench:
    return gpu.Bench(Emulated(stream), budget=0.0, peers=False)


@pytest.fixture
def problem() -> gpu_problem.Problem:
    size = gpu_problem.Size(8, 2048, "bf16", peers=True)
    return gpu_problem.problem_of(size, torch.device("cpu"))


@pytest.fixture
def small_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides the plan that is chosen one that cuts a row in two."""
    monkeypatch.setattr(gpu, "SHAPES", [(64, 2, 2)])
    monkeypatch.setattr(gpu, "CLUSTERS", (2,))


class OneStream:
    """Where the operators launch."""

    def __init__(self, stream: _core.CudaStream) -> None:
        self._stream = stream

    def current(self, device: torch.device) -> _core.CudaStream:
        return self._stream

    def is_capturing(self, device: torch.device) -> bool:
        return False


@pytest.fixture
def operators(stream: _core.CudaStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of CUDA devices, for tensors of the CPU."""
    monkeypatch.setitem(BACKENDS, "cpu", CudaBackend(OneStream(stream)))


@pytest.mark.usefixtures("operators", "small_plans")
@pytest.mark.parametrize("section", gpu.SECTIONS)
def test_sections_run(bench: gpu.Bench, problem: gpu_problem.Problem, section: str) -> None:
    gpu.SECTIONS[section](bench, problem)
    assert bench.lines or bench.bars
    assert not bench.failed()
    assert all(bar.met for bar in bench.bars), bench.bars


CASES = [case for case in gpu_correctness.cases(full=False) if case.vocabulary in (17, 1000)]


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_checks_find_the_kernels_right(case: gpu_correctness.Case) -> None:
    assert gpu_correctness.check(case, torch.device("cpu"), seed=2) == []


@pytest.mark.usefixtures("small_plans")
def test_plans_are_measured_and_agree(bench: gpu.Bench, problem: gpu_problem.Problem) -> None:
    gpu.plans(bench, problem)
    assert not bench.failed()
    names = ["icpo, 1 x 224 threads x 2", "icpo, 2 x 64 threads x 2"]
    assert [line.who for line in bench.lines] == names
    (bar,) = bench.bars
    assert bar.met, bar


@pytest.mark.usefixtures("small_plans")
def test_a_plan_that_disagrees_is_a_missed_bar(
    bench: gpu.Bench, problem: gpu_problem.Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "largest_difference", lambda a, b: float("nan"))
    gpu.plans(bench, problem)
    (bar,) = bench.bars
    assert not bar.met


def test_a_single_kernel_runs(bench: gpu.Bench, problem: gpu_problem.Problem) -> None:
    gpu.logp(bench, problem)
    assert [line.who for line in bench.lines] == ["icpo", "icpo, its kernel alone"]
    assert not bench.failed()
