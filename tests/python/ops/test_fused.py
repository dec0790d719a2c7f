"""The loss straight from logits or hidden states, against the oracle."""

from __future__ import annotations

import every_backend
import pytest
import torch
from every_backend import scale

from cases import AmbiguousBatch, random_case, relative_norm
from icpo import IcpoError, LossConfig, ops
from icpo.ops import reference


def oracle(case):
    """Loss, its gradient, and the size that errors are relative to."""
    logits = case.logits.double().requires_grad_(True)
    loss = case.reference(logits)
    loss.backward()
    with torch.no_grad():
        logp, entropy = reference.logp_entropy(logits, case.ids, case.temperature)
    return loss.item(), logits.grad, scale(case, logp, entropy)


@pytest.mark.parametrize("inplace", [False, True])
def test_value_and_gradient_over_random_cases(inplace):
    for seed in range(600):
        case = random_case(seed)
        truth, gradient, size = oracle(case)
        leaf = case.logits.clone().requires_grad_(True)
        logits = leaf + 0.0  # not a leaf, as the output of a model is not
        loss, _ = ops.fused_policy_loss(
            logits, case.ids, temperature=case.temperature, inplace=inplace, **case.shared()
        )
        loss.backward()
        assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12, seed
        # The slope of a divergence is a difference of two log-probs: where it is all there is, and
        # nearly zero, the last digit of a log-prob shows.
        heat = torch.as_tensor(case.temperature).min().item()
        last_digit = 1e-7 * case.config.kl_coef / heat
        difference = (leaf.grad.double() - gradient).norm().item()
        assert difference <= last_digit or relative_norm(leaf.grad, gradient) <= 1e-6, seed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_are_no_worse_than_naive_ones(dtype):
    ours, naive = [], []
    for seed in range(120):
        case = random_case(seed, dtype)
        truth, gradient, size = oracle(case)
        for inplace in (False, True):
            logits = case.logits.clone().requires_grad_(True)
            loss, _ = ops.fused_policy_loss(
                logits * 1, case.ids, temperature=case.temperature, inplace=inplace, **case.shared()
            )
            loss.backward()
            assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12, seed
            ours.append(relative_norm(logits.grad, gradient))
        plain = case.logits.clone().requires_grad_(True)
        case.reference(plain).backward()
        naive.append(relative_norm(plain.grad, gradient))
        assert ours[-1] <= max(naive[-1], 2 * torch.finfo(dtype).eps), seed
        # Tiny float16 gradients fall below the smallest number of that type for both.
    assert sum(ours) / 2 < sum(naive)


def test_in_place_and_functional_agree_bit_for_bit():
    for seed in range(60):
        case = random_case(seed)
        results = []
        for inplace in (False, True):
            leaf = case.logits.clone().requires_grad_(True)
            loss, metrics = ops.fused_policy_loss(
                leaf + 0.0, case.ids, temperature=case.temperature, inplace=inplace, **case.shared()
            )
            loss.backward()
            results.append((loss.detach(), metrics.sums, leaf.grad))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
        assert torch.equal(results[0][2], results[1][2])


def test_packed_equals_padded():
    for seed in range(80):
        case = random_case(seed)
        if isinstance(case.temperature, torch.Tensor) or (
            case.config.aggregation == "seq-mean-token-sum-norm" and not case.config.norm_constant
        ):
            continue
        padded, _ = ops.fused_policy_loss(
            case.logits, case.ids, temperature=case.temperature, **case.shared()
        )
        try:
            arguments, ids, logits = case.packed()
        except AmbiguousBatch:
            continue
        packed, _ = ops.fused_policy_loss(logits, ids, temperature=case.temperature, **arguments)
        torch.testing.assert_close(packed, padded, rtol=1e-6, atol=1e-9)


def test_upstream_gradients_scale():
    case = random_case(3)
    for inplace in (False, True):
        for factor in (1.0, -0.37, 0.0):
            leaf = case.logits.clone().requires_grad_(True)
            loss, _ = ops.fused_policy_loss(
                leaf * 1, case.ids, temperature=case.temperature, inplace=inplace, **case.shared()
            )
            (factor * loss).backward()
            _, gradient, _ = oracle(case)
            assert relative_norm(leaf.grad, factor * gradient) <= 1e-6


def test_in_place_means_in_place():
    case = random_case(12)
    logits = case.logits.clone()
    address = logits.data_ptr()
    ops.fused_policy_loss(logits, case.ids, inplace=True, **case.shared())
    assert logits.data_ptr() == address and not torch.equal(logits, case.logits)

    leaf = case.logits.clone().requires_grad_(True)
    loss, _ = ops.fused_policy_loss(leaf * 1, case.ids, inplace=True, **case.shared())
    loss.backward(retain_graph=True)
    with pytest.raises(IcpoError, match="inplace=False"):
        loss.backward()

    # An operation that needs the overwritten values for its own gradient is told.
    leaf = case.logits.clone().requires_grad_(True)
    loss, _ = ops.fused_policy_loss(leaf.exp(), case.ids, inplace=True, **case.shared())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_masked_rows_are_not_read():
    case = random_case(20)
    case.loss_mask[0] = False
    truth, gradient, size = oracle(case)
    logits, ids = case.logits.clone(), case.ids.clone()
    logits[0], ids[0] = torch.nan, -100
    for inplace in (False, True):
        leaf = logits.clone().requires_grad_(True)
        loss, _ = ops.fused_policy_loss(
            leaf * 1 if inplace else leaf,
            ids,
            temperature=case.temperature,
            inplace=inplace,
            **case.shared(),
        )
        if not inplace:
            loss.backward()
            assert relative_norm(leaf.grad, gradient) <= 1e-6
            assert (leaf.grad[0] == 0).all()
        assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12


def linear_inputs(case, width, dtype=torch.float32):
    hidden = torch.randn(*case.ids.shape, width, dtype=dtype)
    weight = torch.randn(case.logits.shape[-1], width, dtype=dtype)
    return hidden, weight


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_linear_over_random_cases(chunk):
    for seed in range(100):
        case = random_case(seed)
        torch.manual_seed(seed)
        hidden, weight = linear_inputs(case, 1 + seed % 17)
        case.logits = hidden.double() @ weight.double().T
        logp, entropy = reference.logp_entropy(case.logits, case.ids, case.temperature)
        for name in ("old_logp", "behavior_logp", "ref_logp"):
            setattr(case, name, (logp + 0.2 * torch.randn(case.ids.shape)).float())
        exact = [tensor.double().requires_grad_(True) for tensor in (hidden, weight)]
        truth = case.reference(exact[0] @ exact[1].T)
        truth.backward()
        ours = [tensor.clone().requires_grad_(True) for tensor in (hidden, weight)]
        loss, _ = ops.linear_policy_loss(
            *ours, case.ids, temperature=case.temperature, chunk=chunk, **case.shared()
        )
        (loss * 1.0).backward()
        assert abs(loss.item() - truth.item()) <= 1e-4 * scale(case, logp, entropy) + 1e-7, seed
        # A float32 product is off by some ulp of its size, which the temperature magnifies.
        heat = case.temperature if isinstance(case.temperature, float) else case.temperature.min()
        tolerance = 1e-5 * (2 + case.logits.abs().max() / heat)
        for a, b in zip(ours, exact, strict=True):
            assert relative_norm(a.grad, b.grad) <= tolerance, seed


def test_linear_in_half_precision_and_one_gradient_only():
    case = random_case(31)
    hidden, weight = linear_inputs(case, 24, torch.bfloat16)
    for needs in ((True, False), (False, True), (False, False)):
        h, w = hidden.clone().requires_grad_(needs[0]), weight.clone().requires_grad_(needs[1])
        loss, _ = ops.linear_policy_loss(h, w, case.ids, chunk=2, **case.shared())
        assert loss.requires_grad == any(needs)
        if any(needs):
            loss.backward()
        assert (h.grad is not None, w.grad is not None) == needs
        for tensor in (h, w):
            assert tensor.grad is None or tensor.grad.dtype == torch.bfloat16


def test_linear_packed():
    case = random_case(18)
    hidden, weight = linear_inputs(case, 8)
    arguments, ids, _ = case.packed()
    config = LossConfig(off_ratio="policy")
    padded, _ = ops.linear_policy_loss(
        hidden, weight, case.ids, **{**case.shared(), "config": config}
    )
    offsets = arguments["cu_seqlens"]
    lengths = offsets[1:] - offsets[:-1]
    keep = torch.arange(case.ids.shape[1]) < lengths[:, None]
    packed, _ = ops.linear_policy_loss(hidden[keep], weight, ids, **{**arguments, "config": config})
    torch.testing.assert_close(padded, packed, rtol=1e-5, atol=1e-7)


def test_chunks_know_their_place():
    every_backend.chunks_know_their_place("cpu")
