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

from functools import partial

from verl.utils import distributed

from icpo.verl.cpu.platform import CpuPlatform

__all__ = ["CpuPlatform"]

# verl joins a backend for the CPU and one for the device, and torch refuses "cpu:gloo,cpu:gloo".
# Set before the modules that copy the name into themselves are imported.
distributed.initialize_global_process_group_ray = partial(
    distributed.initialize_global_process_group_ray, backend="gloo"
)
