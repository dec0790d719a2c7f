"""The operators on real devices: ``pytest -m gpu``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import backend_runs as runs
import every_backend
import pytest
import test_registration
import torch
from torch import Tensor

import icpo
import test_errors
from cases import random_case
from icpo import LossConfig, ops

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
HALVES = [torch.bfloat16, torch.float16]
#: Rows that the fast path takes, and rows that it does not.
VOCABULARIES = [151_936, 151_937]


##### What holds for every backend


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_forward(dtype):
    every_backend.forward(DEVICE, 300, dtype)


def test_backward():
    every_backend.backward(DEVICE, 100)


@pytest.mark.parametrize("dtype", HALVES)
def test_backward_in_half_precision(dtype):
    every_backend.backward_in_half_precision(DEVICE, 100, dtype)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_overwriting(dtype):
    every_backend.overwriting(DEVICE, 100, dtype)
    every_backend.overwriting_part(DEVICE, dtype)


def test_overwriting_is_never_silently_wrong():
    every_backend.overwriting_is_never_silently_wrong(DEVICE)


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_linear_logp(chunk):
    every_backend.linear_logp(DEVICE, 100, chunk)


@pytest.mark.parametrize("dtype", HALVES)
def test_linear_logp_in_half_precision(dtype):
    every_backend.linear_logp_in_half_precision(DEVICE, dtype)


def test_linear_logp_mistakes():
    every_backend.linear_logp_mistakes(DEVICE)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_layouts(dtype):
    every_backend.layouts(DEVICE, dtype)


def test_no_rows():
    every_backend.no_rows(DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_policy_loss(dtype):
    every_backend.policy_loss(DEVICE, 600, dtype)


@pytest.mark.parametrize("inplace", [False, True])
def test_fused(inplace):
    every_backend.fused(DEVICE, 300, inplace)


@pytest.mark.parametrize("dtype", HALVES)
def test_fused_in_half_precision(dtype):
    every_backend.fused_in_half_precision(DEVICE, 120, dtype)


def test_packed():
    every_backend.packed(DEVICE, 100)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_sliced_in_place(dtype):
    every_backend.sliced_in_place(DEVICE, dtype)


def test_masked_rows_are_not_read():
    every_backend.masked_rows_are_not_read(DEVICE)


def test_upstream_gradients_scale():
    every_backend.upstream_gradients_scale(DEVICE)


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_linear(chunk):
    every_backend.linear(DEVICE, 100, chunk)


@pytest.mark.parametrize("dtype", HALVES)
def test_linear_in_half_precision(dtype):
    every_backend.linear_in_half_precision(DEVICE, dtype)


def test_chunks_know_their_place():
    every_backend.chunks_know_their_place(DEVICE)


def test_advantages():
    every_backend.advantages(DEVICE, 40)


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_shards(dtype):
    every_backend.shards(DEVICE, dtype)


def test_unchecked():
    every_backend.unchecked(DEVICE)


def there(arguments: Any) -> Any:
    """Tensors of the CPU on the device; what lies elsewhere stays there."""
    if isinstance(arguments, dict):
        return {name: there(value) for name, value in arguments.items()}
    if isinstance(arguments, tuple):
        return tuple(map(there, arguments))
    if isinstance(arguments, Tensor) and arguments.device.type == "cpu":
        return arguments.detach().to(DEVICE).requires_grad_(arguments.requires_grad)
    return arguments


@pytest.mark.parametrize("name", test_registration.samples())
def test_opcheck(name):
    operator, arguments = test_registration.samples()[name]
    torch.library.opcheck(operator, there(arguments))


ELSEWHERE = {"meta logits", "meta advantage"}


@pytest.mark.parametrize("mistake", sorted(test_errors.MISTAKES.keys() - ELSEWHERE))
@pytest.mark.parametrize("inplace", [False, True])
def test_mistake(mistake, inplace):
    changes, expected, message = test_errors.MISTAKES[mistake]
    call = there(test_errors.arguments(**changes))
    before = call["logits"].clone() if isinstance(call["logits"], Tensor) else None
    with pytest.raises(expected, match=message):
        ops.fused_policy_loss(**call, inplace=inplace)
    if before is not None and "logits" not in message:
        assert torch.equal(call["logits"], before)


def test_tensors_on_two_devices():
    call = there(test_errors.arguments())
    with pytest.raises(icpo.DeviceError, match="advantage: expected a tensor on cuda:0, where log"):
        ops.fused_policy_loss(**{**call, "advantage": torch.zeros(2)})


##### What holds for devices


@pytest.mark.parametrize("name", runs.OPERATORS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_runs_are_equal_to_the_last_bit(name, vocabulary):
    runs.same_bits(name, runs.problem(vocabulary))


@pytest.mark.parametrize("name", runs.OPERATORS)
def test_nothing_waits_for_the_device(name):
    arguments = runs.problem(1025)
    runs.OPERATORS[name](*arguments)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        runs.OPERATORS[name](*arguments)
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("name", runs.OPERATORS)
def test_streams_do_not_disturb_each_other(name):
    problems = [runs.problem(vocabulary) for vocabulary in (*VOCABULARIES, 32_000)]
    expected = [runs.OPERATORS[name](*arguments) for arguments in problems]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in problems]
    found: list[tuple[Tensor, ...]] = []
    for _ in range(3):
        found.clear()
        for stream, arguments in zip(streams, problems, strict=True):
            with torch.cuda.stream(stream):
                found.append(runs.OPERATORS[name](*arguments))
    torch.cuda.synchronize()
    for ours, truth in zip(found, expected, strict=True):
        assert all(map(torch.equal, ours, truth))


@pytest.mark.parametrize("name", runs.OPERATORS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_captured_graph_replays_the_same(name, vocabulary):
    icpo.prepare(DEVICE, vocabulary, "bfloat16")
    logits, ids, batch = runs.problem(vocabulary)
    static = logits.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # torch asks for a run before
        runs.OPERATORS[name](static, ids, batch)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = runs.OPERATORS[name](static, ids, batch)
    for factor in (1.0, 0.5, -1.0):
        static.copy_(logits * factor)
        graph.replay()
        torch.cuda.synchronize()
        replayed = [output.clone() for output in outputs]
        assert all(map(torch.equal, replayed, runs.OPERATORS[name](static, ids, batch)))


def test_a_captured_graph_can_not_check():
    logits, ids, batch = runs.problem(1024)
    ops.fused_policy_loss(logits.clone(), ids, **batch)
    graph = torch.cuda.CUDAGraph()
    with (
        pytest.raises(icpo.ConfigError, match="check: expected False while a CUDA graph"),
        torch.cuda.graph(graph),
    ):
        ops.fused_policy_loss(logits, ids, **batch)


def test_prepared_kernels_need_no_loading():
    loaded = icpo.prepare(DEVICE, 8192, "float32")
    assert icpo.prepare(torch.device(DEVICE), 8192, torch.float32) == loaded
    about = icpo.info(8192, "float32")
    assert about["cuda"]["devices"][torch.cuda.current_device()]["units"]


@pytest.fixture
def second_device() -> Iterator[str]:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    yield "cuda:1"


@pytest.mark.parametrize("name", runs.OPERATORS)
def test_devices_agree(name, second_device):
    same = torch.cuda.get_device_name(0) == torch.cuda.get_device_name(1)
    results = [
        runs.OPERATORS[name](*runs.problem(151_936, device=device))
        for device in ("cuda:0", second_device)
    ]
    for first, second in zip(*results, strict=True):
        assert second.device == torch.device(second_device)
        if same:
            assert torch.equal(first, second.to(first.device))


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_in_place_takes_hardly_any_memory(vocabulary):
    logits, ids, batch = runs.problem(vocabulary, tokens=4096)
    ops.fused_policy_loss(logits, ids, inplace=True, **batch)
    logits, ids, batch = runs.problem(vocabulary, tokens=4096)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ops.fused_policy_loss(logits, ids, inplace=True, **batch)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before
    assert extra < 0.01 * logits.numel() * logits.element_size()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_overwriting_takes_hardly_any_memory(vocabulary):
    for _ in range(2):  # the first loads kernels
        logits, ids, _ = runs.problem(vocabulary, tokens=4096)
        computed = logits.requires_grad_(True) * 1
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        logp, entropy = ops.logp_entropy(computed, ids, check=False, overwrite_logits=True)
        (gradient,) = torch.autograd.grad((logp + entropy).sum(), computed)
        torch.cuda.synchronize()
        extra = torch.cuda.max_memory_allocated() - before
    assert gradient.data_ptr() == computed.data_ptr()
    assert extra < 0.01 * logits.numel() * logits.element_size()


def test_more_elements_than_32_bits_count():
    vocabulary, tokens = 151_936, 30_000  # 4.6e9 logits, 9 GB
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GB of free memory")
    logits = torch.empty(tokens, vocabulary, dtype=torch.bfloat16, device=DEVICE)
    logits.normal_()
    ids = torch.randint(vocabulary, (tokens,), device=DEVICE)
    some = torch.tensor([0, 14_133, 14_134, 28_267, tokens - 1], device=DEVICE)
    logp, entropy = ops.logp_entropy(logits, ids)
    exact = ops.reference.logp_entropy(logits[some].double(), ids[some])
    every_backend.assert_stats(logp[some], entropy[some], tuple(x.cpu() for x in exact))
    row = logits[tokens - 1].clone()
    config = LossConfig(off_ratio="policy")
    ops.fused_policy_loss(
        logits[None],
        ids[None],
        logp[None],
        torch.ones(1, device=DEVICE),
        None,
        None,
        inplace=True,
        config=config,
        denominator=1.0,
    )
    leaf = row.double().requires_grad_(True)
    ops.reference.logp_entropy(leaf, ids[-1])[0].backward()
    assert leaf.grad is not None
    error = every_backend.relative_norm(-logits[tokens - 1].cpu(), leaf.grad.cpu())
    assert error <= 2 * torch.finfo(torch.bfloat16).eps


def test_the_trainer_uses_the_operators():
    from icpo.trainer.logits import logp_entropy, policy_loss

    case = random_case(12)
    batch = (case.ids, case.old_logp, case.advantage, case.loss_mask, case.expert_mask)
    values = {"behavior_logp": case.behavior_logp, "ref_logp": case.ref_logp}
    settings = {"temperature": 0.9, "config": case.config, "denominator": 3.0}
    found = []
    for device in ("cpu", DEVICE):
        leaf = case.logits.to(device).requires_grad_(True)
        loss, metrics = policy_loss(leaf * 1.0, *batch, **values, **settings)
        loss.backward()
        assert leaf.grad is not None and metrics.sums.device.type == "cpu"
        found.append((loss.item(), leaf.grad.cpu(), logp_entropy(leaf, case.ids, 0.9)[0].cpu()))
    (loss, gradient, logp), (other, theirs, again) = found
    assert loss == pytest.approx(other, rel=1e-5, abs=1e-9)
    torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(logp, again, rtol=2e-6, atol=1e-9)
