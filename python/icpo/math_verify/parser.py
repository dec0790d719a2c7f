"""Reading answers: the configurations and `parse`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from icpo import _core
from icpo.math_verify.errors import TimeoutException
from icpo.math_verify.utils import timeout

__all__ = [
    "ExprExtractionConfig",
    "ExtractionTarget",
    "LatexExtractionConfig",
    "LatexNormalizationConfig",
    "NormalizationConfig",
    "StringExtractionConfig",
    "latex2sympy",
    "parse",
    "parse_expr",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatexNormalizationConfig:
    """Repairs made to LaTeX before it is read."""

    #: Spelling: ``\\dfrac``, ``\\mathrm``, ``\\left`` and the like.
    basic_latex: bool = True
    #: Units after the answer are dropped.
    units: bool = False
    #: ``\\frac12``, ``\\sqrt3`` and the like are completed.
    malformed_operators: bool = False
    #: ``.5`` and the like.
    nits: bool = False
    #: Which boxes are the answer: ``all``, ``last`` or ``none``.
    boxed: Literal["all", "last", "none"] = "all"
    #: Only the last part of a chain of equations is kept.
    equations: bool = False


#: The name that latex2sympy2_extended gives it.
NormalizationConfig = LatexNormalizationConfig


@dataclass(frozen=True)
class LatexExtractionConfig:
    """Where LaTeX is looked for."""

    #: Also where no words such as "the answer is" announce it.
    try_extract_without_anchor: bool = True
    #: When ``\\boxed`` is tried: 0 first, 50 after "final answer is", negative never.
    boxed_match_priority: int = 50
    #: Repairs. latex2sympy2_extended's own configuration will do, too.
    normalization_config: LatexNormalizationConfig = field(
        default_factory=lambda: LatexNormalizationConfig(
            basic_latex=True,
            units=True,
            malformed_operators=True,
            nits=True,
            boxed="all",
            equations=False,
        )
    )


@dataclass(frozen=True)
class ExprExtractionConfig:
    """Where plain numbers and arithmetic are looked for."""

    #: Also where no words such as "the answer is" announce them.
    try_extract_without_anchor: bool = True


@dataclass(frozen=True)
class StringExtractionConfig:
    """Which strings are looked for, as in multiple choice."""

    #: The strings.
    strings: tuple[str, ...] = field(default_factory=lambda: ("A", "B", "C", "D"))
    #: Also where no words such as "the answer is" announce them.
    try_extract_without_anchor: bool = True
    #: The result is lower-cased.
    lowercase: bool = True


ExtractionTarget = LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig


def _build(targets: tuple[Any, ...], fallback: str, extraction: str) -> _core.Checker:
    reading = {"targets": list(targets), "fallback": fallback, "extraction": extraction}
    return _core.Checker({"profile": "math_verify", "reading_pred": reading})


_built = functools.lru_cache(maxsize=64)(_build)


def _reader(targets: Sequence[Any], fallback: str, extraction: str) -> _core.Checker:
    try:
        return _built(tuple(targets), fallback, extraction)
    except TypeError:  # a configuration that is not hashable, such as one with a list of strings
        return _build(tuple(targets), fallback, extraction)


def latex2sympy(latex: str, **_: Any) -> Any:
    """Reads LaTeX. A function put in its place is called instead, as math_verify would call it."""
    return _single(_reader((LatexExtractionConfig(),), "no_fallback", "any_match"), f"${latex}$")


def parse_expr(expr: str, **_: Any) -> Any:
    """Reads plain arithmetic. A function put in its place is called instead."""
    return _single(_reader((ExprExtractionConfig(),), "no_fallback", "any_match"), expr)


def _single(reader: _core.Checker, text: str) -> Any:
    readings = reader.parse(text)[0]
    if not readings:
        raise ValueError(f"expected an expression, got {text!r}")
    return readings[0]


_NATIVE = (latex2sympy, parse_expr)


def parse(
    pred: str,
    extraction_config: Sequence[ExtractionTarget] = [  # the peer's default
        LatexExtractionConfig(),
        ExprExtractionConfig(),
    ],
    fallback_mode: Literal["no_fallback", "first_match"] = "first_match",
    extraction_mode: Literal["first_match", "any_match"] = "any_match",
    parsing_timeout: int = 5,
    raise_on_error: bool = False,
) -> list[Any]:
    """Finds the answer in a text and reads it.

    Args:
        pred: The text.
        extraction_config: What to look for; several are tried together, by priority.
        fallback_mode: With ``first_match`` the extracted text follows what was read from it, and
            stands alone if it could not be read.
        extraction_mode: ``first_match`` tries only the first place, ``any_match`` all.
        parsing_timeout: Not needed. If `latex2sympy` or `parse_expr` of this module has been
            replaced, a result that took longer is discarded.
        raise_on_error: Whether errors are raised; otherwise they are logged, and nothing is found.

    Returns:
        What was read and, perhaps, its text; nothing if there is no answer.
    """
    try:
        if (latex2sympy, parse_expr) == _NATIVE:
            return _reader(extraction_config, fallback_mode, extraction_mode).parse(pred)[0]
        return timeout(parsing_timeout)(_parse_with_replacements)(
            pred, extraction_config, fallback_mode, extraction_mode
        )
    except TimeoutException as error:
        if raise_on_error:
            raise TimeoutException(f"Timeout during parsing: {pred}") from error
        logger.warning("Timeout during parsing: %s", pred)
    except Exception:
        if raise_on_error:
            raise
        logger.debug("Error parsing: %s", pred, exc_info=True)
    return []


def _parse_with_replacements(
    pred: str, targets: Sequence[Any], fallback_mode: str, extraction_mode: str
) -> list[Any]:
    """As `parse`, with the text that was found read by whatever replaces the converters."""
    readings, extracted, source = _reader(targets, "first_match", extraction_mode).parse(pred)
    if extracted is None:
        return []
    if source == "latex":
        readings = [latex2sympy(extracted, **_as_called(extracted))]
    elif source == "arithmetic":
        expression = extracted.replace("\n", " ").replace("^", "**")
        readings = [parse_expr(expression, evaluate=False)]
    else:
        readings = readings[:1]
    return readings + ([extracted] if fallback_mode == "first_match" else [])


def _as_called(latex: str) -> dict[str, Any]:
    from icpo.math_verify.grader import should_treat_as_complex

    return {
        "is_real": not should_treat_as_complex(latex),
        "convert_degrees": False,
        "normalization_config": None,
    }
