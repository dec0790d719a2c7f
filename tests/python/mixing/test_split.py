"""Parts of a batch: nothing lost, nothing counted twice, and losses that add up.

The last needs torch: gradients of a small model by the formulas of `icpo.ops.reference`, in double
precision.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from rollout_cases import VOCABULARY, random_groups
from torch import Tensor

from icpo import LossConfig
from icpo.errors import ConfigError
from icpo.mixing import (
    Batch,
    Plan,
    assemble,
    denominator,
    micro_batches,
    mini_batches,
    mix,
    pad,
    rows_with_gradient,
)
from icpo.ops import policy_loss, reference

LOSS = LossConfig.preset("paper")


def random_batch(seed: int, *, prompts: int = 12, group: str = "replace") -> Batch:
    """Among the groups are some in which all are right, and some in which none is."""
    rng = np.random.default_rng(seed)
    plan = Plan(n=4, n_off=2, group=group)
    groups = [random_groups(rng, plan, 1, right=(0, 0.4, 1)[i % 3])[0] for i in range(prompts)]
    mixed = [mix(one, plan, rng) for one in groups]
    return assemble(mixed, loss=LOSS)


@pytest.mark.parametrize("group", ["replace", "reserve", "always"])
@pytest.mark.parametrize("prompts", [1, 2, 5, 6, 12, 100])
def test_mini_batches(group, prompts):
    batch = random_batch(0, group=group)
    minis = mini_batches(batch, prompts, np.random.default_rng(1))
    # 12 prompts in steps of 5: three, of 4 prompts' rows each.
    assert len(minis) == {1: 12, 2: 6, 5: 3, 6: 2, 12: 1, 100: 1}[prompts]
    assert sorted(np.concatenate(minis).tolist()) == list(range(len(batch)))
    sizes = [len(rows) for rows in minis]
    assert max(sizes) - min(sizes) <= 1


def test_mini_batches_are_shuffled_by_the_generator():
    batch = random_batch(0)

    def order(seed: int) -> list[int]:
        return np.concatenate(mini_batches(batch, 6, np.random.default_rng(seed))).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != sorted(order(1))
    with pytest.raises(ConfigError, match="prompts: expected at least 1 a mini-batch, got 0"):
        mini_batches(batch, 0, np.random.default_rng(0))


def cost(batch: Batch, rows: np.ndarray) -> int:
    """Tokens with padding."""
    return pad(batch.rows(rows), 0).input_ids.size


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("tokens", [1, 8, 40, 200, 10**6])
def test_micro_batches(seed, tokens):
    batch = random_batch(seed)
    for one in (batch, batch.as_sampled()):
        micros = micro_batches(one, tokens)
        assert sorted(np.concatenate(micros).tolist()) == list(range(len(one)))
        for rows in micros:
            assert cost(one, rows) <= tokens or len(rows) == 1
        # No more of them than needed: neighbours do not fit into one.
        for rows, following in itertools.pairwise(micros):
            assert cost(one, np.concatenate([rows, following[:1]])) > tokens
        again = micro_batches(one, tokens)
        assert [rows.tolist() for rows in micros] == [rows.tolist() for rows in again]


@pytest.mark.parametrize(("prompt", "share"), [((10, 20), 0.25), ((50, 1500), 0.35)])
def test_neighbours_are_alike(prompt, share):
    """Padding costs so much of what it costs without sorting, with prompts alike and unlike."""
    rng = np.random.default_rng(3)
    rows = random_batch(3, prompts=64).rows(np.arange(256))
    one = dataclasses.replace(
        rows,
        prompts=tuple(np.zeros(n, np.int64) for n in rng.integers(*prompt, len(rows))),
        completions=tuple(np.zeros(n, np.int64) for n in rng.integers(50, 2000, len(rows))),
        old_logp=tuple(np.zeros(0, np.float32) for _ in range(len(rows))),
        behavior_logp=tuple(np.zeros(0, np.float32) for _ in range(len(rows))),
    )
    needed = sum(map(len, one.prompts)) + sum(map(len, one.completions))

    def padding(parts: list[np.ndarray]) -> int:
        return sum(cost(one, part) for part in parts) - needed

    sorted_parts = micro_batches(one, 16384)
    unsorted_parts = np.array_split(np.arange(len(one)), len(sorted_parts))
    assert padding(sorted_parts) < share * padding(unsorted_parts)


def test_of_nothing_there_are_no_parts():
    empty = random_batch(0).rows([])
    assert mini_batches(empty, 1, np.random.default_rng(0)) == []
    assert micro_batches(empty, 10) == []
    with pytest.raises(ConfigError, match="tokens: expected at least 1 a micro-batch, got 0"):
        micro_batches(empty, 0)


class Model(torch.nn.Module):
    """Logits that depend on every token before, and on positions, as an attention layer's do."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(*shape, generator=generator).double())

        self.embed, self.position = parameter(VOCABULARY, 5), parameter(64, 5)
        self.head = parameter(5, VOCABULARY)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log π(τ_t | x, τ_<t) and entropies, (B, T)."""
        padded = pad(batch, pad_id=0)
        mask = torch.from_numpy(padded.attention_mask)
        ids, positions = torch.from_numpy(padded.input_ids), torch.from_numpy(padded.position_ids)
        hidden = (self.embed[ids] + self.position[positions]).tanh() * mask[..., None]
        mean = hidden.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None]
        start = ids.shape[1] - padded.responses.shape[1]
        logits = (mean @ self.head)[:, start - 1 : -1]
        return reference.logp_entropy(logits, torch.from_numpy(padded.responses))


def loss_of(model: Model, batch: Batch, config: LossConfig, divisor: float) -> Tensor:
    padded = pad(batch, pad_id=0)
    logp, entropy = model(batch)
    old_logp = torch.from_numpy(padded.old_logp).double()
    return reference.policy_loss(
        logp,
        old_logp,
        torch.from_numpy(padded.advantage).double()[:, None],
        torch.from_numpy(padded.loss_mask),
        torch.from_numpy(padded.expert_mask)[:, None],
        behavior_logp=torch.from_numpy(padded.behavior_logp).double(),
        ref_logp=old_logp - 0.1,
        entropy=entropy,
        config=config,
        denominator=divisor,
    )


def gradient(model: Model, batch: Batch, config: LossConfig, parts: list) -> tuple[float, list]:
    """Loss and gradients, accumulated over parts."""
    model.zero_grad()
    divisor = denominator(batch, config)
    total = 0.0
    for rows in parts:
        loss = loss_of(model, batch.rows(rows), config, divisor)
        loss.backward()
        total += loss.item()
    return total, [
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()
    ]


CONFIGS = [
    LossConfig(off_ratio=ratio, aggregation=aggregation, norm_constant=9.0, **more)
    for ratio, more in (
        ("behavior", {}),
        ("policy", {"dual_clip": 3.0}),
        ("none", {}),
        ("behavior", {"kl": "k3", "kl_coef": 0.1}),
        ("behavior", {"entropy_coef": 0.1}),
        ("behavior", {"sft_coef": 0.1}),
    )
    for aggregation in (
        "token-mean",
        "seq-mean-token-sum",
        "seq-mean-token-mean",
        "seq-mean-token-sum-norm",
    )
]


def with_empty_completion(batch: Batch) -> Batch:
    def cut(rows: tuple) -> tuple:
        return (rows[0][:0], *rows[1:])

    return dataclasses.replace(
        batch,
        completions=cut(batch.completions),
        old_logp=cut(batch.old_logp),
        behavior_logp=cut(batch.behavior_logp),
    )


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_losses_of_micro_batches_add_up(number):
    """In value and in gradient, whichever way the mini-batch is divided."""
    config, model = CONFIGS[number], Model()
    batch = random_batch(number, prompts=6)
    if number % 2:
        batch = with_empty_completion(batch)
    everything = [np.arange(len(batch))]
    wanted, gradients = gradient(model, batch, config, everything)
    # What the oracle divides by when it sees the whole mini-batch.
    if config.aggregation != "seq-mean-token-sum-norm":
        alone = loss_of(model, batch, config, None)  # type: ignore[arg-type]
        assert alone.item() == pytest.approx(wanted, rel=1e-12)
    for tokens in (1, 30, 100):
        parts = micro_batches(batch, tokens)
        assert len(parts) > 1
        total, parted = gradient(model, batch, config, parts)
        assert total == pytest.approx(wanted, rel=1e-10)
        for ours, theirs in zip(parted, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_rows_left_out_do_not_change_the_gradient(number):
    config, model = CONFIGS[number], Model()
    batch = with_empty_completion(random_batch(number, prompts=10))
    kept = rows_with_gradient(batch, config)
    # Groups without spread have advantage 0, and there are some.
    idle = (batch.advantage == 0) & (batch.lengths > 0)
    assert 4 <= idle.sum() < len(batch) - 4
    if config.kl_coef or config.entropy_coef:
        assert len(kept) == len(batch) - 1
    elif config.sft_coef:
        assert set(kept) == set(np.flatnonzero(~idle | batch.expert_mask)) - {0}
    else:
        assert set(kept) == set(np.flatnonzero(~idle)) - {0}

    _, everything = gradient(model, batch, config, [np.arange(len(batch))])
    parts = [kept[rows] for rows in micro_batches(batch.rows(kept), 60)]
    _, less = gradient(model, batch, config, parts)
    for ours, theirs in zip(less, everything, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert any(values.abs().max() > 1e-3 for values in everything)


def test_the_denominator_counts_rows_left_out():
    """Divided by what is left, the gradient would be another one."""
    model, batch = Model(), random_batch(0, prompts=10)
    kept = batch.rows(rows_with_gradient(batch, LOSS))
    assert denominator(kept, LOSS) < denominator(batch, LOSS)
    _, right = gradient(model, batch, LOSS, [np.arange(len(batch))])
    _, wrong = gradient(model, kept, LOSS, [np.arange(len(kept))])
    assert not torch.allclose(right[0], wrong[0], rtol=1e-3)


def test_a_divergence_without_an_estimator_keeps_no_rows():
    with pytest.warns(UserWarning, match="kl_coef"):
        config = LossConfig(kl="none", kl_coef=0.5)
    batch = random_batch(0)
    np.testing.assert_array_equal(
        rows_with_gradient(batch, config), rows_with_gradient(batch, LOSS)
    )


def test_denominators():
    batch = with_empty_completion(random_batch(1, prompts=3))
    tokens = sum(len(completion) for completion in batch.completions)
    assert denominator(batch, LossConfig()) == tokens
    for aggregation in ("seq-mean-token-sum", "seq-mean-token-mean"):
        assert denominator(batch, LossConfig(aggregation=aggregation)) == len(batch) - 1
    dr_grpo = LossConfig.preset("dr_grpo")
    with pytest.raises(ConfigError, match="norm_constant: expected a number"):
        denominator(batch, dr_grpo)
    assert denominator(batch, dr_grpo.replace(norm_constant=100)) == len(batch) - 1


@pytest.mark.parametrize("ratio", ["behavior", "policy", "none"])
def test_the_loss_reads_old_logp_of_policy_rows_and_behavior_logp_of_expert_rows(ratio):
    """What `Batch` holds elsewhere may be anything finite."""
    batch = random_batch(2)
    padded = pad(batch, 0)
    expert = torch.from_numpy(padded.expert_mask)
    assert 0 < expert.sum() < len(batch)
    config = LossConfig(off_ratio=ratio)

    def of(old_logp: Tensor, behavior_logp: Tensor) -> tuple[float, Tensor]:
        logp = torch.from_numpy(padded.old_logp - 0.05).requires_grad_()
        loss, _ = policy_loss(
            logp,
            old_logp,
            torch.from_numpy(padded.advantage),
            torch.from_numpy(padded.loss_mask),
            expert,
            behavior_logp=behavior_logp,
            config=config,
        )
        loss.backward()
        assert logp.grad is not None
        return loss.item(), logp.grad

    old_logp, behavior_logp = map(torch.from_numpy, (padded.old_logp, padded.behavior_logp))
    other = torch.full_like(old_logp, -0.7)
    loss, grad = of(old_logp, behavior_logp)
    same, same_grad = of(
        torch.where(expert[:, None], other, old_logp),
        torch.where(expert[:, None], behavior_logp, other),
    )
    assert same == loss
    assert torch.equal(same_grad, grad)
    assert of(torch.where(expert[:, None], old_logp, other), behavior_logp)[0] != loss
