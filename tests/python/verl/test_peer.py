"""Agreement with verl's own loss and advantages (a test dependency only)."""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
import torch

from icpo import LossConfig, ops
from icpo.objective import group_advantages

pytestmark = pytest.mark.verl

PEER = "verl.trainer.ppo.core_algos"
# CI installs the peer, so there its absence is a failure and not a reason to skip.
core_algos = (
    importlib.import_module(PEER)
    if os.environ.get("CI")
    else pytest.importorskip(PEER, reason="verl is not installed", exc_type=ImportError)
)

MODES = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]


def actor_config(**changes):
    """verl's own configuration class, with its defaults for the rest."""
    from verl.workers.config import FSDPActorConfig

    return FSDPActorConfig(
        strategy="fsdp",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=1,
        use_dynamic_bsz=True,
        **changes,
    )


def batch(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    rows, length = 1 + seed % 7, 1 + seed % 13
    shape = (rows, length)
    old = -torch.rand(shape, generator=generator, dtype=dtype) * 4
    logp = old + 0.5 * torch.randn(shape, generator=generator, dtype=dtype)
    advantage = torch.randn(rows, 1, generator=generator, dtype=dtype).expand(shape)
    mask = torch.rand(shape, generator=generator) < 0.7
    mask[0, 0] = True  # verl divides 0 by 0 for an empty batch; ours is 0 (tested elsewhere)
    return logp, old, advantage, mask


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bounds", [(0.2, 0.2, 3.0), (0.2, 0.28, 10.0), (0.1, 0.3, 1.2)])
def test_loss_gradient_and_clip_fractions(mode, bounds):
    low, high, dual = bounds
    peer_config = actor_config(
        clip_ratio=low, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=dual
    )
    config = LossConfig.preset(
        "grpo", clip_low=low, clip_high=high, dual_clip=dual, aggregation=mode
    )
    for seed in range(60):
        logp, old, advantage, mask = batch(seed)
        theirs = logp.clone().requires_grad_(True)
        peer, metrics = core_algos.compute_policy_loss_vanilla(
            old, theirs, advantage, mask.double(), loss_agg_mode=mode, config=peer_config
        )
        peer.backward()
        mine = logp.clone().requires_grad_(True)
        loss, figures = ops.policy_loss(mine, old, advantage, mask, None, config=config)
        loss.backward()
        # verl adds 1e-8 to a row's token count in seq-mean-token-mean, and rows may cancel.
        torch.testing.assert_close(loss, peer, rtol=2e-8, atol=2e-8)
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2e-8, atol=1e-14)
        assert figures["on/clip_fraction"] == pytest.approx(metrics["actor/pg_clipfrac"], abs=1e-6)
        assert figures["on/dual_clip_fraction"] == pytest.approx(
            metrics["actor/pg_clipfrac_lower"], abs=1e-6
        )
        assert figures["on/kl"] == pytest.approx(metrics["actor/ppo_kl"], rel=1e-6, abs=1e-9)


def test_defaults_of_the_preset_are_those_of_verl():
    defaults = actor_config()
    grpo = LossConfig.preset("grpo")
    assert (grpo.clip_low, grpo.clip_high) == (defaults.clip_ratio_low, defaults.clip_ratio_high)
    assert grpo.dual_clip == defaults.clip_ratio_c
    assert grpo.aggregation == defaults.loss_agg_mode
    assert grpo.entropy_coef == defaults.entropy_coeff


@pytest.mark.parametrize("mode", MODES)
def test_aggregation_with_global_counts(mode):
    for seed in range(30):
        logp, old, _, mask = batch(seed)
        values = torch.randn(logp.shape, dtype=torch.float64)
        count = 77.0
        counts = (
            {"batch_num_tokens": count} if mode == "token-mean" else {"global_batch_size": count}
        )
        peer = core_algos.agg_loss(values, mask.double(), mode, **counts)
        # A loss whose token values are known: the SFT term of expert tokens with no advantage.
        config = LossConfig(off_ratio="policy", sft_coef=1.0, aggregation=mode)
        loss, _ = ops.policy_loss(
            -values,
            old,
            torch.zeros(len(values), dtype=torch.float64),
            mask,
            torch.ones(len(values), dtype=torch.bool),
            config=config,
            denominator=count,
        )
        torch.testing.assert_close(loss, peer, rtol=2e-8, atol=2e-8 * values.abs().max().item())


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_divergences(kind):
    logp, old, _, mask = batch(5)
    ref = logp + 0.3 * torch.randn(logp.shape, dtype=torch.float64)
    per_token = core_algos.kl_penalty(logp, ref, kind)
    peer = core_algos.agg_loss(per_token, mask.double(), "token-mean")
    config = LossConfig(kl=kind, kl_coef=1.0)
    zeros = torch.zeros(len(logp), dtype=torch.float64)
    loss, metrics = ops.policy_loss(logp, old, zeros, mask, None, ref_logp=ref, config=config)
    torch.testing.assert_close(loss, peer)
    assert metrics["ref_kl"] == pytest.approx(peer.item())


@pytest.mark.parametrize("by_std", [True, False])
def test_advantages(by_std):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        rollouts = int(rng.integers(1, 40))
        uids = np.array([f"uid{i}" for i in rng.integers(0, 8, rollouts)], dtype=object)
        scores = rng.choice([0.0, 1.0, 0.5], rollouts)
        rewards = torch.zeros(rollouts, 3, dtype=torch.float64)
        rewards[:, -1] = torch.tensor(scores)
        peer, _ = core_algos.compute_grpo_outcome_advantage(
            rewards, torch.ones(rollouts, 3), uids, norm_adv_by_std_in_grpo=by_std
        )
        ours = group_advantages(scores, uids, std="unbiased" if by_std else "none")
        np.testing.assert_allclose(ours, peer[:, 0].numpy(), rtol=1e-7, atol=1e-9)
