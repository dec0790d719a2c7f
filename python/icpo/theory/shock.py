"""One reward that is off, and what becomes of it (Theorem 4.8).

Two runs of a bandit have all that is random in common, but in one of them the reward of round s is
larger by δ (Definition 4.7: s-CRN coupled trajectories). How far apart are their scores and their
policies after t rounds?

In between stands y_t = Proj X A (G'_t − G_t), the difference of the sums G_t = Σ_{i ≤ t} r_i x_i as
scores see it: they differ by (c/t) y_t. It begins as δ Proj X A x_{a_s}, and changes only in rounds
in which the actions differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from icpo.errors import ConfigError, InternalError, ShapeError
from icpo.theory.bandit import Bandits
from icpo.theory.loop import Scores, rounds
from icpo.theory.matching import fisher, project
from icpo.theory.policy import mixed_policy
from icpo.theory.random import generator, one_thread
from icpo.theory.teacher import Teacher

__all__ = [
    "Bound",
    "Effects",
    "fixed_point",
    "growth",
    "jacobian",
    "predicted_rate",
    "shock_effects",
]


@dataclass(frozen=True)
class Effects:
    """What a shock of round s changes after t rounds, in each replication."""

    #: s.
    shock: int
    times: Tensor  # (T,): t
    scores: Tensor  # (R, T): ‖Proj Δs_{t+1}‖₂
    policy: Tensor  # (R, T): ‖Δp_{t+1}‖₂
    #: Component of Proj Δs_{t+1} in the direction in which the shock first moved it.
    along: Tensor  # (R, T)


def shock_effects(
    bandit: Bandits,
    scores: Scores,
    exploration: float,
    *,
    shock: int,
    size: float,
    times: Sequence[int],
    replications: int,
    seed: int,
) -> Effects:
    """Plays pairs of runs that differ by a shock.

    Args:
        bandit: one; features (K, d).
        scores: whose policy is followed, in both runs.
        exploration: γ.
        shock: s, the round whose reward is shifted, from 1.
        size: δ, by how much.
        times: t, the rounds after which the two are compared; ascending, from s on.
        replications: pairs, R.
        seed: of all of them.
    """
    if bandit.features.dim() != 2:
        raise ShapeError(f"features: expected (K, d), got {tuple(bandit.features.shape)}")
    if not times or list(times) != sorted(set(times)) or not 1 <= shock <= times[0]:
        raise ConfigError(
            f"times: expected rounds in ascending order from the shock's {shock!r} on, "
            f"got {list(times)}"
        )
    if size == 0 or not math.isfinite(size):
        raise ConfigError(f"size: expected a finite number other than 0, got {size!r}")
    if replications < 1:
        raise ConfigError(f"replications: expected at least 1, got {replications!r}")
    pairs = Bandits(
        bandit.features.expand(replications, 2, -1, -1),
        bandit.theta.expand(replications, 2, -1),
        bandit.noise,
    )
    draw = generator(seed)
    shift = torch.tensor([0.0, size], dtype=torch.float64)

    def luck(number: int) -> tuple[Tensor, Tensor]:
        both = torch.rand(2, replications, 1, generator=draw, dtype=torch.float64)
        noise = bandit.noise * (2 * both[1] - 1)
        # The common random numbers: one of each for both runs of a pair.
        return both[0].expand(-1, 2), noise + shift if number == shock else noise.expand(-1, 2)

    with one_thread(), torch.no_grad():
        norms, policies, along = [], [], []
        first = None
        for played in rounds(pairs, scores, exploration, times[-1], luck):
            if played.number != shock and played.number not in times:
                continue
            found = scores(played.moments, pairs.features, played.number)  # (R, 2, K)
            change = project(found[:, 1] - found[:, 0])
            if first is None:
                # An action whose features no score sees leaves no direction: its component is 0.
                first = functional.normalize(change, dim=-1)
            if played.number not in times:
                continue
            policy = mixed_policy(found, exploration)
            norms.append(change.norm(dim=-1))
            policies.append((policy[:, 1] - policy[:, 0]).norm(dim=-1))
            along.append((change * first).sum(-1))
    return Effects(
        shock,
        torch.tensor(list(times)),
        torch.stack(norms, 1),
        torch.stack(policies, 1),
        torch.stack(along, 1),
    )


##### What to expect


def fixed_point(bandit: Bandits, teacher: Teacher) -> Tensor:
    """u with u = F(u) = Σ_a p_a(u) μ_a x_a, where p(u) is the policy of scores c X A u; (d,).

    G_t/t tends to it: it is what the history's mean would have to be to reproduce itself.

    Raises:
        InternalError: if going there by halves does not arrive.
    """
    rewards = bandit.means[:, None] * bandit.features
    u = torch.zeros_like(bandit.theta)
    for _ in range(10_000):
        change = _policy_at(u, bandit, teacher) @ rewards - u
        u = u + change / 2
        if change.abs().max() < 1e-14:
            return u
    raise InternalError(f"fixed point: expected to arrive, still {change.abs().max():.2g} off")


def _policy_at(u: Tensor, bandit: Bandits, teacher: Teacher) -> Tensor:
    logits = teacher.step * bandit.features @ teacher.preconditioner @ u
    return mixed_policy(logits, teacher.exploration)


def jacobian(u: Tensor, bandit: Bandits, teacher: Teacher) -> Tensor:
    """J = ∂F/∂u = (1 − γ) c Xᵀ diag(μ) (diag(π) − π πᵀ) X A; (d, d)."""
    features = bandit.features
    softmax = (teacher.step * features @ teacher.preconditioner @ u).softmax(-1)
    moved = fisher(softmax) @ features @ teacher.preconditioner
    share = (1 - teacher.exploration) * teacher.step
    return torch.as_tensor(share * (bandit.means[:, None] * features).T @ moved)


def predicted_rate(bandit: Bandits, teacher: Teacher) -> float:
    """λ: the mean difference of two runs grows as (t/s)^λ, and that of scores as (t/s)^(λ−1)/s.

    Whatever the coupling, E[G'_{t+1} − G_{t+1}] = E[G'_t − G_t] + E[F(u'_t) − F(u_t)], and near the
    fixed point the last term is J E[G'_t − G_t]/t. So eigenvectors of J grow by 1 + λ/t a round,
    and the greatest real part of an eigenvalue wins.
    """
    matrix = jacobian(fixed_point(bandit, teacher), bandit, teacher)
    # Directions that no score sees do not count.
    seen = project((bandit.features @ teacher.preconditioner).T).T
    values, vectors = torch.linalg.eig(matrix)
    visible = (seen.to(vectors.dtype) @ vectors).abs().norm(dim=0) > 1e-9
    return float(values.real[visible].max())


@dataclass(frozen=True)
class Bound:
    """E‖Δp_{t+1}‖₂ ≤ a (1 + C_b)/s · (t/s)^(b−1) · |δ|, in the form of Theorem 4.8.

    The two runs act differently in round t + 1 with a probability of at most κ ‖Δp_{t+1}‖₂: the
    uniform number must lie between cumulative probabilities, and κ = √(K(K² − 1)/12) is the norm
    of the projected (K − 1, ..., 0). Softmax being ½-Lipschitz, ‖Δp_{t+1}‖₂ ≤ (1 − γ)(c/2)‖y_t‖/t.
    Where actions differ, y gains at most m = max_{a ≠ a'} E‖Proj X A (r' x_a' − r x_a)‖. So

        E‖y_{t+1}‖ ≤ (1 + b/t) E‖y_t‖,    b = κ (1 − γ)(c/2) m,

    and a = (1 − γ)(c/2) max_a ‖Proj X A x_a‖. 1 + C_b = e^{b/s}, since Π_{i=s}^{t−1} (1 + b/i) ≤
    e^{b/s} (t/s)^b. Constants are ours; the product itself is the sharper bound that `policy`
    gives.
    """

    a: float
    b: float
    #: From the bound of the policy to that of scores: 1/((1 − γ)/2).
    scores_per_policy: float

    @classmethod
    def of(cls, bandit: Bandits, teacher: Teacher) -> Bound:
        """The constants for one bandit, features (K, d)."""
        arms = bandit.arms
        slope = (1 - teacher.exploration) * teacher.step / 2
        kappa = math.sqrt(arms * (arms**2 - 1) / 12)
        return cls(
            a=slope * float(_seen(bandit.features, bandit, teacher).max()),
            b=kappa * slope * max(_gains(bandit, teacher)),
            scores_per_policy=2 / (1 - teacher.exploration),
        )

    def policy(self, shock: int, time: float, size: float) -> float:
        """a/t · Π_{i=s}^{t−1} (1 + b/i) · |δ|."""
        return self.a * abs(size) / time * growth(self.b, shock, time)

    def policy_power(self, shock: int, time: float, size: float) -> float:
        """a (1 + C_b)/s · (t/s)^(b−1) · |δ|, with 1 + C_b = e^{b/s}."""
        start = self.a * math.exp(self.b / shock) / shock
        return start * math.pow(time / shock, self.b - 1) * abs(size)

    def scores(self, shock: int, time: float, size: float) -> float:
        """Of E‖Proj Δs_{t+1}‖₂, by the product."""
        return self.scores_per_policy * self.policy(shock, time, size)


def growth(rate: float, shock: float, time: float) -> float:
    """Π_{i=s}^{t−1} (1 + b/i), for b ≥ 0."""
    log = math.lgamma(time + rate) - math.lgamma(time)
    return math.exp(log - math.lgamma(shock + rate) + math.lgamma(shock))


def _seen(sums: Tensor, bandit: Bandits, teacher: Teacher) -> Tensor:
    """‖Proj X A g‖ of vectors g, (..., d)."""
    seen = sums @ teacher.preconditioner.T @ bandit.features.T
    return torch.as_tensor(project(seen).norm(dim=-1))


def _gains(bandit: Bandits, teacher: Teacher) -> Iterator[float]:
    # A norm is convex in the noise, so its mean is at most that of the two ends.
    ends = torch.tensor([-bandit.noise, bandit.noise], dtype=torch.float64)
    rewards = bandit.means[:, None] + ends  # (K, 2)
    sums = rewards[..., None] * bandit.features[:, None]  # (K, 2, d)
    for one, other in combinations(range(bandit.arms), 2):
        yield float(_seen(sums[one] - sums[other], bandit, teacher).mean())
