"""verl's fused linear layer: log-probabilities and entropies from hidden states and head.

With ``model.use_fused_kernels=true`` verl gives models a forward pass that looks one of two names
up in modules, each time that it is called. `SITES` says which; `install` puts icpo's there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from verl.utils.experimental.torch_functional import FusedLinearForPPO
from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

from icpo.ops import linear_logp_entropy
from icpo.ops.tensors import LOGIT_DTYPES

__all__ = ["SITES", "IcpoFusedLinear", "icpo_linear_cross_entropy", "install", "layers"]

#: From hidden states, head, ids and temperature to log-probabilities and entropies.
Layer = Callable[..., tuple[Tensor, Tensor]]

#: Rows of logits at a time. verl takes 512, and has five tensors of theirs in float32 at a time;
#: these are one, in the dtype of the model.
CHUNK = 2048


class IcpoFusedLinear(FusedLinearForPPO):  # type: ignore[misc]  # verl is not typed
    """In the place of `FusedLinearForPPO` (``impl_backend`` ``torch`` and ``liger``)."""

    def forward(
        self,
        hidden_states: Tensor,
        vocab_weights: Tensor,
        input_ids: Tensor,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """ln p of the tokens and entropies, float32."""
        if not _covers(hidden_states, vocab_weights):
            theirs: tuple[Tensor, Tensor] = super().forward(
                hidden_states, vocab_weights, input_ids, temperature
            )
            return theirs
        return _read(hidden_states, vocab_weights, input_ids, temperature)


def icpo_linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    reduction: str = "none",
    dist_process_group: Any = None,
) -> tuple[Tensor, Tensor]:
    """In the place of `linear_cross_entropy` (``impl_backend`` ``triton``)."""
    if reduction != "none" or dist_process_group is not None or not _covers(hidden, weight):
        theirs: tuple[Tensor, Tensor] = linear_cross_entropy(
            hidden, weight, labels, temperature, reduction, dist_process_group
        )
        return theirs
    return _read(hidden, weight, labels, temperature)


#: Module, name in it, and what comes there.
SITES: tuple[tuple[str, str, Any], ...] = (
    ("verl.utils.experimental.torch_functional", "FusedLinearForPPO", IcpoFusedLinear),
    (
        "verl.utils.kernel.linear_cross_entropy",
        "linear_cross_entropy",
        icpo_linear_cross_entropy,
    ),
)


def install() -> None:
    """Puts icpo's operator where verl's models look theirs up."""
    for module, name, ours in SITES:
        setattr(importlib.import_module(module), name, ours)


def layers(impl_backend: str) -> tuple[Layer, Layer]:
    """verl's layer for a value of ``model.fused_kernel_options.impl_backend``, and icpo's."""
    if impl_backend == "triton":
        return linear_cross_entropy, icpo_linear_cross_entropy
    theirs = FusedLinearForPPO(impl_backend=impl_backend)
    return theirs, IcpoFusedLinear(impl_backend=impl_backend)


def _covers(hidden: Tensor, weight: Tensor) -> bool:
    whole = not isinstance(hidden, DTensor) and not isinstance(weight, DTensor)
    return whole and _multiplied(hidden) == _multiplied(weight) and weight.dtype in LOGIT_DTYPES


def _read(hidden: Tensor, weight: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    return linear_logp_entropy(
        hidden.to(_multiplied(hidden)),
        weight.to(_multiplied(weight)),
        ids.reshape(hidden.shape[:-1]),
        temperature,
        chunk=CHUNK,
        check=False,
    )


def _multiplied(tensor: Tensor) -> torch.dtype:
    """The dtype in which a product takes this: autocast decides, if it is on."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return tensor.dtype
