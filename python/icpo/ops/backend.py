"""What an operator needs of a device, and which devices have it.

Operators (schemas, shapes, gradients) know no device; they ask the backend of their tensors for the
numbers. A new device is a class with the methods of `Backend`, and an entry in `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from icpo.errors import DeviceError
from icpo.objective.config import LossConfig
from icpo.ops.cpu import CpuBackend
from icpo.ops.cuda import CudaBackend
from icpo.ops.streams import TorchStreams
from icpo.ops.tensors import Batch, Temperature

__all__ = ["BACKENDS", "Backend", "ChunkedLoss", "backend", "check_device"]


class ChunkedLoss(Protocol):
    """A loss whose logits come a chunk of tokens at a time."""

    def add(self, logits: Tensor, first: int) -> None:
        """Counts in the tokens from `first` on. Their logits, (n, V), become their gradient."""

    def result(self) -> tuple[Tensor, Tensor]:
        """The loss and the sums of all chunks."""


class Backend(Protocol):
    """The operators on one kind of device. Inputs have fitting shapes and dtypes."""

    def logp_entropy(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, check: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies (float32), ranks (int64), and rows (..., 4) to save."""

    def logp_entropy_backward(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        saved: Tensor,
        d_logp: Tensor,
        d_entropy: Tensor,
    ) -> Tensor:
        """The gradient of logits, from float64 gradients of log-probabilities and entropies."""

    def logp_entropy_backward_(
        self,
        logits: Tensor,
        ids: Tensor,
        temperature: Temperature,
        saved: Tensor,
        d_logp: Tensor,
        d_entropy: Tensor,
    ) -> None:
        """The same in place: the logits become their gradient."""

    def policy_loss(
        self,
        logp: Tensor,
        entropy: Tensor | None,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss, the sums, and the loss's gradients in log-probabilities and entropies."""

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
        """The loss, the sums, rows to save, and float64 gradients as `policy_loss` gives them."""

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
        """The loss and the sums. The logits become their gradient."""

    def chunked_loss(
        self,
        ids: Tensor,
        temperature: Temperature,
        batch: Batch,
        config: LossConfig,
        denominator: float | None,
        check: bool,
    ) -> ChunkedLoss:
        """The same in chunks."""

    def add_product(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """Adds aᵀ·b to `total`, which is float32."""

    def scale_(self, values: Tensor, factor: Tensor) -> None:
        """Multiplies in place. By one, which is usual, costs no pass over memory."""

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
        """Advantages of float64 rewards."""

    def vocab_state(
        self, logits: Tensor, ids: Tensor, temperature: Temperature, first_id: int
    ) -> Tensor:
        """The state (..., 4) of a shard of the vocabulary that begins at `first_id`."""

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
        """The gradient of the shard's logits, as `logp_entropy_backward` has it of all."""

    def inverse(self, temperature: Temperature) -> float | Tensor:
        """1/τ as the kernels of this backend have it, (...) float64 where there is one a token."""


#: Kinds of devices, as torch names them.
BACKENDS: dict[str, Backend] = {"cpu": CpuBackend(), "cuda": CudaBackend(TorchStreams())}


def backend(tensor: Tensor) -> Backend:
    """The backend of the device that holds a tensor."""
    return BACKENDS[tensor.device.type]


def check_device(tensors: Mapping[str, Tensor | None]) -> None:
    """Checks that all tensors lie on one device, and that the operators run there."""
    given = {argument: tensor for argument, tensor in tensors.items() if tensor is not None}
    first, *others = given
    device = given[first].device
    if device.type not in BACKENDS:
        raise DeviceError(
            f"{first}: expected a tensor on one of {', '.join(BACKENDS)}, got one on {device}; "
            "icpo.ops.reference runs on any device"
        )
    for argument in others:
        if given[argument].device != device:
            raise DeviceError(
                f"{argument}: expected a tensor on {device}, where {first} is, got one on "
                f"{given[argument].device}"
            )
