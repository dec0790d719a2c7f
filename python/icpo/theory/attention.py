"""The student: one layer of linear self-attention over the tokens of a history.

The prompt for action a holds the tokens (x_i, r_i) of the history as columns, and the query
(x_a, 0) behind them. The layer is

    f(E) = E + W^PV E · (Eᵀ W^KQ E)/ρ,    ρ = t,

and the last entry of the query's column, where the reward would stand, is the score of action a.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icpo.errors import ShapeError
from icpo.theory.random import generator
from icpo.theory.teacher import Teacher, per_round

__all__ = ["LinearSelfAttention", "attend"]


class LinearSelfAttention(nn.Module):
    """Matrices W^PV (`pv`) and W^KQ (`kq`), both (d+1, d+1).

    Of `pv` only the last row, and of `kq` all but the last column have a part in scores: outputs of
    other rows are not read, and the query ends in 0.
    """

    def __init__(self, pv: Tensor, kq: Tensor) -> None:
        """Begins with copies of these matrices."""
        super().__init__()
        for name, matrix in (("pv", pv), ("kq", kq)):
            if matrix.dim() != 2 or matrix.shape != (len(kq), len(kq)) or len(matrix) < 2:
                raise ShapeError(
                    f"{name}: expected (d+1, d+1) as the other matrix, got {tuple(matrix.shape)}"
                )
        self.pv = nn.Parameter(pv.detach().clone())
        self.kq = nn.Parameter(kq.detach().clone())

    @classmethod
    def draw(
        cls, dimension: int, *, scale: float, seed: int, reads_reward: float = 1.0
    ) -> LinearSelfAttention:
        """Independent normal entries of standard deviation `scale`, and a head start.

        The head start is added to the entry of W^PV that reads rewards. Without it some starts end
        where the layer reads (w_x · Σ r_i x_i)(W_r · x_a), the best scores of a preconditioner of
        rank one: there the loss has a minimum that is not 0.
        """
        both = scale * torch.randn(
            2, dimension + 1, dimension + 1, generator=generator(seed), dtype=torch.float64
        )
        both[0, -1, -1] += reads_reward
        return cls(pv=both[0], kq=both[1])

    @classmethod
    def closed_form(cls, teacher: Teacher) -> LinearSelfAttention:
        """Parameters with which the student is the teacher, on every history (Theorem 4.2).

        W^PV reads rewards, W^KQ compares features: Σ r_i x_iᵀ (c Aᵀ) x_a / t is the teacher's
        score. The query adds nothing to the sum, since its reward is 0.
        """
        a = teacher.preconditioner
        size = len(a) + 1
        pv, kq = a.new_zeros(size, size), a.new_zeros(size, size)
        pv[-1, -1] = 1
        kq[:-1, :-1] = teacher.step * a.T
        return cls(pv=pv, kq=kq)

    def forward(self, prompt: Tensor) -> Tensor:
        """f(E) of prompts (..., d+1, t+1)."""
        attention = prompt.mT @ self.kq @ prompt / max(prompt.shape[-1] - 1, 1)
        return prompt + self.pv @ prompt @ attention

    @property
    def weights(self) -> Tensor:
        """The entries that have a part in scores, in one vector: last row of W^PV, then W^KQ."""
        return torch.cat([self.pv[-1], self.kq[:, :-1].flatten()]).detach()  # ((d+1)²,)

    @torch.no_grad()
    def set_weights(self, weights: Tensor) -> None:
        """Makes these the entries that have a part in scores; the others stay as they are."""
        size = len(self.pv)
        if weights.shape != (size * size,):
            raise ShapeError(f"weights: expected {(size * size,)}, got {tuple(weights.shape)}")
        self.pv[-1] = weights[:size]
        self.kq[:, :-1] = weights[size:].view(size, size - 1)

    def scores(self, moments: Tensor, features: Tensor, rounds: int | Tensor) -> Tensor:
        """ŝ_{t+1} of histories of `rounds` = t rounds, as `attend` has it."""
        return attend(self.pv[-1], self.kq[:, :-1], moments, features, rounds)


def attend(
    row: Tensor, matrix: Tensor, moments: Tensor, features: Tensor, rounds: int | Tensor
) -> Tensor:
    """What the layer says of one prompt for each action, without writing prompts out.

    With w the last row of W^PV and q = (x_a, 0), the score is wᵀ (M_t + q qᵀ) W^KQ q / ρ.

    Args:
        row: w, (d+1,).
        matrix: W^KQ without its last column, (d+1, d).
        moments: M_t, (..., d+1, d+1).
        features: X, (..., K, d).
        rounds: t: one number, or a tensor (...).

    Returns:
        Scores, (..., K).
    """
    asked = features @ matrix.T  # W^KQ q: (..., K, d+1)
    of_history = torch.einsum("...kd,...d->...k", asked, moments @ row)
    of_query = (features @ row[:-1]) * (features * asked[..., :-1]).sum(-1)
    return (of_history + of_query) / per_round(rounds)
