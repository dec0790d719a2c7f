"""The loss of log-probabilities against the oracle, and its diagnostics against plain counting."""

from __future__ import annotations

import math

import pytest
import torch
from every_backend import scale

from cases import AGGREGATIONS, AmbiguousBatch, random_case, relative_norm
from icpo import LossConfig, ops
from icpo.ops import reference


def inputs(case, dtype=torch.float32):
    logp, entropy = reference.logp_entropy(case.logits.double(), case.ids, case.temperature)
    return [tensor.to(dtype).requires_grad_(True) for tensor in (logp, entropy)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_over_random_cases(dtype):
    modes = set()
    for seed in range(600):
        case = random_case(seed)
        logp, entropy = inputs(case, dtype)
        loss, _ = ops.policy_loss(logp, entropy=entropy, **case.shared())
        loss.backward()
        exact = [tensor.detach().double().requires_grad_(True) for tensor in (logp, entropy)]
        truth = case.reference_of(*exact)
        truth.backward()
        # Inputs are the same numbers, so only the result is rounded: far below 1e-5.
        assert loss.dtype == dtype
        assert abs(loss.item() - truth.item()) <= 2e-7 * scale(case, *exact) + 1e-12, seed
        for ours, theirs in zip((logp, entropy), exact, strict=True):
            theirs = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
            assert relative_norm(ours.grad, theirs) <= 1e-6, seed
        modes.add((case.config.off_ratio, case.config.aggregation, case.config.kl))
    assert len(modes) == 3 * 4 * 4


def test_packed_equals_padded():
    for seed in range(100):
        case = random_case(seed)
        if case.config.aggregation == "seq-mean-token-sum-norm" and not case.config.norm_constant:
            continue
        logp, entropy = (tensor.detach() for tensor in inputs(case))
        padded, metrics = ops.policy_loss(logp, entropy=entropy, **case.shared())
        try:
            arguments, _, _ = case.packed()
        except AmbiguousBatch:
            continue
        offsets = arguments["cu_seqlens"]
        lengths = offsets[1:] - offsets[:-1]
        keep = torch.arange(logp.shape[1]) < lengths[:, None]
        packed, others = ops.policy_loss(logp[keep], entropy=entropy[keep], **arguments)
        # The same numbers in the same order, in groups that may be cut elsewhere.
        torch.testing.assert_close(packed, padded, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(others.sums, metrics.sums, rtol=1e-9, atol=1e-12)


def test_what_the_mask_leaves_out_is_not_looked_at():
    case = random_case(4)
    case.loss_mask[:, 1:] = False
    case.loss_mask[0, 0] = True
    logp, entropy = (tensor.detach() for tensor in inputs(case))
    expected, metrics = ops.policy_loss(logp, entropy=entropy, **case.shared())
    arguments = case.shared()
    for name in ("old_logp", "behavior_logp", "ref_logp"):
        arguments[name] = arguments[name].masked_fill(~case.loss_mask, math.nan)
    logp = logp.masked_fill(~case.loss_mask, math.inf).requires_grad_(True)
    entropy = entropy.masked_fill(~case.loss_mask, -math.inf)
    loss, others = ops.policy_loss(logp, entropy=entropy, **arguments)
    loss.backward()
    assert torch.equal(loss, expected) and torch.equal(others.sums, metrics.sums)
    assert (logp.grad[~case.loss_mask] == 0).all()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_an_empty_batch_has_no_loss(aggregation):
    for shape in ((2, 3), (0, 3), (2, 0)):
        logp = torch.full(shape, -1.0, requires_grad=True)
        loss, metrics = ops.policy_loss(
            logp,
            logp.detach(),
            torch.ones(shape[0]),
            torch.zeros(shape, dtype=torch.bool),
            None,
            config=LossConfig(aggregation=aggregation),
        )
        loss.backward()
        assert loss.item() == 0 and (logp.grad == 0).all()
        assert metrics["on/tokens"] == 0 and math.isnan(metrics["on/ratio"])


def test_micro_batches_with_the_batch_denominator_add_up():
    for seed in range(60):
        case = random_case(seed)
        logp, entropy = (tensor.detach() for tensor in inputs(case))
        whole, metrics = ops.policy_loss(logp, entropy=entropy, **case.shared())
        counts = case.loss_mask.sum(-1)
        by_token = case.config.aggregation == "token-mean"
        denominator = float(counts.sum() if by_token else (counts > 0).sum())
        if denominator == 0:
            continue
        total, sums = 0.0, 0
        for row in range(len(counts)):
            arguments = case.shared()
            for name, value in arguments.items():
                arguments[name] = value[row : row + 1] if isinstance(value, torch.Tensor) else value
            loss, part = ops.policy_loss(
                logp[row : row + 1],
                entropy=entropy[row : row + 1],
                denominator=denominator,
                **arguments,
            )
            total, sums = total + loss.double(), sums + part
        torch.testing.assert_close(total, whole.double(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(sums.sums, metrics.sums, rtol=1e-9, atol=1e-12)


def test_metrics_count_what_they_say():
    for seed in range(200):
        case = random_case(seed)
        config = case.config
        logp, entropy = (tensor.detach() for tensor in inputs(case))
        _, metrics = ops.policy_loss(logp, entropy=entropy, **case.shared())
        on = case.loss_mask & ~case.expert_mask[:, None]
        off = case.loss_mask & case.expert_mask[:, None]

        def clamp(x, limit=config.log_ratio_clamp):
            return x if limit is None else x.clamp(-limit, limit)

        lp = logp.double()
        shift = clamp(lp - case.old_logp.double())
        behind = lp - case.behavior_logp.double()
        r, u = shift.exp(), clamp(lp if config.off_ratio == "policy" else behind)
        f = u.exp() if config.off_ratio == "none" else reference.shaping(u.exp(), config.lam)
        slope = f if config.off_ratio == "none" else f * (1 - f)
        if config.log_ratio_clamp is not None:
            raw = lp if config.off_ratio == "policy" else behind
            slope = slope * (raw.abs() <= config.log_ratio_clamp)
        advantage = case.advantage.double()[:, None].expand_as(lp)

        def clips(x, config=config, advantage=advantage):
            bounded = x.clamp(1 - config.clip_low, 1 + config.clip_high)
            return -advantage * bounded > -advantage * x

        def mean(values, where):
            return values[where].double().mean().item() if where.any() else math.nan

        expected = {
            "on/tokens": on.sum().item(),
            "off/tokens": off.sum().item(),
            "on/rows": on.any(-1).sum().item(),
            "off/rows": off.any(-1).sum().item(),
            "on/ratio": mean(r, on),
            "off/ratio": mean(u.exp(), off),
            "off/shaped_ratio": mean(f, off),
            "off/gradient_weight": mean(slope, off),
            "on/kl": mean(-shift, on),
            "off/kl": mean(-clamp(behind), off),
            "on/clip_fraction": mean(clips(r), on),
            "off/clip_fraction": mean(clips(f) & torch.tensor(config.off_clip), off),
            "entropy": mean(entropy, on | off),
            "on/advantage": mean(advantage, on),
        }
        if config.kl != "none":
            ref = case.ref_logp.double()
            kl = reference.kl_divergence(lp, ref, config.kl, config.log_ratio_clamp)
            expected["ref_kl"] = mean(kl, on | off)
        figures = metrics.as_dict()
        for name, value in expected.items():
            assert figures[name] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), (
                seed,
                name,
            )


def test_loss_is_the_sum_of_its_terms():
    case = random_case(7)
    logp, entropy = (tensor.detach() for tensor in inputs(case, torch.float64))
    loss, metrics = ops.policy_loss(logp, entropy=entropy, **case.shared())
    terms = sum(metrics[f"loss/{term}"] for term in ("policy", "kl", "entropy", "sft"))
    assert loss.item() == pytest.approx(terms, rel=1e-12)


def test_extreme_ratios_stay_finite():
    logp = torch.tensor([[-1e4, -1e-30, 0.0, -50.0]], requires_grad=True)
    old = torch.tensor([[0.0, -1e4, -3e38, 0.0]])
    for off_ratio in ("behavior", "policy", "none"):
        for expert in (False, True):
            for advantage in (-1.0, 0.0, 1.0):
                for kl in ("k1", "k3"):
                    config = LossConfig(off_ratio=off_ratio, kl=kl, kl_coef=0.001)
                    loss, metrics = ops.policy_loss(
                        logp,
                        old,
                        torch.tensor([advantage]),
                        None,
                        torch.tensor([expert]),
                        behavior_logp=old,
                        ref_logp=old.clamp(min=-1e6),
                        config=config,
                    )
                    logp.grad = None
                    loss.backward()
                    assert torch.isfinite(loss) and torch.isfinite(logp.grad).all()
                    assert torch.isfinite(metrics.sums).all()


def test_second_backward_and_scaling():
    case = random_case(9)
    logp, entropy = inputs(case)
    loss, _ = ops.policy_loss(logp, entropy=entropy, **case.shared())
    (once,) = torch.autograd.grad(loss, logp, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * loss, logp)
    torch.testing.assert_close(thrice, 3 * once)
