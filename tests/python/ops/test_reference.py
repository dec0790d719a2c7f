"""The oracle itself: against finite differences, and cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cases import random_case
from icpo import LossConfig
from icpo.ops import reference


def near_kink(case, logp, h: float) -> bool:
    """Whether a ratio is so close to a bound that a step of h may cross it."""
    config, experts = case.config, case.expert_mask[:, None].expand_as(logp)
    on = torch.exp(logp - case.old_logp.double())
    log_off = logp if config.off_ratio == "policy" else logp - case.behavior_logp.double()
    off = torch.exp(log_off)
    if config.off_ratio != "none":
        off = off / (off + config.lam)
    ratio = torch.where(experts, off, on)
    bounds = [1 - config.clip_low, 1 + config.clip_high, config.dual_clip or math.inf]
    gaps = [(ratio - bound).abs() / ratio.clamp(min=1e-3) for bound in bounds if abs(bound) < 1e9]
    if config.log_ratio_clamp is not None:
        origins = [case.old_logp, case.behavior_logp, case.ref_logp, torch.zeros_like(logp)]
        for origin in origins:
            gaps.append(((logp - origin.double()).abs() - config.log_ratio_clamp).abs())
    return any(bool((gap < 10 * h).any()) for gap in gaps)


def test_gradients_meet_finite_differences():
    h, compared = 1e-6, 0
    for seed in range(240):
        case = random_case(seed)
        logp, _ = reference.logp_entropy(case.logits.double(), case.ids, case.temperature)
        if near_kink(case, logp, h):
            continue
        logp = logp.detach().requires_grad_(True)
        entropy = torch.rand(logp.shape, dtype=torch.float64, requires_grad=True)
        inputs = (logp, entropy)
        analytic = torch.autograd.grad(case.reference_of(*inputs), inputs, allow_unused=True)
        for which, gradient in enumerate(analytic):
            gradient = torch.zeros_like(logp) if gradient is None else gradient
            for place in range(logp.numel()):
                values = []
                for sign in (1, -1):
                    moved = [tensor.detach().clone() for tensor in inputs]
                    moved[which].view(-1)[place] += sign * h
                    values.append(case.reference_of(*moved).item())
                quotient = (values[0] - values[1]) / (2 * h)
                error = abs(gradient.reshape(-1)[place].item() - quotient)
                assert error <= 1e-6 * max(1.0, abs(quotient)), (seed, which, place)
                compared += 1
    assert compared > 3000


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 5.0])
def test_logp_and_entropy_pass_gradcheck(temperature):
    logits = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 6, 3])
    torch.autograd.gradcheck(lambda x: reference.logp_entropy(x, ids, temperature), logits)


def test_uniform_and_certain_rows():
    logits = torch.zeros(2, 5, dtype=torch.float64)
    logits[1, 1:] = -torch.inf
    logp, entropy = reference.logp_entropy(logits, torch.tensor([2, 0]))
    torch.testing.assert_close(logp, torch.tensor([-math.log(5), 0.0], dtype=torch.float64))
    torch.testing.assert_close(entropy, torch.tensor([math.log(5), 0.0], dtype=torch.float64))


def test_rank_counts_greater_logits_only():
    logits = torch.tensor([[1.0, 3.0, 3.0, 2.0]])
    ranks = [reference.token_rank(logits, torch.tensor([token])).item() for token in range(4)]
    assert ranks == [4, 1, 1, 3]


def test_shaping_derivative_is_f_times_one_minus_f_over_r():
    for lam in (0.01, 0.1):
        r = torch.tensor([1e-4, 0.01, 0.3, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
        f = reference.shaping(r, lam)
        (slope,) = torch.autograd.grad(f.sum(), r)
        torch.testing.assert_close(slope, f * (1 - f) / r)
    # The figures of the design notes: d f / d log π at r = 1 is 0.0098 for λ = 0.01.
    assert abs(0.01 / 1.01**2 - 0.0098) < 1e-5


def one_token(advantage, log_ratio, *, expert=False, **config):
    """Loss and derivative of one token whose old (and behaviour) log-prob is 0 - log_ratio."""
    logp = torch.tensor([[-0.5]], dtype=torch.float64, requires_grad=True)
    old = logp.detach() - log_ratio
    loss = reference.policy_loss(
        logp,
        old,
        torch.tensor([[advantage]], dtype=torch.float64),
        torch.ones(1, 1, dtype=torch.bool),
        torch.full((1, 1), expert),
        behavior_logp=old,
        config=LossConfig(**config),
    )
    (slope,) = torch.autograd.grad(loss, logp)
    return loss.item(), slope.item()


def test_worked_policy_tokens():
    # r = 2, Â = 1: clipped at 1.2, no gradient. r = 0.5: not clipped (the min is the lower one).
    assert one_token(1.0, math.log(2.0)) == (-1.2, 0.0)
    assert one_token(1.0, math.log(0.5)) == pytest.approx((-0.5, -0.5))
    # Â = -1: r = 0.5 is clipped at 0.8; r = 2 is not; r = 5 meets the dual clip at 3.
    assert one_token(-1.0, math.log(0.5)) == (0.8, 0.0)
    assert one_token(-1.0, math.log(2.0)) == pytest.approx((2.0, 2.0))
    assert one_token(-1.0, math.log(5.0), dual_clip=3.0) == (3.0, 0.0)
    # Asymmetric bounds.
    assert one_token(1.0, math.log(2.0), clip_high=0.28) == pytest.approx((-1.28, 0.0))


def test_worked_expert_tokens():
    # r̂ = 1, λ = 0.01: f = 1/1.01, slope f(1 - f) = 0.01/1.01².
    loss, slope = one_token(1.0, 0.0, expert=True)
    assert (loss, slope) == pytest.approx((-1 / 1.01, -0.01 / 1.01**2))
    # The policy's own probability e^-0.5, λ = 0.1, no clip.
    p = math.exp(-0.5)
    loss, slope = one_token(2.0, 0.0, expert=True, off_ratio="policy")
    assert (loss, slope) == pytest.approx((-2 * p / (p + 0.1), -2 * 0.1 * p / (p + 0.1) ** 2))
    # Eq. 10's clip binds below 1 - ε for Â < 0 only, and stops the gradient.
    low = math.log(0.001)
    assert one_token(-1.0, low, expert=True) == (0.8, 0.0)
    assert one_token(-1.0, low, expert=True, off_clip=False)[0] == pytest.approx(0.001 / 0.011)
    assert one_token(1.0, low, expert=True)[1] < 0.0
    # Not shaped (eq. 7): an ordinary ratio.
    assert one_token(1.0, math.log(1.1), expert=True, off_ratio="none") == pytest.approx(
        (-1.1, -1.1)
    )


def test_worked_divergences():
    d = torch.tensor(math.log(2.0), dtype=torch.float64)
    values = [
        reference.kl_divergence(d, torch.zeros(()), kind, 20.0).item()
        for kind in ("k1", "k2", "k3")
    ]
    assert values == pytest.approx([math.log(2), math.log(2) ** 2 / 2, 0.5 + math.log(2) - 1])


def test_worked_aggregation():
    # Rows of 1, 3 and 0 valid tokens, all with value 1 but the first, 5.
    values = torch.tensor([[5.0, 9, 9, 9], [1, 1, 1, 9], [9, 9, 9, 9]], dtype=torch.float64)
    mask = values < 9
    expected = {
        "token-mean": 8 / 4,
        "seq-mean-token-sum": (5 + 3) / 2,
        "seq-mean-token-mean": (5 + 1) / 2,
        "seq-mean-token-sum-norm": (5 + 3) / 2 / 4,
    }
    for mode, value in expected.items():
        assert reference.aggregate(values, mask, LossConfig(aggregation=mode)).item() == value


def test_worked_advantages():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    ids = torch.zeros(4, dtype=torch.long)
    advantages = reference.group_advantages(rewards, ids, eps=0.0)
    assert advantages.tolist() == [1.5, -0.5, -0.5, -0.5]
    assert reference.group_advantages(rewards, ids, std="none").tolist() == [
        0.75,
        -0.25,
        -0.25,
        -0.25,
    ]


def test_pad_lays_rows_out():
    packed = torch.arange(5)
    padded = reference.pad(packed, torch.tensor([0, 2, 2, 5]), fill=-1)
    assert padded.tolist() == [[0, 1, -1], [-1, -1, -1], [2, 3, 4]]
