"""The loop of in-context policy optimisation: score, draw, reward, append to the history.

What a student or teacher sees of a history of t rounds is the sum of its tokens' outer products,
M_t = Σ_{i ≤ t} z_i z_iᵀ with z_i = (x_i, r_i): linear attention reads nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.errors import ConfigError
from icpo.theory.bandit import Bandits
from icpo.theory.policy import inverse_cdf, mixed_policy
from icpo.theory.random import generator, one_thread

__all__ = ["Histories", "Luck", "Round", "Scores", "play", "rounds"]

#: From moments (..., d+1, d+1), features (..., K, d) and the number of rounds to scores (..., K).
Scores = Callable[[Tensor, Tensor, "int | Tensor"], Tensor]

#: What chance contributes to a round: a uniform number that draws the action, noise of the reward.
Luck = Callable[[int], "tuple[Tensor, Tensor]"]


@dataclass(frozen=True)
class Round:
    """What a round came to."""

    #: From 1.
    number: int
    action: Tensor  # (...)
    reward: Tensor  # (...)
    #: Of the history that ends with this round.
    moments: Tensor  # (..., d+1, d+1)


def rounds(
    bandits: Bandits, scores: Scores, exploration: float, length: int, luck: Luck
) -> Iterator[Round]:
    """Plays rounds 1 to `length`, each with the policy that the rounds before it lead to."""
    features, means = bandits.features, bandits.means
    size = bandits.dimension + 1
    moments = features.new_zeros((*features.shape[:-2], size, size))
    for number in range(1, length + 1):
        policy = mixed_policy(scores(moments, features, number - 1), exploration)
        uniform, noise = luck(number)
        action = inverse_cdf(policy, uniform)
        reward = means.gather(-1, action[..., None])[..., 0] + noise
        index = action[..., None, None].expand(*action.shape, 1, features.shape[-1])
        taken = features.gather(-2, index)[..., 0, :]
        token = torch.cat([taken, reward[..., None]], -1)  # z = (x, r)
        moments = moments + token[..., :, None] * token[..., None, :]
        yield Round(number, action, reward, moments)


@dataclass(frozen=True)
class Histories:
    """Histories of T rounds, and so of every length from 1 to T."""

    bandits: Bandits
    actions: Tensor  # (N, T)
    rewards: Tensor  # (N, T)
    moments: Tensor  # (N, T, d+1, d+1): M_1 to M_T

    @property
    def length(self) -> int:
        """T."""
        return self.actions.shape[1]

    @property
    def tokens(self) -> Tensor:
        """z_i = (x_i, r_i), a column each: the prompt of the linear self-attention layer."""
        index = self.actions[..., None].expand(-1, -1, self.bandits.dimension)
        taken = self.bandits.features.gather(1, index)
        return torch.cat([taken, self.rewards[..., None]], -1).mT  # (N, d+1, T)


def play(
    bandits: Bandits, scores: Scores, exploration: float, length: int, *, seed: int
) -> Histories:
    """A history of each bandit of a batch.

    Args:
        bandits: with features of (N, K, d).
        scores: whose policy is followed.
        exploration: γ.
        length: rounds, at least 1.
        seed: of actions and noise.
    """
    if length < 1:
        raise ConfigError(f"length: expected at least 1 round, got {length!r}")
    draw = generator(seed)
    count = len(bandits.features)

    def luck(number: int) -> tuple[Tensor, Tensor]:
        both = torch.rand(2, count, generator=draw, dtype=torch.float64)
        return both[0], bandits.noise * (2 * both[1] - 1)

    with one_thread(), torch.no_grad():
        played = list(rounds(bandits, scores, exploration, length, luck))
    return Histories(
        bandits,
        actions=torch.stack([one.action for one in played], 1),
        rewards=torch.stack([one.reward for one in played], 1),
        moments=torch.stack([one.moments for one in played], 1),
    )
