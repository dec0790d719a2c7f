"""The interface of `math_verify`, on this package's checker.

Replace ``from math_verify import parse, verify`` by ``from icpo.math_verify import parse, verify``.
Signatures and conventions are those of math-verify 0.9; `parse` returns `icpo.reward.ParsedAnswer`
objects, which print and compare like the sympy objects they stand for, and calculate like them
where sympy is installed. Timeouts are accepted and not needed: no signal is used, so any thread may
call. docs/checker.md lists the verdicts that differ.
"""

from icpo.math_verify.grader import verify
from icpo.math_verify.metric import math_metric
from icpo.math_verify.parser import (
    ExprExtractionConfig,
    LatexExtractionConfig,
    LatexNormalizationConfig,
    StringExtractionConfig,
    parse,
)

__all__ = [
    "ExprExtractionConfig",
    "LatexExtractionConfig",
    "LatexNormalizationConfig",
    "StringExtractionConfig",
    "math_metric",
    "parse",
    "verify",
]
