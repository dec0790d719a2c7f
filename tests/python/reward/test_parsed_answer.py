"""Parsed answers: text, equality, hashes, pickles, and sympy both ways."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from icpo.reward import Checker, ParsedAnswer
from icpo.reward.sympy_bridge import from_sympy, is_sympy

NINE = ParsedAnswer([("number", "9", [])])
HALF = ParsedAnswer([("number", "1", []), ("number", "2", []), ("number", "-1", []),
                     ("pow", "", [1, 2]), ("mul", "", [0, 3])])  # fmt: skip
SUM = ParsedAnswer([("symbol", "x", []), ("number", "1", []), ("add", "", [0, 1])])
MIRRORED = ParsedAnswer([("number", "1", []), ("symbol", "x", []), ("add", "", [0, 1])])


def test_text():
    assert (str(NINE), repr(NINE), str(HALF), str(SUM)) == ("9", "9", "1/2", "x + 1")
    assert Checker().parse(r"\boxed{9}")[0] == NINE


def test_equality_and_hash():
    assert SUM == MIRRORED and hash(SUM) == hash(MIRRORED)
    assert (SUM != MIRRORED) is False
    assert SUM != NINE and NINE != "9" and NINE is not None and NINE != None  # noqa: E711
    assert {SUM: 1}[MIRRORED] == 1
    symbol = ParsedAnswer([("symbol", "9", [])])
    assert str(symbol) == str(NINE) and symbol != NINE
    decimal = ParsedAnswer([("decimal", "9", [])])
    assert decimal != NINE and str(decimal) == "9.00000000000000"


@pytest.mark.parametrize("number", [0, 1, -1, -2, 9, 2**61 - 1, 2**61, -(2**61) + 1, 10**50])
def test_integers_hash_like_pythons(number):
    parsed = ParsedAnswer([("number", str(number), [])])
    assert hash(parsed) == hash(number)


def test_pickle():
    for parsed in (NINE, HALF, SUM, ParsedAnswer([("symbol", "z", [])], True)):
        copy = pickle.loads(pickle.dumps(parsed))
        assert copy == parsed and copy.nodes() == parsed.nodes() and copy.complex == parsed.complex


@pytest.mark.parametrize(
    "nodes",
    [[], [("number", "x", [])], [("number", "1/0", [])], [("add", "", [0])], [("gcd", "", [])]],
)
def test_nonsense_is_refused(nodes):
    with pytest.raises(ValueError, match="nodes: expected"):
        ParsedAnswer(nodes)


def test_without_sympy_it_says_so():
    code = (
        "import sys; sys.modules['sympy'] = None\n"
        "from icpo.reward import ParsedAnswer\n"
        "answer = ParsedAnswer([('number', '9', [])])\n"
        "assert answer != 8 and str(answer) == '9'\n"
        "try: answer.to_sympy()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install icpo-rs[sympy]" in done.stdout


##### With sympy


def expressions():
    sympy = pytest.importorskip("sympy")
    x, k = sympy.Symbol("x", real=True), sympy.Symbol("k", real=True)
    s = sympy
    return [
        *(s.Integer(9999), s.Integer(-3), s.Rational(-3, 4), s.Float("6.9"), s.Float("-0.25")),
        *(s.pi, s.E, s.I, s.oo, -s.oo, s.EulerGamma, s.S.Reals, s.S.Naturals, s.S.EmptySet),
        *(x, x + 1, 1 - x, x**2 + 2 * x + 1, (x + 1) ** 2 / (k + 1), x / (2 * k), -x / 3),
        *(s.sqrt(2), 1 / s.sqrt(x), s.sqrt(3) / 2, 3 * s.sqrt(2) + 1, x ** s.Rational(2, 3)),
        *(2 * s.pi * k * x, 1 + 2 * s.I, 2**-x, (x**2) ** k, s.exp(x), 2 * s.exp(-x)),
        *(s.sin(x) / 3, s.acos(x), s.Abs(x), s.floor(x), s.ceiling(x), s.factorial(x)),
        *(s.binomial(x, 2), s.gamma(x), s.Max(x, k), s.Mod(x, 3), s.re(s.I * x), s.tanh(x)),
        *(s.FiniteSet(1, 2), s.Tuple(1, x), s.Interval(0, 1), s.Interval.open(0, s.oo)),
        *(s.Interval.Lopen(0, 1), s.Interval.Ropen(0, 1)),
        s.Union(s.Interval(0, 1), s.Interval(3, 4)),
        s.Complement(s.S.Reals, s.FiniteSet(x)),
        *(s.Eq(x, 1), s.Ne(x, 1), x < 2, x >= 2, s.And(x > 1, x < 2)),
        *(s.Matrix([[1, 2], [3, 4]]), s.Sum(k**2, (k, 1, 10)), s.Product(k, (k, 1, x))),
        *(s.Integral(x, x), s.Integral(x, (x, 0, 1)), s.Derivative(s.sin(x), x)),
        *(s.Limit(x, x, 3), s.Limit(x, x, 3, "-"), s.Function("f")(x)),
    ]


def test_to_sympy_and_back():
    for expression in expressions():
        parsed = from_sympy(expression)
        back = parsed.to_sympy()
        assert is_sympy(back), expression
        assert back == expression or str(back.doit()) == str(expression.doit()), expression
        assert from_sympy(back) == parsed, expression
        assert parsed == back and back == parsed, expression


def test_prints_as_sympy_does():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x", real=True)
    decimals = [
        sympy.Float(text) for text in ("1e-5", "-123.456", "2e15", "1.00000000000000000001")
    ]
    for expression in [*expressions(), *decimals, x * decimals[0], x + decimals[1]]:
        assert str(from_sympy(expression)) == str(expression)


def test_is_an_operand():
    sympy = pytest.importorskip("sympy")
    assert NINE == sympy.Integer(9) and sympy.Integer(9) == NINE  # noqa: SIM300
    assert NINE != sympy.Integer(8)  # noqa: SIM300
    assert hash(NINE) == hash(sympy.Integer(9)) and NINE == 9
    assert HALF == sympy.Rational(1, 2)  # noqa: SIM300
    assert sympy.simplify(SUM - sympy.Symbol("x", real=True)) == 1
    assert sympy.sqrt(NINE) == 3


def test_long_integers_pass():
    sympy = pytest.importorskip("sympy")
    number = sympy.Integer(-(7**8000))  # more digits than Python converts at once
    assert from_sympy(number).to_sympy() == number


def test_what_sympy_can_not_say_is_an_error():
    sympy = pytest.importorskip("sympy")
    odd = ParsedAnswer([("constant", "I", []), ("interval", "[]", [0, 0])])
    with pytest.raises(ValueError, match="sympy has no counterpart of Interval"):
        odd.to_sympy()
    assert odd != sympy.Integer(1)


def test_what_no_answer_holds_is_an_error():
    sympy = pytest.importorskip("sympy")
    for value in (sympy.nan, sympy.zoo, sympy.true, sympy.zeta(3), "text", None):
        with pytest.raises(ValueError, match="expected an object that answers are made of"):
            from_sympy(value)
    with pytest.raises(ValueError, match="at most 4096 parts"):
        from_sympy(sympy.Add(*sympy.symbols("x:5000")))
