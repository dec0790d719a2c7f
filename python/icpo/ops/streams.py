"""What is asked of torch about its GPUs: all of it is here."""

from __future__ import annotations

from typing import Protocol

import torch

from icpo import _core
from icpo.cuda import require

__all__ = ["Streams", "TorchStreams"]


class Streams(Protocol):
    """Where kernels are launched."""

    def current(self, device: torch.device) -> _core.CudaStream:
        """The stream on which torch puts its own work on this device."""

    def is_capturing(self, device: torch.device) -> bool:
        """Whether that stream is being recorded into a graph."""


class TorchStreams:
    """The streams of torch.cuda."""

    def current(self, device: torch.device) -> _core.CudaStream:
        """See `Streams`."""
        require()
        stream = torch.cuda.current_stream(device)
        return _core.CudaStream(stream.device_index, stream.cuda_stream)

    def is_capturing(self, device: torch.device) -> bool:
        """See `Streams`."""
        with torch.cuda.device(device):
            return torch.cuda.is_current_stream_capturing()
