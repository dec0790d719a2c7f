"""Checks on a device say what the core says of the same mistakes."""

from __future__ import annotations

import math

import pytest
import torch

import icpo
from icpo import LossConfig, _core, ops
from icpo.ops.checks import (
    BAD_ID,
    Check,
    check_denominator,
    check_number,
    packing_checks,
    raise_first,
    spelled,
)
from icpo.ops.rows import PackedRows
from icpo.ops.tensors import Batch, Temperature


def message(call) -> str:
    with pytest.raises(icpo.IcpoError) as caught:
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-7, 1.5e7, 1e300])
def test_numbers_are_spelled_as_the_core_spells_them(value):
    logits, ids = torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    core = message(lambda: ops.logp_entropy(logits, ids, value))
    assert message(lambda: check_number(Temperature(value, None))) == core


@pytest.mark.parametrize("value", [0.0, -2.5, math.nan, math.inf])
def test_denominators(value):
    zeros = torch.zeros(1, 2)
    core = message(
        lambda: ops.policy_loss(
            zeros, zeros, zeros, None, None, config=LossConfig(), denominator=value
        )
    )
    assert message(lambda: check_denominator(value)) == core


OFFSETS = [[1, 6], [0, 5], [0, 4, 2, 6], [0, -1, 6], [0, 0, 1, 1, 2, 3, 6], [0, 7]]


@pytest.mark.parametrize("offsets", OFFSETS)
def test_offsets(offsets):
    zeros, packed = torch.zeros(6), torch.tensor(offsets)
    rows = PackedRows(packed, 6)
    batch = Batch(zeros, zeros, None, None, None, None, packed)
    checks = packing_checks(rows, 6, batch, LossConfig(), torch.ones(6, dtype=torch.bool))
    core = message(
        lambda: ops.policy_loss(
            zeros, zeros, zeros, None, None, cu_seqlens=packed, config=LossConfig()
        )
    )
    ours = message(lambda: raise_first(checks))
    assert ours == core.replace("Some(", "").replace(")", "") or ours == core


def test_the_first_failure_is_told():
    def check(flags, name):
        return Check(torch.tensor(flags), lambda place: icpo.ShapeError(f"{name} at {place}"))

    raise_first([])
    raise_first([check([0, 0], "a"), check([[False]], "b")])
    with pytest.raises(icpo.ShapeError, match="b at 2"):
        raise_first(
            [check([0, 0], "a"), check([[False, False], [True, True]], "b"), check([1], "")]
        )


@pytest.mark.skipif(not hasattr(_core, "CUDA_STATUSES"), reason="built without the feature 'cuda'")
def test_statuses_are_those_of_the_kernels():
    assert _core.CUDA_STATUSES[0] == ("", "") and _core.CUDA_STATUSES[BAD_ID][0] == "ids"


def test_spelling():
    assert [spelled(x) for x in (0.1, 3.0, -math.inf, 1e22)] == [
        "0.1",
        "3",
        "-inf",
        "10000000000000000000000",
    ]
