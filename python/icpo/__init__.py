"""In-context policy optimization: exact, fast operators for RL on reasoning models.

Importing this package loads neither torch nor verl. ``icpo.objective`` works on numpy arrays;
``icpo.ops`` is the same for torch tensors on the CPU and on GPUs, with gradients, and needs torch.
``icpo.reward`` checks answers; ``icpo.math_verify`` is the same under Math-Verify's names. `info`
tells what the machine offers.
"""

from icpo._core import __version__, num_threads, set_num_threads
from icpo.cuda import prepare
from icpo.errors import (
    CheckpointError,
    ConfigError,
    CudaError,
    DataError,
    DeviceError,
    DTypeError,
    IcpoError,
    InternalError,
    MissingArgumentError,
    NonFiniteError,
    ShapeError,
    TokenIdError,
)
from icpo.machine import info
from icpo.objective.config import LossConfig

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CudaError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "IcpoError",
    "InternalError",
    "LossConfig",
    "MissingArgumentError",
    "NonFiniteError",
    "ShapeError",
    "TokenIdError",
    "__version__",
    "info",
    "num_threads",
    "prepare",
    "set_num_threads",
]
