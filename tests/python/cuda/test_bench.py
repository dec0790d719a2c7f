"""The GPU benchmark without a GPU: its logic, its verdicts, what it does when things fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu
import gpu_correctness
import gpu_measure
import gpu_peers
import gpu_problem
import pytest
import torch

from icpo import ops

BENCHMARK = Path(gpu.__file__)
SIZE = gpu_problem.Size(12, 32, "f32", peers=True)

# After a first torch.compile, a first backward pass starts threads, and a process with these can
# not fork, which tests of the trainer do. After this backward pass there will be none.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture
def bench() -> gpu.Bench:
    return gpu.Bench(gpu_measure.Cpu(), budget=0.0, peers=True)


@pytest.fixture
def problem() -> gpu_problem.Problem:
    return gpu_problem.problem_of(gpu_problem.Size(16, 32, "f32", peers=True), torch.device("cpu"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = run()
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1 and "no GPU" in done.stdout


def test_it_runs_whole_on_a_cpu(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--no-peers", "--no-correctness", "--budget", "0"]
    done = run(
        *options,
        "--sections",
        "logp",
        "backward",
        "fused",
        "loss",
        "repeat",
        "--json",
        f"{tmp_path}/x",
    )
    assert done.returncode in (0, 1), done.stderr  # a CPU may meet the bars or not
    assert done.stderr == ""
    found = json.loads((tmp_path / "x").read_text())
    assert not any(line["failure"] for line in found["lines"])
    sizes = {str(size) for size in gpu.SMALL}
    for what in ("forward", "backward", "fused", "functional", "loss"):
        assert {line["size"] for line in found["lines"] if line["what"] == what} == sizes
    repeats = [bar for bar in found["bars"] if bar["name"].startswith("bitwise")]
    assert len(repeats) == len(sizes) and all(bar["met"] for bar in repeats)


def line(what: str, who: str, seconds: float, extra: int | None = 0) -> gpu.Line:
    """One that moved as many bytes as its logits have."""
    measured = gpu_measure.Measured([seconds / 2, seconds, seconds * 9], extra)
    return gpu.Line("section", what, who, str(SIZE), SIZE.bytes, SIZE.bytes, measured)


@pytest.mark.parametrize(
    ("forward", "fused", "extra", "verl", "missed"),
    [
        (1.10, 1.17, 0.009, 3.6, []),
        (1.13, 1.17, 0.009, 3.6, ["forward"]),
        (1.10, 1.19, 0.009, 3.6, ["in place, of copy"]),
        (1.10, 1.17, 0.011, 3.6, ["extra memory"]),
        (1.10, 1.17, 0.009, 3.4, ["over ours"]),
    ],
)
def test_bars(
    bench: gpu.Bench, forward: float, fused: float, extra: float, verl: float, missed: list[str]
) -> None:
    """Times are in units of the copy's."""
    bench.rate = float(SIZE.bytes)
    bench.lines += [
        line("forward", gpu.OURS, forward),
        line("fused", f"{gpu.OURS}, in place", fused, round(extra * SIZE.bytes)),
        line("fused", gpu_peers.VERL, verl),
        line("fused", gpu_peers.VERL_OPERATIONS, 0.1),  # verl itself is there, so this is not asked
    ]
    gpu.judge(bench, [SIZE])
    assert len(bench.bars) == 4
    failed = [bar.name for bar in bench.bars if not bar.met]
    assert len(failed) == len(missed)
    assert all(word in name for word, name in zip(missed, failed, strict=True))
    assert gpu.report(bench) == (not missed)


def test_a_peer_that_fails_is_a_line_of_the_table(
    bench: gpu.Bench, problem: gpu_problem.Problem, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(error: Exception) -> gpu_measure.Run:
        def call() -> object:
            raise error

        return call

    contestants = {
        "icpo": lambda: lambda: None,
        "absent": lambda: raises(ImportError("No module named 'absent'")),
        "large": lambda: raises(torch.OutOfMemoryError("out of memory")),
        "broken": lambda: raises(RuntimeError("an illegal size\nand more")),
        "good": lambda: lambda: None,
    }
    bench.contest("section", "what", problem, 1, contestants)
    assert [found.failure for found in bench.lines] == [
        "",
        "not installed (No module named 'absent')",
        "OOM",
        "RuntimeError: an illegal size",
        "",
    ]
    assert gpu.report(bench)
    assert "OOM" in capsys.readouterr().out


def test_a_failure_of_ours_fails_the_run(
    bench: gpu.Bench, problem: gpu_problem.Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("a launch failed")

    monkeypatch.setattr(ops, "token_stats", broken)
    gpu.logp(bench, problem)
    assert [found.who for found in bench.failed()] == ["icpo"]
    assert not gpu.report(bench)
    gpu.attempt(bench, "backward", problem)  # which fails before its contest
    assert not bench.bars[-1].met


def test_preparation_is_not_timed(bench: gpu.Bench) -> None:
    order: list[str] = []
    measured = gpu_measure.measure(
        bench.machine, lambda: order.append("run"), lambda: order.append("prepare"), budget=0.0
    )
    assert len(measured.seconds) == 3
    assert order == ["prepare", "run"] * 6


def test_problems_are_likely_tokens_at_ratios_around_one(problem: gpu_problem.Problem) -> None:
    logp, _ = ops.logp_entropy(problem.logits, problem.ids, gpu_problem.TEMPERATURE)
    assert (logp[::4] > -1e-3).all()
    assert (logp - problem.old_logp).abs().max() < 1
    assert problem.offsets[0] == 0 and problem.offsets[-1] == problem.size.tokens


CASES = [case for case in gpu_correctness.cases(full=False) if case.vocabulary in (17, 1000)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operators_of_the_cpu_are_right(case: gpu_correctness.Case) -> None:
    assert gpu_correctness.check(case, torch.device("cpu"), seed=1) == []


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = ops.token_stats
    fused = ops.fused_policy_loss

    def off(logits, ids, temperature):
        found = stats(logits, ids, temperature)
        return found._replace(logp=found.logp + 4e-6, rank=found.rank + 1)

    def twice(*arguments, **settings):
        loss, metrics = fused(*arguments, **settings)
        return 1.0001 * loss, metrics

    monkeypatch.setattr(ops, "token_stats", off)
    monkeypatch.setattr(ops, "fused_policy_loss", twice)
    case = gpu_correctness.Case(67, 1000, "f32")
    faults = " ".join(gpu_correctness.check(case, torch.device("cpu"), seed=1))
    for name in ("log-prob", "rank", "loss functional", "gradient in place"):
        assert name in faults
    assert "entropy" not in faults


@pytest.mark.parametrize("name", ["torch eager", "torch eager, entropy"])
def test_plain_torch_solves_the_same_problem(problem: gpu_problem.Problem, name: str) -> None:
    """Else times would not be comparable."""
    config = gpu_problem.CONFIG_ENTROPY if "entropy" in name else gpu_problem.CONFIG
    problem.restore()
    theirs = gpu_peers.GRADIENT[name](problem)()
    problem.restore()
    _, ours = gpu.fused_call(problem, config, inplace=False)()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-8)
