"""A program: two ranks that share each sequence, with verl's own engine and with icpo's.

``python kernel_ranks.py results.pt`` starts a process for each and writes what rank 0 finds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import kernel_engines  # before all others, since it prepares the process
import torch

RANKS = 2


def start(path: str) -> None:
    """Runs the ranks, and says what went wrong if anything did."""
    with tempfile.TemporaryDirectory() as folder:
        model = kernel_engines.model_folder(Path(folder))
        shared = {"MASTER_PORT": kernel_engines.free_port(), "WORLD_SIZE": str(RANKS)}
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__, path, model],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(RANKS)
        ]
        if any([rank.wait() for rank in ranks]):
            sys.exit(1)


def run(path: str, model: str) -> None:
    """What one rank does."""
    torch.distributed.init_process_group("gloo")
    results = {}
    for owner in ("verl", "icpo"):
        if owner == "icpo":
            from icpo.verl import kernels

            choice = kernels.choose("on", "fsdp2")
            kernels.require_agreement(choice)
            kernels.install()
        made = kernel_engines.engine(model, True, ulysses_sequence_parallel_size=RANKS)
        results[owner] = kernel_engines.run(made, 0.7)
    if torch.distributed.get_rank() == 0:
        results["described"] = kernels.describe(choice, made)
        torch.save(results, path)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    (start if len(sys.argv) == 2 else run)(*sys.argv[1:])
