"""Torch tensors as the core sees them, and the checks that need no data.

Checks of shape and dtype run before an operator, under tracing too. Checks of values run inside
operators, where a tracer does not look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from icpo import _core
from icpo.errors import DTypeError, ShapeError
from icpo.objective.layout import BatchLayout

__all__ = ["Batch", "Temperature", "check_logits", "check_temperature", "check_tensors", "view"]

LOGIT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def view(tensor: Tensor) -> _core.TensorView:
    """The memory of a tensor, on whichever device."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return _core.TensorView(
        tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), dtype, True, tensor
    )


def check_tensors(tensors: Mapping[str, object]) -> None:
    """Checks that arguments which are given are tensors."""
    for argument, tensor in tensors.items():
        if tensor is not None and not isinstance(tensor, Tensor):
            raise DTypeError(f"{argument}: expected a tensor, got {type(tensor).__name__}")


def check_floats(tensors: Mapping[str, Tensor | None]) -> None:
    """Checks that tensors hold real floats."""
    for argument, tensor in tensors.items():
        if tensor is not None and not tensor.dtype.is_floating_point:
            raise DTypeError(f"{argument}: expected a floating-point tensor, got {tensor.dtype}")


def check_integers(argument: str, tensor: Tensor) -> None:
    """Checks that a tensor, such as token ids, holds integers."""
    if tensor.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        raise DTypeError(f"{argument}: expected an integer tensor, got {tensor.dtype}")


def check_logits(logits: Tensor, ids: Tensor) -> None:
    """Checks that logits and ids fit each other and the core."""
    if logits.dtype not in LOGIT_DTYPES:
        hint = " (icpo.ops.reference takes it)" if logits.dtype == torch.float64 else ""
        raise DTypeError(
            f"logits: expected dtype float32, bfloat16 or float16, got {logits.dtype}{hint}"
        )
    if logits.dim() not in (2, 3):
        raise ShapeError(f"logits: expected shape (N, V) or (B, T, V), got {tuple(logits.shape)}")
    if logits.shape[-1] < 1:
        raise ShapeError(f"logits: expected a vocabulary, got shape {tuple(logits.shape)}")
    check_integers("ids", ids)
    if tuple(ids.shape) != tuple(logits.shape[:-1]):
        raise ShapeError(
            f"ids: expected shape {tuple(logits.shape[:-1])}, one id for each row of logits, got "
            f"{tuple(ids.shape)}"
        )


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by."""

    number: float
    #: One for each token, instead of the number.
    each: Tensor | None


def check_temperature(temperature: float | Tensor, ids: Tensor) -> Temperature:
    """A temperature as operators take it."""
    if not isinstance(temperature, Tensor):
        return Temperature(float(temperature), None)
    check_floats({"temperature": temperature})
    if temperature.requires_grad:
        raise DTypeError("temperature: expected a tensor without gradient, got one that needs it")
    if temperature.dim() == 0:
        return Temperature(1.0, temperature.expand(ids.shape))
    if tuple(temperature.shape) != tuple(ids.shape):
        raise ShapeError(
            f"temperature: expected a number or shape {tuple(ids.shape)}, got "
            f"{tuple(temperature.shape)}"
        )
    return Temperature(1.0, temperature)


@dataclass(frozen=True)
class Batch:
    """The tensors that all losses share. Values at tokens the mask leaves out are not looked at."""

    old_logp: Tensor
    advantage: Tensor
    loss_mask: Tensor | None
    expert_mask: Tensor | None
    behavior_logp: Tensor | None
    ref_logp: Tensor | None
    cu_seqlens: Tensor | None

    def check(self, argument: str, shape: tuple[int, ...]) -> BatchLayout:
        """Checks everything that needs no data, against the tensor that sets the shape."""
        check_tensors(self.named())
        floats = {
            "old_logp": self.old_logp,
            "advantage": self.advantage,
            "behavior_logp": self.behavior_logp,
            "ref_logp": self.ref_logp,
        }
        check_floats(floats)
        for name, tensor in floats.items():
            if tensor is not None and tensor.requires_grad:
                raise DTypeError(
                    f"{name}: expected a tensor without gradient (detach it), got one that needs it"
                )
        offsets = self.cu_seqlens
        if offsets is not None and offsets.dtype not in (torch.int32, torch.int64):
            raise DTypeError(f"cu_seqlens: expected int32 or int64, got {offsets.dtype}")
        layout = BatchLayout.of(argument, shape, None if offsets is None else tuple(offsets.shape))

        def shape_of(tensor: Tensor | None) -> tuple[int, ...] | None:
            return None if tensor is None else tuple(tensor.shape)

        layout.check_per_token(
            {
                "old_logp": shape_of(self.old_logp),
                "loss_mask": shape_of(self.loss_mask),
                "behavior_logp": shape_of(self.behavior_logp),
                "ref_logp": shape_of(self.ref_logp),
            }
        )
        layout.check_per_token_or_row(
            {"advantage": shape_of(self.advantage), "expert_mask": shape_of(self.expert_mask)}
        )
        return layout

    def named(self) -> dict[str, Tensor | None]:
        """The tensors by name, in the order in which operators take them."""
        return {
            "old_logp": self.old_logp,
            "advantage": self.advantage,
            "loss_mask": self.loss_mask,
            "expert_mask": self.expert_mask,
            "behavior_logp": self.behavior_logp,
            "ref_logp": self.ref_logp,
            "cu_seqlens": self.cu_seqlens,
        }

    def arguments(self) -> tuple[Tensor | None, ...]:
        """The tensors in the order in which operators take them."""
        return tuple(self.named().values())


def working_dtype(tensor: Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything narrower (which it holds exactly)."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
