"""The learner against one row at a time in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from icpo import NonFiniteError
from icpo.mixing import mini_batches, pad
from icpo.objective import LossConfig
from icpo.ops import reference
from icpo.trainer.clock import Clock
from icpo.trainer.logits import loss_by_torch, loss_in_place
from icpo.trainer.update import Learner, UpdateConfig
from tiny_policy import PAD, llama, logp_alone, qwen3, random_batch

TEMPERATURE = 0.8


class Still:
    """An optimizer that keeps the gradient and moves nothing."""

    def __init__(self, model):
        self.model, self.param_groups, self.gradients = model, [{"lr": 0.0}], []

    def zero_grad(self):
        for parameter in self.model.parameters():
            parameter.grad = None

    def step(self):
        self.gradients.append([p.grad.clone() for p in self.model.parameters()])


def learner(model, *, optimizer=None, clip=None, **changes) -> Learner:
    settings = {
        "temperature": TEMPERATURE,
        "mini_batch": 100,
        "micro_tokens": 40,
        "grad_clip": clip,
        "recompute_old": True,
        "recompute_behavior": True,
        "prefix": None,
        "autocast": None,
        "pad_id": PAD,
    }
    config = UpdateConfig(**{**settings, **changes})
    return Learner(model, optimizer or Still(model), config, Clock())


def expected_gradient(model, batch, loss, old_model):
    """The gradient of eq. 10 from rows that were computed one by one, in float64."""
    model, old_model = copy.deepcopy(model).double(), copy.deepcopy(old_model).double()
    rows, longest = len(batch), int(batch.lengths.max())
    padded = {name: torch.zeros(rows, longest, dtype=torch.float64) for name in ("old", "behavior")}
    logps, mask = [], torch.zeros(rows, longest, dtype=torch.bool)
    for row in range(rows):
        tokens, length = batch.completions[row], len(batch.completions[row])
        logp = logp_alone(model, batch.prompts[row], tokens, TEMPERATURE)
        logps.append(torch.nn.functional.pad(logp, (0, longest - length)))
        mask[row, :length] = True
        with torch.no_grad():
            for name, prompts in (("old", batch.prompts), ("behavior", batch.sampled_prompts)):
                padded[name][row, :length] = logp_alone(
                    old_model, prompts[row], tokens, TEMPERATURE
                )
    value = reference.policy_loss(
        torch.stack(logps),
        padded["old"],
        torch.tensor(batch.advantage)[:, None],
        mask,
        torch.tensor(batch.expert_mask)[:, None],
        behavior_logp=padded["behavior"],
        config=loss,
    )
    value.backward()
    return value.item(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("build", [qwen3, llama])
@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
@pytest.mark.parametrize("preset", ["paper", "reference", "grpo"])
def test_gradient_is_that_of_the_whole_batch(build, aggregation, preset):
    loss = LossConfig.preset(preset, aggregation=aggregation, kl="none", kl_coef=0.0)
    rng, model = np.random.default_rng(3), build()
    batch = random_batch(rng, model, loss, problems=5, temperature=TEMPERATURE)
    assert batch.expert_mask.any() and not batch.expert_mask.all()
    trained = copy.deepcopy(model)
    learned = learner(trained).update(batch, loss, 0.0, rng)
    value, gradient = expected_gradient(model, batch, loss, model)
    ours = [parameter.grad for parameter in trained.parameters()]
    scale = max(part.abs().max() for part in gradient)
    for mine, theirs in zip(ours, gradient, strict=True):
        assert (mine - theirs).abs().max() <= 2e-5 * scale
    assert learned.loss["loss/policy"] == pytest.approx(value, abs=2e-6)
    norm = torch.cat([part.flatten() for part in gradient]).norm().item()
    assert learned.grad_norms == (pytest.approx(norm, rel=1e-4),)


@pytest.mark.parametrize("preset", ["paper", "reference"])
@pytest.mark.parametrize("entropy_coef", [0.0, 0.02])
def test_both_ways_from_logits_to_the_loss_agree(preset, entropy_coef):
    """What other devices do, done here."""
    loss = LossConfig.preset(preset, entropy_coef=entropy_coef, kl="none", kl_coef=0.0)
    model = qwen3()
    batch = random_batch(np.random.default_rng(4), model, loss)
    padded, found = pad(batch, PAD), []
    for way in (loss_in_place, loss_by_torch):
        leaf = torch.randn(*padded.responses.shape, 23, generator=torch.Generator().manual_seed(0))
        leaf.requires_grad_()
        value, metrics = way(
            leaf * 1.0,
            *(
                torch.from_numpy(getattr(padded, name))
                for name in ("responses", "old_logp", "advantage", "loss_mask", "expert_mask")
            ),
            behavior_logp=torch.from_numpy(padded.behavior_logp),
            temperature=TEMPERATURE,
            config=loss,
            denominator=17.0,
        )
        value.backward()
        found.append((value.item(), leaf.grad, dict(metrics)))
    (one, gradient, figures), (other, theirs, again) = found
    assert one == pytest.approx(other, rel=1e-5)
    assert (gradient - theirs).abs().max() < 1e-6 * gradient.abs().max() + 1e-8
    assert figures == pytest.approx(again, rel=1e-4, abs=1e-6, nan_ok=True)


def test_micro_batches_and_skipped_rows_change_nothing():
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(5), model, loss, problems=6)
    assert (batch.advantage == 0).any(), "a group without spread"
    gradients = []
    for tokens in (1, 30, 10_000):
        still = Still(copy.deepcopy(model))
        learner(still.model, optimizer=still, micro_tokens=tokens).update(
            batch, loss, 0.0, np.random.default_rng(0)
        )
        gradients.append(torch.cat([part.flatten() for part in still.gradients[0]]))
    for other in gradients[1:]:
        assert (other - gradients[0]).abs().max() <= 1e-5 * gradients[0].abs().max()


class Watched(torch.optim.SGD):
    """Plain descent that remembers what it was about to do."""

    def __init__(self, model):
        super().__init__(model.parameters(), lr=0.0)
        self.model, self.before = model, []

    def step(self):
        gradient = [parameter.grad.clone() for parameter in self.model.parameters()]
        self.before.append((copy.deepcopy(self.model), gradient))
        super().step()


def test_the_old_policy_is_that_of_before_the_first_mini_batch():
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(6), model, loss, problems=8, temperature=TEMPERATURE)
    start, optimizer = copy.deepcopy(model), Watched(model)
    settings = {"optimizer": optimizer, "mini_batch": 4, "clip": 1.0}
    learned = learner(model, **settings).update(batch, loss, 0.02, np.random.default_rng(0))
    minis = mini_batches(batch, 4, np.random.default_rng(0))
    assert len(minis) == len(optimizer.before) == 2
    for rows, (then, gradient) in zip(minis, optimizer.before, strict=True):
        _, expected = expected_gradient(then, batch.rows(rows), loss, start)
        norm = torch.cat([part.flatten() for part in expected]).norm()
        for mine, theirs in zip(gradient, expected, strict=True):
            assert (mine - theirs / norm.clamp(min=1.0)).abs().max() < 1e-5
    assert abs(learned.loss["on/kl"]) > 1e-6, "the second mini-batch saw another policy"


def test_ratios_are_1_at_the_first_mini_batch():
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(6), model, loss, problems=8)
    learned = learner(model).update(batch, loss, 0.0, np.random.default_rng(0))
    assert learned.loss["on/ratio"] == pytest.approx(1.0, abs=1e-6)
    assert abs(learned.loss["on/kl"]) < 1e-6
    assert learned.loss["off/ratio"] != pytest.approx(1.0, abs=1e-2)


def test_behavior_is_what_the_sampler_saw_under_the_expert_prompt():
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(7), model, loss, temperature=TEMPERATURE)
    updater = learner(model)
    recomputed = updater.logp(model, batch.as_sampled())
    for mine, sampled in zip(recomputed, batch.behavior_logp, strict=True):
        np.testing.assert_allclose(mine, sampled, atol=1e-5)
    # Under the plain prompt the same tokens have other chances: the test can fail.
    plain = updater.logp(model, batch)
    expert = int(np.flatnonzero(batch.expert_mask)[0])
    assert np.abs(plain[expert] - batch.behavior_logp[expert]).max() > 0.01


def test_divergence_is_measured_from_the_reference():
    loss, model = LossConfig.preset("paper", kl="k3", kl_coef=0.1), qwen3()
    batch = random_batch(np.random.default_rng(8), model, loss)
    same = learner(copy.deepcopy(model))
    for frozen, expected in ((model, 0.0), (qwen3(seed=9), None)):
        updater = Learner(same.model, same.optimizer, same.config, Clock(), frozen)
        found = updater.update(batch, loss, 0.0, np.random.default_rng(0)).loss["loss/kl"]
        assert found == pytest.approx(0.0, abs=1e-6) if expected == 0.0 else found > 0.01


def test_clip_bounds_the_step_not_the_figure():
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(9), model, loss)
    still = Still(model)
    updater = learner(model, optimizer=still, clip=1e-3)
    learned = updater.update(batch, loss, 0.0, np.random.default_rng(0))
    taken = torch.cat([part.flatten() for part in still.gradients[0]]).norm()
    assert taken.item() == pytest.approx(1e-3, rel=1e-3) and learned.grad_norms[0] > 1e-3


def test_without_a_gradient_a_step_is_what_momentum_makes_of_it():
    """As if rows of advantage 0 had gone through the model."""
    loss, model = LossConfig.preset("paper"), qwen3()
    some = random_batch(np.random.default_rng(1), model, loss)
    none = random_batch(np.random.default_rng(2), model, loss)
    none.advantage[:] = 0.0
    moved = []
    for keep_all in (False, True):
        trained = copy.deepcopy(model)
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01)
        updater = learner(trained, optimizer=optimizer)
        updater.update(some, loss, 0.01, np.random.default_rng(0))
        if keep_all:
            for parameter in trained.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
        else:
            learned = updater.update(none, loss, 0.01, np.random.default_rng(0))
            assert learned.grad_norms == (0.0,) and learned.tokens == 0
        moved.append(torch.cat([parameter.flatten() for parameter in trained.parameters()]))
    assert torch.equal(*moved)


@pytest.mark.parametrize("where", ["weights", "advantage"])
def test_what_is_not_finite_stops_before_the_step(where):
    loss, model = LossConfig.preset("paper"), qwen3()
    batch = random_batch(np.random.default_rng(2), model, loss)
    if where == "weights":
        with torch.no_grad():
            model.model.norm.weight[3] = float("nan")
    else:
        batch.advantage[0] = np.inf
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    updater = learner(model, optimizer=optimizer, recompute_old=False)
    with pytest.raises(NonFiniteError, match=r"expected a (finite )?number"):
        updater.update(batch, loss, 0.1, np.random.default_rng(0))
    for name, value in model.state_dict().items():
        assert torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0))
