"""What verl calls in ``torch.cuda``, for the CPU: no memory of its own, no streams."""

from __future__ import annotations

import torch

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_name",
    "get_rng_state",
    "is_available",
    "manual_seed",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "set_device",
    "set_rng_state",
    "synchronize",
]

# verl saves and restores these with a checkpoint.
get_rng_state = torch.get_rng_state
set_rng_state = torch.set_rng_state
manual_seed = torch.manual_seed


def is_available() -> bool:
    """No: then verl leaves out what only an accelerator needs, such as emptying its cache."""
    return False


def device_count() -> int:
    """One, for each worker process."""
    return 1


def current_device() -> str:
    """The only one."""
    return "cpu"


def get_device_name(device: object = None) -> str:
    """By which verl looks up the peak performance: it knows none, and says so."""
    return "cpu"


def set_device(device: object) -> None:
    """Nothing to choose from."""


def synchronize(device: object = None) -> None:
    """Nothing runs asynchronously."""


def empty_cache() -> None:
    """Nothing is cached."""


def reset_peak_memory_stats(device: object = None) -> None:
    """Nothing is counted."""


def memory_allocated(device: object = None) -> int:
    """Bytes on the device: none."""
    return 0


def memory_reserved(device: object = None) -> int:
    """Bytes on the device: none."""
    return 0


def max_memory_allocated(device: object = None) -> int:
    """Bytes on the device: none."""
    return 0


def max_memory_reserved(device: object = None) -> int:
    """Bytes on the device: none."""
    return 0


def mem_get_info(device: object = None) -> tuple[int, int]:
    """Free and all bytes on the device: none."""
    return 0, 0
