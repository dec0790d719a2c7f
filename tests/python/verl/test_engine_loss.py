"""The loss in verl's own FSDP2 engine: losses, gradients, updates and figures, against float64.

Everything runs in two goes, one of one rank and one of two, without Ray.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import cases

pytestmark = pytest.mark.verl

# Not imported here, but in the processes that are started.
if missing := [peer for peer in ("verl", "peft") if importlib.util.find_spec(peer) is None]:
    # CI installs them, so there their absence is a failure and not a reason to skip.
    assert not os.environ.get("CI"), missing
    pytest.skip(f"not installed: {', '.join(missing)}", allow_module_level=True)

from engine_cases import CASES, LAYOUTS, MODES, UNTOUCHED, VANILLA  # noqa: E402
from engine_jobs import Job, Outcome, Rows, adapter_value, make_model  # noqa: E402
from engine_truth import Truth, recompute  # noqa: E402

SCRIPT = Path(__file__).with_name("engine_runs.py")

#: Of figures, losses and whole gradients, in float32.
TOLERANCE = 5e-5

##### The runs


@dataclass
class Runs:
    """Jobs by the names of cases, what came of them on each rank, and float64 models."""

    jobs: dict[str, Job]
    #: By case and number of ranks.
    outcomes: dict[tuple[str, int], list[Outcome]]
    models: dict[str, torch.nn.Module]
    truths: dict[str, Truth] = field(default_factory=dict)

    def truth(self, name: str) -> Truth:
        """The float64 recomputation, made once."""
        if name not in self.truths:
            job = self.jobs[name]
            self.truths[name] = recompute(self.model(job), job, CASES[name].config)
        return self.truths[name]

    def model(self, job: Job) -> torch.nn.Module:
        """With or without an adapter."""
        return self.models["lora" if job.worker == "lora" else "plain"]

    def outcome(self, name: str, ranks: int = 1) -> Outcome:
        """Of the first rank."""
        return self.outcomes[name, ranks][0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All cases, on one rank and on two."""
    folder = tmp_path_factory.mktemp("engine")
    model = make_model()
    model.save_pretrained(folder / "model")
    models = {"plain": model.double(), "lora": with_adapter()}
    jobs, drawn = {}, {}
    for name, case in CASES.items():
        job = Job([], **case.job)
        key = "lora" if job.worker == "lora" else "plain"
        at = (key, case.seed, job.temperature, case.rows)
        if at not in drawn:
            source = Rows(models[key], case.seed + 1_000_000 * cases.SEED)
            drawn[at] = source.draw(case.rows, job.temperature)
        job.rows = [dataclasses.replace(row) for row in drawn[at]]
        case.change(job.rows)
        jobs[name] = job
    outcomes = {}
    for ranks in (1, 2):
        asked = {name: job for name, job in jobs.items() if ranks in CASES[name].ranks}
        done = run_ranks(folder, asked, ranks)
        outcomes |= {(name, ranks): [of_rank[name] for of_rank in done] for name in asked}
    return Runs(jobs, outcomes, models)


def with_adapter() -> torch.nn.Module:
    """As verl makes it of its settings, in float64."""
    from peft import LoraConfig, get_peft_model

    adapter = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(make_model(), adapter).double()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.copy_(adapter_value(name, value.shape))
    return model


def run_ranks(folder: Path, jobs: dict[str, Job], ranks: int) -> list[dict[str, Outcome]]:
    """What as many processes made of the jobs; none of them outlives the call."""
    out = folder / str(ranks)
    out.mkdir()
    torch.save(jobs, out / "jobs.pt")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    processes = []
    for rank in range(ranks):
        with (out / f"rank{rank}.txt").open("wb") as output:
            processes.append(
                subprocess.Popen(
                    [sys.executable, SCRIPT, folder / "model", out / "jobs.pt", out],
                    env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        for process in processes:
            process.wait(timeout=600)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for rank, process in enumerate(processes):
        said = (out / f"rank{rank}.txt").read_text(errors="replace")
        assert process.returncode == 0, f"rank {rank} of {ranks}:\n{said[-4000:]}"
    return [torch.load(out / f"rank{rank}.pt", weights_only=False) for rank in range(ranks)]


##### Comparisons


def assert_right(outcome: Outcome, truth: Truth, job: Job, tolerance: float = TOLERANCE) -> None:
    """Loss and terms, each gradient, what the parameters became, and all figures."""

    def right(value: float) -> Any:
        return pytest.approx(value, rel=tolerance, abs=tolerance)

    metrics = outcome.metrics
    assert metrics["actor/loss"] == right(truth.loss)
    assert metrics["actor/pg_loss"] == right(truth.policy_loss)
    if job.actor.get("use_kl_loss"):
        assert metrics["actor/kl_loss"] == right(truth.kl_loss)
    if job.actor.get("entropy_coeff"):
        assert metrics["actor/entropy_loss"] == right(truth.entropy)
    norms = [whole_norm(gradients) for gradients in truth.gradients]
    assert metrics["actor/grad_norm"] == right(sum(norms) / len(norms))
    assert len(outcome.gradients) == len(truth.gradients) == job.updates
    for ours, theirs in zip(outcome.gradients, truth.gradients, strict=True):
        assert error(ours, theirs) < tolerance
    assert error(outcome.parameters, truth.parameters) < tolerance
    if job.icpo is not None:
        assert_figures(outcome.figures, truth.figures, tolerance)


def assert_figures(ours: dict[str, float], truth: dict[str, float], tolerance: float) -> None:
    """Those that are reported are right. They are all but terms of the loss, and entropies."""
    left_out = {name for name in truth if "/loss/" in name or "entropy" in name or "ref_kl" in name}
    assert set(ours) == set(truth) - left_out
    expected = {name: truth[name] for name in ours}
    assert ours == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)


def whole_norm(values: dict[str, torch.Tensor]) -> float:
    return sum(value.double().square().sum().item() for value in values.values()) ** 0.5


def error(ours: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> float:
    """‖ours - truth‖ / ‖truth‖, the worst of the whole and of each parameter.

    A parameter counts for at least a hundredth of the whole: what is left of others is rounding.
    """
    assert set(ours) == set(truth)
    norm = whole_norm(truth)
    differences = {name: ours[name].double() - truth[name].double() for name in truth}
    worst = whole_norm(differences) / norm
    for name, difference in differences.items():
        size = max(truth[name].double().norm().item(), norm / 100)
        worst = max(worst, difference.norm().item() / size)
    return worst


##### Tests

IN_FLOAT32 = [name for name, case in CASES.items() if case.job.get("worker") != "bf16"]


@pytest.mark.parametrize(
    ("name", "ranks"), [(name, ranks) for name in IN_FLOAT32 for ranks in CASES[name].ranks]
)
def test_equals_float64(runs, name, ranks):
    for outcome in runs.outcomes[name, ranks]:
        assert_right(outcome, runs.truth(name), runs.jobs[name])


def test_cases_reach_every_branch(runs):
    for name in ("on/clip_fraction", "on/dual_clip_fraction", "off/clip_fraction"):
        found = [runs.truth(f"paper, {mode}").figures[f"icpo/update/{name}"] for mode in MODES]
        assert 0.05 < sum(found) / len(found) < 0.95, name


@pytest.mark.parametrize("name", [f"layout: {name}" for name in LAYOUTS])
def test_layouts_are_what_they_say(runs, name):
    job, calls = runs.jobs[name], runs.outcome(name).calls
    tokens = sum(len(row.prompt) + len(row.response) for row in job.rows)
    if job.tokens is None:
        assert calls == len(job.rows) / job.micro_batch
    else:
        assert tokens / job.tokens <= calls < 2 * tokens / job.tokens + 1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if 2 in case.ranks])
def test_two_ranks_are_as_good_as_one(runs, name):
    one, (first, second) = runs.outcome(name), runs.outcomes[name, 2]
    assert first.figures == pytest.approx(second.figures, rel=0, abs=0, nan_ok=True)
    assert first.figures == pytest.approx(one.figures, rel=TOLERANCE, abs=1e-6, nan_ok=True)
    assert terms(first) == terms(second)
    assert terms(first) == pytest.approx(terms(one), rel=TOLERANCE, abs=1e-6)
    assert error(first.parameters, one.parameters) < TOLERANCE


def terms(outcome: Outcome) -> dict[str, float]:
    """What verl reports of the loss."""
    names = [
        f"actor/{name}" for name in ("loss", "pg_loss", "kl_loss", "entropy_loss", "grad_norm")
    ]
    return {name: outcome.metrics[name] for name in names if name in outcome.metrics}


@pytest.mark.parametrize("preset", ["paper", "reference", "grpo"])
@pytest.mark.parametrize("change", UNTOUCHED)
def test_each_side_looks_at_its_own_log_probabilities(runs, preset, change):
    usual = runs.outcome(f"other: nothing, {preset}")
    assert_same_training(runs.outcome(f"other: {change}, {preset}"), usual)


def test_verls_figures_of_clips_are_on_policy(runs):
    # In one micro-batch, of which verl averages over one.
    outcome = runs.outcome("layout: one micro-batch")
    for theirs, ours in {
        "pg_clipfrac": "clip_fraction",
        "pg_clipfrac_lower": "dual_clip_fraction",
        "ppo_kl": "kl",
    }.items():
        expected = pytest.approx(outcome.figures[f"icpo/update/on/{ours}"], rel=TOLERANCE, abs=1e-6)
        assert outcome.metrics[f"actor/{theirs}"] == expected


@pytest.mark.parametrize(
    ("name", "ranks"),
    [(name, ranks) for name in VANILLA for ranks in CASES[f"vanilla: {name}, icpo"].ranks],
)
def test_without_expert_rows_it_is_verls_own_loss_bit_by_bit(runs, name, ranks):
    ours = runs.outcome(f"vanilla: {name}, icpo", ranks)
    theirs = runs.outcome(f"vanilla: {name}, verl", ranks)
    assert_same_training(ours, theirs)
    for metric in ("pg_clipfrac", "pg_clipfrac_lower", "ppo_kl"):
        assert ours.metrics[f"actor/{metric}"] == theirs.metrics[f"actor/{metric}"]


def assert_same_training(ours: Outcome, theirs: Outcome) -> None:
    """Bit by bit."""
    assert terms(ours) == terms(theirs)
    for mine, other in zip(
        [*ours.gradients, ours.parameters], [*theirs.gradients, theirs.parameters], strict=True
    ):
        assert all(torch.equal(mine[name], other[name]) for name in other)


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_bf16_costs_no_more_than_in_verls_own_loss(runs, preset):
    def lost(name: str) -> float:
        return error(runs.outcome(name).gradients[0], runs.truth(name).gradients[0])

    name = f"bf16: {preset}"
    assert lost(name) < 2 * lost("bf16: verl")
    # No token is near a clip, so counts are exact, and the rest is as good as 8 bits.
    assert_figures(runs.outcome(name).figures, runs.truth(name).figures, 0.05)
