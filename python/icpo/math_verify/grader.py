"""Comparing answers: `verify`."""

from __future__ import annotations

import functools
import logging
import re
from itertools import product
from typing import Any

from icpo import _core
from icpo.math_verify.errors import TimeoutException
from icpo.math_verify.utils import timeout
from icpo.reward.sympy_bridge import from_sympy, is_sympy

__all__ = ["should_treat_as_complex", "sympy_expr_eq", "verify"]

logger = logging.getLogger(__name__)

#: What tells that variables are complex: i in its spellings, ℂ, and functions of complex numbers
#: or matrices.
_COMPLEX = re.compile(
    r"\bi\b|\\(?:i\b|imath\b|mathrm\{i\}|mathbb\{C\}|det|(?:Re|Im|arg)\{"
    r"|text\{(?:i|rank|Re|Im)\}|operatorname\{(?:tr|rank|Re|Im)\})"
)


def should_treat_as_complex(latex_str: str) -> bool:
    """Whether LaTeX looks as if its variables were complex."""
    return bool(_COMPLEX.search(latex_str))


@functools.lru_cache(maxsize=64)
def _checker(
    float_rounding: int, numeric_precision: int, strict: bool, allow_set_relation_comp: bool
) -> _core.Checker:
    return _core.Checker(
        {
            "profile": "math_verify",
            "float_rounding": float_rounding,
            "numeric_precision": numeric_precision,
            "strict_variables": strict,
            "allow_set_relation_comp": allow_set_relation_comp,
        }
    )


def sympy_expr_eq(
    gold: Any,
    pred: Any,
    float_rounding: int,
    numeric_precision: int,
    allow_set_relation_comp: bool = False,
    strict: bool = True,
) -> bool:
    """Compares two expressions. A function put in its place is called by `verify` instead.

    Sympy objects of kinds that answers do not have are compared by their structure.
    """
    checker = _checker(float_rounding, numeric_precision, strict, allow_set_relation_comp)
    try:
        return checker.compare([_parsed(gold)], [_parsed(pred)])[0] == "equal"
    except ValueError:
        return bool(gold == pred)


_NATIVE = sympy_expr_eq


def _parsed(value: Any) -> Any:
    """What the core knows: parsed answers and text."""
    if isinstance(value, _core.ParsedAnswer | str):
        return value
    return from_sympy(value)


def _is_expression(value: Any) -> bool:
    return isinstance(value, _core.ParsedAnswer) or is_sympy(value)


def _listed(value: Any) -> list[Any]:
    values = value if isinstance(value, list | tuple) else [value]
    # Blank text equals nothing, not even itself.
    return [_number(item) for item in values if not (isinstance(item, str) and not item.strip())]


def _number(value: Any) -> Any:
    """Python numbers as what they would be read as."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    from fractions import Fraction

    try:
        kind = "number" if isinstance(value, int) else "decimal"
        return _core.ParsedAnswer([(kind, str(Fraction(str(value))), [])])
    except ValueError:  # infinite, or not a number
        return value


def verify(
    gold: Any,
    target: Any,
    float_rounding: int = 6,
    numeric_precision: int = 15,
    strict: bool = True,
    allow_set_relation_comp: bool = False,
    timeout_seconds: int | None = 5,
    raise_on_error: bool = False,
) -> bool:
    """Whether any reading of an answer equals any of the gold answer.

    Args:
        gold: What `parse` returned for the gold answer; or a parsed answer, a sympy object, text,
            or a list of these.
        target: The same for the response.
        float_rounding: Decimal places to which decimals are rounded.
        numeric_precision: Digits to which expressions are evaluated.
        strict: Whether variables matter by name, and sets differ from tuples.
        allow_set_relation_comp: Whether a relation in the response may equal a set in the gold.
        timeout_seconds: Not needed. If `sympy_expr_eq` of this module has been replaced, a result
            that took longer is discarded.
        raise_on_error: Whether errors are raised; otherwise they are logged, and do not verify.
    """
    golds, targets = _listed(gold), _listed(target)
    if sympy_expr_eq is _NATIVE:
        try:
            checker = _checker(float_rounding, numeric_precision, strict, allow_set_relation_comp)
            verdict = checker.compare([_parsed(g) for g in golds], [_parsed(t) for t in targets])
            return verdict[0] == "equal"
        except (TypeError, ValueError, OverflowError):
            # Something among them is of a kind that answers do not have: one pair at a time.
            pass
    compare = timeout(timeout_seconds)(_compare)
    for pair_gold, pair_target in product(golds, targets):
        try:
            if compare(
                pair_gold,
                pair_target,
                float_rounding,
                numeric_precision,
                strict,
                allow_set_relation_comp,
            ):
                return True
        except TimeoutException as error:
            if raise_on_error:
                raise TimeoutException("Timeout during comparison") from error
            logger.warning("Timeout during comparison")
        except Exception:
            if raise_on_error:
                raise
            logger.debug("Error during comparison", exc_info=True)
    return False


def _compare(
    gold: Any, target: Any, rounding: int, precision: int, strict: bool, set_relation: bool
) -> bool:
    if isinstance(gold, str) and isinstance(target, str):
        return gold.strip() == target.strip()
    if _is_expression(gold) and _is_expression(target):
        return bool(sympy_expr_eq(gold, target, rounding, precision, set_relation, strict))
    return False
