"""Scaling in place: every dtype, rows that lie anywhere, and the factor that does nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from icpo import _core
from icpo.ops.tensors import view

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
DTYPES = list(BITS)
#: What a block takes at a time is 16 kB: 4,096 float32, 8,192 of the others.
COLUMNS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 501, 4095, 4097, 8193, 20_011]


def run(stream: _core.CudaStream, values: Tensor, factor: float) -> None:
    number = torch.tensor(factor, dtype=torch.float32)
    stream.scale(view(values), view(number))


def bits(values: Tensor) -> Tensor:
    return values.view(BITS[values.dtype])


def field(dtype: torch.dtype, size: int, seed: int) -> Tensor:
    """Numbers of every magnitude, infinities included, NaN not."""
    generator = torch.Generator().manual_seed(seed)
    exponent = 10 * torch.randn(size, generator=generator)
    sign = torch.randn(size, generator=generator).sign()
    return (sign * torch.exp2(exponent)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_anywhere(stream, dtype):
    for seed, columns in enumerate(COLUMNS):
        rows = 3 if columns > 1000 else 9
        for first in (0, 1, 5):
            # Each row starts at another distance from a multiple of 16 bytes.
            stride = columns + 1 + seed % 3
            memory = field(dtype, first + rows * stride, seed)
            values = memory[first:].as_strided((rows, columns), (stride, 1), first)
            before = memory.clone()
            run(stream, values, -1.7)
            expected = before.clone()
            inside = expected.as_strided((rows, columns), (stride, 1), first)
            inside.copy_(inside.float() * torch.tensor(-1.7))
            assert torch.equal(bits(memory), bits(expected)), (columns, first)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_padded_batch_of_which_a_part_is_scaled(stream, dtype):
    memory = field(dtype, 4 * 7 * 131, 0).view(4, 7, 131)
    before, part = memory.clone(), memory[:, 2:6, 3:128]
    run(stream, part, 0.3)
    expected = before.clone()
    expected[:, 2:6, 3:128] = (before[:, 2:6, 3:128].float() * torch.tensor(0.3)).to(dtype)
    assert torch.equal(bits(memory), bits(expected))


def test_offsets_are_64_bits_wide(stream):
    """The second row lies 2^31 elements behind the first; the memory between is never touched."""
    stride = 2**31 + 3
    memory = torch.empty(stride + 100, dtype=torch.bfloat16)
    values = memory.as_strided((2, 100), (stride, 1))
    numbers = torch.arange(200.0).view(2, 100)
    values.copy_(numbers)
    run(stream, values, 2.0)
    assert torch.equal(values.float(), 2 * numbers)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_leaves_every_bit_alone(stream, dtype):
    if dtype == torch.float32:
        memory = torch.randint(-(2**31), 2**31, (5, 1001), dtype=torch.int64).to(torch.int32)
    else:
        memory = torch.arange(-(2**15), 2**15).to(torch.int16).view(16, 4096)
    values, before = memory.view(dtype), memory.clone()
    assert values.isnan().any()
    run(stream, values, 1.0)
    assert torch.equal(memory, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_that_are_no_numbers_show(stream, dtype):
    values = torch.tensor([[1.0, -2.0, 0.0]], dtype=dtype)
    for factor, expected in [
        (math.inf, [math.inf, -math.inf, math.nan]),
        (0.0, [0.0, 0.0, 0.0]),
        (math.nan, [math.nan] * 3),
    ]:
        scaled = values.clone()
        run(stream, scaled, factor)
        wanted = torch.tensor([expected], dtype=dtype)
        torch.testing.assert_close(scaled, wanted, rtol=0, atol=0, equal_nan=True)


def test_no_rows(stream):
    values = torch.empty(0, 5)
    run(stream, values, 2.0)
