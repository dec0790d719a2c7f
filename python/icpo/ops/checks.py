"""Checks of values that lie on a device, and the errors that follow.

A check is a tensor of flags, which costs a launch, and the words for the first place where it is
set. Looking at the flags is what waits for the device; all of them are looked at together. Words
are those that the core has for the same mistakes on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from icpo import _core
from icpo.errors import (
    ConfigError,
    IcpoError,
    InternalError,
    MissingArgumentError,
    NonFiniteError,
    ShapeError,
    TokenIdError,
)
from icpo.objective.config import LossConfig
from icpo.ops.rows import PackedRows
from icpo.ops.tensors import Batch, Temperature

__all__ = [
    "BAD_ID",
    "Check",
    "Looked",
    "check_denominator",
    "check_given",
    "check_number",
    "ids_check",
    "index_in",
    "mask_checks",
    "packing_checks",
    "raise_first",
    "rewards_check",
    "status_check",
    "temperature_checks",
]

# Of the enum in kernels/arguments.cuh.
BAD_ID = 1

#: Where a token stands, for messages.
Place = Callable[[int], str]


def index_in(shape: torch.Size) -> Place:
    """The index of a token in an array of this shape."""
    if len(shape) == 1:
        return str
    return lambda token: f"{token // shape[1]}, {token % shape[1]}"


class Check(NamedTuple):
    """Something that may be wrong."""

    #: Of any shape, not false where it is.
    flags: Tensor
    #: What to say of the first such place, counted in the flattened tensor.
    error: Callable[[int], IcpoError]


def raise_first(checks: Iterable[Check]) -> None:
    """Raises the error of the first check that fails. Waits for the device, once if none does."""
    checks = list(checks)
    if not checks:
        return
    failed = torch.stack([check.flags.any() for check in checks]).tolist()
    for check, fails in zip(checks, failed, strict=True):
        if fails:
            raise check.error(int(check.flags.flatten().nonzero()[0]))


def spelled(value: float) -> str:
    """A number as the core spells it."""
    if value != value:
        return "NaN"
    return np.format_float_positional(value, trim="-")


##### Settings, which are no tensors


def check_number(temperature: Temperature) -> None:
    """Checks the range of a temperature that is one number."""
    if not 1e-6 <= temperature.number <= 1e6:
        raise _temperature_error(spelled(temperature.number))


def check_denominator(denominator: float | None) -> None:
    """Checks that a denominator can be divided by."""
    if denominator is not None and not 0.0 < denominator < float("inf"):
        raise ConfigError(f"denominator: expected a finite number > 0, got {spelled(denominator)}")


def check_given(config: LossConfig, batch: Batch) -> None:
    """Checks that what the loss can not do without is given."""
    if config.kl != "none" and batch.ref_logp is None:
        raise MissingArgumentError("ref_logp: a kl term needs the reference policy's log-probs")


def _temperature_error(got: str) -> ConfigError:
    return ConfigError(f"temperature: expected a number from 1e-6 to 1e6, got {got}")


##### Tensors that are looked at before they are used


def temperature_checks(temperature: Temperature, used: Tensor | None) -> list[Check]:
    """Of the temperatures of used tokens, (N,) bool; None: of all."""
    if temperature.each is None:
        return []
    each = temperature.each.reshape(-1)
    bad = ~((each >= 1e-6) & (each <= 1e6))

    def error(token: int) -> IcpoError:
        return _temperature_error(f"{spelled(each[token].item())} at token {token}")

    return [Check(bad if used is None else bad & used, error)]


def mask_checks(argument: str, mask: Tensor) -> list[Check]:
    """That a mask holds nothing but zeros and ones."""
    if mask.dtype == torch.bool:
        return []
    odd = mask != (mask != 0).to(mask.dtype)  # true for NaN as well

    def error(place: int) -> IcpoError:
        index = torch.unravel_index(torch.tensor(place), mask.shape)
        where = [int(axis) for axis in index]
        return NonFiniteError(
            f"{argument}{where}: expected True or False (or 1 or 0), got "
            f"{mask[tuple(where)].item()}"
        )

    return [Check(odd, error)]


def packing_checks(
    rows: PackedRows, tokens: int, batch: Batch, config: LossConfig, valid: Tensor
) -> list[Check]:
    """That offsets are some, and that nothing about the rows is left open."""
    offsets, lengths = rows.offsets.to(torch.int64), rows.lengths()

    def shape(got: str) -> ShapeError:
        return ShapeError(
            f"cu_seqlens: expected non-decreasing offsets from 0 to the {tokens} tokens, got {got}"
        )

    def decrease(row: int) -> IcpoError:
        return shape(f"{int(offsets[row])} before {int(offsets[row + 1])}")

    checks = [
        Check(offsets < 0, lambda _: shape("a negative offset")),
        Check(offsets[:1] != 0, lambda _: shape(f"first offset {int(offsets[0])}")),
        Check(offsets[1:] < offsets[:-1], decrease),
        Check(offsets[-1:] != tokens, lambda _: shape(f"last offset {int(offsets[-1])}")),
    ]
    differ = (lengths != lengths[:1]).any()
    if config.aggregation == "seq-mean-token-sum-norm" and config.norm_constant is None:
        error = MissingArgumentError(
            "norm_constant: 'seq-mean-token-sum-norm' over rows of different lengths needs it: "
            "there is no padded length to divide by"
        )
        checks.append(Check(differ & valid.any(), lambda _: error))
    if len(lengths) == tokens:
        # As many rows as tokens, yet not one each: empty rows make up for longer ones.
        for argument, values in (
            ("expert_mask", batch.expert_mask),
            ("advantage", batch.advantage),
        ):
            if values is not None:
                checks.append(Check(differ, _ambiguous(argument, tokens)))
    return checks


def _ambiguous(argument: str, tokens: int) -> Callable[[int], IcpoError]:
    return lambda _: ShapeError(
        f"{argument}: expected values that are clearly one a row or one a token, got {tokens} "
        f"values for {tokens} rows of {tokens} tokens"
    )


def ids_check(ids: Tensor, vocabulary: int, used: Tensor, place: Place) -> Check:
    """That the tokens that are used lie in the vocabulary."""
    return Check(
        ((ids < 0) | (ids >= vocabulary)) & used,
        lambda token: _id_error(ids, vocabulary, token, place),
    )


def _id_error(ids: Tensor, vocabulary: int, token: int, place: Place) -> IcpoError:
    return TokenIdError(
        f"ids[{place(token)}]: expected a token id in 0..{vocabulary}, got {int(ids[token])}"
    )


##### What kernels found


@dataclass(frozen=True)
class Looked:
    """What kernels looked at, to say what is wrong with it."""

    place: Place
    #: One value a token, by name.
    values: Mapping[str, Tensor | None]
    #: (N, V) or (B, T, V); None: there were none.
    logits: Tensor | None = None
    #: (N,) int64, with logits.
    ids: Tensor | None = None


def status_check(status: Tensor, looked: Looked) -> Check:
    """That kernels found nothing wrong with any token: (N,) uint8, see kernels/arguments.cuh."""

    def error(token: int) -> IcpoError:
        argument, expected = _core.CUDA_STATUSES[int(status[token])]
        if looked.logits is not None and looked.ids is not None:
            if argument == "ids":
                return _id_error(looked.ids, looked.logits.shape[-1], token, looked.place)
            if argument == "logits":
                row = _row(looked.logits, token)
                return _row_error(row, int(looked.ids[token]), looked.place(token))
        values = looked.values.get(argument)
        if values is None and argument == "behavior_logp":
            return MissingArgumentError(
                f"behavior_logp: the ratio of expert tokens (the first is {looked.place(token)}) "
                "divides by the sampler's probability under the expert prompt; pass it, or choose "
                "off_ratio 'policy'"
            )
        if values is None:
            return InternalError(f"{argument}[{looked.place(token)}]: expected {expected}")
        return NonFiniteError(
            f"{argument}[{looked.place(token)}]: expected {expected}, got "
            f"{spelled(values[token].item())}"
        )

    return Check(status, error)


def rewards_check(status: Tensor, rewards: Tensor) -> Check:
    """That kept rewards are finite: (B,) uint8."""

    def error(rollout: int) -> IcpoError:
        got = spelled(rewards[rollout].item())
        return NonFiniteError(f"rewards[{rollout}]: expected a finite number, got {got}")

    return Check(status, error)


def _row(logits: Tensor, token: int) -> Tensor:
    if logits.dim() == 2:
        return logits[token]
    length = logits.shape[1]
    return logits[token // length, token % length]


def _row_error(row: Tensor, token_id: int, place: str) -> IcpoError:
    bad = row.isnan() | (row == torch.inf)

    def wrong(column: int | str, expected: str, got: float) -> IcpoError:
        return NonFiniteError(f"logits[{place}, {column}]: expected {expected}, got {spelled(got)}")

    if bad.any():
        column = int(bad.nonzero()[0])
        return wrong(column, "a number or -inf", row[column].item())
    if bool((row == -torch.inf).all()):
        return wrong(":", "at least one token with a logit above -inf", -torch.inf)
    return wrong(token_id, "a finite logit for the token that ids selects there", -torch.inf)
