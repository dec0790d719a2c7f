"""The row-resident kernel: loss and gradient in one pass, in place, against float64.

What it computes is held against the oracle; that nothing depends on who comes first, by schedules
that differ in every barrier, copy and message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from icpo import LossConfig, _core, ops
from icpo.ops import reference
from icpo.ops.tensors import view
from rows import Truth, random_ids, random_logits, relative_norm, scale_of

DOUBLE = torch.float64
Plan = dict[str, int]


def plan(cluster: int, threads: int, held: int, slots: int) -> Plan:
    return {
        "cluster": cluster,
        "threads": threads,
        "held": held,
        "slots": slots,
        "blocks_a_multiprocessor": 1,
    }


#: Small ones with every trait of the real ones: a ring shorter and longer than a row, holders and
#: blocks without any part of the row, more messages than the director has lanes.
PLANS = {
    "one block": (torch.bfloat16, plan(1, 64, 3, 4)),
    "ring shorter than a row": (torch.bfloat16, plan(2, 64, 7, 4)),
    "half precision": (torch.float16, plan(4, 32, 5, 11)),
    "many messages": (torch.float32, plan(8, 160, 1, 6)),
}


@dataclass
class Batch:
    """One value a token, (N,)."""

    logits: Tensor
    ids: Tensor
    temperature: Tensor  # (N, 1)
    config: LossConfig
    seed: int
    weights: Tensor = field(init=False)
    expert: Tensor = field(init=False)
    inputs: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        rows = len(self.ids)
        self.truth = Truth(self.logits.double(), self.ids, self.temperature)

        def near(spread: float) -> Tensor:
            return self.truth.logp + spread * torch.randn(rows, generator=generator, dtype=DOUBLE)

        self.expert = torch.rand(rows, generator=generator) < 0.4
        mask = torch.rand(rows, generator=generator) < 0.8
        mask[0] = True
        self.weights = mask.double() / mask.sum()
        self.inputs = {
            "old_logp": near(0.3).float(),
            "advantage": torch.randn(rows, generator=generator, dtype=DOUBLE),
            "behavior_logp": near(0.5),
            "ref_logp": near(0.2).float(),
        }

    def core(self) -> dict[str, _core.TensorView]:
        views = {name: view(value) for name, value in self.inputs.items()}
        return {"weights": view(self.weights), "expert": view(self.expert), **views}

    def expected(self) -> tuple[Tensor, Tensor]:
        """The loss and the gradient of logits, in float64."""
        logits = self.logits.double().requires_grad_(True)
        finite = torch.where(logits.isinf(), logits.detach(), logits)
        logp = torch.log_softmax(finite / self.temperature, -1)
        entropy = -torch.where(logp.isinf(), 0.0, logp.exp() * logp.clamp(min=-1e300)).sum(-1)
        loss = reference.policy_loss(
            logp.gather(-1, self.ids[:, None])[:, 0][None],
            self.inputs["old_logp"].double()[None],
            self.inputs["advantage"][None],
            self.weights[None] > 0,
            self.expert[None],
            behavior_logp=self.inputs["behavior_logp"][None],
            ref_logp=self.inputs["ref_logp"].double()[None],
            entropy=entropy[None],
            config=self.config,
        )
        (gradient,) = torch.autograd.grad(loss, logits)
        return loss.detach(), gradient.nan_to_num(0.0)


def run(
    stream: _core.CudaStream,
    batch: Batch,
    chosen: Plan | None,
    dlogits: Tensor | None = None,
    leave_unsound: bool = True,
    scales: float | Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient (in place unless given a place) and the outputs."""
    logits = batch.logits.clone()
    dlogits = logits if dlogits is None else dlogits
    rows = len(batch.ids)
    out = {
        "logp": torch.full((rows,), 99.0, dtype=DOUBLE),
        "entropy": torch.full((rows,), 99.0, dtype=DOUBLE),
        "status": torch.full((rows,), 99, dtype=torch.uint8),
    }
    if scales is None:
        scales = 1.4426950408889634 / batch.temperature[:, 0]
    stream.fused(
        batch.core(),
        view(logits),
        view(dlogits),
        view(batch.ids),
        view(scales) if isinstance(scales, Tensor) else scales,
        batch.config,
        leave_unsound=leave_unsound,
        plan=chosen,
        **{name: view(value) for name, value in out.items()},
    )
    if dlogits is not logits:
        assert torch.equal(logits.nan_to_num(5), batch.logits.nan_to_num(5))
    return dlogits, out


def check(batch: Batch, dlogits: Tensor, out: dict[str, Tensor]) -> None:
    truth, valid = batch.truth, batch.weights > 0
    assert not out["status"].any()
    error = (out["logp"] - truth.logp).abs()
    assert (error <= 2e-6 * truth.logp.abs() + 1e-9)[valid].all()
    error = (out["entropy"] - truth.entropy).abs()
    assert (error <= 5e-6 * truth.entropy + 4e-7)[valid].all()
    assert not out["logp"][~valid].any() and not out["entropy"][~valid].any()
    assert not dlogits[~valid].any()
    _, expected = batch.expected()
    naive = expected.to(dlogits.dtype)
    assert relative_norm(dlogits, expected) <= max(1e-6, 1.01 * relative_norm(naive, expected))


def random_batch(
    rows: int, vocabulary: int, dtype: torch.dtype, seed: int, **settings: object
) -> Batch:
    logits = random_logits(rows, vocabulary, dtype, seed)
    ids = random_ids(logits, seed)
    temperature = torch.linspace(0.5, 2.0, rows, dtype=DOUBLE)[:, None]
    config = LossConfig(kl="k3", kl_coef=0.05, sft_coef=0.1, **settings)
    return Batch(logits, ids, temperature, config, seed)


def vocabularies(dtype: torch.dtype, chosen: Plan) -> list[int]:
    """From a single vector to all that the plan can hold."""
    count = 16 // dtype.itemsize
    most = chosen["cluster"] * chosen["threads"] * chosen["held"]
    vectors = {1, chosen["cluster"] + 1, most // 2 + 1, most}
    return [count * number for number in sorted(vectors)]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("entropy_coef", [0.0, 0.02])
def test_any_vocabulary_that_a_plan_holds(stream, name, entropy_coef):
    dtype, chosen = PLANS[name]
    for seed, vocabulary in enumerate(vocabularies(dtype, chosen)):
        batch = random_batch(7, vocabulary, dtype, seed, entropy_coef=entropy_coef)
        dlogits, out = run(stream, batch, chosen)
        check(batch, dlogits, out)
        beside = torch.full((7, vocabulary + 32), 77.0, dtype=dtype)
        run(stream, batch, chosen, beside[:, 16:-16])
        assert torch.equal(beside[:, 16:-16], dlogits)
        assert (beside[:, :16] == 77).all() and (beside[:, -16:] == 77).all()


@pytest.mark.parametrize("name", PLANS)
def test_any_schedule_gives_the_same_bits(stream, standin, name):
    dtype, chosen = PLANS[name]
    batch = random_batch(8, vocabularies(dtype, chosen)[-2], dtype, 7, entropy_coef=0.01)
    first = None
    for seed in range(12):  # as many kinds of schedules as the stand-in has
        standin.set("seed", seed)
        dlogits, out = run(stream, batch, chosen)
        bits = [dlogits, *out.values()]
        first = first or bits
        assert all(torch.equal(a, b) for a, b in zip(first, bits, strict=True)), seed
    check(batch, first[0], out)


def test_the_two_ways_agree(stream):
    """Row-resident, and in single steps over the same rows: the same numbers come out."""
    dtype, chosen = PLANS["many messages"]
    for seed in range(2):
        batch = random_batch(5, 4 * 1201, dtype, seed, entropy_coef=0.01 * (seed % 2))
        dlogits, out = run(stream, batch, chosen)
        logits, rows = batch.logits.clone(), len(batch.ids)
        scales = 1.4426950408889634 / batch.temperature[:, 0]
        states = torch.empty((rows, 5), dtype=DOUBLE)
        stream.row_states(view(logits), view(batch.ids), view(scales), view(states))
        saved = torch.empty((rows, 4), dtype=DOUBLE)
        stream.finish_rows(view(states), view(batch.ids), view(scales), 4804, saved=view(saved))
        valid = batch.weights > 0
        logp = saved[:, 2].contiguous()
        assert torch.allclose(out["logp"][valid], logp[valid], rtol=4e-7, atol=1e-9)
        d_logp, d_entropy = torch.empty((2, rows), dtype=DOUBLE)
        partials = torch.empty((1, len(_core.LOSS_SUMS)), dtype=DOUBLE)
        entropy = saved[:, 3].contiguous()
        stream.policy_loss(
            batch.core(),
            view(logp),
            batch.config,
            entropy=view(entropy),
            d_logp=view(d_logp),
            d_entropy=view(d_entropy),
            partials=view(partials),
        )
        coefficients = torch.empty((rows, 4))
        stream.row_gradients(
            view(saved), view(d_logp), view(d_entropy), view(scales), view(coefficients)
        )
        stream.gradient(
            view(logits), view(logits), view(batch.ids), view(coefficients), view(scales)
        )
        assert relative_norm(dlogits, logits.double()) <= 2e-6


def test_faults_are_named_and_their_rows_left_as_they_were(stream):
    dtype, chosen = PLANS["ring shorter than a row"]
    batch = random_batch(12, 800, dtype, 3)
    batch.weights[:] = 1 / 12
    batch.weights[9] = 0.0
    logits = batch.logits
    logits[0, 7], logits[1, 799], logits[2, :] = torch.nan, torch.inf, -torch.inf
    logits[3, 50], batch.ids[3] = -torch.inf, 50
    batch.ids[4], batch.ids[5], batch.ids[9] = 800, -1, 801
    logits[6, batch.ids[6]] = torch.nan
    logits[9] = torch.nan
    batch.inputs["advantage"][7] = torch.inf
    batch.inputs["old_logp"][8] = torch.nan
    dlogits, out = run(stream, batch, chosen)
    assert out["status"].tolist() == [2, 2, 2, 3, 1, 1, 2, 6, 5, 0, 0, 0]
    left = [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert torch.equal(dlogits[left].nan_to_num(5), logits[left].nan_to_num(5))
    assert not dlogits[9].any()
    assert dlogits[10:].isfinite().all() and dlogits[10:].any()
    # Without that wish the gradient tells; but where no token is selected there is none.
    dlogits, _ = run(stream, batch, chosen, leave_unsound=False)
    assert not dlogits[[0, 1, 2, 6, 7, 8]].isfinite().any()
    assert torch.equal(dlogits[[4, 5]], logits[[4, 5]])


def test_nothing_to_do(stream):
    dtype, chosen = PLANS["one block"]
    batch = random_batch(6, 64, dtype, 1)
    batch.weights[:] = 0.0
    dlogits, out = run(stream, batch, chosen)
    assert not dlogits.any() and not out["status"].any()


#: Vocabularies as models have them, and the plan that is made for each.
REAL = [
    (torch.bfloat16, 32_000),
    (torch.bfloat16, 128_256),
    (torch.bfloat16, 151_936),
    (torch.float16, 151_936),
    (torch.float32, 151_936),
    (torch.bfloat16, 262_144),
    (torch.float32, 262_144),
]


@pytest.mark.parametrize(("dtype", "vocabulary"), REAL)
def test_real_vocabularies_by_the_plans_made_for_them(stream, standin, dtype, vocabulary):
    batch = random_batch(3, vocabulary, dtype, vocabulary % 97, entropy_coef=0.01)
    batch.weights[:] = 1 / 3
    dlogits, out = run(stream, batch, None)
    check(batch, dlogits, out)
    made = _core.cuda_plan(0, vocabulary, str(dtype).removeprefix("torch."))
    assert isinstance(made, dict)
    (launch,) = [item for item in standin.launches() if item["kernel"].startswith("icpo_fused")]
    assert launch["cluster"] == made["cluster"]


def test_the_operator_uses_it(stream):
    """What the package's CPU operator computes from the same batch."""
    dtype, chosen = PLANS["one block"]
    batch = random_batch(10, 8 * 150, dtype, 5, entropy_coef=0.03)
    batch.temperature[:] = 0.7
    dlogits, _ = run(stream, batch, chosen, scales=scale_of(0.7))
    logits = batch.logits.clone().requires_grad_(True)
    loss, _ = ops.fused_policy_loss(
        logits[None],
        batch.ids[None],
        batch.inputs["old_logp"].double()[None],
        batch.inputs["advantage"][None],
        batch.weights[None] > 0,
        batch.expert[None],
        behavior_logp=batch.inputs["behavior_logp"][None],
        ref_logp=batch.inputs["ref_logp"].double()[None],
        temperature=0.7,
        config=batch.config,
    )
    loss.backward()
    assert relative_norm(dlogits, logits.grad.double()) <= 2**-10
