"""Log-probability, entropy and rank against the definition in float64."""

from __future__ import annotations

import pytest
import torch

from cases import random_case, relative_norm
from icpo import ops
from icpo.ops import reference


def worst(ours, truth) -> float:
    """Greatest element-wise relative error, down to where float32 exponentials end."""
    return ((ours.double() - truth).abs() / truth.abs().clamp(min=1e-25)).max().item()


def test_forward_over_random_cases():
    for seed in range(500):
        case = random_case(seed)
        logp, entropy = ops.logp_entropy(case.logits, case.ids, case.temperature)
        exact = reference.logp_entropy(case.logits.double(), case.ids, case.temperature)
        # float64 log_softmax loses small log-probs to cancellation: compare them in absolute terms.
        floor = 1e-9
        assert ((logp.double() - exact[0]).abs() <= 2e-6 * exact[0].abs() + floor).all(), seed
        assert ((entropy.double() - exact[1]).abs() <= 5e-6 * exact[1].abs() + floor).all(), seed
        assert torch.equal(
            ops.token_rank(case.logits, case.ids), reference.token_rank(case.logits, case.ids)
        )


def test_backward_over_random_cases():
    for seed in range(500):
        case = random_case(seed)
        g, h = torch.randn(2, *case.ids.shape)
        logits = case.logits.clone().requires_grad_(True)
        logp, entropy = ops.logp_entropy(logits, case.ids, case.temperature)
        (logp * g + entropy * h).sum().backward()
        exact = case.logits.double().requires_grad_(True)
        logp, entropy = reference.logp_entropy(exact, case.ids, case.temperature)
        (logp * g + entropy * h).sum().backward()
        assert relative_norm(logits.grad, exact.grad) <= 1e-6, seed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is(dtype):
    for seed in range(100):
        case = random_case(seed, dtype)
        logp, entropy = ops.logp_entropy(case.logits, case.ids, case.temperature)
        exact = reference.logp_entropy(case.logits.double(), case.ids, case.temperature)
        assert logp.dtype == entropy.dtype == torch.float32
        assert ((logp.double() - exact[0]).abs() <= 2e-6 * exact[0].abs() + 1e-9).all(), seed
        assert ((entropy.double() - exact[1]).abs() <= 5e-6 * exact[1].abs() + 1e-9).all(), seed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_are_no_worse_than_naive_ones(dtype):
    ours, naive = [], []
    for seed in range(100):
        case = random_case(seed, dtype)
        g = torch.randn(case.ids.shape)

        def gradient(operator, logits, g=g, case=case):
            logits = logits.clone().requires_grad_(True)
            logp, entropy = operator(logits, case.ids, case.temperature)
            (logp * g.to(logp.dtype) + 0.1 * entropy).sum().backward()
            return logits.grad

        truth = gradient(reference.logp_entropy, case.logits.double())
        ours.append(relative_norm(gradient(ops.logp_entropy, case.logits), truth))
        naive.append(relative_norm(gradient(reference.logp_entropy, case.logits), truth))
        assert ours[-1] <= max(naive[-1], 2 * torch.finfo(dtype).eps), seed
    assert sum(ours) < sum(naive)


@pytest.mark.parametrize("vocabulary", [2, 151_936])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_extreme_vocabularies(vocabulary, temperature):
    logits = 4 * torch.randn(2, vocabulary)
    logits[0, : vocabulary // 2] = -torch.inf
    ids = torch.tensor([vocabulary - 1, 0])
    logp, entropy = ops.logp_entropy(logits, ids, temperature)
    exact = reference.logp_entropy(logits.double(), ids, temperature)
    torch.testing.assert_close(logp.double(), exact[0], rtol=2e-6, atol=1e-9)
    torch.testing.assert_close(entropy.double(), exact[1], rtol=5e-6, atol=1e-9)


def test_small_log_probs_keep_their_digits():
    # ln p = -e^-x for a token that beats one other by x, to seven digits however small.
    gap = torch.tensor([5.0, 20.0, 40.0, 60.0])
    logits = torch.stack([gap, torch.zeros(4)], dim=1)
    logp, entropy = ops.logp_entropy(logits, torch.zeros(4, dtype=torch.long))
    tail = torch.exp(-gap.double())
    assert worst(logp, -torch.log1p(tail)) < 3e-7
    assert worst(entropy, torch.log1p(tail) + gap * tail / (1 + tail)) < 3e-7


def test_shift_of_all_logits_changes_nothing_that_matters():
    # Multiples of 2^-7, to which 2^15 can be added in float32 without rounding.
    logits, ids = (torch.randn(3, 777) * 128).round() / 128, torch.tensor([1, 2, 3])
    logp, entropy = ops.logp_entropy(logits, ids)
    shifted_logp, shifted_entropy = ops.logp_entropy(logits + 32768.0, ids)
    assert torch.equal(logp, shifted_logp) and torch.equal(entropy, shifted_entropy)


def test_layouts_that_need_no_copy():
    whole = torch.randn(3, 6, 130)
    ids = torch.randint(0, 100, (3, 5))
    for view in (whole[:, :-1], whole[:, 1:, :101], whole.transpose(0, 1)[:5].transpose(0, 1)):
        assert not view.is_contiguous()
        expected = ops.logp_entropy(view.contiguous(), ids)
        assert all(map(torch.equal, ops.logp_entropy(view, ids), expected))
        leaf = view.detach().requires_grad_(True)
        ops.logp_entropy(leaf, ids)[0].sum().backward()
        copy = view.contiguous().requires_grad_(True)
        ops.logp_entropy(copy, ids)[0].sum().backward()
        assert torch.equal(leaf.grad, copy.grad)
    expanded = torch.randn(1, 50).expand(4, 50)
    ops.logp_entropy(expanded, torch.arange(4))


def test_batches_without_rows():
    for shape in ((0, 7), (0, 3, 7), (3, 0, 7)):
        logits = torch.zeros(shape, requires_grad=True)
        logp, entropy = ops.logp_entropy(logits, torch.zeros(shape[:-1], dtype=torch.long))
        (logp.sum() + entropy.sum()).backward()
        assert logp.shape == shape[:-1] and logits.grad.shape == shape


def test_temperature_one_a_token_equals_one_at_a_time():
    logits, ids = torch.randn(2, 3, 40), torch.randint(40, (2, 3))
    temperature = torch.rand(2, 3) + 0.2
    together = ops.logp_entropy(logits, ids, temperature)[0]
    for row in range(2):
        for token in range(3):
            alone = ops.logp_entropy(
                logits[row, token : token + 1],
                ids[row, token : token + 1],
                temperature[row, token].item(),
            )[0]
            assert alone.item() == together[row, token].item()
    zero_dim = torch.tensor(0.7)
    assert torch.equal(
        ops.logp_entropy(logits, ids, zero_dim)[0],
        ops.logp_entropy(logits, ids, zero_dim.item())[0],
    )
