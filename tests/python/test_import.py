"""What importing costs, and what it promises."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import icpo


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_loads_neither_torch_nor_verl():
    code = "import icpo, icpo.objective, sys; print(sorted({'torch', 'verl'} & set(sys.modules)))"
    assert run(code).strip() == "[]"


def test_numpy_works_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from icpo import objective\n"
        "print(objective.logp_entropy(np.zeros((1, 4), np.float32), [0]).logp[0])"
    )
    assert abs(float(run(code)) + 1.3862944) < 1e-6


def test_version_is_that_of_the_distribution():
    assert icpo.__version__ == importlib.metadata.version("icpo-rs")


def test_public_names_exist():
    for module in ("icpo", "icpo.objective", "icpo.ops"):
        code = f"import {module} as m; assert all(hasattr(m, n) for n in m.__all__)"
        run(code)
