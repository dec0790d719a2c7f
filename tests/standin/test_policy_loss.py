"""The policy loss kernels against the operator of the CPU and against the float64 oracle."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from icpo import LossConfig, NonFiniteError, _core, ops
from icpo.ops import reference
from icpo.ops.tensors import view

DOUBLE = torch.float64
#: (B, T) around the tokens that a block takes, and awkward otherwise.
SHAPES = [(2, 0), (1, 1), (3, 341), (4, 256), (5, 205), (8, 625)]
INPUTS = ("old_logp", "advantage", "behavior_logp", "ref_logp")


@dataclass
class Case:
    """One value a token, (B, T), and what to make of them."""

    config: LossConfig
    loss_mask: Tensor
    expert: Tensor
    logp: Tensor
    entropy: Tensor
    old_logp: Tensor
    advantage: Tensor
    behavior_logp: Tensor
    ref_logp: Tensor

    def values(self) -> dict[str, Tensor]:
        """All that is a float."""
        return {name: getattr(self, name) for name in ("logp", "entropy", *INPUTS)}

    def to(self, dtype: torch.dtype) -> Case:
        return replace(self, **{name: value.to(dtype) for name, value in self.values().items()})

    def weights(self) -> Tensor:
        """What each token counts for: the slope of the oracle's aggregation."""
        each = torch.zeros(self.logp.shape, dtype=DOUBLE, requires_grad=True)
        reference.aggregate(each, self.loss_mask, self.config).backward()
        return each.grad.masked_fill(~self.loss_mask, 0.0).flatten()

    def row_counts(self) -> Tensor:
        kinds = (self.loss_mask & ~self.expert, self.loss_mask & self.expert)
        return torch.tensor([kind.any(-1).sum() for kind in kinds], dtype=DOUBLE)

    def truth(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, sums and gradients of the CPU operator, in double."""
        exact = self.to(DOUBLE)
        logp, entropy = (x.clone().requires_grad_(True) for x in (exact.logp, exact.entropy))
        loss, metrics = ops.policy_loss(
            logp,
            exact.old_logp,
            exact.advantage,
            exact.loss_mask,
            exact.expert,
            behavior_logp=exact.behavior_logp,
            ref_logp=exact.ref_logp,
            entropy=entropy,
            config=exact.config,
        )
        loss.backward()
        return loss.detach(), metrics.sums, logp.grad.flatten(), entropy.grad.flatten()


def random_case(seed: int, shape: tuple[int, int] = (5, 41), **settings: object) -> Case:
    """Values of every size, so that every clip and clamp binds somewhere."""
    generator = torch.Generator().manual_seed(seed)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=DOUBLE)

    def share(part: float) -> Tensor:
        return torch.rand(shape, generator=generator) < part

    logp = -normal(1.5).abs()
    return Case(
        LossConfig(**settings),
        loss_mask=share(0.8),
        expert=share(0.4),
        logp=logp,
        entropy=normal(2.0).abs(),
        old_logp=logp + normal(1.5) * share(0.7),
        advantage=normal(1.0) * share(0.9),
        behavior_logp=logp + 1.0 + normal(2.0),
        ref_logp=logp + normal(1.5),
    )


@dataclass
class Result:
    loss: Tensor
    sums: Tensor
    d_logp: Tensor
    d_entropy: Tensor
    status: Tensor


def run(
    stream: _core.CudaStream,
    case: Case,
    out: torch.dtype = DOUBLE,
    *,
    absent: tuple[str, ...] = (),
    row_status: Tensor | None = None,
) -> Result:
    """Both kernels on a case; its tokens end to end."""
    flat = {name: value.flatten() for name, value in case.values().items()}
    tokens = case.logp.numel()
    blocks = max(1, math.ceil(tokens / _core.CUDA_BLOCK_TOKENS))
    weights, expert, row_counts = case.weights(), case.expert.flatten(), case.row_counts()
    d_logp, d_entropy = (torch.full((tokens,), 7.0, dtype=out) for _ in range(2))
    status = torch.full((tokens,), 77, dtype=torch.uint8)
    partials = torch.full((blocks, len(_core.LOSS_SUMS)), math.nan, dtype=DOUBLE)
    sums = torch.full((len(_core.LOSS_SUMS),), math.nan, dtype=DOUBLE)
    loss = torch.full((), math.nan, dtype=out)

    def given(name: str, tensor: Tensor) -> _core.TensorView | None:
        return None if name in absent else view(tensor)

    batch = {name: given(name, flat[name]) for name in INPUTS}
    stream.policy_loss(
        {**batch, "weights": view(weights), "expert": given("expert", expert)},
        view(flat["logp"]),
        case.config,
        entropy=given("entropy", flat["entropy"]),
        d_logp=given("d_logp", d_logp),
        d_entropy=given("d_entropy", d_entropy),
        row_status=None if row_status is None else view(row_status),
        status=given("status", status),
        partials=view(partials),
    )
    stream.add_sums(view(partials), view(sums), row_counts=view(row_counts), loss=view(loss))
    return Result(loss, sums, d_logp, d_entropy, status)


def assert_meets_the_cpu(ours: Result, case: Case) -> None:
    """To rounding in double; terms that cancel are measured by their size, which is about 1."""
    loss, sums, d_logp, d_entropy = case.truth()
    tokens, weights = case.logp.numel(), case.weights()
    largest = weights.max().item() if tokens else 0.0
    torch.testing.assert_close(ours.loss, loss, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(ours.sums, sums, rtol=1e-12, atol=1e-14 * tokens)
    torch.testing.assert_close(ours.d_logp, d_logp, rtol=1e-12, atol=1e-14 * largest)
    torch.testing.assert_close(ours.d_entropy, d_entropy, rtol=1e-12, atol=0)
    assert (ours.status == 0).all()


def assert_meets_the_oracle(ours: Result, case: Case) -> None:
    exact = case.to(DOUBLE)
    logp = exact.logp.clone().requires_grad_(True)
    loss = reference.policy_loss(
        logp,
        exact.old_logp,
        exact.advantage,
        exact.loss_mask,
        exact.expert,
        behavior_logp=exact.behavior_logp,
        ref_logp=exact.ref_logp,
        entropy=exact.entropy,
        config=exact.config,
    )
    (slope,) = torch.autograd.grad(loss, logp)
    torch.testing.assert_close(ours.loss, loss.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.d_logp, slope.flatten(), rtol=1e-9, atol=1e-13)


def all_settings() -> Iterator[dict[str, object]]:
    """Every choice with every other, and the rest in turn."""
    clips = [(0.2, 0.2), (0.1, math.inf), (math.inf, 0.28), (math.inf, math.inf)]
    aggregations = itertools.cycle(_core.AGGREGATIONS)
    coefficients = itertools.cycle([(0.0, 0.0), (0.01, 0.0), (-0.02, 0.5)])
    for off_ratio, kl, clip, off_clip, dual, clamp in itertools.product(
        _core.OFF_RATIOS, _core.KLS, clips, (False, True), (None, 1.5), (None, 2.0, 20.0)
    ):
        entropy_coef, sft_coef = next(coefficients)
        yield {
            "off_ratio": off_ratio,
            "kl": kl,
            "kl_coef": 0.0 if kl == "none" else 0.3,
            "clip_low": clip[0],
            "clip_high": clip[1],
            "off_clip": off_clip,
            "dual_clip": dual,
            "log_ratio_clamp": clamp,
            "entropy_coef": entropy_coef,
            "sft_coef": sft_coef,
            "aggregation": next(aggregations),
            "lam": 0.01 if clamp else 0.1,
        }


@pytest.mark.parametrize("kl", _core.KLS)
def test_every_combination_of_choices(stream, kl):
    bound = dict.fromkeys(("on_clipped", "on_dual_clipped", "off_clipped"), 0.0)
    for seed, settings in enumerate(all_settings()):
        if settings["kl"] != kl:
            continue
        case = random_case(seed, **settings).to((torch.float32, DOUBLE)[seed % 2])
        ours = run(stream, case)
        assert_meets_the_cpu(ours, case)
        assert_meets_the_oracle(ours, case)
        for name in bound:
            bound[name] += ours.sums[_core.LOSS_SUMS.index(name)].item()
    assert min(bound.values()) > 100, "the cases never reach a clip"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_sizes_around_a_block(stream, shape, dtype):
    whole = random_case(shape[1], shape, kl="k3", kl_coef=0.1, entropy_coef=0.01).to(dtype)
    none, every = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    for mask, expert in itertools.product((whole.loss_mask, none, every), (whole.expert, every)):
        case = replace(whole, loss_mask=mask, expert=expert)
        ours = run(stream, case)
        assert_meets_the_cpu(ours, case)
        if not mask.any():
            assert (ours.sums == 0).all() and ours.loss == 0
    no_expert = replace(whole, expert=none)
    assert_meets_the_cpu(run(stream, no_expert, absent=("expert",)), no_expert)


def test_single_precision_outputs_are_the_double_ones_rounded(stream):
    case = random_case(0, kl="k1", kl_coef=0.2, entropy_coef=0.1)
    double, single = run(stream, case), run(stream, case, torch.float32)
    assert torch.equal(double.sums, single.sums)
    for name in ("loss", "d_logp", "d_entropy"):
        assert torch.equal(getattr(double, name).float(), getattr(single, name)), name


def test_what_is_not_asked_for_changes_nothing(stream):
    case = random_case(1, (3, 500), off_ratio="policy")
    whole = run(stream, case)
    for absent in (("d_logp",), ("d_entropy", "status"), ("d_logp", "d_entropy", "status")):
        part = run(stream, case, absent=absent)
        assert torch.equal(part.sums, whole.sums) and torch.equal(part.loss, whole.loss)
        for name in ("d_logp", "d_entropy", "status"):
            untouched = getattr(part, name)
            untouched = (untouched == untouched[0]).all() and untouched[0] in (7, 77)
            assert untouched if name in absent else not untouched, (absent, name)
    # Without the entropy its sums are empty, without the behaviour policy there is no off_kl.
    bare = run(stream, case, absent=("entropy", "behavior_logp", "ref_logp"))
    gone = ["on_entropy", "off_entropy", "on_entropy_tokens", "off_entropy_tokens"]
    for k, name in enumerate(_core.LOSS_SUMS):
        if name in (*gone, "off_kl", "off_kl_tokens"):
            assert bare.sums[k] == 0 and whole.sums[k] != 0, name
        else:
            assert bare.sums[k] == whole.sums[k], name
    assert torch.equal(bare.d_logp, whole.d_logp) and (bare.status == 0).all()


@pytest.mark.parametrize("blocks", [1, 31, 32, 33, 100])
def test_blocks_are_added_up_one_for_one(stream, blocks):
    generator = torch.Generator().manual_seed(blocks)
    names = len(_core.LOSS_SUMS)
    partials = torch.randn(blocks, names, generator=generator, dtype=DOUBLE)
    sums = torch.empty(names, dtype=DOUBLE)
    stream.add_sums(view(partials), view(sums))
    exact = torch.tensor([math.fsum(partials[:, k].tolist()) for k in range(names)], dtype=DOUBLE)
    torch.testing.assert_close(sums, exact, rtol=0, atol=1e-13)


def test_micro_batches_add_up(stream):
    case = random_case(2, (6, 400), kl="k2", kl_coef=0.1, entropy_coef=0.01, sft_coef=0.1)
    _, sums, _, _ = case.truth()
    weights, total = case.weights().view(6, 400), torch.full_like(sums, math.nan)
    loss = torch.zeros((), dtype=DOUBLE)
    partials = torch.empty(1, len(sums), dtype=DOUBLE)
    row_counts = case.row_counts()
    for first in range(0, 6, 2):
        rows = slice(first, first + 2)
        batch = {name: view(getattr(case, name)[rows].flatten()) for name in INPUTS}
        stream.policy_loss(
            {
                **batch,
                "weights": view(weights[rows].flatten()),
                "expert": view(case.expert[rows].flatten()),
            },
            view(case.logp[rows].flatten()),
            case.config,
            entropy=view(case.entropy[rows].flatten()),
            partials=view(partials),
        )
        stream.add_sums(
            view(partials),
            view(total),
            row_counts=None if first else view(row_counts),
            loss=view(loss),
            accumulate=first > 0,
        )
    torch.testing.assert_close(total, sums, rtol=1e-12, atol=1e-11)
    names = ("loss_policy", "loss_kl", "loss_entropy", "loss_sft")
    terms = sum(total[_core.LOSS_SUMS.index(name)] for name in names)
    torch.testing.assert_close(loss, terms, rtol=1e-14, atol=0)


def test_what_the_mask_leaves_out_is_not_looked_at(stream):
    case = random_case(3, (4, 300), kl="k3", kl_coef=0.1, entropy_coef=0.01)
    hostile = {
        name: value.masked_fill(~case.loss_mask, bad)
        for bad, (name, value) in zip(
            itertools.cycle((math.nan, math.inf, -math.inf)), case.values().items(), strict=False
        )
    }
    clean, other = run(stream, case), run(stream, replace(case, **hostile))
    for name in ("loss", "sums", "d_logp", "d_entropy", "status"):
        assert torch.equal(getattr(clean, name), getattr(other, name)), name
    out = ~case.loss_mask.flatten()
    assert (other.d_logp[out] == 0).all() and (other.d_entropy[out] == 0).all()


def test_the_schedule_does_not_show(stream, standin):
    case = random_case(4, (5, 1021), kl="k3", kl_coef=0.1, entropy_coef=0.01)
    first = run(stream, case)
    for seed in range(5):
        standin.set("seed", seed)
        again = run(stream, case)
        for name in ("loss", "sums", "d_logp", "d_entropy", "status"):
            assert torch.equal(getattr(first, name), getattr(again, name)), name


def test_the_first_bad_value_is_the_one_that_the_cpu_names(stream):
    arguments = ["", "", "", "", "logp", "old_logp", "advantage", "behavior_logp", "ref_logp"]
    arguments.append("entropy")
    named = set()
    for seed in range(120):
        case = random_case(seed, (3, 50), off_ratio=_core.OFF_RATIOS[seed % 3])
        generator = torch.Generator().manual_seed(seed)
        for name in torch.randperm(6, generator=generator)[: 1 + seed // 3 % 3].tolist():
            value = list(case.values().values())[name]
            places = torch.randint(value.numel(), (3,), generator=generator)
            value.view(-1)[places] = (math.nan, math.inf, -math.inf)[seed % 3]
        status = run(stream, case).status
        try:
            case.truth()
        except NonFiniteError as error:
            place = re.match(r"(\w+)\[row (\d+), token (\d+)\]", str(error))
            assert place is not None, str(error)
            argument, row, token = place[1], int(place[2]), int(place[3])
            code = int(status[status > 0].min())
            assert arguments[code] == argument, seed
            assert int((status == code).nonzero()[0]) == row * 50 + token, seed
            named.add(argument)
        else:
            assert (status == 0).all(), seed
    assert named == set(arguments) - {""}


def test_a_bad_value_passes_through_and_stays_where_it_is(stream):
    for name in ("logp", "old_logp", "advantage", "ref_logp"):
        case = random_case(5, kl="k3", kl_coef=0.1)
        clean = run(stream, case)
        place = int((case.loss_mask & ~case.expert).flatten().nonzero()[3])
        getattr(case, name).view(-1)[place] = math.nan
        ours = run(stream, case)
        assert ours.loss.isnan() and ours.d_logp[place].isnan(), name
        others = torch.arange(len(ours.d_logp)) != place
        assert torch.equal(ours.d_logp[others], clean.d_logp[others]), name
        assert ours.status.nonzero().flatten().tolist() == [place]


def test_a_missing_behavior_policy_is_reported_where_it_is_needed(stream):
    for off_ratio in _core.OFF_RATIOS:
        case = random_case(6, off_ratio=off_ratio)
        ours = run(stream, case, absent=("behavior_logp",))
        expert = (case.expert & case.loss_mask).flatten()
        needed = expert if off_ratio != "policy" else torch.zeros_like(expert)
        assert torch.equal(ours.status > 0, needed) and set(ours.status[needed].tolist()) <= {7}
        assert torch.equal(ours.d_logp.isnan(), needed)


def test_rows_of_logits_say_what_is_wrong_with_a_log_prob(stream):
    case = random_case(7, (1, 8), off_ratio="policy")
    case = replace(case, loss_mask=torch.ones(1, 8, dtype=torch.bool))
    case.logp[0, :5] = math.nan
    case.old_logp[0, 2:6] = math.nan
    case.loss_mask[0, 4] = False
    #      bad id, unsound, then both with a bad input; left out; a bad input; sound; no token
    rows = torch.tensor([1, 2, 1, 2, 2, 0, 0, 3], dtype=torch.uint8)
    status = run(stream, case, row_status=rows).status
    assert status.tolist() == [1, 2, 1, 5, 0, 5, 0, 3]
