"""icpo's operators in verl's engines: the same numbers as float64, and as verl's own.

The engines run in other processes, because verl's platform and process group are a process's.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.verl,
    pytest.mark.skipif(
        importlib.util.find_spec("verl") is None and not os.environ.get("CI"),
        reason="verl is not installed",
    ),
]

HERE = Path(__file__).parent
LAYOUTS = {"padded": False, "packed": True}
#: Temperatures of the engines, and of those whose linear layer is fused, which take one number.
READS = [("logits", name) for name in ("1", "0.7", "rows")] + [("fused", "1"), ("fused", "0.7")]


def run(*arguments: str) -> None:
    """Runs Python in this folder; what it says is shown if it fails."""
    program = [sys.executable, *arguments]
    done = subprocess.run(program, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[Any, Any]:
    path = tmp_path_factory.mktemp("engines") / "results.pt"
    run("kernel_engines.py", str(path))
    return torch.load(path, weights_only=False)


def ends(lengths: tuple[int, ...] = (8, 13, 6, 11)) -> torch.Tensor:
    return torch.tensor(lengths).cumsum(0) - 1


def flat(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradients[name].flatten().double() for name in sorted(gradients)])


def assert_same(found: dict[str, Any], truth: dict[str, Any], padded_ends: bool = False) -> None:
    """Up to what float32 does to the logits, of which some are 30."""
    for name in set(found) - {"loss", "gradients"}:
        ours, theirs = found[name].double(), truth[name].double()
        assert found[name].dtype == torch.float32
        if padded_ends and name == "log_probs":
            # Behind a row, a padded batch has padding, and nothing that a loss would look at.
            kept = torch.ones(len(ours), dtype=torch.bool)
            kept[ends()] = False
            ours, theirs = ours[kept], theirs[kept]
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=1e-5)
    assert abs(found["loss"] - truth["loss"]) <= 3e-5
    assert sorted(found["gradients"]) == sorted(truth["gradients"])
    ours, theirs = flat(found["gradients"]), flat(truth["gradients"])
    assert (ours - theirs).norm() <= 5e-6 * theirs.norm()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("read", READS, ids="-".join)
def test_log_probs_entropies_and_gradients(results, read, entropy, layout):
    kind, temperature = read
    key = (kind, LAYOUTS[layout], temperature, entropy)
    found = results[("icpo", *key)]
    assert ("entropy" in found) == entropy
    assert_same(found, results["exact", temperature, entropy], kind == "fused" and not key[1])
    assert_same(found, results[("verl", *key)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_registry_gives_the_engine_once_it_is_installed(results, layout):
    assert results["verl", "class", LAYOUTS[layout]] == "FSDPEngineWithLMHead"
    assert results["icpo", "class", LAYOUTS[layout]] == "IcpoEngine"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_take_the_place_of_logits(results, layout):
    assert results["icpo", "overwritten", LAYOUTS[layout]] == [True, True]  # micro-batches


def test_ranks_that_share_each_sequence(tmp_path):
    run("kernel_ranks.py", str(tmp_path / "results.pt"))
    results = torch.load(tmp_path / "results.pt", weights_only=False)
    assert_same(results["icpo"], results["verl"])
    assert "icpo's log-probabilities" in results["described"]


@pytest.mark.parametrize("case", ["filled up", "adapters"])
def test_packed_sequences_of_other_settings(results, case):
    assert_same(results["icpo", case], results["verl", case])


def test_the_layer_that_verl_has_for_gpus(results):
    assert_same(results["icpo", "triton"], results["exact", "0.7", True])


def test_half_precision_logits_give_float32_results(results):
    ours, theirs = (results[owner, "half"] for owner in ("icpo", "verl"))
    assert ours["dtypes"] == theirs["dtypes"] == {torch.bfloat16}
    assert ours["untouched"]  # without gradients, logits stay what they are
    for name, truth in zip(("log_probs", "entropy"), ours["exact"], strict=True):
        values = ours["found"][name]
        assert values.dtype == torch.float32
        torch.testing.assert_close(values.double(), truth, rtol=2e-6, atol=1e-6)
        # What it is for: verl's, on a CPU, are off by a tenth of where a ratio is clipped.
        assert (theirs["found"][name] - truth).abs().max() > 0.02


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_covered_is_verls_to_the_last_bit(results, layout):
    ours, theirs = (results[owner, "sum_pi_squared", LAYOUTS[layout]] for owner in ("icpo", "verl"))
    assert set(ours) == set(theirs) and "sum_pi_squared" in ours
    for name in set(ours) - {"loss", "gradients"}:
        assert torch.equal(ours[name], theirs[name])
    assert torch.equal(flat(ours["gradients"]), flat(theirs["gradients"]))


def test_choices():
    """`kernel_choices.py`: rules, messages, workers."""
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "kernel_choices.py")
