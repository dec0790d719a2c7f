"""The CPU as one of verl's platforms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from icpo.verl.cpu import device

__all__ = ["CpuPlatform"]


@PlatformRegistry.register(platform="cpu")  # type: ignore[untyped-decorator, unused-ignore]
class CpuPlatform(PlatformBase):  # type: ignore[misc]
    """Answers verl's questions about the accelerator where there is none."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module: ModuleType = device

    def is_available(self) -> bool:
        """A CPU always is."""
        return True

    def current_device(self) -> str:  # type: ignore[override, unused-ignore]
        """What verl hands to ``tensor.to``; the index 0 would be a GPU."""
        return "cpu"

    def device_count(self) -> int:
        """One, for each worker process."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to choose from."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Nothing runs asynchronously."""

    def manual_seed(self, seed: int) -> None:
        """Seeds torch's generator."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """The same: there is one generator."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The C allocator has none of these."""

    def empty_cache(self) -> None:
        """Nothing is cached."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """Unknown, as verl's own platforms say without a GPU."""
        return None, None

    def communication_backend_name(self) -> str:
        """The collective library of CPUs."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Of the resource below; Ray sets it."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler listens."""
        yield

    def profiler_start(self) -> None:
        """No profiler."""

    def profiler_stop(self) -> None:
        """No profiler."""

    def ray_resource_name(self) -> str:
        """verl gives each worker one of these, so the run declares as many as it has ranks."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Ray may hide GPUs: none is looked for."""
        return []

    def is_ipc_supported(self) -> bool:
        """No device memory to share."""
        return False

    def cudart(self) -> None:
        """No CUDA runtime."""
