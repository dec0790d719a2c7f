"""The operators on the CPU: the core on torch's own memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import NonFiniteError
from icpo.objective.config import LossConfig
from icpo.ops import cpu_shard
from icpo.ops.tensors import Batch, Temperature, view, working_dtype

__all__ = ["CpuBackend"]

#: Outputs of a fused loss: dtype, and values a token where more than one.
_FUSED_OUTPUTS = {
    "logp": (torch.float32, ()),
    "entropy": (torch.float32, ()),
    "saved": (torch.float64, (4,)),
    "d_logp": (torch.float64, ()),
    "d_entropy": (torch.float64, ()),
}


class CpuBackend:
    """The operators on the CPU."""

    def logp_entropy(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, check: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        logp, entropy = (ids.new_empty(ids.shape, dtype=torch.float32) for _ in range(2))
        rank = ids.new_empty(ids.shape, dtype=torch.int64)
        saved = ids.new_empty((*ids.shape, 4), dtype=torch.float64)
        _core.logp_entropy(
            view(logits),
            _ids(ids),
            _temperature(temperature),
            check,
            logp=view(logp),
            entropy=view(entropy),
            rank=view(rank),
            saved=view(saved),
        )
        return logp, entropy, rank, saved

    def logp_entropy_backward(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        saved: Tensor,
        d_logp: Tensor,
        d_entropy: Tensor,
    ) -> Tensor:
        """See `Backend`."""
        dlogits = logits.new_empty(logits.shape)
        _core.logp_entropy_backward(
            view(logits),
            _ids(ids),
            _temperature(temperature),
            saved=view(saved.contiguous()),
            d_logp=view(d_logp.contiguous()),
            d_entropy=view(d_entropy.contiguous()),
            dlogits=view(dlogits),
        )
        return dlogits

    def logp_entropy_backward_(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        saved: Tensor,
        d_logp: Tensor,
        d_entropy: Tensor,
    ) -> None:
        """See `Backend`."""
        if logits.dim() == 2:
            ids, saved, d_logp, d_entropy = (
                tensor.unsqueeze(0) for tensor in (ids, saved, d_logp, d_entropy)
            )
            logits, each = logits.unsqueeze(0), temperature.each
            temperature = replace(temperature, each=None if each is None else each.unsqueeze(0))
        # The core keeps logits and gradient apart: some rows at a time have theirs made beside.
        for some in _row_blocks(ids.shape, logits.shape[-1]):
            each = temperature.each
            heat = replace(temperature, each=None if each is None else each[some])
            per_token = (saved[some], d_logp[some], d_entropy[some])
            rows = logits[some]
            rows.copy_(self.logp_entropy_backward(rows, ids[some], heat, *per_token))

    def policy_loss(
        self,
        logp: Tensor,
        entropy: Tensor | None,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        dtype = working_dtype(logp)
        d_logp, d_entropy = (logp.new_empty(logp.shape, dtype=dtype) for _ in range(2))
        loss, sums = _core.policy_loss(
            _batch(batch, logp.shape, dtype, config, denominator),
            view(logp.detach().to(dtype).contiguous()),
            config,
            check,
            entropy=None if entropy is None else view(entropy.detach().to(dtype).contiguous()),
            d_logp=view(d_logp),
            d_entropy=view(d_entropy),
        )
        return _scalar(loss, dtype), _sums(sums), d_logp, d_entropy

    def fused_policy_loss(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        loss, sums, outputs = _fused(
            logits, ids, temperature, batch, config, denominator, check, in_place=False
        )
        return loss, sums, outputs["saved"], outputs["d_logp"], outputs["d_entropy"]

    def fused_policy_loss_(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        loss, sums, _ = _fused(
            logits, ids, temperature, batch, config, denominator, check, in_place=True
        )
        return loss, sums

    def chunked_loss(
        self,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> CpuChunkedLoss:
        """See `Backend`."""
        return CpuChunkedLoss(ids, temperature, batch, config, denominator, check)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """See `Backend`."""
        total.addmm_(a.t().to(torch.float32), b.to(torch.float32))

    def scale_(self, values: Tensor, factor: Tensor) -> None:
        """See `Backend`."""
        if factor.item() != 1.0:
            values.mul_(factor.item())

    def group_advantages(
        self,
        rewards: Tensor,
        group_ids: Tensor,
        expert_mask: Tensor | None,
        keep_mask: Tensor | None,
        std: str,
        baseline: str,
        eps: float,
        check: bool,
    ) -> Tensor:
        """See `Backend`."""
        groups = group_ids.to(torch.int64)
        no, yes = (torch.full_like(rewards, flag, dtype=torch.bool) for flag in (False, True))
        expert = no if expert_mask is None else _mask("expert_mask", expert_mask)
        keep = yes if keep_mask is None else _mask("keep_mask", keep_mask)
        hopeless = no
        if not check:
            bad = keep & ~rewards.isfinite()
            hopeless = keep & torch.isin(groups, groups[bad])
        advantages = torch.empty_like(rewards)
        _core.group_advantages(
            view(rewards.masked_fill(hopeless, 0.0).contiguous()),
            view(groups.contiguous()),
            view(expert),
            view(keep),
            std=std,
            baseline=baseline,
            eps=eps,
            out=view(advantages),
        )
        return advantages.masked_fill_(hopeless, torch.nan)

    def vocab_state(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, first_id: int
    ) -> Tensor:
        """See `Backend`."""
        local, here = cpu_shard.local_ids(ids, first_id, logits.shape[-1])
        _, _, _, saved = self.logp_entropy(logits, local, temperature, False)
        return cpu_shard.state(logits, local, here, saved, temperature)

    def vocab_state_backward(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        first_id: int,
        saved: Tensor,
        d_logp: Tensor,
        d_entropy: Tensor,
    ) -> Tensor:
        """See `Backend`."""
        local, here = cpu_shard.local_ids(ids, first_id, logits.shape[-1])
        dlogits = self.logp_entropy_backward(logits, local, temperature, saved, d_logp, d_entropy)
        return cpu_shard.with_first_token(
            dlogits, logits, here, saved, d_logp, d_entropy, temperature
        )

    def inverse(self, temperature: Temperature) -> float | Tensor:
        """See `Backend`."""
        return cpu_shard.inverse(temperature)


class CpuChunkedLoss:
    """A loss on the CPU whose logits come in chunks."""

    def __init__(
        self,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> None:
        """Takes all but the logits."""
        dtype = working_dtype(batch.old_logp)
        self._batch = _batch(batch, ids.shape, dtype, config, denominator)
        self._ids, self._temperature = _ids(ids), _temperature(temperature)
        self._config, self._check = config, check
        self._totals = _sums(self._batch["weights"].row_sums())

    def add(self, logits: Tensor, first: int) -> None:
        """See `ChunkedLoss`."""
        _, sums = _core.fused_chunk(
            self._batch,
            view(logits),
            first,
            self._ids,
            self._temperature,
            self._config,
            self._check,
        )
        self._totals += _sums(sums)

    def result(self) -> tuple[Tensor, Tensor]:
        """See `ChunkedLoss`."""
        terms = ("loss_policy", "loss_kl", "loss_entropy", "loss_sft")
        loss = sum(self._totals[_core.LOSS_SUMS.index(term)].item() for term in terms)
        return _scalar(loss, torch.float32), self._totals


def _row_blocks(shape: torch.Size, vocabulary: int) -> Iterator[tuple[slice, slice]]:
    """Parts of (B, T) rows: enough of them for all threads, and few enough to stay small."""
    many = max(4 * _core.num_threads(), 2**20 // vocabulary)
    rows, tokens = shape
    whole = max(1, many // max(1, tokens))
    for row in range(0, rows, whole):
        for token in range(0, tokens, many):
            yield slice(row, row + whole), slice(token, token + many)


def _fused(
    logits: Tensor,
    ids: Tensor,
    temperature: Temperature,
    batch: Batch,
    config: LossConfig,
    denominator: float | None,
    check: bool,
    *,
    in_place: bool,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The loss, the sums, and a tensor for each of `_FUSED_OUTPUTS`."""
    outputs = {
        name: ids.new_empty((*ids.shape, *extra), dtype=kind)
        for name, (kind, extra) in _FUSED_OUTPUTS.items()
    }
    loss, sums = _core.fused_policy_loss(
        _batch(batch, ids.shape, working_dtype(batch.old_logp), config, denominator),
        view(logits),
        _ids(ids),
        _temperature(temperature),
        config,
        check,
        in_place=in_place,
        outputs={name: view(output) for name, output in outputs.items()},
    )
    return _scalar(loss, torch.float32), _sums(sums), outputs


def _batch(
    batch: Batch,
    shape: torch.Size,
    dtype: torch.dtype,
    config: LossConfig,
    denominator: float | None,
) -> dict[str, Any]:
    """A batch as the core takes it; whoever holds the result keeps its memory alive."""
    mask, expert, offsets = batch.loss_mask, batch.expert_mask, batch.cu_seqlens
    if mask is None:
        mask = batch.old_logp.new_ones(shape, dtype=torch.bool)

    def cast(tensor: Tensor | None) -> _core.TensorView | None:
        return None if tensor is None else view(tensor.detach().to(dtype).contiguous())

    return {
        "weights": _core.TokenWeights(
            view(_mask("loss_mask", mask)),
            None if expert is None else view(_mask("expert_mask", expert)),
            config,
            shape=(shape[0], shape[1]) if len(shape) == 2 else None,
            cu_seqlens=None if offsets is None else view(offsets.to(torch.int64).contiguous()),
            denominator=denominator,
        ),
        "old_logp": cast(batch.old_logp),
        "advantage": cast(batch.advantage),
        "behavior_logp": cast(batch.behavior_logp),
        "ref_logp": cast(batch.ref_logp),
    }


def _mask(argument: str, mask: Tensor) -> Tensor:
    """A contiguous mask, from booleans or from zeros and ones."""
    if mask.dtype != torch.bool:
        flags = mask != 0
        odd = mask != flags.to(mask.dtype)  # True for NaN as well
        if bool(odd.any()):
            place = odd.nonzero()[0].tolist()
            raise NonFiniteError(
                f"{argument}{place}: expected True or False (or 1 or 0), got "
                f"{mask[tuple(place)].item()}"
            )
        mask = flags
    return mask.contiguous()


def _ids(ids: Tensor) -> _core.TensorView:
    return view(ids.to(torch.int64).contiguous())


def _temperature(temperature: Temperature) -> float | _core.TensorView:
    if temperature.each is None:
        return temperature.number
    return view(temperature.each.to(torch.float64).contiguous())


def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor, whatever the default dtype and device are."""
    return torch.tensor(value, dtype=dtype, device="cpu")


def _sums(sums: list[float]) -> Tensor:
    """The sums of `LossMetrics`, (K,) float64."""
    return torch.tensor(sums, dtype=torch.float64, device="cpu")
