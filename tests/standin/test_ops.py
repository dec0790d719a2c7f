"""The public operators over the stand-in: from torch down to the kernels and back.

Tensors lie on the CPU, and the CUDA backend stands where the CPU's does otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import icpo
from icpo import LossConfig, _core, cuda, ops
from icpo.ops.backend import BACKENDS
from icpo.ops.cuda import CudaBackend

PYTHON = Path(__file__).resolve().parents[1] / "python"
sys.path[1:1] = [str(PYTHON), str(PYTHON / "ops")]

import backend_runs as runs  # noqa: E402
import every_backend  # noqa: E402
import test_registration  # noqa: E402

import test_errors  # noqa: E402


class StandInStreams:
    """The default stream of a device whose memory is the CPU's."""

    def __init__(self, number: int) -> None:
        self.number, self.capturing = number, False

    def current(self, device: torch.device) -> _core.CudaStream:
        assert device.type == "cpu"
        cuda.require()
        return _core.CudaStream(self.number, 0)

    def is_capturing(self, device: torch.device) -> bool:
        return self.capturing


#: Of the stand-in's devices: one with clusters, one without.
NUMBERS = {"sm_90": 0, "sm_80": 1}


@pytest.fixture(autouse=True, params=NUMBERS)
def streams(request, standin, monkeypatch) -> Iterator[StandInStreams]:
    streams = StandInStreams(NUMBERS[request.param])
    monkeypatch.setitem(BACKENDS, "cpu", CudaBackend(streams))
    yield streams


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_forward(dtype):
    every_backend.forward("cpu", 40, dtype)


def test_backward():
    every_backend.backward("cpu", 20)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_backward_in_half_precision(dtype):
    every_backend.backward_in_half_precision("cpu", 20, dtype)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_overwriting(dtype):
    every_backend.overwriting("cpu", 12, dtype)
    every_backend.overwriting_part("cpu", dtype)


def test_overwriting_is_never_silently_wrong():
    every_backend.overwriting_is_never_silently_wrong("cpu")


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_linear_logp(chunk):
    every_backend.linear_logp("cpu", 8, chunk)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_linear_logp_in_half_precision(dtype):
    every_backend.linear_logp_in_half_precision("cpu", dtype)


def test_linear_logp_mistakes():
    every_backend.linear_logp_mistakes("cpu")


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_layouts(dtype):
    every_backend.layouts("cpu", dtype)


def test_no_rows():
    every_backend.no_rows("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_policy_loss(dtype):
    every_backend.policy_loss("cpu", 150, dtype)


@pytest.mark.parametrize("inplace", [False, True])
def test_fused(inplace):
    every_backend.fused("cpu", 100, inplace)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_in_half_precision(dtype):
    every_backend.fused_in_half_precision("cpu", 30, dtype)


def test_packed():
    every_backend.packed("cpu", 40)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_sliced_in_place(dtype):
    every_backend.sliced_in_place("cpu", dtype)


def test_masked_rows_are_not_read():
    every_backend.masked_rows_are_not_read("cpu")


def test_upstream_gradients_scale():
    every_backend.upstream_gradients_scale("cpu")


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_linear(chunk):
    every_backend.linear("cpu", 20, chunk)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_linear_in_half_precision(dtype):
    every_backend.linear_in_half_precision("cpu", dtype)


def test_chunks_know_their_place():
    every_backend.chunks_know_their_place("cpu")


def test_advantages():
    every_backend.advantages("cpu", 40)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_shards(dtype):
    every_backend.shards("cpu", dtype)


def test_unchecked():
    every_backend.unchecked("cpu")


@pytest.mark.parametrize("name", test_registration.samples())
def test_opcheck(name):
    operator, arguments = test_registration.samples()[name]
    torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("inplace", [False, True])
def test_compiled_training_step(inplace):
    test_registration.test_compiled_training_step(inplace=inplace, dynamic=False)


@pytest.mark.parametrize("mistake", test_errors.MISTAKES)
@pytest.mark.parametrize("inplace", [False, True])
def test_mistake(mistake, inplace):
    test_errors.test_mistake(mistake, inplace)


@pytest.mark.parametrize("mistake", test_errors.PACKED)
def test_packed_mistake(mistake):
    test_errors.test_packed_mistake(mistake)


def test_other_mistakes():
    test_errors.test_rows_and_tokens_that_can_not_be_told_apart()
    test_errors.test_constant_norm_needs_a_constant_when_packed()
    test_errors.test_overwriting_overlapping_rows_is_refused()
    test_errors.test_linear_mistakes()
    test_errors.test_unchecked_values_pass_through_as_nan()
    test_errors.test_messages_speak_of_the_caller_not_of_rust()


def test_mistakes_of_single_operators():
    nan = torch.tensor([0.0, torch.nan])
    zeros, ids = torch.zeros(2), torch.zeros(2, dtype=torch.long)
    offsets = torch.tensor([0, 2])
    for call, expected, message in [
        (
            lambda: ops.logp_entropy(torch.zeros(2, 3, 4), torch.tensor([[0, 1, 4]] * 2)),
            icpo.TokenIdError,
            r"ids\[0, 2\]: expected a token id in 0..4, got 4",
        ),
        (
            lambda: ops.logp_entropy(torch.stack([zeros, nan]), ids),
            icpo.NonFiniteError,
            r"logits\[1, 1\]: expected a number or -inf, got NaN",
        ),
        (
            lambda: ops.logp_entropy(torch.zeros(2, 4), ids, torch.tensor([1.0, 0.0])),
            icpo.ConfigError,
            "temperature: expected a number from 1e-6 to 1e6, got 0 at token 1",
        ),
        (
            lambda: ops.policy_loss(
                nan, zeros, zeros, None, None, cu_seqlens=offsets, config=LossConfig()
            ),
            icpo.NonFiniteError,
            r"logp\[row 0, token 1\]: expected a finite number .*, got NaN",
        ),
        (
            lambda: ops.policy_loss(
                zeros,
                zeros,
                zeros,
                None,
                None,
                entropy=nan,
                cu_seqlens=offsets,
                config=LossConfig(),
            ),
            icpo.NonFiniteError,
            r"entropy\[row 0, token 1\]: expected a finite number .*, got NaN",
        ),
        (
            lambda: ops.policy_loss(
                zeros,
                zeros,
                zeros,
                None,
                None,
                cu_seqlens=offsets,
                config=LossConfig(entropy_coef=0.1),
            ),
            icpo.MissingArgumentError,
            "entropy: entropy_coef is 0.1",
        ),
        (
            lambda: ops.group_advantages(nan, ids),
            icpo.NonFiniteError,
            r"rewards\[1\]: expected a finite number, got NaN",
        ),
        (
            lambda: ops.group_advantages(zeros, ids, keep_mask=torch.tensor([1, 2])),
            icpo.NonFiniteError,
            r"keep_mask\[1\]: expected True or False \(or 1 or 0\), got 2",
        ),
    ]:
        with pytest.raises(expected, match=message):
            call()


def test_what_is_wrong_with_a_batch_does_not_cost_the_logits():
    good = test_errors.arguments(logits=torch.randn(2, 3, 8))
    for changes in (
        {"old_logp": torch.full((2, 3), torch.nan)},
        {"ids": torch.full((2, 3), 8)},
        {"loss_mask": torch.full((2, 3), 0.5)},
        {"temperature": torch.full((2, 3), -1.0)},
    ):
        call = {**good, **changes}
        before = call["logits"].clone()
        with pytest.raises(icpo.IcpoError):
            ops.fused_policy_loss(**call, inplace=True)
        assert torch.equal(call["logits"], before)


def test_a_row_at_fault_is_left_and_others_are_not(streams):
    for vocabulary in (8, 9):
        logits = torch.randn(2, 3, vocabulary)
        logits[1, 1, 2] = torch.nan
        before = logits.clone()
        call = test_errors.arguments(logits=logits, advantage=torch.ones(2))
        with pytest.raises(icpo.NonFiniteError, match=r"logits\[row 1, token 1, 2\]"):
            ops.fused_policy_loss(**call, inplace=True)
        same = (logits == before) | (logits.isnan() & before.isnan())
        assert same.all(-1).tolist() == [[False] * 3, [False, True, False]]


def test_a_captured_graph_can_not_check(streams):
    streams.capturing = True
    call = test_errors.arguments()
    for inplace in (False, True):
        with pytest.raises(icpo.ConfigError, match="check: expected False while a CUDA graph"):
            ops.fused_policy_loss(**call, inplace=inplace)
        ops.fused_policy_loss(**call, inplace=inplace, check=False)
    with pytest.raises(icpo.ConfigError, match="check: expected False"):
        ops.group_advantages(torch.zeros(2), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("name", runs.OPERATORS)
@pytest.mark.parametrize("vocabulary", [1024, 1025])
def test_runs_are_equal_to_the_last_bit(name, vocabulary):
    runs.same_bits(name, runs.problem(vocabulary, device="cpu"))
