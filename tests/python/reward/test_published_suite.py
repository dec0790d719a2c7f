"""The tests that math-verify publishes, unmodified, against `icpo.math_verify`.

They are no part of this repository: unpack math-verify's source distribution, and put the folder
``tests`` of it into ICPO_MATH_VERIFY_TESTS. It needs sympy and latex2sympy2_extended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = os.environ.get("ICPO_MATH_VERIFY_TESTS", "")

CONFTEST = """
import sys
import icpo.math_verify as ours
from icpo.math_verify import errors, grader, metric, parser, utils

sys.modules["math_verify"] = ours
for module in (errors, grader, metric, parser, utils):
    sys.modules["math_verify." + module.__name__.rpartition(".")[2]] = module
"""


@pytest.mark.slow
@pytest.mark.skipif(not SUITE, reason="ICPO_MATH_VERIFY_TESTS does not name math-verify's tests")
def test_the_published_suite_passes(tmp_path):
    pytest.importorskip("sympy")
    pytest.importorskip("latex2sympy2_extended", reason="the suite imports it")
    # Its files import each other as `tests.test_all`.
    shutil.copytree(SUITE, tmp_path / "tests")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x" if os.environ.get("CI") else "-q", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    report = Path(os.environ.get("ICPO_SUITE_REPORT", tmp_path / "report.txt"))
    report.write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
