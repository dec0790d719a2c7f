"""Pretraining the student on lessons of the teacher, with gradients of the whole batch.

Scores are linear in each of the two matrices and the teacher's are among those that the student can
give, so the least loss is 0. Gradient descent comes near it by a constant factor a step; the
Gauss-Newton steps of Levenberg and Marquardt square what is left, once they are near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.errors import ConfigError, NonFiniteError
from icpo.theory.attention import LinearSelfAttention, attend
from icpo.theory.matching import Lessons, fisher_residual, loss
from icpo.theory.random import one_thread

__all__ = ["Descent", "Polish", "identified", "linearised", "pretrain"]

#: Told the number of steps that are done, 0 before the first.
Watch = Callable[[int], object]


@dataclass(frozen=True)
class Descent:
    """Gradient descent with momentum."""

    steps: int = 2000
    rate: float = 0.005
    momentum: float = 0.95

    def __post_init__(self) -> None:
        """Raises ConfigError for settings outside their range."""
        if self.steps < 0:
            raise ConfigError(f"steps: expected at least 0, got {self.steps!r}")
        if not self.rate > 0:
            raise ConfigError(f"rate: expected a positive number, got {self.rate!r}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum: expected from 0 to below 1, got {self.momentum!r}")


@dataclass(frozen=True)
class Polish:
    """Steps of Levenberg and Marquardt, that end when the loss can not be lessened any more."""

    steps: int = 50

    def __post_init__(self) -> None:
        """Raises ConfigError for settings outside their range."""
        if self.steps < 0:
            raise ConfigError(f"steps: expected at least 0, got {self.steps!r}")


def pretrain(
    student: LinearSelfAttention,
    lessons: Lessons,
    descent: Descent = Descent(),
    polish: Polish = Polish(),
    watch: Watch | None = None,
) -> None:
    """Trains `student` in place: first `descent`, then `polish`.

    Descent comes first because Gauss-Newton steps from a random place may end at a saddle.

    Raises:
        NonFiniteError: if descent diverges.
    """
    with one_thread():
        _descend(student, lessons, descent, watch)
        _polish(student, lessons, polish, watch, descent.steps)


def _descend(
    student: LinearSelfAttention, lessons: Lessons, how: Descent, watch: Watch | None
) -> None:
    optimizer = torch.optim.SGD(student.parameters(), lr=how.rate, momentum=how.momentum)
    _tell(watch, 0)
    for step in range(1, how.steps + 1):
        optimizer.zero_grad()
        now = loss(student.scores, lessons)
        if not torch.isfinite(now):
            raise NonFiniteError(f"loss: expected a number in step {step}, got {now.item()}")
        now.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _tell(watch, step)


def _polish(
    student: LinearSelfAttention, lessons: Lessons, how: Polish, watch: Watch | None, done: int
) -> None:
    damping = 1e-3
    for step in range(1, how.steps + 1):
        residual, jacobian = linearised(student, lessons)
        before = student.weights
        scale = jacobian.square().sum(0).mean()
        least = residual.square().sum()
        while damping < 1e9:
            change = _damped_solution(jacobian, residual, damping * scale)
            student.set_weights(before - change)
            if lessons.residual(student.scores).square().sum() < least:
                damping = max(damping / 10, 1e-18)
                break
            damping *= 10
        else:
            student.set_weights(before)
            return
        _tell(watch, done + step)


def _damped_solution(jacobian: Tensor, residual: Tensor, damping: Tensor) -> Tensor:
    # By least squares of the stacked system: normal equations would lose half of the digits.
    size = jacobian.shape[1]
    rows = torch.cat([jacobian, damping.sqrt() * torch.eye(size, dtype=jacobian.dtype)])
    values = torch.cat([residual, residual.new_zeros(size)])
    return torch.as_tensor(torch.linalg.lstsq(rows, values[:, None]).solution[:, 0])


def identified(student: LinearSelfAttention, lessons: Lessons) -> tuple[int, int]:
    """How many directions of parameters the lessons fix at this student, and how many they could.

    One of those that matter is never fixed: W^PV may be multiplied by what W^KQ is divided by.
    """
    _, jacobian = linearised(student, lessons)
    return int(torch.linalg.matrix_rank(jacobian)), len(student.weights) - 1


def linearised(student: LinearSelfAttention, lessons: Lessons) -> tuple[Tensor, Tensor]:
    """Residuals (N·T·K,), and their derivatives by the student's weights.

    Scores are linear in either matrix. So the derivative in a direction is what the scores are with
    that direction in the matrix's place.
    """
    size = len(student.pv)
    row, matrix = student.pv[-1].detach(), student.kq[:, :-1].detach()

    def weighed(row: Tensor, matrix: Tensor) -> Tensor:
        scores = attend(row, matrix, lessons.moments, lessons.features, lessons.rounds)
        return fisher_residual(scores, lessons.policy).flatten()

    directions = torch.eye(size * (size - 1), dtype=row.dtype).view(-1, size, size - 1)
    columns = [weighed(one, matrix) for one in torch.eye(size, dtype=row.dtype)]
    columns += [weighed(row, one) for one in directions]
    return lessons.residual(student.scores).detach().flatten(), torch.stack(columns, 1)


def _tell(watch: Watch | None, done: int) -> None:
    if watch is not None:
        watch(done)
