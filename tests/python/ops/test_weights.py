"""Weights as devices make them, against those of the core."""

from __future__ import annotations

import math

import pytest
import torch

from cases import AGGREGATIONS
from icpo import LossConfig, ops
from icpo.ops.rows import PackedRows, PaddedRows, token_rows
from icpo.ops.weights import row_counts, token_weights


def core_weights(mask, expert, offsets, config, denominator):
    """Weights as ∂loss/∂entropy shows them, and the numbers of rows."""
    config = config.replace(entropy_coef=-1.0, off_ratio="policy")
    zeros = torch.zeros(mask.shape, dtype=torch.float64)
    entropy = zeros.clone().requires_grad_(True)
    loss, metrics = ops.policy_loss(
        zeros,
        zeros,
        zeros,
        mask,
        expert,
        entropy=entropy,
        cu_seqlens=offsets,
        config=config,
        denominator=denominator,
    )
    loss.backward()
    return entropy.grad.reshape(-1), [metrics.total(name) for name in ("on_rows", "off_rows")]


def check_equal(mask, expert, offsets, config, denominator):
    expected, counts = core_weights(mask, expert, offsets, config, denominator)
    rows = token_rows(mask.shape, offsets, mask.device)
    valid, off = mask.reshape(-1), None if expert is None else expert.reshape(-1)
    assert torch.equal(token_weights(rows, valid, config, denominator), expected)
    assert row_counts(rows, valid, off).tolist() == counts


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_padded_weights_are_those_of_the_core_to_the_bit(aggregation):
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        shape = [(1, 1), (3, 7), (5, 1), (2, 1031), (4, 0), (0, 3)][seed % 6]
        mask = torch.rand(shape, generator=generator) < [0.0, 0.5, 0.9, 1.0][seed // 6 % 4]
        expert = torch.rand(shape, generator=generator) < 0.5
        config = LossConfig(aggregation=aggregation, norm_constant=[None, 17.3][seed % 2])
        denominator = [None, 3.0, 1234.7][seed % 3]
        check_equal(mask, expert if seed % 5 else None, None, config, denominator)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_packed_weights_are_those_of_the_core_to_the_bit(aggregation):
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(0, [2, 9, 300][seed % 3], (seed % 7,), generator=generator)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        mask = torch.rand(int(offsets[-1]), generator=generator) < 0.7
        expert = torch.rand(mask.shape, generator=generator) < 0.5
        config = LossConfig(aggregation=aggregation, norm_constant=17.3)
        offsets = offsets.to([torch.int32, torch.int64][seed % 2])
        if len(lengths) == len(mask) > 0 and (lengths != 1).any():
            continue  # one a row or one a token: not to be told
        check_equal(mask, expert, offsets, config, [None, 3.0][seed % 2])


def test_rows_of_one_length_need_no_constant():
    config = LossConfig(aggregation="seq-mean-token-sum-norm")
    mask = torch.tensor([True, False, True, True, True, True])
    check_equal(mask, None, torch.tensor([0, 3, 6]), config, None)
    uneven = PackedRows(torch.tensor([0, 2, 6]), 6)
    weights = token_weights(uneven, mask, config, None)
    assert weights.isnan().tolist() == mask.tolist()
    assert (token_weights(uneven, torch.zeros_like(mask), config, None) == 0).all()


@pytest.mark.parametrize(
    "offsets", [[3, 1], [0, -5, 9, 2], [0, 100], [0], [0, 2**40], [-(2**40), 7]]
)
def test_offsets_that_are_none_stay_inside_the_memory(offsets):
    rows = PackedRows(torch.tensor(offsets), 5)
    mask = torch.tensor([True, False, True, True, True])
    assert rows.count(mask).shape == (len(offsets) - 1,)
    spread = rows.spread(torch.arange(1.0, len(offsets)))
    assert spread.shape == (5,) and ((spread >= 0) & (spread < len(offsets))).all()
    assert token_weights(rows, mask, LossConfig(), None).shape == (5,)


def test_places():
    assert PaddedRows(2, 3, torch.device("cpu")).place(4) == "row 1, token 1"
    rows = PackedRows(torch.tensor([0, 0, 2, 2, 5]), 5)
    assert [rows.place(token) for token in (0, 1, 2, 4)] == [
        "row 1, token 0",
        "row 1, token 1",
        "row 3, token 0",
        "row 3, token 2",
    ]


def test_defaults_of_torch_do_not_matter():
    rows = PackedRows(torch.tensor([0, 2, 3]), 3)
    mask = torch.tensor([True, True, True])
    config = LossConfig(aggregation="seq-mean-token-sum-norm", norm_constant=3.0)
    expected = token_weights(rows, mask, config, None)
    assert expected.dtype == torch.float64 and math.isclose(expected[0].item(), 1 / 6)
    with torch.device("meta"):
        again = PackedRows(torch.tensor([0, 2, 3], device="cpu"), 3)
        assert torch.equal(token_weights(again, mask, config, None), expected)
