"""The operators on a device against float64, before anything is timed.

Sizes are chosen for the ways that a row can be cut: every plan of the row-resident kernel, rows
that no plan fits, rows that begin between 16-byte boundaries, more rows than a device holds at a
time.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from gpu_problem import DTYPES
from torch import Tensor

from icpo import LossConfig, ops
from icpo.ops import reference

#: Beside the rounding of the result to float32, which is as much at log-probabilities below -32.
LOGP_ERROR = 2e-6
#: Times the entropy; and beside it what an exponential that is off by 2^-22 leaves of one near 0.
ENTROPY_ERROR, ENTROPY_REST = 5e-6, 3e-7
LOSS_ERROR = 1e-5
#: Of the gradient's norm: half a unit in the last place of the dtype, and float32 beneath it.
GRADIENT_ERROR = {"bf16": 2.0**-9, "f16": 2.0**-11, "f32": 2e-6}

#: Every term, on and off policy.
CONFIG = LossConfig.preset("paper", kl="k3", kl_coef=0.04, entropy_coef=0.01)


@dataclass(frozen=True)
class Case:
    """Rows of logits in a dtype, and what is peculiar about them."""

    tokens: int
    vocabulary: int
    dtype: str
    skipped: int = 0  # elements before each row, which moves it off its boundary
    ruled_out: bool = False  # some logits are -inf
    heats: bool = False  # one temperature a token

    def __str__(self) -> str:
        words = [f"{self.tokens}x{self.vocabulary} {self.dtype}"]
        words += [f"{self.skipped} elements off"] if self.skipped else []
        words += ["-inf among logits"] if self.ruled_out else []
        words += ["a temperature a token"] if self.heats else []
        return ", ".join(words)


#: Clusters of 1, 2, 4 and 8; both shapes of blocks; and rows that no plan holds.
FULL = [
    *((vocabulary, "bf16") for vocabulary in (32_000, 65_024, 128_256, 151_936, 152_064)),
    *((vocabulary, "bf16") for vocabulary in (262_144, 400_000, 700_000)),
    (151_936, "f16"),
    (151_936, "f32"),
    (262_144, "f32"),
]


def cases(full: bool) -> Iterator[Case]:
    """Small and odd ones first, then full rows."""
    for dtype in DTYPES:
        for vocabulary in (2, 17, 1000, 4096, 32_003):
            yield Case(67, vocabulary, dtype)
            yield Case(67, vocabulary, dtype, skipped=3, ruled_out=vocabulary > 2, heats=True)
    yield Case(13, 151_936, "bf16", ruled_out=True)  # rows that blocks share, but few
    for vocabulary, dtype in FULL if full else ():
        yield Case(401, vocabulary, dtype, ruled_out=True)
        yield Case(401, vocabulary, dtype, heats=True)


def check(case: Case, device: torch.device, seed: int) -> list[str]:
    """What is wrong: nothing, if all is well."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.empty(shape, device=device).normal_(generator=generator)

    wide = (normal(case.tokens, case.skipped + case.vocabulary) * 3).to(DTYPES[case.dtype])
    ids = torch.randint(case.vocabulary, (case.tokens,), generator=generator, device=device)
    rows = torch.arange(case.tokens, device=device)
    wide[rows[::3], case.skipped + ids[::3]] = 12.0
    if case.ruled_out:
        out = torch.rand(wide.shape, generator=generator, device=device) < 0.3
        out[rows, case.skipped + ids] = False
        wide[out] = -torch.inf
    logits = wide[:, case.skipped :]
    heat = 0.5 + torch.rand(case.tokens, generator=generator, device=device)
    temperature = heat if case.heats else 0.7
    exact = logits.double()
    exact_heat = heat.double() if case.heats else 0.7
    faults = []

    def compare(name: str, error: float, bound: float) -> None:
        if not error <= bound:  # a NaN is wrong too
            faults.append(f"{name} off by {error:.2e}, more than {bound:.2e}")

    leaf = exact.clone().requires_grad_(True)
    expected_logp, expected_entropy = reference.logp_entropy(leaf, ids, exact_heat)
    stats = ops.token_stats(logits, ids, temperature)
    beyond = (stats.logp - expected_logp).abs() - 2.0**-24 * expected_logp.abs()
    compare("log-prob", beyond.max().item(), LOGP_ERROR)
    beyond = (stats.entropy - expected_entropy).abs() - ENTROPY_ERROR * expected_entropy.abs()
    compare("entropy", beyond.max().item(), ENTROPY_REST)
    compare("rank", largest(stats.rank - reference.token_rank(exact, ids)), 0.0)

    # Two sequences, the second of them an expert's; some tokens without part in the loss.
    half = case.tokens // 2
    offsets = torch.tensor([0, half, case.tokens], device=device)
    expert = rows >= half
    mask = torch.rand(case.tokens, generator=generator, device=device) < 0.8
    mask[0] = True
    base = expected_logp.detach().float()
    old, behavior, ref = (base + 0.2 * normal(case.tokens) for _ in range(3))
    advantage = normal(case.tokens)
    expected_loss = reference.policy_loss(
        expected_logp[None],
        old.double()[None],
        advantage.double()[None],
        mask[None],
        expert[None],
        behavior_logp=behavior.double()[None],
        ref_logp=ref.double()[None],
        entropy=expected_entropy[None],
        config=CONFIG,
    )
    expected_loss.backward()
    assert leaf.grad is not None
    for inplace in (False, True):
        name = "in place" if inplace else "functional"
        given = wide.clone()[:, case.skipped :].requires_grad_(True)
        loss, _ = ops.fused_policy_loss(
            given,
            ids,
            old,
            advantage,
            mask,
            expert,
            temperature=temperature,
            behavior_logp=behavior,
            ref_logp=ref,
            cu_seqlens=offsets,
            config=CONFIG,
            inplace=inplace,
        )
        loss.backward()
        size = max(abs(expected_loss.item()), 1e-2)
        compare(f"loss {name}", abs(loss.item() - expected_loss.item()) / size, LOSS_ERROR)
        assert given.grad is not None
        difference = (given.grad.double() - leaf.grad).norm() / leaf.grad.norm()
        compare(f"gradient {name}", difference.item(), GRADIENT_ERROR[case.dtype])
    return faults


def largest(difference: Tensor) -> float:
    """The largest absolute value; NaN if there is one."""
    return difference.double().abs().max().item()


def run(device: torch.device, full: bool) -> list[str]:
    """Prints a line a case, and returns what failed."""
    failed = []
    for seed, case in enumerate(cases(full)):
        try:
            faults = check(case, device, seed)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            faults = [type(error).__name__]
        print(f"  {case}: {'; '.join(faults) or 'right'}", flush=True)
        failed += [f"{case}: {fault}" for fault in faults]
    return failed
