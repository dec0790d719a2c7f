"""Linear bandits: K actions with features, and a mean reward that is linear in them (section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.errors import ConfigError, ShapeError
from icpo.theory.random import generator, on_sphere

__all__ = ["Bandits", "draw_bandits"]


@dataclass(frozen=True)
class Bandits:
    """One bandit, or a batch of them.

    Taking action a brings the reward ⟨θ, x_a⟩ and noise, which is uniform in [−noise, noise].
    """

    features: Tensor  # (..., K, d)
    theta: Tensor  # (..., d)
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Raises ShapeError or ConfigError for what is no bandit."""
        if self.features.dim() < 2 or self.features.shape[-2] < 2:
            raise ShapeError(
                "features: expected (..., K, d) with K of at least 2, "
                f"got {tuple(self.features.shape)}"
            )
        expected = (*self.features.shape[:-2], self.features.shape[-1])
        if self.theta.shape != expected:
            raise ShapeError(f"theta: expected {expected}, got {tuple(self.theta.shape)}")
        if not 0 <= self.noise < float("inf"):
            raise ConfigError(f"noise: expected a finite number from 0, got {self.noise!r}")

    @property
    def means(self) -> Tensor:
        """Mean rewards μ = X θ."""
        return torch.einsum("...kd,...d->...k", self.features, self.theta)  # (..., K)

    @property
    def dimension(self) -> int:
        """Of features."""
        return self.features.shape[-1]

    @property
    def arms(self) -> int:
        """How many actions there are."""
        return self.features.shape[-2]


def draw_bandits(
    count: int, arms: int, covariance: Tensor, *, noise: float, seed: int
) -> Bandits:  # features (count, K, d)
    """Bandits whose features have mean 0 and a given covariance, and whose means have variance 1.

    Features lie on the ellipsoid √d L u with u on the unit sphere and L Lᵀ the covariance, so they
    are bounded, as the theory asks.

    Args:
        count: of bandits.
        arms: actions of each.
        covariance: of features, positive definite; (d, d).
        noise: half the width of the noise of rewards.
        seed: of everything that is drawn.
    """
    factor = _cholesky(covariance)
    dimension = len(factor)
    draw = generator(seed)
    sphere = on_sphere((count, arms, dimension), draw)
    direction = on_sphere((count, dimension), draw)
    return Bandits(
        features=dimension**0.5 * sphere @ factor.T,
        theta=torch.linalg.solve_triangular(factor.T, direction.T, upper=True).T,
        noise=noise,
    )


def _cholesky(covariance: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed or not torch.allclose(covariance, covariance.T):
        raise ConfigError(f"covariance: expected a positive definite matrix, got {covariance}")
    return torch.as_tensor(factor)
