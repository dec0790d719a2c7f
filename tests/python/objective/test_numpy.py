"""The numpy functions against the torch operators, which the oracle has checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cases import random_case
from icpo import LossConfig, objective, ops


def arrays(case):
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in case.shared().items()
    }


def heat(case):
    return (
        case.temperature.numpy() if isinstance(case.temperature, torch.Tensor) else case.temperature
    )


def test_forward_equals_torch_bit_for_bit():
    for seed in range(40):
        case = random_case(seed)
        stats = objective.logp_entropy(case.logits.numpy(), case.ids.numpy(), heat(case))
        others = ops.token_stats(case.logits, case.ids, case.temperature)
        for name in ("logp", "entropy", "rank"):
            assert np.array_equal(getattr(stats, name), getattr(others, name).numpy()), (seed, name)
        assert np.array_equal(
            objective.token_rank(case.logits.numpy(), case.ids.numpy()), stats.rank
        )


def test_losses_and_gradients_equal_torch_bit_for_bit():
    for seed in range(60):
        case = random_case(seed)
        logits = case.logits.clone().requires_grad_(True)
        loss, metrics = ops.fused_policy_loss(
            logits, case.ids, temperature=case.temperature, **case.shared()
        )
        loss.backward()
        copy = case.logits.numpy().copy()
        for inplace in (False, True):
            ours = objective.fused_policy_loss(
                copy, case.ids.numpy(), temperature=heat(case), inplace=inplace, **arrays(case)
            )
            assert np.float32(ours.loss) == loss.item()
            assert np.array_equal(ours.metrics.sums, metrics.sums.numpy())
            assert np.array_equal(ours.dlogits, logits.grad.numpy())
            assert (ours.dlogits is copy) == inplace
        logp, entropy = (
            t.detach().requires_grad_(True)
            for t in ops.logp_entropy(case.logits, case.ids, case.temperature)
        )
        loss, _ = ops.policy_loss(logp, entropy=entropy, **case.shared())
        loss.backward()
        ours = objective.policy_loss(
            logp.detach().numpy(), entropy=entropy.detach().numpy(), **arrays(case)
        )
        assert np.float32(ours.loss) == loss.item()
        assert np.array_equal(ours.d_logp, logp.grad.numpy())
        assert np.array_equal(ours.d_entropy, entropy.grad.numpy())


def test_linear_meets_torch():
    case = random_case(3)
    torch.manual_seed(0)
    hidden = torch.randn(*case.ids.shape, 6, requires_grad=True)
    weight = torch.randn(case.logits.shape[-1], 6, requires_grad=True)
    config = LossConfig(off_ratio="policy", entropy_coef=0.1)
    arguments = {**case.shared(), "config": config}
    loss, _ = ops.linear_policy_loss(hidden, weight, case.ids, **arguments)
    loss.backward()
    ours = objective.linear_policy_loss(
        hidden.detach().numpy(),
        weight.detach().numpy(),
        case.ids.numpy(),
        chunk=2,
        **{**arrays(case), "config": config},
    )
    assert ours.loss == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(ours.d_hidden, hidden.grad.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.d_weight, weight.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_float64_values_stay_float64():
    logp = np.full((1, 2), -1.0)
    ours = objective.policy_loss(logp, logp - 1e-12, [1.0], config=LossConfig())
    assert ours.d_logp.dtype == np.float64
    assert ours.loss == pytest.approx(-np.exp(1e-12), rel=1e-15)


def test_bfloat16_arrays():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    case = random_case(2, torch.bfloat16)
    array = case.logits.float().numpy().astype(ml_dtypes.bfloat16)
    stats = objective.logp_entropy(array, case.ids.numpy(), heat(case))
    assert np.array_equal(
        stats.logp, ops.logp_entropy(case.logits, case.ids, case.temperature)[0].numpy()
    )
