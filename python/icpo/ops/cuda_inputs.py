"""What the kernels take of a batch: one value a token, contiguous, on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from icpo import _core
from icpo.objective.config import LossConfig
from icpo.ops.checks import (
    Check,
    Looked,
    check_denominator,
    check_given,
    mask_checks,
    packing_checks,
)
from icpo.ops.rows import PackedRows, TokenRows, token_rows
from icpo.ops.tensors import Batch, Temperature, view
from icpo.ops.weights import row_counts, token_weights

__all__ = ["Job", "Tokens", "flat", "flat_ids", "maybe", "scales_of", "scales_view", "tokens_of"]


@dataclass(frozen=True)
class Tokens:
    """A batch as the kernels take it: one value a token, contiguous."""

    rows: TokenRows
    #: Place of the first of these tokens among those of the rows.
    first: int
    #: (N,) bool.
    valid: Tensor
    #: (N,) float64.
    weights: Tensor
    #: (2,) float64.
    row_counts: Tensor
    #: All (N,), float32 or float64 or bool.
    batch: Batch

    def views(self) -> dict[str, _core.TensorView | None]:
        """The tensors by the names that `_core.CudaStream` knows."""
        batch = self.batch
        tensors = {
            "weights": self.weights,
            "old_logp": batch.old_logp,
            "advantage": batch.advantage,
            "expert": batch.expert_mask,
            "behavior_logp": batch.behavior_logp,
            "ref_logp": batch.ref_logp,
        }
        return {name: maybe(tensor) for name, tensor in tensors.items()}

    def part(self, first: int, count: int) -> Tokens:
        """Some of the tokens."""
        some = slice(first, first + count)

        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[some]

        batch = self.batch
        return replace(
            self,
            first=self.first + first,
            valid=self.valid[some],
            weights=self.weights[some],
            batch=Batch(
                batch.old_logp[some],
                batch.advantage[some],
                cut(batch.loss_mask),
                cut(batch.expert_mask),
                cut(batch.behavior_logp),
                cut(batch.ref_logp),
                None,
            ),
        )

    def place(self, token: int) -> str:
        """Where a token stands, for messages."""
        return self.rows.place(self.first + token)

    def checks(self, given: Batch, config: LossConfig) -> list[Check]:
        """Of masks and offsets as the caller gave them."""
        checks = []
        for argument in ("loss_mask", "expert_mask"):
            mask = given.named()[argument]
            if mask is not None:
                checks += mask_checks(argument, mask)
        if isinstance(self.rows, PackedRows):
            checks += packing_checks(self.rows, len(self.weights), given, config, self.valid)
        return checks


def tokens_of(
    batch: Batch,
    shape: torch.Size,
    dtype: torch.dtype,
    config: LossConfig,
    denominator: float | None,
) -> Tokens:
    """The tokens of a batch whose values a token have this shape."""
    check_given(config, batch)
    check_denominator(denominator)
    count = math.prod(shape)
    rows = token_rows(shape, batch.cu_seqlens, batch.old_logp.device)

    def each(tensor: Tensor) -> Tensor:
        """One value a token, from one a token or one a row."""
        return tensor.reshape(-1) if tensor.numel() == count else rows.spread(tensor)

    def mask(tensor: Tensor) -> Tensor:
        return each(tensor if tensor.dtype == torch.bool else tensor != 0).contiguous()

    def floats(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else flat(each(tensor), dtype)

    if batch.loss_mask is None:
        valid = batch.old_logp.new_ones((count,), dtype=torch.bool)
    else:
        valid = mask(batch.loss_mask)
    expert = None if batch.expert_mask is None else mask(batch.expert_mask)
    per_token = Batch(
        flat(batch.old_logp, dtype),
        flat(each(batch.advantage), dtype),
        valid,
        expert,
        floats(batch.behavior_logp),
        floats(batch.ref_logp),
        None,
    )
    weights = token_weights(rows, valid, config, denominator)
    return Tokens(rows, 0, valid, weights, row_counts(rows, valid, expert), per_token)


@dataclass(frozen=True)
class Job:
    """Everything about a fused loss but the logits."""

    stream: _core.CudaStream
    #: (N,) int64.
    ids: Tensor
    #: log2(e)/τ: one number, or (N,) float32.
    scales: float | Tensor
    tokens: Tokens
    config: LossConfig
    check: bool

    def part(self, first: int, count: int) -> Job:
        """The same for some of the tokens."""
        some, scales = slice(first, first + count), self.scales
        return replace(
            self,
            ids=self.ids[some],
            scales=scales[some] if isinstance(scales, Tensor) else scales,
            tokens=self.tokens.part(first, count),
        )

    def looked(self, logits: Tensor) -> Looked:
        """What statuses speak of."""
        tokens = self.tokens
        return Looked(tokens.place, tokens.batch.named(), logits, self.ids)


def flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The values of a tensor in order, (N,)."""
    return tensor.detach().to(dtype).reshape(-1).contiguous()


def flat_ids(ids: Tensor) -> Tensor:
    """Token ids in order, (N,) int64."""
    return flat(ids, torch.int64)


def scales_of(temperature: Temperature) -> float | Tensor:
    """log2(e)/τ, in double."""
    per_unit = math.log2(math.e)
    if temperature.each is None:
        return per_unit / temperature.number
    return flat(per_unit / temperature.each.to(torch.float64), torch.float64)


def scales_view(scales: float | Tensor) -> float | _core.TensorView:
    """The same as the core takes it."""
    return view(scales) if isinstance(scales, Tensor) else scales


def maybe(tensor: Tensor | None) -> _core.TensorView | None:
    """The memory of a tensor that may be absent."""
    return None if tensor is None else view(tensor)
