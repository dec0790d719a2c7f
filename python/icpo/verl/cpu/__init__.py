"""verl without an accelerator: for trying things on a laptop, and for tests.

verl has no CPU mode, but registries for platforms and rollout engines. These
settings of verl fill them, in every process of a run::

    VERL_USE_EXTERNAL_MODULES=icpo.verl.cpu VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda
    actor_rollout_ref.model.external_lib=icpo.verl.cpu.workers
    actor_rollout_ref.rollout.name=torch_cpu

(`VERL_ENGINE_DEVICE`: verl's FSDP engine, which computes here, is listed under `cuda`.)
``examples/verl/laptop.sh`` is a whole command line. Training needs `strategy=fsdp2`, float32 and
no `torch.compile`; FSDP1 asks for a GPU.

This module is imported inside ``import verl``, by every process: only what verl needs from the
first moment on is here. `icpo.verl.cpu.workers` follows once verl is complete.
"""

from __future__ import annotations

from verl.utils import distributed
from verl.utils.device import get_device_name

from icpo.verl.cpu.platform import CpuPlatform

__all__ = ["CpuPlatform"]

_join = distributed.initialize_global_process_group_ray


def _join_once(timeout_second: int | None = None, backend: str | None = None) -> None:
    """verl joins a backend for the CPU and one for the device; torch refuses the same one twice."""
    if get_device_name() == CpuPlatform.device_name:
        backend = "gloo"
    _join(timeout_second=timeout_second, backend=backend)


# Before the modules that copy the name into themselves are imported.
distributed.initialize_global_process_group_ray = _join_once
