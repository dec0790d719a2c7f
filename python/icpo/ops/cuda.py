"""The operators on CUDA devices: which kernels make up which operator.

Memory comes from torch, scratch included; launches go to torch's current stream. Without a check
nothing waits for the device, no content of a tensor makes a kernel read out of bounds, and what is
wrong shows as NaN. With one, an operator looks at flags at its end; in place also at its beginning,
since what is wrong with the batch should not cost the logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import ConfigError, MissingArgumentError
from icpo.objective.config import LossConfig
from icpo.ops.checks import (
    Looked,
    check_number,
    index_in,
    mask_checks,
    raise_first,
    rewards_check,
    spelled,
    status_check,
    temperature_checks,
)
from icpo.ops.cuda_inputs import Job, flat, flat_ids, scales_of, tokens_of
from icpo.ops.cuda_passes import (
    Totals,
    add_loss,
    check_batch,
    loss_of_rows,
    overwrite,
    read_rows,
    row_states,
    write_gradient,
)
from icpo.ops.products import add_product
from icpo.ops.streams import Streams
from icpo.ops.tensors import Batch, Temperature, view, working_dtype

__all__ = ["CudaBackend"]


class CudaBackend:
    """The operators on CUDA devices."""

    def __init__(self, streams: Streams) -> None:
        """Takes where kernels are launched."""
        self._streams = streams

    def logp_entropy(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, check: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        stream, shape = self._open(logits, check), ids.shape
        check_number(temperature)
        ids = flat_ids(ids)
        rank = ids.new_empty(ids.shape)
        rows = read_rows(stream, logits, ids, scales_of(temperature), rank)
        if check:
            looked = Looked(index_in(shape), {}, logits, ids)
            raise_first([*temperature_checks(temperature, None), status_check(rows.status, looked)])
        return (
            rows.logp.view(shape),
            rows.entropy.view(shape),
            rank.view(shape),
            rows.saved.view(*shape, 4),
        )

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
        stream = self._open(logits)
        dlogits = logits.new_empty(logits.shape)
        scales = scales_of(temperature)
        write_gradient(stream, logits, dlogits, flat_ids(ids), scales, saved, d_logp, d_entropy)
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
        scales = scales_of(temperature)
        write_gradient(
            self._open(logits), logits, logits, flat_ids(ids), scales, saved, d_logp, d_entropy
        )

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
        stream, dtype = self._open(logp, check), working_dtype(logp)
        if entropy is None and config.entropy_coef != 0.0:
            raise MissingArgumentError(f"entropy: entropy_coef is {spelled(config.entropy_coef)}")
        tokens = tokens_of(batch, logp.shape, dtype, config, denominator)
        values = {"logp": flat(logp, dtype)}
        if entropy is not None:
            values["entropy"] = flat(entropy, dtype)
        d_logp, d_entropy = (logp.new_empty(logp.shape, dtype=dtype) for _ in range(2))
        totals = Totals(logp, dtype)
        status = add_loss(
            stream, tokens, config, totals, **values, d_logp=d_logp, d_entropy=d_entropy
        )
        if check:
            looked = Looked(tokens.place, {**tokens.batch.named(), **values})
            raise_first([*tokens.checks(batch, config), status_check(status, looked)])
        return totals.loss, totals.sums, d_logp, d_entropy

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
        shape, totals = ids.shape, Totals(logits, torch.float32)
        job = self._job(logits, ids, temperature, batch, config, denominator, check)
        rows = loss_of_rows(job, logits, totals)
        if check:
            raise_first(
                [
                    *job.tokens.checks(batch, config),
                    *temperature_checks(temperature, job.tokens.valid),
                    status_check(rows.status, job.looked(logits)),
                ]
            )
        saved, d_logp = rows.saved.view(*shape, 4), rows.d_logp.view(shape)
        return totals.loss, totals.sums, saved, d_logp, rows.d_entropy.view(shape)

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
        totals = Totals(logits, torch.float32)
        job = self._job(logits, ids, temperature, batch, config, denominator, check)
        if check:
            check_batch(job, temperature, batch, logits.shape[-1])
        overwrite(job, logits, totals)
        return totals.loss, totals.sums

    def chunked_loss(
        self,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> CudaChunkedLoss:
        """See `Backend`."""
        job = self._job(ids, ids, temperature, batch, config, denominator, check)
        return CudaChunkedLoss(job, temperature, batch)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """See `Backend`."""
        add_product(total, a, b)

    def scale_(self, values: Tensor, factor: Tensor) -> None:
        """See `Backend`."""
        rows = values if values.dim() in (2, 3) else values.view(1, -1)
        self._open(values).scale(view(rows), view(factor.to(torch.float32)))

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
        stream, rewards = self._open(rewards, check), flat(rewards, torch.float64)
        given = {"expert_mask": expert_mask, "keep_mask": keep_mask}
        masks = {argument: mask for argument, mask in given.items() if mask is not None}
        flags = {argument: view((mask != 0).contiguous()) for argument, mask in masks.items()}
        advantages = torch.empty_like(rewards)
        status = rewards.new_empty(rewards.shape, dtype=torch.uint8)
        stream.group_advantages(
            view(rewards),
            view(flat(group_ids, torch.int64)),
            view(advantages),
            expert=flags.get("expert_mask"),
            keep=flags.get("keep_mask"),
            status=view(status),
            unbiased=std == "unbiased",
            on_policy=baseline == "on_policy",
            eps=eps,
        )
        if check:
            odd = [found for name, mask in masks.items() for found in mask_checks(name, mask)]
            raise_first([*odd, rewards_check(status, rewards)])
        return advantages

    def vocab_state(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, first_id: int
    ) -> Tensor:
        """See `Backend`."""
        check_number(temperature)
        states = row_states(
            self._open(logits), logits, flat_ids(ids), scales_of(temperature), first_id
        )
        return states[:, :4].contiguous().view(*ids.shape, 4)

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
        check_number(temperature)
        dlogits = logits.new_empty(logits.shape)
        write_gradient(
            self._open(logits),
            logits,
            dlogits,
            flat_ids(ids),
            scales_of(temperature),
            saved,
            d_logp,
            d_entropy,
            first_id=first_id,
        )
        return dlogits

    def inverse(self, temperature: Temperature) -> float | Tensor:
        """See `Backend`."""
        scales = scales_of(temperature)
        if isinstance(scales, Tensor) and temperature.each is not None:
            rounded = scales.view(temperature.each.shape).to(torch.float32)  # as the passes do
            return rounded.to(torch.float64) * math.log(2)
        return torch.tensor(scales, dtype=torch.float32, device="cpu").item() * math.log(2)

    def _open(self, tensor: Tensor, check: bool = False) -> _core.CudaStream:
        """The stream for the device that holds a tensor."""
        if check and self._streams.is_capturing(tensor.device):
            raise ConfigError(
                "check: expected False while a CUDA graph is captured, which can not wait for the "
                "device as a check does, got True"
            )
        return self._streams.current(tensor.device)

    def _job(
        self,
        placed: Tensor,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> Job:
        stream = self._open(placed, check)
        check_number(temperature)
        dtype = working_dtype(batch.old_logp)
        tokens = tokens_of(batch, ids.shape, dtype, config, denominator)
        return Job(stream, flat_ids(ids), scales_of(temperature), tokens, config, check)


class CudaChunkedLoss:
    """A loss on a CUDA device whose logits come in chunks. Sums stay on the device."""

    def __init__(self, job: Job, temperature: Temperature, batch: Batch) -> None:
        """Takes all but the logits."""
        self._job, self._totals = job, Totals(job.ids, torch.float32)
        self._temperature, self._batch = temperature, batch

    def add(self, logits: Tensor, first: int) -> None:
        """See `ChunkedLoss`."""
        if self._job.check and first == 0:
            check_batch(self._job, self._temperature, self._batch, logits.shape[-1])
        overwrite(self._job.part(first, len(logits)), logits, self._totals)

    def result(self) -> tuple[Tensor, Tensor]:
        """See `ChunkedLoss`."""
        self._totals.settle()
        return self._totals.loss, self._totals.sums
