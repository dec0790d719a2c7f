"""The cases of testdata/reward, which Rust runs too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from icpo.reward import Checker

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = sorted((Path(__file__).resolve().parents[3] / "testdata" / "reward").glob("*.toml"))


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}-{number}")
        for file in FILES
        for number, case in enumerate(tomllib.loads(file.read_text(encoding="utf-8"))["cases"])
    ]


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
@pytest.mark.parametrize("case", cases())
def test_case(case: dict[str, Any], profile: str) -> None:
    verdict = Checker(profile).check(case["gold"], case["pred"])
    assert verdict.equal == case[profile], verdict


# Hostile cases can take it minutes.
@pytest.mark.parametrize("case", [case for case in cases() if "hostile" not in str(case.id)])
def test_the_peer_says_so(case: dict[str, Any]) -> None:
    """What the files say of Math-Verify is what it says, where it is installed."""
    math_verify = pytest.importorskip("math_verify", reason="Math-Verify is not installed")
    gold = case["gold"] if "$" in case["gold"] else f"${case['gold']}$"
    said = math_verify.verify(math_verify.parse(gold), math_verify.parse(case["pred"]))
    assert said == case["math_verify"]
