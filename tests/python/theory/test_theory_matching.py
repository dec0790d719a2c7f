"""The Fisher-weighted loss, and the bound on the KL divergence (Theorem 4.1)."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from icpo import ConfigError  # noqa: E402
from icpo.theory import (  # noqa: E402
    Lessons,
    LinearSelfAttention,
    Teacher,
    draw_bandits,
    fisher,
    kl,
    kl_constant,
    kl_constant_by_squares,
    loss,
    mixed_policy,
    play,
    policy_error,
    project,
    quadratic,
)


def normal(*shape: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def between(low: float, high: float, draw: torch.Generator) -> float:
    """Evenly spread logarithm."""
    share = torch.rand((), generator=draw, dtype=torch.float64).item()
    return math.exp(math.log(low) + share * math.log(high / low))


def test_the_loss_written_out():
    bandits = draw_bandits(3, 4, torch.eye(2, dtype=torch.float64), noise=0.5, seed=1)
    teacher = Teacher(1.5, 0.2, normal(2, 2, seed=2))
    student = LinearSelfAttention.draw(2, scale=0.5, seed=3)
    lessons = Lessons.of(play(bandits, teacher.scores, 0.2, 5, seed=4), teacher)
    centre = torch.eye(4, dtype=torch.float64) - 1 / 4
    total, errors = 0.0, []
    for history in range(3):
        for done in range(1, 6):
            given = lessons.moments[history, done - 1], bandits.features[history], done
            difference = centre @ (student.scores(*given) - teacher.scores(*given))
            p = teacher.policy(*given)
            gamma = torch.diag(p) - torch.outer(p, p)
            total += (difference @ gamma @ difference).item()
            q = 0.8 * student.scores(*given).softmax(-1) + 0.05
            errors.append((q - p).abs().sum().item())
    assert loss(student.scores, lessons).item() == pytest.approx(total / 2 / 3, rel=1e-12)
    assert policy_error(student.scores, lessons).flatten().tolist() == pytest.approx(errors)


def test_the_quadratic_is_half_the_variance():
    policy, vector = normal(50, 6, seed=1).softmax(-1), normal(50, 6, seed=2)
    variance = (policy * vector**2).sum(-1) - (policy * vector).sum(-1) ** 2
    assert torch.allclose(quadratic(vector, policy), variance / 2, atol=1e-14)
    weighted = torch.einsum("na,nab,nb->n", project(vector), fisher(policy), project(vector))
    assert torch.allclose(quadratic(vector, policy), weighted / 2, atol=1e-14)
    assert torch.allclose(quadratic(vector + 100, policy), variance / 2, atol=1e-11)


def test_fisher_is_the_second_derivative_of_the_divergence():
    scores = normal(5, seed=3)
    policy = scores.softmax(-1)
    found = torch.autograd.functional.hessian(
        lambda change: kl(policy, (scores + change).softmax(-1)),
        torch.zeros(5, dtype=torch.float64),
    )
    assert torch.allclose(found, fisher(policy), atol=1e-12)


def test_kl_against_its_definition():
    p, q = normal(20, 7, seed=4).softmax(-1), normal(20, 7, seed=5).softmax(-1)
    assert torch.allclose(kl(p, q), (p * (p / q).log()).sum(-1), atol=1e-14)
    # Of policies this near, the plain sum keeps not one digit: its terms are 1e-9 and more.
    near = p + 1e-9 * project(normal(20, 7, seed=6))
    assert torch.allclose(kl(p, near), ((near - p) ** 2 / (2 * p)).sum(-1), rtol=1e-5, atol=0)


##### Theorem 4.1


def ratio(scores: torch.Tensor, other: torch.Tensor, exploration: float) -> torch.Tensor:
    """KL(p‖p̂) over the quadratic: what the constant is to bound."""
    p, q = mixed_policy(scores, exploration), mixed_policy(other, exploration)
    return kl(p, q) / quadratic(other - scores, p)


def test_kl_is_bounded_by_the_quadratic_on_1000_random_pairs():
    draw = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(1000):
        arms = int(torch.randint(2, 13, (), generator=draw))
        exploration = between(1e-3, 0.99, draw)
        scale, change = between(0.01, 30, draw), between(1e-3, 30, draw)
        scores = scale * torch.randn(arms, generator=draw, dtype=torch.float64)
        moved = change * torch.randn(arms, generator=draw, dtype=torch.float64)
        found = ratio(scores, scores + moved, exploration).item()
        assert found >= 0
        assert found <= kl_constant(exploration, arms) <= kl_constant_by_squares(exploration, arms)
        shares.append(found / kl_constant(exploration, arms))
    assert 0.2 < max(shares) <= 1


@pytest.mark.parametrize("arms", [2, 3, 8])
@pytest.mark.parametrize(
    "exploration, least", [(0.001, 0.07), (0.03, 0.1), (0.3, 0.14), (0.7, 0.15), (0.99, 0.09)]
)
def test_the_constant_is_not_much_larger_than_it_has_to_be(arms, exploration, least):
    """The worst pairs: an action that is never taken becomes the only one.

    Others are out of the question, or as likely as the first.
    """
    known = torch.linspace(0, 14, 141, dtype=torch.float64)[:, None, None]
    gained = torch.linspace(0.05, 30, 300, dtype=torch.float64)[None, :, None]
    worst = 0.0
    for others in (-60.0, 0.0):
        rest = torch.full((141, 300, arms - 2), others, dtype=torch.float64)
        scores = torch.cat([known.expand(-1, 300, 1), torch.zeros(141, 300, 1), rest], -1)
        moved = torch.nn.functional.pad(gained.expand(141, -1, 1), (1, arms - 2))
        worst = max(worst, ratio(scores, scores + moved, exploration).max().item())
    assert least * kl_constant(exploration, arms) < worst <= kl_constant(exploration, arms)


def test_with_the_mixed_policy_s_own_fisher_information_there_is_no_constant():
    """Why Γ is diag(p) − p pᵀ: Jᵀ diag(1/p) J, J = ∂p/∂s, vanishes where the policy saturates."""
    ratios = []
    for gap in (5.0, 10.0, 20.0):
        scores = torch.tensor([gap, 0.0], dtype=torch.float64)
        other = torch.tensor([0.0, gap], dtype=torch.float64)
        p, q = mixed_policy(scores, 0.1), mixed_policy(other, 0.1)
        own = 0.9 * fisher(scores.softmax(-1))
        of_scores = own @ torch.diag(1 / p) @ own
        ratios.append((kl(p, q) / ((other - scores) @ of_scores @ (other - scores) / 2)).item())
    assert ratios[1] > 1e3 * ratios[0] and ratios[2] > 1e3 * ratios[1]


@pytest.mark.parametrize("of", [kl_constant, kl_constant_by_squares])
def test_constants_refuse_what_has_none(of):
    with pytest.raises(ConfigError, match="exploration: expected a number between 0 and 1, got 0"):
        of(0.0, 3)
    with pytest.raises(ConfigError, match="arms: expected at least 2, got 1"):
        of(0.1, 1)
