"""A wrong reward fades as predicted, and never outlives its bound (Theorem 4.8)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from icpo import ConfigError, InternalError, ShapeError  # noqa: E402
from icpo.theory import (  # noqa: E402
    Bandits,
    Bound,
    LinearSelfAttention,
    PowerLaw,
    Teacher,
    fit_power_law,
    fixed_point,
    inverse_cdf,
    jacobian,
    mixed_policy,
    predicted_rate,
    project,
    shock_effects,
)
from icpo.theory.shock import growth  # noqa: E402


def eye(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def teacher(step: float, exploration: float = 0.1, size: int = 2) -> Teacher:
    return Teacher(step, exploration, eye(size))


#: Two actions alike. The fixed point is the uniform policy, so λ = (1 − γ) c/2 whatever c is.
TWINS = Bandits(eye(2), torch.ones(2, dtype=torch.float64), 0.5)

#: Of them λ is less than b: the bound is not met.
UNEQUAL = Bandits(
    torch.tensor([[1.0, 0.0, 0.5], [-0.2, 0.8, 0.0]], dtype=torch.float64),
    torch.tensor([1.0, 0.9, 0.4], dtype=torch.float64),
    0.5,
)
FOUR = Bandits(eye(4), torch.ones(4, dtype=torch.float64), 0.5)
#: Two actions alike whose rewards are negative: what was rewarded once too much is taken more, and
#: then punished.
PUNISHED = Bandits(eye(2), -torch.ones(2, dtype=torch.float64), 0.5)

SHOCKS, RATIOS = (32, 64, 128), (1, 2, 4, 8)


def effects(bandit: Bandits, of: Teacher, *, replications: int = 2000, size: float = 1.0) -> list:
    return [
        shock_effects(
            *(bandit, of.scores, of.exploration),
            shock=shock,
            size=size,
            times=[shock * ratio for ratio in RATIOS],
            replications=replications,
            seed=1000 + shock,
        )
        for shock in SHOCKS
    ]


def exponents(found: list, what: str) -> PowerLaw:
    return fit_power_law(
        SHOCKS, [one.times.numpy() for one in found], [getattr(one, what).numpy() for one in found]
    )


##### Decay


@pytest.mark.parametrize("rate", [0.15, 0.3, 0.45])
def test_the_effect_decays_at_the_predicted_rate(rate):
    """As (t/s)^(λ−1)/s for three λ, each with an error that tells it from the others by far."""
    of = teacher(2 * rate / 0.9)
    assert predicted_rate(TWINS, of) == pytest.approx(rate, abs=1e-12)
    found = effects(TWINS, of)
    for what in ("scores", "policy"):
        law = exponents(found, what)
        assert law.ratio.error < 0.02 and abs(law.ratio.away_from(rate - 1)) < 3
        assert law.shock.error < 0.05 and abs(law.shock.away_from(-1)) < 3
    # For twins the bound is what happens: b = λ, and norms are met.
    bound = Bound.of(TWINS, of)
    assert bound.b == pytest.approx(rate, abs=1e-12)
    for one in found:
        mean, error = one.policy.mean(0), one.policy.std(0) / len(one.policy) ** 0.5
        for place, time in enumerate(one.times.tolist()):
            limit = bound.policy(one.shock, time, 1.0)
            assert abs(mean[place] - limit) < 0.04 * limit + 4 * error[place]


@pytest.mark.parametrize(
    "bandit, of", [(UNEQUAL, teacher(0.8, size=3)), (FOUR, teacher(0.6, size=4))]
)
def test_where_only_the_bound_holds(bandit, of):
    """λ is the rate of the mean difference, b that of the bound; the mean norm is in between."""
    found = effects(bandit, of, replications=600)
    bound = Bound.of(bandit, of)
    assert predicted_rate(bandit, of) < bound.b - 0.05
    for one in found:
        for what, limit in (("policy", bound.policy), ("scores", bound.scores)):
            mean = getattr(one, what).mean(0).tolist()
            limits = [limit(one.shock, time, 1.0) for time in one.times.tolist()]
            assert all(
                here <= there * (1 + 1e-12) for here, there in zip(mean, limits, strict=True)
            )
    law = exponents(found, "along")
    assert abs(law.ratio.away_from(predicted_rate(bandit, of) - 1)) < 3 and law.ratio.error < 0.03


def test_negative_rewards_heal_on_average_but_not_each_run():
    of = teacher(1.0)
    rate = predicted_rate(PUNISHED, of)
    assert rate == pytest.approx(-0.45, abs=1e-12)
    found = effects(PUNISHED, of, replications=600)
    along, norm = exponents(found, "along").ratio, exponents(found, "scores").ratio
    assert along.error < 0.05 and abs(along.away_from(rate - 1)) < 3
    # What was too much becomes too little and back: runs stay apart, and only 1/t heals them.
    assert norm.value == pytest.approx(-1, abs=0.05)


##### Simulation


def expected_effect(bandit: Bandits, of: Teacher, shock: int, times: list[int]) -> list[float]:
    """E‖Proj Δs_{t+1}‖ without noise: a tree of pairs of actions and how likely each is."""
    rewards = bandit.means[:, None] * bandit.features  # (K, d)

    def policy(total: torch.Tensor, done: int) -> torch.Tensor:
        scores = of.step / max(done, 1) * bandit.features @ of.preconditioner @ total
        return mixed_policy(scores, of.exploration)

    def pairs(one: torch.Tensor, other: torch.Tensor) -> Iterator[tuple[float, int, int]]:
        cuts = torch.cat([one.cumsum(0)[:-1], other.cumsum(0)[:-1]]).sort().values.tolist()
        for low, high in zip([0.0, *cuts], [*cuts, 1.0], strict=True):
            middle = torch.tensor((low + high) / 2, dtype=torch.float64)
            yield high - low, int(inverse_cdf(one, middle)), int(inverse_cdf(other, middle))

    total = [0.0] * len(times)

    def walk(done: int, weight: float, one: torch.Tensor, other: torch.Tensor) -> None:
        if done in times:
            change = bandit.features @ of.preconditioner @ (other - one) * of.step / done
            total[times.index(done)] += weight * project(change).norm().item()
        if done == times[-1]:
            return
        for share, a, b in pairs(policy(one, done), policy(other, done)):
            shift = bandit.features[b] if done + 1 == shock else 0.0
            if share > 0:
                walk(done + 1, weight * share, one + rewards[a], other + rewards[b] + shift)

    nothing = torch.zeros(bandit.dimension, dtype=torch.float64)
    walk(0, 1.0, nothing, nothing)
    return total


@pytest.mark.parametrize("shock", [1, 3])
def test_mean_effects_are_those_of_the_whole_tree(shock):
    bandit = Bandits(
        torch.tensor([[1.0, 0.2], [-0.3, 0.8], [0.5, -1.0]], dtype=torch.float64),
        torch.tensor([0.9, 0.7], dtype=torch.float64),
    )
    of = Teacher(1.5, 0.2, torch.tensor([[1.0, 0.3], [-0.1, 0.8]], dtype=torch.float64))
    times = [shock, 4, 5]
    found = shock_effects(
        bandit, of.scores, 0.2, shock=shock, size=1.0, times=times, replications=20_000, seed=1
    )
    mean, error = found.scores.mean(0), found.scores.std(0) / 20_000**0.5
    wanted = torch.tensor(expected_effect(bandit, of, shock, times), dtype=torch.float64)
    assert ((mean - wanted).abs() < 4 * error + 1e-12).all()
    assert error[-1] < 0.005 < (wanted[-1] - wanted[-2]).abs()


def test_the_shock_is_all_that_is_different():
    """At once, the policies are as far apart as one reward makes them; before, not at all."""
    of = teacher(1.0)
    found = shock_effects(
        TWINS, of.scores, 0.1, shock=20, size=-0.3, times=[20, 21], replications=50, seed=1
    )
    once = 0.3 * math.sqrt(0.5) / 20  # δ (c/t) ‖Proj x_a‖
    assert torch.allclose(found.scores[:, 0], torch.full((50,), once, dtype=torch.float64))
    assert torch.allclose(found.along[:, 0], found.scores[:, 0], rtol=1e-12)
    # One round later most pairs have acted alike.
    alike = (found.scores[:, 1] - once * 20 / 21).abs() < 1e-15
    assert 45 <= alike.sum() <= 50


def test_a_student_with_the_closed_form_is_shaken_as_the_teacher():
    of = Teacher(0.8, 0.1, torch.diag(torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)))
    student = LinearSelfAttention.closed_form(of)
    both = [
        shock_effects(UNEQUAL, one, 0.1, shock=5, size=1.0, times=[5, 50], replications=100, seed=2)
        for one in (of.scores, student.scores)
    ]
    assert torch.allclose(both[0].policy, both[1].policy, rtol=0, atol=1e-13)
    assert both[0].policy.max() > 0.05


##### Theory


def test_the_jacobian_is_the_derivative_of_the_mean_round():
    of = Teacher(
        1.3, 0.2, torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, 0.1], [0.2, 0.0, 1.1]]).double()
    )
    u = fixed_point(UNEQUAL, of)
    rewards = UNEQUAL.means[:, None] * UNEQUAL.features

    def mean_round(v: torch.Tensor) -> torch.Tensor:
        return mixed_policy(1.3 * UNEQUAL.features @ of.preconditioner @ v, 0.2) @ rewards

    assert torch.allclose(mean_round(u), u, atol=1e-13)
    found = jacobian(u, UNEQUAL, of)
    for place in range(3):
        step = 1e-5 * eye(3)[place]
        slope = (mean_round(u + step) - mean_round(u - step)) / 2e-5
        assert torch.allclose(found[:, place], slope, atol=1e-9)


def test_one_round_widens_the_gap_by_no_more_than_b_says():
    """E‖y_{t+1}‖ ≤ (1 + b/t)‖y_t‖ for any two sums, by integration; nearly met between twins."""
    rng = torch.Generator().manual_seed(0)
    closest = 0.0
    for bandit, of in (
        (TWINS, teacher(1.0)),
        (UNEQUAL, teacher(2.0, 0.3, 3)),
        (FOUR, teacher(3.0, 0.05, 4)),
    ):
        bound, size = Bound.of(bandit, of), bandit.dimension
        noise = bandit.noise * (2 * (torch.arange(40, dtype=torch.float64) + 0.5) / 40 - 1)
        for _ in range(60):
            done = int(torch.randint(1, 50, (), generator=rng))
            one, change = torch.randn(2, size, generator=rng, dtype=torch.float64)
            one, other = (
                done * one,
                done * one + 10 ** float(2 * torch.rand((), generator=rng) - 2) * change,
            )
            policies = [
                mixed_policy(of.scores(moments(total), bandit.features, done), of.exploration)
                for total in (one, other)
            ]
            cuts = torch.cat([p.cumsum(0)[:-1] for p in policies]).sort().values.tolist()
            before, after = gap(other - one, bandit), 0.0
            for low, high in zip([0.0, *cuts], [*cuts, 1.0], strict=True):
                middle = torch.tensor((low + high) / 2, dtype=torch.float64)
                a, b = (inverse_cdf(p, middle) for p in policies)
                gained = (bandit.means[b] + noise)[:, None] * bandit.features[b]
                gained = gained - (bandit.means[a] + noise)[:, None] * bandit.features[a]
                after += (high - low) * gap(other - one + gained, bandit).mean().item()
            growth_here = (after / before.item() - 1) * done
            assert growth_here <= bound.b + 1e-9
            if bandit is TWINS:
                closest = max(closest, growth_here / bound.b)
    assert closest > 0.9


def gap(sums: torch.Tensor, bandit: Bandits) -> torch.Tensor:
    return project(sums @ bandit.features.T).norm(dim=-1)


def moments(total: torch.Tensor) -> torch.Tensor:
    """Those of a history with Σ r_i x_i = total; the teacher reads nothing else."""
    size = len(total) + 1
    found = torch.zeros(size, size, dtype=torch.float64)
    found[:-1, -1] = total
    return found


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0, 2.5])
def test_growth_is_a_product_below_a_power(rate):
    for shock, time in ((1, 1), (1, 9), (7, 40)):
        product = np.prod([1 + rate / i for i in range(shock, time)])
        assert growth(rate, shock, time) == pytest.approx(product, rel=1e-12)
        bound = Bound(a=0.7, b=rate, scores_per_policy=2.0)
        assert bound.policy(shock, time, -2.0) == pytest.approx(1.4 * product / time)
        power = 0.7 * math.exp(rate / shock) / shock * (time / shock) ** (rate - 1) * 2
        assert bound.policy_power(shock, time, -2.0) == pytest.approx(power)
        assert bound.policy(shock, time, -2.0) <= power * (1 + 1e-12)


def test_the_likeliest_disagreement():
    """κ: the greatest chance of two actions for one uniform number, by the distance of policies."""
    rng = torch.Generator().manual_seed(1)
    for arms in (2, 3, 5):
        kappa = math.sqrt(arms * (arms**2 - 1) / 12)
        change = project(torch.randn(20_000, arms, generator=rng, dtype=torch.float64))
        ramp = project(torch.arange(arms, dtype=torch.float64))
        for rows in (change, ramp[None]):
            apart = rows.cumsum(-1)[:, :-1].abs().sum(-1) / rows.norm(dim=-1)
            assert apart.max() <= kappa + 1e-12
        assert apart.max() == pytest.approx(kappa)


##### Errors


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"times": [4, 8]}, ConfigError, r"times: .* from the shock's 5 on, got \[4, 8\]"),
        ({"times": [8, 6]}, ConfigError, r"times: .* got \[8, 6\]"),
        ({"times": []}, ConfigError, r"times: .* got \[\]"),
        ({"shock": 0}, ConfigError, "times: .* from the shock's 0 on"),
        ({"size": 0.0}, ConfigError, "size: .* got 0.0"),
        ({"replications": 0}, ConfigError, "replications: expected at least 1, got 0"),
    ],
)
def test_what_is_refused(change, error, message):
    settings = {"shock": 5, "size": 1.0, "times": [5, 6], "replications": 2, "seed": 0} | change
    with pytest.raises(error, match=message):
        shock_effects(TWINS, teacher(1.0).scores, 0.1, **settings)


def test_a_batch_of_bandits_is_refused():
    batch = Bandits(eye(2)[None], torch.ones(1, 2, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"features: expected \(K, d\), got \(1, 2, 2\)"):
        shock_effects(
            *(batch, teacher(1.0).scores, 0.1),
            **{"shock": 1, "size": 1.0, "times": [1], "replications": 1, "seed": 0},
        )


def test_a_fixed_point_that_is_not_reached_is_an_error():
    """Rewards this negative make the mean round overshoot for ever."""
    with pytest.raises(InternalError, match="fixed point: expected to arrive"):
        fixed_point(Bandits(eye(2), torch.tensor([-9.0, -10.0]).double()), teacher(20.0))
