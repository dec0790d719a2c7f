"""A vocabulary in shards against the whole of it, and against the definition in float64."""

from __future__ import annotations

import random

import pytest
import torch

import icpo
from cases import random_case, relative_norm
from icpo import ops
from icpo.ops import reference


def shards_of(vocabulary, count, rng):
    """Where shards begin and end: uneven, none empty."""
    inner = sorted(rng.sample(range(1, vocabulary), count - 1))
    return list(zip([0, *inner], [*inner, vocabulary], strict=True))


def merged(logits, ids, temperature, bounds):
    states = [
        ops.vocab_state(logits[..., first:last], ids, temperature, first_id=first)
        for first, last in bounds
    ]
    return ops.merge_vocab_states(torch.stack(states), temperature)


def gradient(logits, ids, temperature, bounds, saved, d_logp, d_entropy):
    parts = [
        ops.vocab_state_backward(
            logits[..., first:last], ids, saved, d_logp, d_entropy, temperature, first_id=first
        )
        for first, last in bounds
    ]
    return torch.cat(parts, dim=-1)


@pytest.mark.parametrize("count", range(1, 9))
def test_shards_are_together_what_the_whole_is(count):
    rng = random.Random(count)
    for seed in range(120):
        case = random_case(seed)
        vocabulary = case.logits.shape[-1]
        if vocabulary < count:
            continue
        bounds = shards_of(vocabulary, count, rng)
        logp, entropy, saved = merged(case.logits, case.ids, case.temperature, bounds)
        exact = reference.logp_entropy(case.logits.double(), case.ids, case.temperature)
        assert logp.dtype == entropy.dtype == torch.float32 and saved.dtype == torch.float64
        assert ((logp.double() - exact[0]).abs() <= 2e-6 * exact[0].abs() + 1e-9).all(), seed
        assert ((entropy.double() - exact[1]).abs() <= 5e-6 * exact[1].abs() + 2e-7).all(), seed

        g, h = torch.randn(2, *case.ids.shape)
        leaf = case.logits.double().requires_grad_(True)
        logp, entropy = reference.logp_entropy(leaf, case.ids, case.temperature)
        (logp * g + entropy * h).sum().backward()
        ours = gradient(case.logits, case.ids, case.temperature, bounds, saved, g, h)
        assert relative_norm(ours, leaf.grad) <= 1e-6, seed


def test_one_shard_is_the_operator_for_all():
    for seed in range(60):
        case = random_case(seed)
        whole = [(0, case.logits.shape[-1])]
        logp, entropy, saved = merged(case.logits, case.ids, case.temperature, whole)
        leaf = case.logits.clone().requires_grad_(True)
        stats = ops.token_stats(leaf, case.ids, case.temperature)
        torch.testing.assert_close(logp, stats.logp.detach(), rtol=2e-7, atol=1e-12)
        torch.testing.assert_close(entropy, stats.entropy.detach(), rtol=2e-7, atol=1e-12)
        g, h = torch.randn(2, *case.ids.shape)
        (stats.logp * g + stats.entropy * h).sum().backward()
        ours = gradient(case.logits, case.ids, case.temperature, whole, saved, g, h)
        torch.testing.assert_close(ours, leaf.grad, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_selected_token_may_lie_in_any_shard(dtype):
    logits = (3 * torch.randn(8, 33)).to(dtype)
    # The last but one holds a single token.
    bounds = [(0, 4), (4, 9), (9, 10), (10, 16), (16, 17), (17, 31), (31, 32), (32, 33)]
    ids = torch.tensor([2, 8, 9, 15, 16, 30, 31, 32])
    logp, entropy, saved = merged(logits, ids, 0.7, bounds)
    exact = reference.logp_entropy(logits.double(), ids, 0.7)
    torch.testing.assert_close(logp.double(), exact[0], rtol=2e-6, atol=1e-9)
    torch.testing.assert_close(entropy.double(), exact[1], rtol=5e-6, atol=2e-7)
    shuffled = bounds[::-1]
    again = merged(logits, ids, 0.7, shuffled)
    torch.testing.assert_close(again.saved, saved, rtol=1e-12, atol=1e-14)

    leaf = logits.double().requires_grad_(True)
    reference.logp_entropy(leaf, ids, 0.7)[0].sum().backward()
    ones, zeros = torch.ones(8), torch.zeros(8)
    ours = gradient(logits, ids, 0.7, bounds, saved, ones, zeros)
    assert ours.dtype == dtype and relative_norm(ours, leaf.grad) <= 2 * torch.finfo(dtype).eps


def test_shards_without_a_finite_logit():
    logits = torch.randn(4, 12)
    logits[:, 3:8] = -torch.inf  # the second shard of all rows
    logits[1, :3] = -torch.inf  # and the first of this one
    logits[2] = -torch.inf
    ids = torch.tensor([0, 11, 0, 4])
    bounds = [(0, 3), (3, 8), (8, 12)]
    logp, entropy, saved = merged(logits, ids, 1.0, bounds)
    exact = reference.logp_entropy(logits.double(), ids, 1.0)
    for row in (0, 1):
        torch.testing.assert_close(logp[row].double(), exact[0][row], rtol=2e-6, atol=1e-9)
        torch.testing.assert_close(entropy[row].double(), exact[1][row], rtol=5e-6, atol=2e-7)
    assert logp[2].isnan() and entropy[2].isnan()
    assert logp[3] == -torch.inf and entropy[3].isfinite()
    d_logp, d_entropy = torch.tensor([1.0, -0.3, 0.0, 0.0]), torch.tensor([0.5, 0.2, 0.0, 0.0])
    ours = gradient(logits, ids, 1.0, bounds, saved, d_logp, d_entropy)
    leaf = logits[:2].double().requires_grad_(True)
    logp, entropy = reference.logp_entropy(leaf, ids[:2], 1.0)
    (logp * d_logp[:2] + entropy * d_entropy[:2]).sum().backward()
    assert relative_norm(ours[:2], leaf.grad) <= 1e-6
    assert (ours[2:] == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_shows(bad):
    for column in range(6):
        logits = torch.randn(2, 6)
        logits[0, column] = bad
        for rest in (1.0, -torch.inf):
            if rest == -torch.inf:
                others = torch.arange(6) != column
                logits[0, others] = rest
            logp, entropy, _ = merged(logits, torch.tensor([1, 1]), 1.0, [(0, 2), (2, 4), (4, 6)])
            assert logp[0].isnan() and entropy[0].isnan()
            assert logp[1].isfinite() and entropy[1].isfinite()


def test_a_token_of_no_shard_has_no_probability():
    logits = torch.randn(1, 6)
    for foreign in (-1, 6, 2**40):
        logp, entropy, _ = merged(logits, torch.tensor([foreign]), 1.0, [(0, 2), (2, 6)])
        assert logp.item() == -torch.inf and entropy.isfinite()


def test_small_log_probs_keep_their_digits():
    gap = torch.tensor([5.0, 20.0, 40.0, 60.0])
    logits = torch.stack([gap, torch.zeros(4), torch.full((4,), -torch.inf)], dim=1)
    tail = torch.exp(-gap.double())
    for bounds in ([(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]):
        logp, entropy, _ = merged(logits, torch.zeros(4, dtype=torch.long), 1.0, bounds)
        torch.testing.assert_close(logp.double(), -torch.log1p(tail), rtol=3e-7, atol=0)
        expected = torch.log1p(tail) + gap * tail / (1 + tail)
        torch.testing.assert_close(entropy.double(), expected, rtol=3e-7, atol=0)


def test_a_label_far_above_the_reference_overflows_nothing():
    # A state may leave the selected token out of its reference as it does out of its sums.
    states = torch.tensor([[[-1000.0, 1.0, 0.0, 900.0]], [[-1e38, 0.0, 0.0, -torch.inf]]]).double()
    logp, entropy, saved = ops.merge_vocab_states(states)
    assert logp.item() == 0.0 and entropy.item() == 0.0 and saved.isfinite().all()


def test_a_loss_is_differentiated_over_shards():
    case = random_case(8)
    vocabulary = case.logits.shape[-1]
    bounds = [(0, vocabulary // 3), (vocabulary // 3, vocabulary)]
    case.config = case.config.replace(entropy_coef=0.1)
    case.loss_mask[:] = True
    logp, entropy, saved = merged(case.logits, case.ids, case.temperature, bounds)
    logp.requires_grad_(), entropy.requires_grad_()
    loss, _ = ops.policy_loss(logp, entropy=entropy, **case.shared())
    loss.backward()
    ours = gradient(case.logits, case.ids, case.temperature, bounds, saved, logp.grad, entropy.grad)
    leaf = case.logits.double().requires_grad_(True)
    case.reference(leaf).backward()
    assert relative_norm(ours, leaf.grad) <= 1e-5


MISTAKES = {
    "float32 states": (lambda: ops.merge_vocab_states(torch.zeros(2, 3, 4)), icpo.DTypeError),
    "no shards": (lambda: ops.merge_vocab_states(torch.zeros(0, 3, 4).double()), icpo.ShapeError),
    "three numbers": (
        lambda: ops.merge_vocab_states(torch.zeros(2, 5, 3).double()),
        icpo.ShapeError,
    ),
    "float64 logits": (
        lambda: ops.vocab_state(torch.zeros(2, 3).double(), torch.zeros(2).long()),
        icpo.DTypeError,
    ),
    "temperature 0": (
        lambda: ops.vocab_state(torch.zeros(2, 3), torch.zeros(2).long(), 0.0),
        icpo.ConfigError,
    ),
    "states on meta": (
        lambda: ops.merge_vocab_states(torch.zeros(2, 3, 4, device="meta").double()),
        icpo.DeviceError,
    ),
    "gradient of another shape": (
        lambda: ops.vocab_state_backward(
            torch.zeros(2, 3),
            torch.zeros(2).long(),
            torch.zeros(2, 4).double(),
            torch.zeros(3),
            torch.zeros(2),
        ),
        icpo.ShapeError,
    ),
    "saved of another shape": (
        lambda: ops.vocab_state_backward(
            torch.zeros(2, 3),
            torch.zeros(2).long(),
            torch.zeros(2, 3).double(),
            torch.zeros(2),
            torch.zeros(2),
        ),
        icpo.ShapeError,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake):
    call, expected = MISTAKES[mistake]
    with pytest.raises(expected):
        call()
