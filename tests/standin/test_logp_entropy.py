"""The passes over logits: every dtype, any layout of rows, against float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from icpo import _core
from icpo.ops.tensors import view
from rows import Truth, random_ids, random_logits, relative_norm, scale_of

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
#: 256 threads take 2,048 or 1,024 elements at a time, and four times that in the unrolled loop.
VOCABULARIES = [2, 3, 7, 8, 9, 31, 64, 65, 255, 1000, 2047, 2048, 2049, 8191, 8192, 8193, 9000]
#: Of the rows in memory: elements behind a 16-byte boundary, elements between rows.
LAYOUTS = [(0, 0), (1, 0), (3, 1), (0, 5), (7, 3)]


def forward(
    stream: _core.CudaStream, logits: Tensor, ids: Tensor, scales: float | Tensor
) -> dict[str, Tensor]:
    rows = ids.numel()
    heat = view(scales) if isinstance(scales, Tensor) else scales
    states = torch.full((rows, 5), torch.nan, dtype=torch.float64)
    stream.row_states(view(logits), view(ids), heat, view(states))
    out = {
        "logp": torch.empty(rows),
        "entropy": torch.empty(rows),
        "rank": torch.empty(rows, dtype=torch.int64),
        "saved": torch.empty((rows, 4), dtype=torch.float64),
        "status": torch.full((rows,), 99, dtype=torch.uint8),
    }
    outputs = {name: view(value) for name, value in out.items()}
    stream.finish_rows(view(states), view(ids), heat, logits.shape[-1], **outputs)
    return out


def backward(
    stream: _core.CudaStream,
    logits: Tensor,
    dlogits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
    status: Tensor | None = None,
) -> None:
    heat = view(scales) if isinstance(scales, Tensor) else scales
    coefficients = torch.empty((ids.numel(), 4))
    stream.row_gradients(view(saved), view(d_logp), view(d_entropy), heat, view(coefficients))
    stream.gradient(
        view(logits),
        view(dlogits),
        view(ids),
        view(coefficients),
        heat,
        status=None if status is None else view(status),
    )


def check_forward(out: dict[str, Tensor], truth: Truth) -> None:
    assert not out["status"].any()
    assert ((out["logp"].double() - truth.logp).abs() <= 2e-6 * truth.logp.abs() + 1e-9).all()
    # Where another token than the selected one has all the mass, what is left is the error of its
    # exponential, 2^-22.
    assert ((out["entropy"].double() - truth.entropy).abs() <= 5e-6 * truth.entropy + 4e-7).all()
    assert torch.equal(out["rank"], truth.rank)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_vocabulary_and_layout(stream, dtype):
    for number, vocabulary in enumerate(VOCABULARIES):
        offset, gap = LAYOUTS[number % len(LAYOUTS)]
        logits = random_logits(7, vocabulary, dtype, number, offset, gap)
        ids = random_ids(logits, number)
        temperature = [0.1, 0.7, 1.0, 5.0][number % 4]
        truth = Truth(logits.double(), ids, torch.full((7, 1), temperature, dtype=torch.float64))
        scale = scale_of(temperature)
        out = forward(stream, logits, ids, scale)
        check_forward(out, truth)

        generator = torch.Generator().manual_seed(number)
        g, h = torch.randn(2, 7, generator=generator, dtype=torch.float64)
        h[::2] = 0.0
        expected = truth.gradient(g, h)
        memory = torch.full((7, vocabulary + 16), 77.0, dtype=dtype)
        beside = memory[:, 8:-8]  # its rows lie differently from those of the logits
        backward(stream, logits, beside, ids, scale, out["saved"], g, h)
        naive = expected.to(dtype)
        bar = max(1e-6, 1.01 * relative_norm(naive, expected))
        assert relative_norm(beside, expected) <= bar, vocabulary
        assert (memory[:, :8] == 77).all() and (memory[:, -8:] == 77).all()
        around = logits._base.clone()
        backward(stream, logits, logits, ids, scale, out["saved"], g, h)
        assert torch.equal(logits, beside)
        kept = torch.ones_like(around, dtype=torch.bool)
        kept.as_strided(logits.shape, logits.stride(), logits.storage_offset()).fill_(False)
        assert torch.equal(logits._base[kept], around[kept])


def test_rows_of_a_slice_and_a_temperature_each(stream):
    whole = random_logits(12, 200, torch.bfloat16, 5).reshape(3, 4, 200)
    logits = whole[:, :-1]  # rows are not evenly spaced
    flat = logits.reshape(-1, 200)
    ids = random_ids(flat, 5)
    temperature = torch.linspace(0.3, 3.0, 9, dtype=torch.float64)
    scales = 1.4426950408889634 / temperature
    out = forward(stream, logits, ids, scales)
    truth = Truth(flat.double(), ids, temperature[:, None])
    check_forward(out, truth)
    g, h = torch.ones(9, dtype=torch.float64), torch.full((9,), -0.5, dtype=torch.float64)
    dlogits = torch.empty(3, 3, 200, dtype=torch.bfloat16)
    backward(stream, logits, dlogits, ids, scales, out["saved"], g, h)
    expected = truth.gradient(g, h)
    assert relative_norm(dlogits.reshape(9, 200), expected) <= 2**-8


def test_small_log_probabilities_keep_their_digits(stream):
    """Where the selected token has nearly all the mass, 1 - p is what the gradient consists of."""
    distance = torch.arange(10, 60, 7, dtype=torch.float32)
    logits = torch.randn(len(distance), 3000, generator=torch.Generator().manual_seed(0))
    ids = torch.full((len(distance),), 1234)
    logits[:, 1234] = distance
    out = forward(stream, logits, ids, scale_of(1.0))
    others = logits.double().clone()
    others[:, 1234] = -torch.inf
    exact = -torch.log1p((others.logsumexp(-1) - distance.double()).exp())
    assert ((out["logp"].double() - exact).abs() <= 1e-6 * exact.abs()).all()
    g = torch.ones(len(distance), dtype=torch.float64)
    dlogits = torch.empty_like(logits)
    backward(stream, logits, dlogits, ids, scale_of(1.0), out["saved"], g, torch.zeros_like(g))
    ours = dlogits[:, 1234].double()
    assert ((ours + torch.expm1(exact)).abs() <= 1e-6 * ours).all()
    assert ((dlogits.double().sum(-1)).abs() <= 3e-6 * ours).all()


def test_faults_have_names_and_leave_their_rows_alone(stream):
    logits = random_logits(8, 100, torch.float32, 3)
    ids = random_ids(logits, 3)
    logits[0, 7], logits[1, 99], logits[2, :] = torch.nan, torch.inf, -torch.inf
    logits[3, 50], ids[3] = -torch.inf, 50
    ids[4], ids[5] = 100, -1
    logits[6, ids[6]] = torch.nan
    out = forward(stream, logits, ids, scale_of(1.0))
    names = [_core.CUDA_STATUSES[status][0] for status in out["status"].tolist()]
    assert out["status"].tolist() == [2, 2, 2, 3, 1, 1, 2, 0], names
    assert out["logp"][[0, 1, 2, 4, 5, 6]].isnan().all()
    assert out["logp"][3] == -torch.inf and out["logp"][7].isfinite()
    before = logits.clone()
    one = torch.ones(8, dtype=torch.float64)
    backward(stream, logits, logits, ids, scale_of(1.0), out["saved"], one, one, out["status"])
    assert torch.equal(logits[:7].nan_to_num(5), before[:7].nan_to_num(5))
    assert not torch.equal(logits[7], before[7])


def test_a_row_without_gradient_is_zeroed_unseen(stream):
    logits = torch.full((3, 77), torch.nan)
    saved, zero = torch.full((3, 4), torch.nan, dtype=torch.float64), torch.zeros(3).double()
    backward(stream, logits, logits, torch.zeros(3).long(), scale_of(1.0), saved, zero, zero)
    assert torch.equal(logits, torch.zeros(3, 77))


@pytest.mark.parametrize("shards", range(1, 9))
def test_a_row_may_be_split_over_shards(stream, shards):
    vocabulary = 1000
    logits = random_logits(6, vocabulary, torch.float32, shards)
    ids = random_ids(logits, shards)
    whole = forward(stream, logits, ids, scale_of(0.8))
    generator = torch.Generator().manual_seed(shards)
    cuts = sorted(torch.randperm(vocabulary - 1, generator=generator)[: shards - 1].tolist())
    edges = [0, *(cut + 1 for cut in cuts), vocabulary]
    states = torch.empty((shards, 6, 5), dtype=torch.float64)
    for shard, (first, last) in enumerate(itertools.pairwise(edges)):
        part = logits[:, first:last]
        stream.row_states(view(part), view(ids), scale_of(0.8), view(states[shard]), first)
    merged = {"logp": torch.empty(6), "entropy": torch.empty(6), "saved": whole["saved"].clone()}
    outputs = {name: view(value) for name, value in merged.items()}
    stream.finish_rows(view(states), view(ids), scale_of(0.8), vocabulary, **outputs)
    assert torch.allclose(merged["logp"], whole["logp"], rtol=5e-7, atol=1e-9)
    assert torch.allclose(merged["entropy"], whole["entropy"], rtol=2e-6, atol=1e-7)
    # Each shard makes its part of the gradient from what all of them know.
    g, h = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    coefficients = torch.empty((6, 4))
    stream.row_gradients(view(merged["saved"]), view(g), view(h), scale_of(0.8), view(coefficients))
    dlogits = torch.empty_like(logits)
    for first, last in itertools.pairwise(edges):
        stream.gradient(
            view(logits[:, first:last]),
            view(dlogits[:, first:last]),
            view(ids),
            view(coefficients),
            scale_of(0.8),
            first_id=first,
        )
    truth = Truth(logits.double(), ids, torch.full((6, 1), 0.8, dtype=torch.float64))
    assert relative_norm(dlogits, truth.gradient(g, h)) <= 1e-6


def test_offsets_are_64_bits_wide(stream):
    """The second row lies 2^31 elements behind the first; the memory between is never touched."""
    stride = 2**31 + 64
    memory = torch.empty(stride + 512, dtype=torch.bfloat16)
    logits = memory.as_strided((2, 512), (stride, 1))
    logits.copy_(random_logits(2, 512, torch.bfloat16, 1))
    ids = torch.tensor([3, 500])
    out = forward(stream, logits, ids, scale_of(1.0))
    truth = Truth(logits.double(), ids, torch.ones(2, 1).double())
    check_forward(out, truth)
    one = torch.ones(2, dtype=torch.float64)
    backward(stream, logits, logits, ids, scale_of(1.0), out["saved"], one, 0 * one)
    assert relative_norm(logits, truth.gradient(one, 0 * one)) <= 2**-8


# Many short rows, too: a block then takes several, one after the other.
@pytest.mark.parametrize(("rows", "vocabulary"), [(9, 9001), (80, 301)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_schedule_gives_the_same_bits(stream, standin, dtype, rows, vocabulary):
    logits = random_logits(rows, vocabulary, dtype, 8, offset=1)
    ids = random_ids(logits, 8)
    g, h = torch.randn(2, rows, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = None
    for seed in range(12):
        standin.set("seed", seed)
        out = forward(stream, logits, ids, scale_of(0.9))
        dlogits = logits.clone()
        backward(stream, dlogits, dlogits, ids, scale_of(0.9), out["saved"], g, h)
        bits = [*out.values(), dlogits]
        first = first or bits
        assert all(torch.equal(a, b) for a, b in zip(first, bits, strict=True)), seed


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_real_vocabulary(stream, dtype):
    logits = random_logits(2, 151_936, dtype, 2)
    ids = random_ids(logits, 2)
    out = forward(stream, logits, ids, scale_of(1.0))
    truth = Truth(logits.double(), ids, torch.ones(2, 1).double())
    check_forward(out, truth)
    g, h = torch.randn(2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    backward(stream, logits, logits, ids, scale_of(1.0), out["saved"], g, h)
    expected = truth.gradient(g, h)
    naive = expected.to(dtype)
    assert relative_norm(logits, expected) <= max(1e-6, 1.01 * relative_norm(naive, expected))
