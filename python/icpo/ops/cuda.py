"""The operators on CUDA devices: which kernels make up which operator.

Memory comes from torch, scratch included; launches go to torch's current stream. Without a check
nothing waits for the device, no content of a tensor makes a kernel read out of bounds, and what is
wrong shows as NaN. With one, an operator looks at flags at its end; in place also at its beginning,
since what is wrong with the batch should not cost the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import ConfigError, MissingArgumentError
from icpo.objective.config import LossConfig
from icpo.ops.checks import (
    BAD_ID,
    Check,
    Looked,
    Place,
    check_denominator,
    check_given,
    check_number,
    ids_check,
    mask_checks,
    packing_checks,
    raise_first,
    rewards_check,
    spelled,
    status_check,
    temperature_checks,
)
from icpo.ops.products import add_product
from icpo.ops.rows import PackedRows, TokenRows, token_rows
from icpo.ops.streams import Streams
from icpo.ops.tensors import Batch, Temperature, view, working_dtype
from icpo.ops.weights import row_counts, token_weights

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
        ids = _ids(ids)
        rank = ids.new_empty(ids.shape)
        rows = _read_rows(stream, logits, ids, _scales(temperature), rank)
        if check:
            looked = Looked(_index_in(shape), {}, logits, ids)
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
        scales = _scales(temperature)
        _write_gradient(stream, logits, dlogits, _ids(ids), scales, saved, d_logp, d_entropy)
        return dlogits

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
        tokens = _tokens(batch, logp.shape, dtype, config, denominator)
        values = {"logp": _flat(logp, dtype)}
        if entropy is not None:
            values["entropy"] = _flat(entropy, dtype)
        d_logp, d_entropy = (logp.new_empty(logp.shape, dtype=dtype) for _ in range(2))
        totals = _Totals(logp, dtype)
        status = _lose(stream, tokens, config, totals, **values, d_logp=d_logp, d_entropy=d_entropy)
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
        shape, totals = ids.shape, _Totals(logits, torch.float32)
        job = self._job(logits, ids, temperature, batch, config, denominator, check)
        rows = _lose_rows(job, logits, totals)
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
        totals = _Totals(logits, torch.float32)
        job = self._job(logits, ids, temperature, batch, config, denominator, check)
        if check:
            job.look(temperature, batch, logits.shape[-1])
        _lose_in_place(job, logits, totals)
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
        stream, rewards = self._open(rewards, check), _flat(rewards, torch.float64)
        masks = {"expert_mask": expert_mask, "keep_mask": keep_mask}
        flags = {
            argument: None if mask is None else (mask != 0).contiguous()
            for argument, mask in masks.items()
        }
        advantages = torch.empty_like(rewards)
        status = rewards.new_empty(rewards.shape, dtype=torch.uint8)
        stream.group_advantages(
            view(rewards),
            view(_flat(group_ids, torch.int64)),
            view(advantages),
            expert=_maybe(flags["expert_mask"]),
            keep=_maybe(flags["keep_mask"]),
            status=view(status),
            unbiased=std == "unbiased",
            on_policy=baseline == "on_policy",
            eps=eps,
        )
        if check:
            checks = [
                check
                for argument, mask in masks.items()
                if mask is not None
                for check in mask_checks(argument, mask)
            ]
            raise_first([*checks, rewards_check(status, rewards)])
        return advantages

    def vocab_state(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, first_id: int
    ) -> Tensor:
        """See `Backend`."""
        check_number(temperature)
        states = _row_states(self._open(logits), logits, _ids(ids), _scales(temperature), first_id)
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
        _write_gradient(
            self._open(logits),
            logits,
            dlogits,
            _ids(ids),
            _scales(temperature),
            saved,
            d_logp,
            d_entropy,
            first_id=first_id,
        )
        return dlogits

    def inverse(self, temperature: Temperature) -> float | Tensor:
        """See `Backend`."""
        scales = _scales(temperature)
        if isinstance(scales, Tensor) and temperature.each is not None:
            return scales.view(temperature.each.shape).to(torch.float64) * math.log(2)
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
    ) -> _Job:
        stream = self._open(placed, check)
        check_number(temperature)
        dtype = working_dtype(batch.old_logp)
        tokens = _tokens(batch, ids.shape, dtype, config, denominator)
        return _Job(stream, _ids(ids), _scales(temperature), tokens, config, check)


class CudaChunkedLoss:
    """A loss on a CUDA device whose logits come in chunks. Sums stay on the device."""

    def __init__(self, job: _Job, temperature: Temperature, batch: Batch) -> None:
        """Takes all but the logits."""
        self._job, self._totals = job, _Totals(job.ids, torch.float32)
        self._temperature, self._batch = temperature, batch

    def add(self, logits: Tensor, first: int) -> None:
        """See `ChunkedLoss`."""
        if self._job.check and first == 0:
            self._job.look(self._temperature, self._batch, logits.shape[-1])
        _lose_in_place(self._job.part(first, len(logits)), logits, self._totals)

    def result(self) -> tuple[Tensor, Tensor]:
        """See `ChunkedLoss`."""
        self._totals.settle()
        return self._totals.loss, self._totals.sums


##### What kernels take


@dataclass(frozen=True)
class _Tokens:
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
        return {name: _maybe(tensor) for name, tensor in tensors.items()}

    def part(self, first: int, count: int) -> _Tokens:
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


def _tokens(
    batch: Batch,
    shape: torch.Size,
    dtype: torch.dtype,
    config: LossConfig,
    denominator: float | None,
) -> _Tokens:
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
        return None if tensor is None else _flat(each(tensor), dtype)

    if batch.loss_mask is None:
        valid = batch.old_logp.new_ones((count,), dtype=torch.bool)
    else:
        valid = mask(batch.loss_mask)
    expert = None if batch.expert_mask is None else mask(batch.expert_mask)
    flat = Batch(
        _flat(batch.old_logp, dtype),
        _flat(each(batch.advantage), dtype),
        valid,
        expert,
        floats(batch.behavior_logp),
        floats(batch.ref_logp),
        None,
    )
    weights = token_weights(rows, valid, config, denominator)
    return _Tokens(rows, 0, valid, weights, row_counts(rows, valid, expert), flat)


@dataclass(frozen=True)
class _Job:
    """Everything about a fused loss but the logits."""

    stream: _core.CudaStream
    #: (N,) int64.
    ids: Tensor
    #: log2(e)/τ: one number, or (N,) float32.
    scales: float | Tensor
    tokens: _Tokens
    config: LossConfig
    check: bool

    def part(self, first: int, count: int) -> _Job:
        """The same for some of the tokens."""
        some, scales = slice(first, first + count), self.scales
        return replace(
            self,
            ids=self.ids[some],
            scales=scales[some] if isinstance(scales, Tensor) else scales,
            tokens=self.tokens.part(first, count),
        )

    def look(self, temperature: Temperature, batch: Batch, vocabulary: int) -> None:
        """Checks everything that can be before a logit is touched."""
        tokens = self.tokens
        # The loss of log-probabilities that are fine, for what it finds in the batch.
        logp = torch.zeros_like(tokens.weights)
        totals = _Totals(logp, torch.float32)
        status = _lose(self.stream, tokens, self.config, totals, logp=logp, entropy=logp)
        raise_first(
            [
                *tokens.checks(batch, self.config),
                *temperature_checks(temperature, tokens.valid),
                ids_check(self.ids, vocabulary, tokens.valid, tokens.place),
                status_check(status, Looked(tokens.place, tokens.batch.named())),
            ]
        )

    def looked(self, logits: Tensor) -> Looked:
        """What statuses speak of."""
        tokens = self.tokens
        return Looked(tokens.place, tokens.batch.named(), logits, self.ids)


class _Totals:
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


##### Compositions of kernels


@dataclass(frozen=True)
class _Rows:
    """What a pass over logits finds, one value a row."""

    logp: Tensor  # (N,) float32
    entropy: Tensor  # (N,) float32
    saved: Tensor  # (N, 4) float64
    status: Tensor  # (N,) uint8


def _row_states(
    stream: _core.CudaStream,
    logits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    first_id: int = 0,
) -> Tensor:  # (N, 5)
    states = ids.new_empty((len(ids), 5), dtype=torch.float64)
    stream.row_states(view(logits), view(ids), _scales_view(scales), view(states), first_id)
    return states


def _read_rows(
    stream: _core.CudaStream,
    logits: Tensor,
    ids: Tensor,
    scales: float | Tensor,
    rank: Tensor | None = None,
) -> _Rows:
    states = _row_states(stream, logits, ids, scales)
    rows = _Rows(
        logp=ids.new_empty(ids.shape, dtype=torch.float32),
        entropy=ids.new_empty(ids.shape, dtype=torch.float32),
        saved=ids.new_empty((len(ids), 4), dtype=torch.float64),
        status=ids.new_empty(ids.shape, dtype=torch.uint8),
    )
    stream.finish_rows(
        view(states),
        view(ids),
        _scales_view(scales),
        logits.shape[-1],
        logp=view(rows.logp),
        entropy=view(rows.entropy),
        rank=_maybe(rank),
        saved=view(rows.saved),
        status=view(rows.status),
    )
    return rows


def _write_gradient(
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
        view(_flat(d_logp, torch.float64)),
        view(_flat(d_entropy, torch.float64)),
        _scales_view(scales),
        view(coefficients),
    )
    stream.gradient(
        view(logits),
        view(dlogits),
        view(ids),
        view(coefficients),
        _scales_view(scales),
        status=_maybe(leave),
        first_id=first_id,
    )


def _lose(
    stream: _core.CudaStream,
    tokens: _Tokens,
    config: LossConfig,
    totals: _Totals,
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
        entropy=_maybe(entropy),
        d_logp=_maybe(d_logp),
        d_entropy=_maybe(d_entropy),
        row_status=_maybe(row_status),
        status=view(status),
        partials=view(partials),
    )
    totals.add(stream, partials, tokens.row_counts)
    return status


@dataclass(frozen=True)
class _LostRows(_Rows):
    """The same with the loss's gradient in log-probabilities and entropies, (N,) float64."""

    d_logp: Tensor
    d_entropy: Tensor


def _lose_rows(job: _Job, logits: Tensor, totals: _Totals) -> _LostRows:
    """The loss of logits. Statuses are those of valid tokens."""
    rows = _read_rows(job.stream, logits, job.ids, job.scales)
    d_logp, d_entropy = (torch.empty_like(job.tokens.weights) for _ in range(2))
    status = _lose(
        job.stream,
        job.tokens,
        job.config,
        totals,
        logp=rows.logp,
        entropy=rows.entropy,
        d_logp=d_logp,
        d_entropy=d_entropy,
        row_status=rows.status,
    )
    return _LostRows(rows.logp, rows.entropy, rows.saved, status, d_logp, d_entropy)


def _lose_in_place(job: _Job, logits: Tensor, totals: _Totals) -> None:
    """The loss of logits, which become their gradient, by the kernel that holds a row if it fits.

    Raises if a row of logits is at fault and that is to be checked; the row is left as it was.
    """
    obstacle = job.stream.fused_obstacle(view(logits), view(logits))
    status = (_hold_rows if obstacle is None else _pass_twice)(job, logits, totals)
    if job.check:
        raise_first([status_check(status, job.looked(logits))])


def _hold_rows(job: _Job, logits: Tensor, totals: _Totals) -> Tensor:
    logp, entropy = (job.ids.new_empty(job.ids.shape, dtype=torch.float32) for _ in range(2))
    status = job.ids.new_empty(job.ids.shape, dtype=torch.uint8)
    job.stream.fused(
        job.tokens.views(),
        view(logits),
        view(logits),
        view(job.ids),
        _scales_view(job.scales),
        job.config,
        logp=view(logp),
        entropy=view(entropy),
        status=view(status),
        leave_unsound=job.check,
    )
    _lose(job.stream, job.tokens, job.config, totals, logp=logp, entropy=entropy)
    return status


def _pass_twice(job: _Job, logits: Tensor, totals: _Totals) -> Tensor:
    rows = _lose_rows(job, logits, totals)
    leave = rows.status if job.check else (rows.status == BAD_ID).to(torch.uint8)
    _write_gradient(
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


##### Tensors as the kernels take them


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).reshape(-1).contiguous()


def _ids(ids: Tensor) -> Tensor:
    return _flat(ids, torch.int64)


def _scales(temperature: Temperature) -> float | Tensor:
    """log2(e)/τ, in double; where there is one a token, rounded to float32."""
    per_unit = math.log2(math.e)
    if temperature.each is None:
        return per_unit / temperature.number
    return _flat(per_unit / temperature.each.to(torch.float64), torch.float32)


def _scales_view(scales: float | Tensor) -> float | _core.TensorView:
    return view(scales) if isinstance(scales, Tensor) else scales


def _maybe(tensor: Tensor | None) -> _core.TensorView | None:
    return None if tensor is None else view(tensor)


def _index_in(shape: torch.Size) -> Place:
    """The index of a token in an array of this shape, for messages."""
    if len(shape) == 1:
        return str
    return lambda token: f"{token // shape[1]}, {token % shape[1]}"
