"""What every backend has to do, for whichever device a test names.

The bodies compare with the definition in float64 and with the core on numpy arrays, neither of
which asks a backend. `test_gpu.py` runs them on GPUs, tests/standin on a stand-in for one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import AmbiguousBatch, Case, random_case, relative_norm
from icpo import (
    ConfigError,
    DTypeError,
    IcpoError,
    NonFiniteError,
    ShapeError,
    TokenIdError,
    objective,
    ops,
)
from icpo.ops import reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def to(value: Any, device: str) -> Any:
    """A value, or what a dictionary or a case holds, on a device."""
    if isinstance(value, Tensor):
        return value.detach().clone().to(device)
    if isinstance(value, dict):
        return {name: to(item, device) for name, item in value.items()}
    if isinstance(value, Case):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return Case(**to(fields, device))
    return value


def aligned(case: Case) -> Case:
    """The same with tokens added until rows are whole numbers of 16 bytes: the fast path's."""
    count = 16 // case.logits.element_size()
    missing = -case.logits.shape[-1] % count
    more = torch.randn(*case.ids.shape, missing).to(case.logits.dtype)
    return dataclasses.replace(case, logits=torch.cat([case.logits, more], dim=-1))


def some_cases(count: int, dtype: torch.dtype = torch.float32) -> Iterator[Case]:
    """Random batches; of any vocabulary, and of those that the fast path takes."""
    for seed in range(count):
        torch.manual_seed(seed)
        case = random_case(seed, dtype)
        yield aligned(case) if seed % 2 else case


def exact(case: Case) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies by definition."""
    return reference.logp_entropy(case.logits.double(), case.ids, case.temperature)


def assert_stats(logp: Tensor, entropy: Tensor, truth: tuple[Tensor, Tensor]) -> None:
    logp, entropy = logp.detach().cpu().double(), entropy.detach().cpu().double()
    assert ((logp - truth[0]).abs() <= 2e-6 * truth[0].abs() + 1e-9).all()
    # A GPU's exponential is off by 2^-22, which is all of an entropy that is nearly 0.
    assert ((entropy - truth[1]).abs() <= 5e-6 * truth[1].abs() + 3e-7).all()


def scale(case: Case, logp: Tensor, entropy: Tensor) -> float:
    """What the loss would be if no two terms cancelled: relative errors are relative to this."""
    config = case.config.replace(aggregation="seq-mean-token-sum", norm_constant=None)
    with torch.no_grad():
        single = [
            reference.token_loss(
                logp,
                case.old_logp.double(),
                case.advantage.double()[:, None].expand_as(logp),
                case.expert_mask[:, None].expand_as(logp),
                case.behavior_logp.double(),
                config,
            ).abs()
        ]
        if config.kl != "none":
            ref = case.ref_logp.double()
            kl = reference.kl_divergence(logp, ref, config.kl, config.log_ratio_clamp)
            single.append(config.kl_coef * kl.abs())
        single.append(abs(config.entropy_coef) * entropy)
        single.append(config.sft_coef * logp.abs())
        return reference.aggregate(sum(single), case.loss_mask, case.config).item()


##### Log-probabilities


def forward(device: str, count: int, dtype: torch.dtype) -> None:
    for case in some_cases(count, dtype):
        there = to(case, device)
        stats = ops.token_stats(there.logits, there.ids, there.temperature)
        assert_stats(stats.logp, stats.entropy, exact(case))
        assert stats.logp.device.type == torch.device(device).type
        assert stats.logp.dtype == stats.entropy.dtype == torch.float32
        assert torch.equal(stats.rank.cpu(), reference.token_rank(case.logits, case.ids))


def backward(device: str, count: int) -> None:
    for case in some_cases(count):
        for signs in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
            g, h = (sign * torch.randn(case.ids.shape) for sign in signs)
            there = to(case, device)
            leaf = there.logits.requires_grad_(True)
            logp, entropy = ops.logp_entropy(leaf, there.ids, there.temperature)
            (logp * g.to(device) + entropy * h.to(device)).sum().backward()
            truth = case.logits.double().requires_grad_(True)
            logp, entropy = reference.logp_entropy(truth, case.ids, case.temperature)
            (logp * g + entropy * h).sum().backward()
            difference = (leaf.grad.cpu().double() - truth.grad).norm().item()
            assert difference <= 1e-6 * truth.grad.norm().item() + 1e-14


def backward_in_half_precision(device: str, count: int, dtype: torch.dtype) -> None:
    ours, naive = [], []
    for case in some_cases(count, dtype):
        g, there = torch.randn(case.ids.shape), to(case, device)

        def gradient(operator: Callable[..., Any], case: Case, logits: Tensor, g: Tensor) -> Tensor:
            leaf = logits.clone().requires_grad_(True)
            logp, entropy = operator(leaf, case.ids, case.temperature)
            (logp * g.to(logp.device, logp.dtype) + 0.1 * entropy).sum().backward()
            assert leaf.grad is not None
            return leaf.grad.cpu()

        truth = gradient(reference.logp_entropy, case, case.logits.double(), g)
        ours.append(relative_norm(gradient(ops.logp_entropy, there, there.logits, g), truth))
        naive.append(relative_norm(gradient(reference.logp_entropy, case, case.logits, g), truth))
        assert ours[-1] <= max(naive[-1], 2 * torch.finfo(dtype).eps)
    assert sum(ours) < sum(naive)


def overwriting(device: str, count: int, dtype: torch.dtype) -> None:
    """The gradient that takes the place of the logits is the one that does not."""
    for seed, case in enumerate(some_cases(count, dtype)):
        there = to(case, device)
        weights = torch.randn(2, *case.ids.shape)
        weights[seed % 2] *= seed % 3 != 0  # log-probabilities alone, entropies alone, both
        weights[:, 0] = 0.0  # rows without a gradient
        g, h = weights.to(device)
        gradients = []
        for overwrite in (False, True):
            leaf = there.logits.clone().requires_grad_(True)
            logits = leaf * 1
            seen: list[int] = []
            logits.register_hook(lambda gradient, seen=seen: seen.append(gradient.data_ptr()))
            logp, entropy = ops.logp_entropy(
                logits, there.ids, there.temperature, overwrite_logits=overwrite
            )
            (logp * g + entropy * h).sum().backward()
            assert (seen == [logits.data_ptr()]) == overwrite
            gradients.append(leaf.grad)
        assert torch.equal(*gradients), seed


def overwriting_part(device: str, dtype: torch.dtype) -> None:
    """Rows that lie apart are written where they are, and nothing else is."""
    whole = torch.randn(3, 6, 40).to(dtype).to(device)
    ids = torch.randint(40, (3, 5)).to(device)
    heat = (torch.rand(3, 5) + 0.5).to(device)
    leaf, copy = (whole.clone().requires_grad_(True) for _ in range(2))
    logits = leaf * 1
    logp, entropy = ops.logp_entropy(logits[:, :-1], ids, heat, overwrite_logits=True)
    (logp + entropy).sum().backward()
    logp, entropy = ops.logp_entropy(copy[:, :-1], ids, heat)
    (logp + entropy).sum().backward()
    assert torch.equal(leaf.grad, copy.grad)
    assert torch.equal(logits[:, -1], whole[:, -1])
    assert torch.equal(logits[:, :-1], copy.grad[:, :-1])


def overwriting_is_never_silently_wrong(device: str) -> None:
    ids = torch.tensor([3, 0, 5], device=device)

    def leaf() -> Tensor:
        return torch.randn(3, 8, device=device, requires_grad=True)

    def logp(logits: Tensor) -> Tensor:
        return ops.logp_entropy(logits, ids, overwrite_logits=True)[0].sum()

    # The output of exp is what its own gradient needs, and it would hold another gradient.
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp(leaf().exp()).backward()
    # So would a second use, before or after, whichever comes last.
    logits = leaf() * 1
    twice = logp(logits) + logp(logits)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        twice.backward()
    logits = leaf() * 1
    square = (logits * logits).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (square + logp(logits)).backward()
    # Logits that change in between are not those that were read.
    logits = leaf() * 1
    loss = logp(logits)
    with torch.no_grad():
        logits.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    # There is one backward pass.
    loss = logp(leaf() * 1)
    loss.backward(retain_graph=True)
    with pytest.raises(IcpoError, match="overwrite_logits=False"):
        loss.backward()
    # A user whose gradient needs no value of the logits may stand beside.
    one, other = leaf(), leaf()
    other.data.copy_(one.data)
    logits = one * 1
    (logp(logits) + 3 * logits.sum()).backward()
    (ops.logp_entropy(other, ids)[0].sum() + 3 * other.sum()).backward()
    torch.testing.assert_close(one.grad, other.grad)
    # What a gradient is asked for stays.
    for asked in (leaf(), leaf()[:, :6], leaf().view(3, 8)):
        with pytest.raises(IcpoError, match=r"overwrite_logits: expected logits .* \(a leaf\)"):
            logp(asked)
    with pytest.raises(ShapeError, match="overwrite_logits: expected logits without overlapping"):
        logp((leaf()[:1] * 1).expand(3, 8))
    # Without a gradient there is nothing to write.
    logits = leaf().detach()
    before = logits.clone()
    logp(logits)
    with torch.no_grad():
        logp(leaf())
    assert torch.equal(logits, before)


def linear_logp(device: str, count: int, chunk: int) -> None:
    for seed, case in enumerate(some_cases(count)):
        torch.manual_seed(seed)
        width, shape = 1 + seed % 17, case.ids.shape
        hidden, weight = torch.randn(*shape, width), torch.randn(case.logits.shape[-1], width)
        signs = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)][seed % 3]
        g, h = (sign * torch.randn(shape) for sign in signs)
        truths = [tensor.double().requires_grad_(True) for tensor in (hidden, weight)]
        logits = truths[0] @ truths[1].T
        exact = reference.logp_entropy(logits, case.ids, case.temperature)
        (exact[0] * g + exact[1] * h).sum().backward()
        there = to(case, device)
        ours = [tensor.clone().to(device).requires_grad_(True) for tensor in (hidden, weight)]
        logp, entropy = ops.linear_logp_entropy(*ours, there.ids, there.temperature, chunk=chunk)
        (logp * g.to(device) + entropy * h.to(device)).sum().backward()
        # A float32 product is off by some ulp of its size, which the temperature magnifies.
        heat = torch.as_tensor(case.temperature).min()
        ulp = 1e-6 * (2 + (logits.detach().abs().max() / heat).item())
        assert logp.dtype == entropy.dtype == torch.float32 and logp.shape == shape
        for found, truth in zip((logp, entropy), exact, strict=True):
            assert (found.cpu() - truth).abs().max() <= 4 * ulp
        for a, b in zip(ours, truths, strict=True):
            assert a.grad is not None and b.grad is not None
            assert relative_norm(a.grad.cpu(), b.grad) <= 10 * ulp, seed


def linear_logp_in_half_precision(device: str, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    shape, vocabulary = (3, 7), 128
    hidden, weight = torch.randn(*shape, 24).to(dtype), (torch.randn(vocabulary, 24) / 5).to(dtype)
    ids, g = torch.randint(vocabulary, shape), torch.randn(shape)
    truths = [tensor.double().requires_grad_(True) for tensor in (hidden, weight)]
    exact = reference.logp_entropy((truths[0] @ truths[1].T), ids, 0.7)
    (exact[0] * g + 0.1 * exact[1]).sum().backward()
    eps = torch.finfo(dtype).eps
    asked = ((True, True), (True, False), (False, True), (False, False))
    for chunk, needs in itertools.product((4, 21), asked):
        leaves = [
            tensor.to(device).clone().requires_grad_(need)
            for tensor, need in zip((hidden, weight), needs, strict=True)
        ]
        logp, entropy = ops.linear_logp_entropy(*leaves, ids.to(device), 0.7, chunk=chunk)
        assert logp.requires_grad == any(needs)
        assert (logp.detach().cpu() - exact[0]).abs().max() <= 8 * eps
        assert (entropy.detach().cpu() - exact[1]).abs().max() <= 8 * eps
        if any(needs):
            (logp * g.to(device) + 0.1 * entropy).sum().backward()
        for leaf, truth, need in zip(leaves, truths, needs, strict=True):
            assert (leaf.grad is not None) == need
            if leaf.grad is not None and truth.grad is not None:
                assert leaf.grad.dtype == dtype
                assert relative_norm(leaf.grad.cpu(), truth.grad) <= 4 * eps


def linear_logp_mistakes(device: str) -> None:
    """What is wrong is named by its place in the batch, whatever the chunk."""
    good = {"hidden": torch.randn(2, 3, 4), "weight": torch.randn(9, 4)}
    good["ids"] = torch.randint(9, (2, 3))
    far = good["ids"].clone()
    far[1, 2] = 9
    lost = good["hidden"].clone()
    lost[1, 0, 3] = torch.nan
    heat = torch.ones(2, 3)
    heat[1, 1] = 0.0
    for chunk in (1, 2, 4, 6):
        for changes, expected, message in [
            ({"ids": far}, TokenIdError, r"ids\[1, 2\]: expected a token id in 0..9, got 9"),
            ({"hidden": lost}, NonFiniteError, r"hidden\[1, 0\]: .* got NaN"),
            ({"temperature": heat}, ConfigError, "temperature: .* got 0 at token 4"),
            ({"temperature": -1.0}, ConfigError, "temperature: .* got -1"),
            ({"weight": torch.zeros(4, 9)}, ShapeError, r"weight: expected shape \(V, 4\)"),
            ({"weight": good["weight"].half()}, DTypeError, "hidden, weight: expected one dtype"),
            ({"chunk": 0}, ConfigError, "chunk: expected"),
        ]:
            with pytest.raises(expected, match=message):
                ops.linear_logp_entropy(**to({**good, "chunk": chunk, **changes}, device))
    arguments = to({**good, "hidden": lost}, device)
    logp, _ = ops.linear_logp_entropy(**arguments, chunk=2, check=False)
    assert logp.isnan().flatten().tolist() == [False, False, False, True, False, False]


def layouts(device: str, dtype: torch.dtype) -> None:
    whole = torch.randn(3, 6, 136).to(dtype)
    ids = torch.randint(0, 100, (3, 5))
    views = (
        lambda x: x[:, :-1],
        lambda x: x[:, 1:, :101],
        lambda x: x[:, 1:, 3:131],
        lambda x: x.transpose(0, 1)[:5].transpose(0, 1),
    )
    for look in views:
        expected = reference.logp_entropy(look(whole).double(), ids)
        there = look(whole.to(device)).requires_grad_(True)
        assert not there.is_contiguous()
        logp, entropy = ops.logp_entropy(there, ids.to(device))
        assert_stats(logp, entropy, expected)
        logp.sum().backward()
        copy = look(whole).contiguous().to(device).requires_grad_(True)
        ops.logp_entropy(copy, ids.to(device))[0].sum().backward()
        assert there.grad is not None and copy.grad is not None
        # Rows that lie otherwise are added up in another order.
        torch.testing.assert_close(there.grad, copy.grad, rtol=2e-2, atol=1e-6)


def no_rows(device: str) -> None:
    for shape in ((0, 7), (0, 3, 8), (3, 0, 8)):
        logits = torch.zeros(shape, device=device, requires_grad=True)
        ids = torch.zeros(shape[:-1], dtype=torch.long, device=device)
        logp, entropy = ops.logp_entropy(logits, ids)
        (logp.sum() + entropy.sum()).backward()
        assert logits.grad is not None and logits.grad.shape == shape


##### Losses


def policy_loss(device: str, count: int, dtype: torch.dtype) -> None:
    for case in some_cases(count):
        logp, entropy = (tensor.to(dtype) for tensor in exact(case))
        leaves = [to(tensor, device).requires_grad_(True) for tensor in (logp, entropy)]
        there = to(case, device)
        loss, metrics = ops.policy_loss(leaves[0], entropy=leaves[1], **there.shared())
        loss.backward()
        ours = objective.policy_loss(
            logp.numpy(),
            entropy=entropy.numpy(),
            **{name: numpy_of(value) for name, value in case.shared().items()},
        )
        size = scale(case, logp.double(), entropy.double())
        assert loss.dtype == dtype and abs(loss.item() - ours.loss) <= 2e-7 * size + 1e-12
        expected = torch.from_numpy(ours.metrics.sums)
        torch.testing.assert_close(metrics.sums.cpu(), expected, rtol=1e-9, atol=1e-9)
        for leaf, gradient in zip(leaves, (ours.d_logp, ours.d_entropy), strict=True):
            assert leaf.grad is not None
            assert relative_norm(leaf.grad.cpu(), torch.from_numpy(gradient)) <= 1e-6


def numpy_of(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def oracle(case: Case) -> tuple[float, Tensor, float]:
    """Loss, its gradient, and the size that errors are relative to."""
    logits = case.logits.double().requires_grad_(True)
    loss = case.reference(logits)
    loss.backward()
    with torch.no_grad():
        logp, entropy = exact(case)
    assert logits.grad is not None
    return loss.item(), logits.grad, scale(case, logp, entropy)


def fused(device: str, count: int, inplace: bool) -> None:
    for case in some_cases(count):
        truth, gradient, size = oracle(case)
        there = to(case, device)
        leaf = there.logits.requires_grad_(True)
        loss, metrics = ops.fused_policy_loss(
            leaf * 1.0,
            there.ids,
            temperature=there.temperature,
            inplace=inplace,
            **there.shared(),
        )
        loss.backward()
        assert leaf.grad is not None
        assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12
        assert_gradient(leaf.grad, gradient, case)
        core = objective.fused_policy_loss(
            case.logits.numpy(),
            case.ids.numpy(),
            temperature=numpy_of(case.temperature),
            **{name: numpy_of(value) for name, value in case.shared().items()},
        )
        counts = [name for name in metrics.NAMES if name.endswith(("_tokens", "_rows"))]
        assert [metrics.total(name) for name in counts] == [
            core.metrics.total(name) for name in counts
        ]


def assert_gradient(ours: Tensor, truth: Tensor, case: Case, factor: float = 1.0) -> None:
    """Gradients agree, up to what the error of a log-probability, 2^-22 on a GPU, is worth where
    the slope of a divergence is nearly zero."""
    slope = 3e-7 * case.config.kl_coef / torch.as_tensor(case.temperature).min().item()
    difference = (ours.detach().cpu().double() - factor * truth).norm().item()
    size = abs(factor) * truth.norm().item()
    assert difference <= 1e-6 * size + abs(factor) * slope + 1e-14


def fused_in_half_precision(device: str, count: int, dtype: torch.dtype) -> None:
    ours, naive = [], []
    for case in some_cases(count, dtype):
        truth, gradient, size = oracle(case)
        there = to(case, device)
        for inplace in (False, True):
            leaf = there.logits.clone().requires_grad_(True)
            loss, _ = ops.fused_policy_loss(
                leaf * 1,
                there.ids,
                temperature=there.temperature,
                inplace=inplace,
                **there.shared(),
            )
            loss.backward()
            assert leaf.grad is not None
            assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12
            ours.append(relative_norm(leaf.grad.cpu(), gradient))
        plain = case.logits.clone().requires_grad_(True)
        case.reference(plain).backward()
        assert plain.grad is not None
        naive.append(relative_norm(plain.grad, gradient))
        assert max(ours[-2:]) <= max(naive[-1], 2 * torch.finfo(dtype).eps)
    assert sum(ours) / 2 < sum(naive)


def packed(device: str, count: int) -> None:
    for case in some_cases(count):
        if isinstance(case.temperature, Tensor) or (
            case.config.aggregation == "seq-mean-token-sum-norm" and not case.config.norm_constant
        ):
            continue
        try:
            arguments, ids, logits = case.packed()
        except AmbiguousBatch:
            continue
        truth, _, size = oracle(case)
        for inplace in (False, True):
            loss, _ = ops.fused_policy_loss(
                logits.clone().to(device),
                ids.to(device),
                temperature=case.temperature,
                inplace=inplace,
                **to(arguments, device),
            )
            assert abs(loss.item() - truth) <= 1e-5 * size + 1e-9


def sliced_in_place(device: str, dtype: torch.dtype) -> None:
    """The logits of all but the last position: what a model gives, without a copy."""
    for vocabulary in (96, 97):
        case = next(some_cases(1))
        torch.manual_seed(3)
        whole = torch.randn(2, 5, vocabulary).to(dtype)
        ids = torch.randint(vocabulary, (2, 4))
        logp, _ = reference.logp_entropy(whole[:, :-1].double(), ids)
        case = dataclasses.replace(
            case,
            logits=whole[:, :-1],
            ids=ids,
            temperature=1.0,
            old_logp=logp.float(),
            advantage=torch.tensor([1.0, -0.5]),
            loss_mask=torch.ones(2, 4, dtype=torch.bool),
            expert_mask=torch.tensor([False, True]),
            behavior_logp=logp.float(),
            ref_logp=logp.float(),
        )
        _, gradient, _ = oracle(case)
        there = whole.clone().to(device)
        ops.fused_policy_loss(
            there[:, :-1], ids.to(device), inplace=True, **to(case.shared(), device)
        )
        eps = max(1e-6, 2 * torch.finfo(dtype).eps)
        assert relative_norm(there[:, :-1].cpu(), gradient) <= eps
        assert torch.equal(there[:, -1].cpu(), whole[:, -1])


def masked_rows_are_not_read(device: str) -> None:
    for case in (aligned(random_case(20)), random_case(20)):
        case.loss_mask[0] = False
        truth, gradient, size = oracle(case)
        there = to(case, device)
        logits, ids = there.logits.clone(), there.ids.clone()
        logits[0], ids[0] = torch.nan, -100
        for inplace in (False, True):
            leaf = logits.clone().requires_grad_(True)
            loss, _ = ops.fused_policy_loss(
                leaf * 1 if inplace else leaf,
                ids,
                temperature=there.temperature,
                inplace=inplace,
                **there.shared(),
            )
            if not inplace:
                loss.backward()
                assert leaf.grad is not None
                assert relative_norm(leaf.grad.cpu(), gradient) <= 1e-6
                assert (leaf.grad[0] == 0).all()
            assert abs(loss.item() - truth) <= 1e-5 * size + 1e-12


def upstream_gradients_scale(device: str) -> None:
    for case in (random_case(3), aligned(random_case(3))):
        there = to(case, device)
        _, gradient, _ = oracle(case)
        for inplace in (False, True):
            for factor in (1.0, -0.37, 0.0):
                leaf = there.logits.clone().requires_grad_(True)
                loss, _ = ops.fused_policy_loss(
                    leaf * 1,
                    there.ids,
                    temperature=there.temperature,
                    inplace=inplace,
                    **there.shared(),
                )
                (factor * loss).backward()
                assert leaf.grad is not None
                assert_gradient(leaf.grad, gradient, case, factor)


def linear(device: str, count: int, chunk: int) -> None:
    for seed, case in enumerate(some_cases(count)):
        torch.manual_seed(seed)
        hidden = torch.randn(*case.ids.shape, 1 + seed % 17)
        weight = torch.randn(case.logits.shape[-1], 1 + seed % 17)
        case.logits = hidden.double() @ weight.double().T
        logp, entropy = exact(case)
        for name in ("old_logp", "behavior_logp", "ref_logp"):
            setattr(case, name, (logp + 0.2 * torch.randn(case.ids.shape)).float())
        truths = [tensor.double().requires_grad_(True) for tensor in (hidden, weight)]
        truth = case.reference(truths[0] @ truths[1].T)
        truth.backward()
        ours = [tensor.clone().to(device).requires_grad_(True) for tensor in (hidden, weight)]
        there = to(case, device)
        loss, metrics = ops.linear_policy_loss(
            *ours, there.ids, temperature=there.temperature, chunk=chunk, **there.shared()
        )
        (loss * 1.0).backward()
        assert abs(loss.item() - truth.item()) <= 1e-4 * scale(case, logp, entropy) + 1e-7
        on, off = (case.loss_mask & (case.expert_mask[:, None] == off) for off in (False, True))
        counts = {"on_tokens": on.sum(), "off_tokens": off.sum()}
        counts |= {"on_rows": on.any(-1).sum(), "off_rows": off.any(-1).sum()}
        assert all(metrics.total(name) == count for name, count in counts.items())
        # A float32 product is off by some ulp of its size, which the temperature magnifies.
        heat = torch.as_tensor(case.temperature).min()
        tolerance = 1e-5 * (2 + case.logits.abs().max() / heat)
        for a, b in zip(ours, truths, strict=True):
            assert a.grad is not None and b.grad is not None
            assert relative_norm(a.grad.cpu(), b.grad) <= tolerance


def linear_in_half_precision(device: str, dtype: torch.dtype) -> None:
    case = aligned(random_case(31))
    torch.manual_seed(1)
    hidden, weight = torch.randn(*case.ids.shape, 24), torch.randn(case.logits.shape[-1], 24) / 5
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    case.logits = (hidden.double() @ weight.double().T).to(dtype)
    case.temperature = 1.0
    truths = [tensor.double().requires_grad_(True) for tensor in (hidden, weight)]
    case.reference(truths[0] @ truths[1].T).backward()
    there = to(case, device)
    for needs in ((True, True), (True, False), (False, True), (False, False)):
        leaves = [
            tensor.to(device).clone().requires_grad_(need)
            for tensor, need in zip((hidden, weight), needs, strict=True)
        ]
        loss, _ = ops.linear_policy_loss(*leaves, there.ids, chunk=2, **there.shared())
        assert loss.requires_grad == any(needs)
        if any(needs):
            loss.backward()
        for leaf, truth, need in zip(leaves, truths, needs, strict=True):
            assert (leaf.grad is not None) == need
            if leaf.grad is not None and truth.grad is not None:
                assert leaf.grad.dtype == dtype
                assert relative_norm(leaf.grad.cpu(), truth.grad) <= 16 * torch.finfo(dtype).eps


##### The rest


def advantages(device: str, count: int) -> None:
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        rollouts = [0, 1, 2, 17, 300][seed % 5]
        rewards = torch.rand(rollouts, generator=generator, dtype=torch.float64)
        rewards = rewards.round(decimals=seed % 3)
        groups = torch.randint(-3, 5, (rollouts,), generator=generator)
        masks = [torch.rand(rollouts, generator=generator) < 0.6 for _ in range(2)]
        settings: dict[str, Any] = {
            "std": ["unbiased", "none"][seed // 5 % 2],
            "baseline": ["mixed", "on_policy"][seed // 10 % 2],
            "eps": 1e-6,
        }
        ours = ops.group_advantages(
            rewards.to(device),
            groups.to(device),
            expert_mask=masks[0].to(device),
            keep_mask=masks[1].to(device),
            **settings,
        )
        theirs = objective.group_advantages(
            rewards.numpy(),
            groups.numpy(),
            expert_mask=masks[0].numpy(),
            keep_mask=masks[1].numpy(),
            **settings,
        )
        torch.testing.assert_close(ours.cpu(), torch.from_numpy(theirs), rtol=1e-12, atol=1e-12)


def shards(device: str, dtype: torch.dtype) -> None:
    for seed, bounds in enumerate(
        (
            [(0, 129)],
            [(0, 64), (64, 129)],
            [(0, 1), (1, 129)],
            [(0, 50), (50, 51), (51, 128), (128, 129)],
            [(0, 8), (8, 16), (16, 32), (32, 33), (33, 57), (57, 100), (100, 128), (128, 129)],
        )
    ):
        torch.manual_seed(seed)
        logits = (3 * torch.randn(5, 129)).to(dtype)
        logits[1, bounds[0][0] : bounds[0][1]] = -torch.inf if len(bounds) > 1 else 0.0
        logits[2, 20:40] = -torch.inf
        ids = torch.tensor([0, 128, 50, 64, 100])
        truth = logits.double().requires_grad_(True)
        stats = reference.logp_entropy(truth, ids, 0.7)
        g, h = torch.randn(5), torch.randn(5)
        (stats[0] * g + stats[1] * h).sum().backward()
        there = [logits[:, first:last].to(device) for first, last in bounds]
        states = torch.stack(
            [
                ops.vocab_state(part, ids.to(device), 0.7, first_id=first)
                for part, (first, _) in zip(there, bounds, strict=True)
            ]
        )
        logp, entropy, saved = ops.merge_vocab_states(states, 0.7)
        assert_stats(logp, entropy, (stats[0].detach(), stats[1].detach()))
        gradient = torch.cat(
            [
                ops.vocab_state_backward(
                    part,
                    ids.to(device),
                    saved,
                    g.to(device),
                    h.to(device),
                    0.7,
                    first_id=first,
                ).cpu()
                for part, (first, _) in zip(there, bounds, strict=True)
            ],
            dim=-1,
        )
        assert truth.grad is not None
        eps = max(1e-6, 2 * torch.finfo(dtype).eps)
        assert relative_norm(gradient, truth.grad) <= eps


def unchecked(device: str) -> None:
    """Without a check nothing is raised, read or written where it should not be."""
    for vocabulary in (7, 64):
        logits = torch.randn(5, vocabulary, device=device)
        logits[1, 3], logits[2, 0] = torch.nan, torch.inf
        ids = torch.tensor([0, 0, 0, 10**12, -5], device=device)
        leaf = logits.clone().requires_grad_(True)
        logp, entropy = ops.logp_entropy(leaf, ids, check=False)
        assert logp.isfinite().tolist() == [True, False, False, False, False]
        (logp + entropy).sum().backward()
        assert leaf.grad is not None and leaf.grad[0].isfinite().all()
        assert leaf.grad[1:].isnan().all()

        config = objective.LossConfig(off_ratio="policy", entropy_coef=0.1)
        batch = (torch.zeros(1, 5, device=device), torch.ones(1, device=device), None, None)
        there = logits[None].clone()
        loss, metrics = ops.fused_policy_loss(
            there, ids[None], *batch, inplace=True, check=False, config=config
        )
        assert loss.isnan() and metrics.total("on_tokens") == 5
        assert there[0, 0].isfinite().all() and there[0, 1:3].isnan().all()
        assert torch.equal(there[0, 3:], logits[3:])  # no token, no gradient


def chunks_know_their_place(device: str) -> None:
    """What is wrong in a chunk is named by its place in the batch."""
    batch = {"old_logp": torch.zeros(2, 3), "advantage": torch.ones(2)}
    batch |= {"loss_mask": None, "expert_mask": None}
    hidden, weight = torch.randn(2, 3, 4), torch.randn(9, 4)
    hidden[1, 2] = torch.nan
    ids = torch.zeros(2, 3, dtype=torch.long)
    for chunk in (1, 2, 4, 6):
        with pytest.raises(NonFiniteError, match=r"logits\[row 1, token 2, 0\]"):
            ops.linear_policy_loss(
                hidden.to(device),
                weight.to(device),
                ids.to(device),
                chunk=chunk,
                config=objective.LossConfig(),
                **to(batch, device),
            )
