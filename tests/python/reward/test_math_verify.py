"""`icpo.math_verify`: the peer's interface, without the peer's signals."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
import signal
import threading
import time
from unittest.mock import patch

import pytest

from icpo import math_verify
from icpo.math_verify import (
    ExprExtractionConfig,
    LatexExtractionConfig,
    LatexNormalizationConfig,
    StringExtractionConfig,
    math_metric,
    parse,
    verify,
)
from icpo.math_verify.errors import TimeoutException
from icpo.math_verify.grader import sympy_expr_eq
from icpo.math_verify.utils import timeout
from icpo.reward import ParsedAnswer

NINE = ParsedAnswer([("number", "9", [])])
TEN = ParsedAnswer([("number", "10", [])])


def test_parse_returns_the_answer_and_its_text():
    assert parse(r"so it is \boxed{9}") == [NINE, "9"]
    assert parse("") == []
    assert parse(r"\boxed{9}", (LatexExtractionConfig(),), extraction_mode="first_match")[0] == NINE


def test_verify_takes_all_kinds():
    assert verify(NINE, NINE) and verify([NINE, "9"], [NINE]) and not verify(NINE, TEN)
    assert (
        verify("a", " a ") and not verify("a", "b") and not verify("", "") and not verify([], "a")
    )
    assert (
        verify(9, NINE) and verify([TEN, NINE], 9) and not verify(NINE, "9") and not verify(None, 9)
    )
    assert verify(parse(r"\boxed{9}"), parse("9"))
    assert not verify(float("nan"), NINE) and not verify(True, ParsedAnswer([("number", "1", [])]))


def test_verify_takes_sympy_objects():
    sympy = pytest.importorskip("sympy")
    assert verify(sympy.Integer(9), NINE) and verify(NINE, [sympy.Integer(9)])
    assert verify(sympy.Integer(9), sympy.Integer(9)) and not verify(sympy.Integer(9), TEN)
    # Of a kind that answers do not have: by structure.
    assert verify(sympy.zeta(3), sympy.zeta(3)) and not verify(sympy.zeta(3), NINE)
    assert verify([sympy.zeta(5), NINE], [NINE])


def test_configurations_are_like_the_peers():
    config = LatexExtractionConfig()
    assert dataclasses.replace(config, boxed_match_priority=0) == LatexExtractionConfig(True, 0)
    assert config.normalization_config == LatexNormalizationConfig(
        True, True, True, True, "all", False
    )
    assert LatexNormalizationConfig() == LatexNormalizationConfig(
        True, False, False, False, "all", False
    )
    assert StringExtractionConfig().strings == ("A", "B", "C", "D")
    for changed in (LatexExtractionConfig(), ExprExtractionConfig(), StringExtractionConfig()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            changed.try_extract_without_anchor = False
        hash(changed)


@pytest.mark.parametrize("boxed", [True, False, "all", "last", "none"])
def test_foreign_configurations_are_read_by_attribute(boxed):
    class Foreign:
        basic_latex = units = malformed_operators = nits = True
        equations = False

    Foreign.boxed = boxed
    config = LatexExtractionConfig(normalization_config=Foreign())
    assert parse(r"\boxed{9}", [config], raise_on_error=True)
    assert parse("A", [StringExtractionConfig(strings=["A"])], raise_on_error=True)  # not hashable


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"pred": None}, "str"),
        ({"fallback_mode": "none"}, "fallback_mode: expected 'no_fallback' or"),
        ({"extraction_mode": "all"}, "extraction_mode: expected 'first_match' or"),
        ({"extraction_config": 5}, "iterable"),
        ({"extraction_config": [5]}, "failed to extract"),
        (
            {"extraction_config": [LatexExtractionConfig(
                normalization_config=LatexNormalizationConfig(boxed="first"))]},
            "boxed: expected 'all', 'last' or 'none'",
        ),
    ],
)  # fmt: skip
def test_errors_are_raised_on_request(call, message):
    arguments = {"pred": r"\boxed{9}", **call}
    assert parse(**arguments) == []
    with pytest.raises((TypeError, ValueError), match=message):
        parse(**arguments, raise_on_error=True)


def test_no_signals_no_warnings_any_thread(caplog):
    results = []

    def work():
        for seconds in (5, 1, 0, None):
            answer = parse(r"\boxed{9}", parsing_timeout=seconds)
            results.append(verify(answer, answer, timeout_seconds=seconds))

    before = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
    with caplog.at_level(logging.DEBUG):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work()
    assert results == [True] * 8 and not caplog.records
    if before is not None:
        assert signal.getsignal(signal.SIGALRM) == before


##### Replaced functions


@pytest.mark.parametrize(
    ("name", "text"), [("latex2sympy", "$1+1$"), ("parse_expr", "1+1")], ids=["latex", "plain"]
)
def test_a_replaced_converter_is_called(name, text):
    target = f"icpo.math_verify.parser.{name}"
    with patch(target, return_value=NINE) as converter:
        assert parse(text) == [NINE, "1+1"]
        assert parse(text, fallback_mode="no_fallback") == [NINE]
        assert converter.call_args.args == ("1+1",)
        assert parse("") == []
    with patch(target, side_effect=ValueError("boom")):
        assert parse(text) == []
        with pytest.raises(ValueError, match="boom"):
            parse(text, raise_on_error=True)
    with patch(target, side_effect=lambda *_, **__: time.sleep(1.1)):
        assert parse(text, parsing_timeout=1) == []
        with pytest.raises(TimeoutException, match="Timeout during parsing"):
            parse(text, parsing_timeout=1, raise_on_error=True)
        assert len(parse(text, parsing_timeout=None)) == 2


def test_a_replaced_comparison_is_called():
    target = "icpo.math_verify.grader.sympy_expr_eq"
    with patch(target, return_value=True) as comparison:
        assert verify(NINE, TEN, 3, 12, False, True)
        assert comparison.call_args.args == (NINE, TEN, 3, 12, True, False)
        assert not verify("a", "b") and not verify("a", NINE)
    with patch(target, side_effect=ValueError("boom")):
        assert not verify(NINE, NINE)
        with pytest.raises(ValueError, match="boom"):
            verify(NINE, NINE, raise_on_error=True)
    with patch(target, side_effect=lambda *_: time.sleep(1.1) or True):
        assert not verify(NINE, NINE, timeout_seconds=1)
        with pytest.raises(TimeoutException, match="Timeout during comparison"):
            verify(NINE, NINE, timeout_seconds=1, raise_on_error=True)
        assert verify(NINE, NINE, timeout_seconds=0)


def test_timeout_decorator():
    assert timeout(1)(lambda x: x + 1)(1) == 2 and timeout(None)(len)("ab") == 2

    @timeout(timeout_seconds=1)
    def slow():
        time.sleep(1.1)

    with pytest.raises(TimeoutException):
        slow()
    assert not issubclass(TimeoutException, Exception)


##### The metric


def test_metric():
    metric = math_metric((LatexExtractionConfig(),), (LatexExtractionConfig(),))
    score, (golds, predictions) = metric([r"\boxed{1}", r"\boxed{2}"], [r"\boxed{3}", r"\boxed{2}"])
    assert score == 1.0 and isinstance(score, float)
    assert (golds, predictions) == (["1", "1", "2", "2"], ["3", "3", "2", "2"])
    assert math_metric(aggregation_function=min)(["1"], ["1", "2"])[0] == 0.0
    assert math_metric()(["1"], [""])[0] == 0.0
    with pytest.raises(ValueError, match="golds: expected an answer in each"):
        math_metric()(["1", ""], ["1"])


##### The peer, where it is installed

PEER = ["", "parser", "grader", "metric", "errors", "utils"]


@pytest.mark.parametrize("module", PEER)
def test_signatures_are_the_peers(module):
    pytest.importorskip("math_verify", reason="math-verify is not installed")
    theirs = importlib.import_module("math_verify" + (f".{module}" if module else ""))
    ours = importlib.import_module("icpo.math_verify" + (f".{module}" if module else ""))
    names = {
        "": math_verify.__all__,
        "parser": [
            *("parse", "ExprExtractionConfig", "LatexExtractionConfig"),
            *("StringExtractionConfig", "NormalizationConfig"),
        ],
        "grader": ["verify", "sympy_expr_eq", "should_treat_as_complex"],
        "metric": ["math_metric"],
        "errors": ["TimeoutException"],
        "utils": ["timeout"],
    }[module]
    assert not module or set(names) <= set(dir(ours))
    for name in names:
        if name == "TimeoutException":
            assert theirs.TimeoutException.__bases__ == ours.TimeoutException.__bases__
            continue
        assert shape(getattr(ours, name)) == shape(getattr(theirs, name)), name
    if not module:
        assert set(ours.__all__) == set(theirs.__all__)


def shape(function):
    """Names, kinds and defaults; configurations by what is in them."""

    def plain(value):
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if dataclasses.is_dataclass(value):
            return {key: plain(item) for key, item in vars(value).items()}
        return repr(value)

    return [
        (parameter.name, parameter.kind, plain(parameter.default))
        for parameter in inspect.signature(function).parameters.values()
    ]


def test_the_peers_configurations_are_taken():
    peer = pytest.importorskip("math_verify", reason="math-verify is not installed")
    latex = pytest.importorskip("latex2sympy2_extended")
    for configs in (
        [peer.LatexExtractionConfig(), peer.ExprExtractionConfig()],
        [LatexExtractionConfig(normalization_config=latex.NormalizationConfig(boxed="last"))],
    ):
        assert parse(r"\boxed{9}", configs, raise_on_error=True)[0] == NINE


def test_complex_looks_are_the_peers():
    grader = pytest.importorskip("math_verify.grader", reason="math-verify is not installed")
    for text in (
        *("i", "2+3i", "x_i", "ix", r"\i", r"\mathbb{C}", r"\text{i}", r"\mathrm{i}", r"\imath"),
        *(r"\det A", r"\operatorname{tr}", r"\operatorname{rank}", r"\text{rank}", r"\text{tr}"),
        *(r"\arg{z}", r"\Re{z}", r"\Im z", r"\operatorname{Re}", r"\text{Im}", r"\sin x", "x + 1"),
        *(r"\imathx", r"\text{if}", r"3 i", r"e^{i\pi}"),
    ):
        ours, theirs = math_verify.grader.should_treat_as_complex, grader.should_treat_as_complex
        assert ours(text) == theirs(text), text


@pytest.mark.parametrize(
    "latex",
    [
        *(
            "42",
            "-3",
            "0.333",
            "-24.50",
            r"\frac{3}{4}",
            r"\frac{2\pi}{3}",
            r"-\frac{2x}{3}",
            "x^2-3x+1",
        ),
        *(
            r"4-2\sqrt{3}",
            r"\frac{7}{8(k+3)}",
            r"x\frac12",
            r"2\cdot 3",
            r"\sin x\cos x",
            "(x+1)(x-1)",
        ),
        *("(1,2)", "[0,1]", r"[2,\infty)", r"(-\infty,0)\cup(1,2]", r"\{3,1,2\}", "1,2", "x<3"),
        *(
            "1<x<2",
            "y=2x+1",
            "x=1,x=2",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"50\%",
            r"\emptyset",
        ),
        *(
            r"v=\begin{pmatrix}1\\-2\end{pmatrix}",
            "e^{-2t}",
            r"\log_2 8",
            "f(x)=x^3",
            r"5\text{ cm}",
        ),
    ],
)
def test_readings_are_the_peers(latex):
    """As many, of the same types, and with the same text."""
    peer = pytest.importorskip("math_verify", reason="math-verify is not installed")
    for text in (f"${latex}$", rf"Thus it is $\boxed{{{latex}}}$."):
        ours, theirs = parse(text), peer.parse(text)
        assert [str(reading) for reading in ours] == [str(reading) for reading in theirs]
        assert [isinstance(r, str) for r in ours] == [isinstance(r, str) for r in theirs]
        assert ours[0].to_sympy() == theirs[0] or str(ours[0].to_sympy()) == str(theirs[0])


def test_expressions_compare():
    assert sympy_expr_eq(NINE, NINE, 6, 15) and not sympy_expr_eq(NINE, TEN, 6, 15)
