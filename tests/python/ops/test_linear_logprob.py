"""Log-probability and entropy from hidden states, and gradients in the place of logits."""

from __future__ import annotations

import every_backend
import pytest
import torch

from icpo import ops


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_over_random_cases(chunk):
    every_backend.linear_logp("cpu", 60, chunk)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    every_backend.linear_logp_in_half_precision("cpu", dtype)


def test_mistakes():
    every_backend.linear_logp_mistakes("cpu")


def test_equals_logits_in_one_piece():
    hidden, weight = torch.randn(11, 6), torch.randn(37, 6)
    ids, heat = torch.randint(37, (11,)), torch.rand(11) + 0.5
    whole = ops.logp_entropy(hidden @ weight.T, ids, heat)
    for chunk in (11, 100):
        found = ops.linear_logp_entropy(hidden, weight, ids, heat, chunk=chunk)
        assert all(map(torch.equal, found, whole))


def test_no_tokens():
    hidden = torch.zeros(2, 0, 4, requires_grad=True)
    weight = torch.randn(7, 4, requires_grad=True)
    logp, entropy = ops.linear_logp_entropy(hidden, weight, torch.zeros(2, 0, dtype=torch.long))
    (logp.sum() + entropy.sum()).backward()
    assert logp.shape == entropy.shape == (2, 0)
    assert hidden.grad is not None and hidden.grad.shape == (2, 0, 4)
    assert weight.grad is not None and (weight.grad == 0).all()


@pytest.mark.parametrize("dtype", every_backend.DTYPES)
def test_overwriting(dtype):
    every_backend.overwriting("cpu", 60, dtype)
    every_backend.overwriting_part("cpu", dtype)


def test_overwriting_is_never_silently_wrong():
    every_backend.overwriting_is_never_silently_wrong("cpu")


def test_overwriting_more_rows_than_fit_a_block():
    """A vocabulary so large that rows are taken a few at a time."""
    torch.manual_seed(4)
    for shape in ((70,), (2, 35), (35, 2)):
        logits = torch.randn(*shape, 2**19)[..., : 2**19 - 1]
        ids, g = torch.randint(2**19 - 1, shape), torch.randn(shape)
        leaf, copy = (logits.clone().requires_grad_(True) for _ in range(2))
        (ops.logp_entropy(leaf * 1, ids, 0.9, overwrite_logits=True)[0] * g).sum().backward()
        (ops.logp_entropy(copy, ids, 0.9)[0] * g).sum().backward()
        assert torch.equal(leaf.grad, copy.grad)


def test_compiled():
    def step(leaf, ids):
        logp, entropy = ops.logp_entropy(leaf * 1, ids, 0.7, check=False, overwrite_logits=True)
        return logp.sum() + entropy.sum()

    leaf, other = (torch.randn(3, 40, requires_grad=True) for _ in range(2))
    other.data.copy_(leaf.data)
    ids = torch.randint(40, (3,))
    torch.compile(step, fullgraph=True, backend="aot_eager")(leaf, ids).backward()
    step(other, ids).backward()
    torch.testing.assert_close(leaf.grad, other.grad)
