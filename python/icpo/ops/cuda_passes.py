"""Kernels in a row: passes over logits, and the loss of what they find."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from icpo import _core
from icpo.objective.config import LossConfig
from icpo.ops.checks import (
    BAD_ID,
    Looked,
    ids_check,
    raise_first,
    status_check,
    temperature_checks,
)
from icpo.ops.cuda_inputs import Job, Tokens, flat, maybe, scales_view
from icpo.ops.tensors import Batch, Temperature, view

__all__ = [
    "Rows",
    "RowsWithLoss",
    "Totals",
    "add_loss",
    "check_batch",
    "loss_of_rows",
    "overwrite",
    "read_rows",
    "row_states",
    "write_gradient",
]


class Totals:
    """The loss and the sums of one batch, in as many parts as come."""

    def __init__(self, like: Tensor, dtype: torch.dtype) -> None:
        """Takes a tensor on the device, and the dtype of the loss."""
        self.loss = like.new_empty((), dtype=dtype)
        self.sums = like.new_empty((len(_core.LOSS_SUMS),), dtype=torch.float64)
        self._started = False

    def add(self, stream: _core.CudaStream, partials: Tensor, row_counts: Tensor) -> None:
        """Adds a part. The numbers of rows are those of the whole batch."""
        stream.add_sums(
            view(partials),
            view(self.sums),
            row_counts=None if self._started else view(row_counts),
            loss=view(self.loss),
            accumulate=self._started,
        )
        self._started = True

    def settle(self) -> None:
        """Makes a batch without parts one whose sums are 0."""
        if not self._started:
            self.loss.zero_()
            self.sums.zero_()


@dataclass(frozen=True)
class Rows:
    """What a pass over logits finds, one value a row."""

    logp: Tensor  # (N,) float32
    entropy: Tensor  # (N,) float32
    saved: Tensor  # (N, 4) float64
    status: Tensor  # (N,) uint8


def row_states(
    stream: _core.CudaStream,
    logits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    first_id: int = 0,
    weights: Tensor | None = None,
) -> Tensor:  # (N, 5)
    """What a pass over logits, or over a shard of them, adds up; rows of weight 0 are not read."""
    states = ids.new_empty((len(ids), 5), dtype=torch.float64)
    stream.row_states(
        view(logits), view(ids), scales_view(scales), view(states), first_id, maybe(weights)
    )
    return states


def read_rows(
    stream: _core.CudaStream,
    logits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    rank: Tensor | None = None,
    weights: Tensor | None = None,
) -> Rows:
    """What a pass over logits finds; ranks too if there is a place for them."""
    states = row_states(stream, logits, ids, scales, weights=weights)
    rows = Rows(
        logp=ids.new_empty(ids.shape, dtype=torch.float32),
        entropy=ids.new_empty(ids.shape, dtype=torch.float32),
        saved=ids.new_empty((len(ids), 4), dtype=torch.float64),
        status=ids.new_empty(ids.shape, dtype=torch.uint8),
    )
    stream.finish_rows(
        view(states),
        view(ids),
        scales_view(scales),
        logits.shape[-1],
        logp=view(rows.logp),
        entropy=view(rows.entropy),
        rank=maybe(rank),
        saved=view(rows.saved),
        status=view(rows.status),
    )
    return rows


def write_gradient(
    stream: _core.CudaStream,
    logits: Tensor,
    dlogits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    saved: Tensor,
    d_logp: Tensor,
    d_entropy: Tensor,
    leave: Tensor | None = None,
    first_id: int = 0,
) -> None:
    """The gradient of logits; rows where `leave` is not 0 stay as they are."""
    coefficients = ids.new_empty((len(ids), 4), dtype=torch.float32)
    stream.row_gradients(
        view(saved.reshape(-1, 4).contiguous()),
        view(flat(d_logp, torch.float64)),
        view(flat(d_entropy, torch.float64)),
        scales_view(scales),
        view(coefficients),
    )
    stream.gradient(
        view(logits),
        view(dlogits),
        view(ids),
        view(coefficients),
        scales_view(scales),
        status=maybe(leave),
        first_id=first_id,
    )


def add_loss(
    stream: _core.CudaStream,
    tokens: Tokens,
    config: LossConfig,
    totals: Totals,
    *,
    logp: Tensor,
    entropy: Tensor | None = None,
    d_logp: Tensor | None = None,
    d_entropy: Tensor | None = None,
    row_status: Tensor | None = None,
) -> Tensor:
    """Adds the loss of log-probabilities, writes its gradients, and returns (N,) statuses."""
    count = len(tokens.weights)
    blocks = max(1, -(-count // _core.CUDA_BLOCK_TOKENS))
    partials = logp.new_empty((blocks, len(_core.LOSS_SUMS)), dtype=torch.float64)
    status = logp.new_empty((count,), dtype=torch.uint8)
    stream.policy_loss(
        tokens.views(),
        view(logp),
        config,
        entropy=maybe(entropy),
        d_logp=maybe(d_logp),
        d_entropy=maybe(d_entropy),
        row_status=maybe(row_status),
        status=view(status),
        partials=view(partials),
    )
    totals.add(stream, partials, tokens.row_counts)
    return status


def check_batch(job: Job, temperature: Temperature, batch: Batch, vocabulary: int) -> None:
    """Checks everything that can be before a logit is touched."""
    tokens = job.tokens
    # The loss of log-probabilities that are fine, for what it finds in the batch.
    logp = torch.zeros_like(tokens.weights)
    totals = Totals(logp, torch.float32)
    status = add_loss(job.stream, tokens, job.config, totals, logp=logp, entropy=logp)
    raise_first(
        [
            *tokens.checks(batch, job.config),
            *temperature_checks(temperature, tokens.valid),
            ids_check(job.ids, vocabulary, tokens.valid, tokens.place),
            status_check(status, Looked(tokens.place, tokens.batch.named())),
        ]
    )


@dataclass(frozen=True)
class RowsWithLoss(Rows):
    """The same with the loss's gradient in log-probabilities and entropies, (N,) float64."""

    d_logp: Tensor
    d_entropy: Tensor


def loss_of_rows(job: Job, logits: Tensor, totals: Totals) -> RowsWithLoss:
    """The loss of logits. Statuses are those of valid tokens."""
    rows = read_rows(job.stream, logits, job.ids, job.scales, weights=job.tokens.weights)
    d_logp, d_entropy = (torch.empty_like(job.tokens.weights) for _ in range(2))
    # Not rounded: float32 would move the ratio of an unlikely token by 1e-6.
    logp, entropy = rows.saved[:, 2:].T.contiguous()
    status = add_loss(
        job.stream,
        job.tokens,
        job.config,
        totals,
        logp=logp,
        entropy=entropy,
        d_logp=d_logp,
        d_entropy=d_entropy,
        row_status=rows.status,
    )
    return RowsWithLoss(rows.logp, rows.entropy, rows.saved, status, d_logp, d_entropy)


def overwrite(job: Job, logits: Tensor, totals: Totals) -> None:
    """The loss of logits, which become their gradient, by the kernel that holds a row if it fits.

    Raises if a row of logits is at fault and that is to be checked; the row is left as it was.
    """
    obstacle = job.stream.fused_obstacle(view(logits), view(logits))
    status = (_hold_rows if obstacle is None else _pass_twice)(job, logits, totals)
    if job.check:
        raise_first([status_check(status, job.looked(logits))])


def _hold_rows(job: Job, logits: Tensor, totals: Totals) -> Tensor:
    logp, entropy = (torch.empty_like(job.tokens.weights) for _ in range(2))
    status = job.ids.new_empty(job.ids.shape, dtype=torch.uint8)
    job.stream.fused(
        job.tokens.views(),
        view(logits),
        view(logits),
        view(job.ids),
        scales_view(job.scales),
        job.config,
        logp=view(logp),
        entropy=view(entropy),
        status=view(status),
        leave_unsound=job.check,
    )
    add_loss(job.stream, job.tokens, job.config, totals, logp=logp, entropy=entropy)
    return status


def _pass_twice(job: Job, logits: Tensor, totals: Totals) -> Tensor:
    rows = loss_of_rows(job, logits, totals)
    leave = rows.status if job.check else (rows.status == BAD_ID).to(torch.uint8)
    write_gradient(
        job.stream,
        logits,
        logits,
        job.ids,
        job.scales,
        rows.saved,
        rows.d_logp,
        rows.d_entropy,
        leave,
    )
    return rows.status
