"""AdamW over the parameters that are trained."""

from __future__ import annotations

import torch
from torch import nn

from icpo.trainer.config import OptimConfig

__all__ = ["adamw"]

#: Devices on which one kernel updates all parameters.
_FUSED = ("cpu", "cuda")


def adamw(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """The optimizer. Weight decay is for matrices alone, not for biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if parameter.dim() >= 2],
            "weight_decay": config.weight_decay,
        },
        {
            "params": [parameter for parameter in trained if parameter.dim() < 2],
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(parameter.device.type in _FUSED for parameter in trained)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)
