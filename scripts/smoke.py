"""Shows that an installed icpo works with NumPy alone.

`make wheel-test` runs this file in an environment that holds the wheel and NumPy, where neither
Rust nor the source tree can be reached.
"""

import math
import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

import icpo
from icpo import objective


def check_isolation() -> None:
    """The imported package is the installed one, and importing it loaded no heavy peer."""
    assert Path(icpo.__file__).is_relative_to(sys.prefix), icpo.__file__
    for tool in ("cargo", "rustc"):
        assert shutil.which(tool) is None, f"{tool} is on the path"
    for module in ("torch", "verl"):
        assert module not in sys.modules, f"importing icpo imported {module}"


def check_version() -> None:
    """The extension, compiled from Cargo.toml, and the distribution agree."""
    assert icpo.__version__ == metadata.version("icpo-rs")


def check_numbers() -> None:
    """A tiny computation through the public API."""
    logits = np.array([[2.0, 0.0, -np.inf]], np.float32)
    log_p = 2.0 - math.log(math.exp(2.0) + 1.0)
    assert abs(objective.logp_entropy(logits, [0]).logp[0] - log_p) < 1e-6
    assert icpo.LossConfig.preset("dr_grpo").advantages([1, 0], [7, 7]).tolist() == [0.5, -0.5]
    result = objective.fused_policy_loss(logits[None], [[0]], [[log_p]], [1.0])
    # A ratio of one: the loss is minus the advantage, the gradient that of -log p.
    p = math.exp(log_p)
    assert abs(result.loss + 1.0) < 1e-6
    np.testing.assert_allclose(result.dlogits[0, 0], [p - 1.0, 1.0 - p, 0.0], atol=1e-6)


if __name__ == "__main__":
    check_isolation()
    check_version()
    check_numbers()
    check_isolation()
    print(f"icpo {icpo.__version__} works on Python {sys.version.split()[0]}")
