"""Lines 18 to 20 of Algorithm 1: the mixed loss of a batch, and the steps down its gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icpo.errors import NonFiniteError
from icpo.mixing import (
    Batch,
    Padded,
    Prefix,
    denominator,
    micro_batches,
    mini_batches,
    pad,
    rows_with_gradient,
)
from icpo.objective import LossConfig, LossMetrics
from icpo.trainer.clock import Clock
from icpo.trainer.logits import logp_entropy, policy_loss

__all__ = ["Learned", "Learner", "UpdateConfig"]


@dataclass(frozen=True)
class UpdateConfig:
    """How a batch becomes steps of the optimizer."""

    #: Of the sampler: numerators of ratios have to have it, as denominators do.
    temperature: float
    #: Prompts of one step of the optimizer.
    mini_batch: int
    #: Tokens of a forward pass, with padding.
    micro_tokens: int
    #: The gradient's norm is cut down to this; None: it is not.
    grad_clip: float | None
    #: Whether log π_old(τ | x) is computed anew, or taken from the sampler.
    recompute_old: bool
    #: Whether log π_old(τ | x_exp) is computed anew, or taken from the sampler.
    recompute_behavior: bool
    #: Which given tokens are trained on; None: all.
    prefix: Prefix | None
    #: What activations are computed in; None: as parameters are.
    autocast: torch.dtype | None
    pad_id: int


@dataclass(frozen=True, eq=False)
class Learned:
    """What the updates of one batch came to."""

    loss: LossMetrics
    #: Of each step, before it was cut down.
    grad_norms: tuple[float, ...]
    #: Tokens that went through the model with a gradient, padding left out.
    tokens: int


class Scheduled(Protocol):
    """What of an optimizer is used here."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Moves the parameters."""

    def zero_grad(self) -> None:
        """Forgets the gradient."""


@dataclass(frozen=True, eq=False)
class Learner:
    """Trains the model on batches. Between updates the model is π_old."""

    model: nn.Module
    optimizer: Scheduled
    config: UpdateConfig
    clock: Clock
    #: The policy that a divergence is measured from; None: the loss has no such term.
    reference: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def update(
        self, batch: Batch, loss: LossConfig, rate: float, rng: np.random.Generator
    ) -> Learned:
        """One pass over the batch in mini-batches, of which each is one step (line 20).

        Raises:
            NonFiniteError: if the loss or its gradient is not finite; the parameters are those of
                the step before.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.clock("old log-probs"):
            batch = self._with_old(batch, loss)
        reference = self._reference_logp(batch, loss)
        norms, tokens = [], 0
        seen = LossMetrics(torch.zeros(len(LossMetrics.NAMES), dtype=torch.float64))
        for number, rows in enumerate(mini_batches(batch, config.mini_batch, rng)):
            mini = batch.rows(rows)
            # What has no gradient is not computed, but it does count in Z.
            kept = rows_with_gradient(mini, loss)
            divisor = denominator(mini, loss)
            self.optimizer.zero_grad()
            learnt = mini.rows(kept)
            refs = None if reference is None else [reference[rows[row]] for row in kept]
            try:
                for micro in micro_batches(learnt, config.micro_tokens):
                    ref = None if refs is None else [refs[row] for row in micro]
                    seen = seen + self._backward(learnt.rows(micro), loss, ref, divisor)
                    tokens += int(learnt.lengths[micro].sum())
                with self.clock("optimizer"):
                    norms.append(self._step())
            except NonFiniteError as error:
                raise NonFiniteError(f"mini-batch {number}: {error}") from error
        return Learned(seen, tuple(norms), tokens)

    ##### The loss

    def _backward(
        self,
        batch: Batch,
        config: LossConfig,
        reference: Sequence[NDArray[np.float32]] | None,
        divisor: float,
    ) -> LossMetrics:
        """Adds the gradient of eq. 10 over these rows."""
        padded = pad(batch, self.config.pad_id)
        with self.clock("forward"):
            logits = self._logits(self.model, padded)  # (B, T, V)
        with self.clock("loss"):
            tensors = _tensors(padded, torch.device("cpu"))
            loss, metrics = policy_loss(
                logits,
                tensors["responses"],
                tensors["old_logp"],
                tensors["advantage"],
                tensors["loss_mask"],
                tensors["expert_mask"],
                behavior_logp=tensors["behavior_logp"],
                ref_logp=None if reference is None else _padded_like(padded, reference),
                temperature=self.config.temperature,
                config=config,
                denominator=divisor,
            )
        with self.clock("backward"):
            torch.autograd.backward(loss)
        return metrics

    def _logits(self, model: nn.Module, padded: Padded) -> Tensor:
        """What the model says before each response token, (B, T, V)."""
        tensors = _tensors(padded, self.device, ("input_ids", "attention_mask", "position_ids"))
        length = padded.responses.shape[1]
        with self._autocast():
            # Those of the last prompt token and of all responses; the last one predicts nothing.
            logits: Tensor = model(**tensors, use_cache=False, logits_to_keep=length + 1).logits
        return logits[:, :-1]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.config.autocast)

    def _step(self) -> float:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in parameters:
            # Without any row that has a gradient it is 0, and the optimizer's momentum goes on.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        limit = float("inf") if self.config.grad_clip is None else self.config.grad_clip
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        if not np.isfinite(norm):
            raise NonFiniteError(f"gradient: expected a finite norm, got {norm}")
        self.optimizer.step()
        return norm

    ##### Log-probabilities that stay what they are during the update

    def _with_old(self, batch: Batch, loss: LossConfig) -> Batch:
        """The denominators of eq. 5 and 7, from the sampler or computed anew."""
        config = self.config
        wanted = np.zeros(len(batch), bool)
        wanted[rows_with_gradient(batch, loss)] = True
        if config.recompute_old:
            on = np.flatnonzero(wanted & ~batch.expert_mask)
            batch = batch.with_old_logp(self._replaced(self.model, batch, on, batch.old_logp))
        given = np.array(batch.given or (0,) * len(batch), np.int64)
        prefix = None if batch.given is None else config.prefix
        # No sampler has probabilities of tokens that it was given.
        anew = config.recompute_behavior | (given > 0)
        off = np.flatnonzero(wanted & batch.expert_mask & anew)
        if loss.off_ratio != "policy" or prefix is not None:
            logp, entropy = self._logp_entropy(self.model, batch.rows(off).as_sampled())
            if loss.off_ratio != "policy":
                batch = batch.with_behavior_logp(_with_rows(batch.behavior_logp, off, logp))
            if prefix is not None:
                batch = batch.with_trained(_trained(prefix, batch, off, entropy))
        return batch

    def _reference_logp(self, batch: Batch, loss: LossConfig) -> list[NDArray[np.float32]] | None:
        if self.reference is None or loss.kl == "none" or loss.kl_coef == 0:
            return None
        with self.clock("reference log-probs"):
            nothing = [np.zeros_like(logp) for logp in batch.behavior_logp]
            return self._replaced(self.reference, batch, np.arange(len(batch)), nothing)

    def _replaced(
        self,
        model: nn.Module,
        batch: Batch,
        rows: NDArray[np.int64],
        logp: Sequence[NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:
        """`logp` with these rows computed by the model."""
        return _with_rows(logp, rows, self.logp(model, batch.rows(rows)))

    def logp(self, model: nn.Module, batch: Batch) -> list[NDArray[np.float32]]:
        """log π(τ_t | prompt, τ_<t) of each row, under the sampling temperature."""
        return self._logp_entropy(model, batch)[0]

    @torch.no_grad()
    def _logp_entropy(
        self, model: nn.Module, batch: Batch
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """The same, and the entropy of π(· | prompt, τ_<t)."""
        out: tuple[list[NDArray[np.float32]], ...] = (
            [np.empty(0, np.float32)] * len(batch),
            [np.empty(0, np.float32)] * len(batch),
        )
        for rows in micro_batches(batch, self.config.micro_tokens):
            part = batch.rows(rows)
            padded = pad(part, self.config.pad_id)
            logits = self._logits(model, padded)
            ids = torch.from_numpy(padded.responses)
            found = logp_entropy(logits, ids, self.config.temperature)
            for to, values in zip(out, found, strict=True):
                array = values.float().cpu().numpy()
                for place, row, length in _places(rows, part.lengths):
                    to[row] = array[place, :length].copy()
        return out[0], out[1]


def _trained(
    prefix: Prefix,
    batch: Batch,
    rows: NDArray[np.int64],
    entropy: Sequence[NDArray[np.float32]],
) -> list[NDArray[np.bool_]]:
    """Which tokens of each completion are trained on; `entropy` is that of these rows."""
    # Of rows without a gradient nobody has to know which tokens, but Z counts how many.
    everywhere = [np.zeros(length, np.float32) for length in batch.lengths]
    entropies = _with_rows(everywhere, rows, entropy)
    given = batch.given or (0,) * len(batch)
    return [prefix.trained(*pair) for pair in zip(given, entropies, strict=True)]


def _with_rows(
    values: Sequence[NDArray[Any]], rows: NDArray[np.int64], others: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """`values` with those of these rows in their place."""
    out = list(values)
    for row, other in zip(rows, others, strict=True):
        out[row] = other
    return out


def _places(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    return zip(range(len(rows)), rows.tolist(), lengths.tolist(), strict=True)


def _tensors(
    padded: Padded, device: torch.device, names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    names = [field.name for field in dataclasses.fields(padded)] if names is None else names
    return {name: torch.from_numpy(getattr(padded, name)).to(device) for name in names}


def _padded_like(padded: Padded, rows: Sequence[NDArray[np.float32]]) -> Tensor:
    out = np.zeros(padded.responses.shape, np.float32)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)
