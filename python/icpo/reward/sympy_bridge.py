"""Parsed answers to sympy objects and back. Only this file imports sympy, and only when asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from icpo import _core

__all__ = ["equals", "from_sympy", "is_sympy", "to_sympy"]

#: A node as it travels: kind, what else it says, places of its children.
Node = tuple[str, str, list[int]]

#: What the core refuses to hold; also what it makes no sense to walk through.
_MAX_NODES = 4096
#: Python refuses to convert integers with more digits at once.
_CHUNK = 4000

_MATRIX_FUNCTIONS = {"det": "Determinant", "trace": "Trace", "transpose": "Transpose"}
# fmt: off
_FUNCTIONS = (
    "sin", "cos", "tan", "csc", "sec", "cot", "asin", "acos", "atan", "acsc", "asec", "acot",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp", "log", "Abs", "floor", "ceiling",
    "factorial", "binomial", "gamma", "gcd", "lcm", "Max", "Min", "Mod", "conjugate", "re",
    "im", "arg",
)
# fmt: on
_NUMBER_SETS = ("Naturals", "Integers", "Rationals", "Reals", "Complexes")
_RELATIONS = {"Eq": "Eq", "Ne": "Ne", "<": "Lt", "<=": "Le", ">": "Gt", ">=": "Ge"}
_RELATION_CLASSES = {
    "Equality": "Eq",
    "Unequality": "Ne",
    "StrictLessThan": "<",
    "LessThan": "<=",
    "StrictGreaterThan": ">",
    "GreaterThan": ">=",
}
_INFINITIES = {float("inf"): "oo", float("-inf"): "-oo"}
_DIRECTIONS = {"Limit": "+-", "Limit+": "+", "Limit-": "-"}


def _sympy() -> Any:
    try:
        import sympy
    except ImportError:
        raise ImportError(
            "sympy is needed to convert a parsed answer, and is not installed: "
            "pip install icpo-rs[sympy]"
        ) from None
    return sympy


def is_sympy(value: object) -> bool:
    """Whether a value is a sympy object. Does not import sympy."""
    sympy: Any = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Basic | sympy.MatrixBase)


def equals(parsed: _core.ParsedAnswer, other: object) -> Any:
    """``parsed == other`` for what is no parsed answer: by sympy's structural equality."""
    if isinstance(other, int) and not isinstance(other, bool):
        return parsed.nodes() == [("number", _digits(other), [])]
    if isinstance(other, float) and other in _INFINITIES:  # how sympy's own compare themselves
        return parsed.nodes() == [("constant", _INFINITIES[other], [])]
    # A tuple is what sympy's own compares its elements as.
    if not (is_sympy(other) or (isinstance(other, tuple) and any(map(is_sympy, other)))):
        return NotImplemented
    try:
        return bool(to_sympy(parsed) == other)
    except ValueError:
        return NotImplemented


##### To sympy


def to_sympy(parsed: _core.ParsedAnswer) -> Any:
    """The sympy object of the same structure. Nothing but single numbers is evaluated.

    Raises:
        ImportError: if sympy is not installed.
        ValueError: if sympy has no such object.
    """
    sympy = _sympy()
    nodes = parsed.nodes()
    built: list[Any] = []
    for kind, data, kids in nodes:
        arguments = [built[kid] for kid in kids]
        try:
            built.append(_build(sympy, kind, data, arguments, real=not parsed.complex))
        except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"sympy has no counterpart of {parsed}: {error}") from error
    return built[-1]


def sympified(parsed: _core.ParsedAnswer) -> Any:
    """`to_sympy` with the error that sympy expects of an operand."""
    try:
        return to_sympy(parsed)
    except ValueError as error:
        raise _sympy().SympifyError(str(parsed), error) from error


def _build(sympy: Any, kind: str, data: str, arguments: list[Any], real: bool) -> Any:
    simple = _BUILDERS.get(kind)
    if simple is not None:
        return simple(sympy, data, arguments)
    if kind == "symbol":
        return sympy.Symbol(data, real=True) if real else sympy.Symbol(data)
    matrices = any(isinstance(argument, sympy.MatrixBase) for argument in arguments)
    if kind == "apply" and data == "log":
        # The natural logarithm too: that it was written with a base is part of the structure.
        return sympy.log(*arguments, evaluate=False)
    if kind == "apply" and data in ("gcd", "lcm") and all(a.is_Rational for a in arguments):
        return getattr(sympy, data)(arguments)
    if kind == "apply" and data in _MATRIX_FUNCTIONS and matrices:
        return getattr(sympy, _MATRIX_FUNCTIONS[data])(*arguments)
    if kind == "apply" and data in _FUNCTIONS and data not in ("gcd", "lcm"):
        return getattr(sympy, data)(*arguments, evaluate=False)
    if kind in ("apply", "call"):
        return sympy.Function(data)(*arguments)
    if kind == "bind":
        return _bind(sympy, data, arguments)
    if matrices:
        return {"add": sympy.MatAdd, "mul": sympy.MatMul, "pow": sympy.MatPow}[kind](*arguments)
    if kind == "add":
        return sympy.Add(*_opened(sympy.Add, arguments), evaluate=False)
    if kind == "mul":
        factors = _opened(sympy.Mul, arguments)
        number = _single_number(sympy, factors)
        if number is not None:
            return number
        if len(arguments) == 2 and arguments[1].is_Pow and arguments[1].exp == -1:
            factors = arguments  # what stands above a fraction line stays together
        return sympy.Mul(*factors, evaluate=False)
    assert kind == "pow", kind
    base, exponent = arguments
    if base == sympy.E:
        return sympy.exp(exponent, evaluate=False)
    return sympy.Pow(base, exponent, evaluate=False)


def _integer(sympy: Any, text: str) -> Any:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    value = 0
    for start in range(0, len(digits), _CHUNK):
        chunk = digits[start : start + _CHUNK]
        value = value * 10 ** len(chunk) + int(chunk)
    return sympy.Integer(sign * value)


def _number(sympy: Any, data: str) -> Any:
    above, _, below = data.partition("/")
    numerator = _integer(sympy, above)
    return sympy.Rational(numerator, _integer(sympy, below)) if below else numerator


def _decimal(sympy: Any, data: str) -> Any:
    value = _number(sympy, data)
    # As many digits as were written, and at least those of a double, as sympy does with text.
    places = next((k for k in range(_CHUNK) if 10**k % value.q == 0), 0)
    digits = len(_digits(abs(int(value.p)) * 10**places // int(value.q)))
    return sympy.Float(value, max(15, digits))


def _opened(kind: Any, arguments: list[Any]) -> list[Any]:
    parts: list[Any] = []
    for argument in arguments:
        parts.extend(argument.args if isinstance(argument, kind) else [argument])
    return parts


def _single_number(sympy: Any, factors: list[Any]) -> Any:
    """The value of a product that people write as one number: -7, 1/2, -3/4."""
    value, above, below = sympy.Integer(1), 0, 0
    for factor in factors:
        if factor.is_Rational:
            above += factor not in (1, -1)
            value *= factor
        elif factor.is_Pow and factor.exp == -1 and factor.base.is_Integer and factor.base != 0:
            below += 1
            value /= factor.base
        else:
            return None
    return value if above <= 1 and below <= 1 else None


def _bind(sympy: Any, data: str, arguments: list[Any]) -> Any:
    body, variable, *rest = arguments
    if data in _DIRECTIONS:
        return sympy.Limit(body, variable, *rest, dir=_DIRECTIONS[data])
    limits = (variable, *rest) if rest else variable
    return getattr(sympy, data)(body, limits)


def _set_operation(name: str) -> Callable[[Any, str, list[Any]], Any]:
    return lambda sympy, _, arguments: getattr(sympy, name)(*arguments, evaluate=False)


_BUILDERS: dict[str, Callable[[Any, str, list[Any]], Any]] = {
    "number": lambda sympy, data, _: _number(sympy, data),
    "decimal": lambda sympy, data, _: _decimal(sympy, data),
    "constant": lambda sympy, data, _: -sympy.oo if data == "-oo" else getattr(sympy, data),
    "percent": lambda sympy, _, arguments: sympy.Mul(
        arguments[0], sympy.Rational(1, 100), evaluate=False
    ),
    "matrix": lambda sympy, data, arguments: sympy.ImmutableMatrix(
        *map(int, data.split("x")), arguments
    ),
    "set": lambda sympy, _, arguments: sympy.FiniteSet(*arguments),
    "tuple": lambda sympy, _, arguments: sympy.Tuple(*arguments),
    "interval": lambda sympy, data, arguments: sympy.Interval(
        *arguments, data[0] == "(", data[1] == ")"
    ),
    "union": _set_operation("Union"),
    "intersection": _set_operation("Intersection"),
    "difference": _set_operation("Complement"),
    "number_set": lambda sympy, data, _: (
        getattr(sympy.S, data) if data in _NUMBER_SETS else sympy.Symbol(data)
    ),
    "relation": lambda sympy, data, arguments: getattr(sympy, _RELATIONS[data])(
        *arguments, evaluate=False
    ),
    "chain": lambda sympy, _, arguments: sympy.And(*arguments, evaluate=False),
    "not": lambda sympy, _, arguments: sympy.Not(*arguments, evaluate=False),
}


##### From sympy


def from_sympy(value: Any) -> _core.ParsedAnswer:
    """The parsed answer of a sympy object.

    Raises:
        ValueError: if it is too large, or of a kind that answers do not have.
    """
    sympy = _sympy()
    nodes: list[Node] = []
    places: list[int] = []  # of nodes that wait for their parent
    # Children before parents, by a stack of our own: objects nest deeper than Python recurses.
    stack: list[tuple[Any, Node | None]] = [(value, None)]
    complex_symbols = False
    while stack:
        item, ready = stack.pop()
        if ready is not None:
            kind, data, kids = ready
            count = len(kids)
            children = places[len(places) - count :]
            del places[len(places) - count :]
            places.append(len(nodes))
            nodes.append((kind, data, children))
            continue
        if len(nodes) + len(stack) > _MAX_NODES:
            raise ValueError(f"expected an expression of at most {_MAX_NODES} parts")
        while type(item).__name__ == "UnevaluatedExpr":
            item = item.args[0]
        kind, data, arguments = _describe(sympy, item)
        complex_symbols |= kind == "symbol" and not item.is_real
        stack.append((item, (kind, data, [0] * len(arguments))))
        stack.extend((argument, None) for argument in reversed(arguments))
    return _core.ParsedAnswer(nodes, complex_symbols)


def _digits(value: int) -> str:
    if value < 0:
        return "-" + _digits(-value)
    chunks = []
    while value >= 10**_CHUNK:
        value, rest = divmod(value, 10**_CHUNK)
        chunks.append(f"{rest:0{_CHUNK}d}")
    return "".join([str(value), *reversed(chunks)])


def _fraction(value: Any) -> str:
    return _digits(int(value.p)) + (f"/{_digits(int(value.q))}" if value.q != 1 else "")


def _describe(sympy: Any, item: Any) -> tuple[str, str, list[Any]]:
    """Kind, data and children of an object."""
    if isinstance(item, sympy.MatrixBase):
        return "matrix", f"{item.rows}x{item.cols}", list(item)
    name = type(item).__name__
    if isinstance(item, sympy.Symbol):
        return "symbol", str(item.name), []
    if isinstance(item, sympy.Rational) and item.is_finite:
        return "number", _fraction(item), []
    if isinstance(item, sympy.Float) and item.is_finite:
        # What it shows, not the binary fraction nearest to that.
        return "decimal", _fraction(sympy.Rational(str(item))), []
    if isinstance(item, sympy.Interval):
        if item == sympy.S.Reals:
            return "number_set", "Reals", []
        brackets = ("(" if item.left_open else "[") + (")" if item.right_open else "]")
        return "interval", brackets, [item.start, item.end]
    if isinstance(item, sympy.FiniteSet) or item is sympy.S.EmptySet:
        return "set", "", list(item.args)
    for known in _NUMBER_SETS:
        if item is getattr(sympy.S, known):
            return "number_set", known, []
    if name in _CONSTANTS:
        return "constant", _CONSTANTS[name], []
    if name in _LISTS:
        return _LISTS[name], "", list(item.args)
    if name in _RELATION_CLASSES:
        return "relation", _RELATION_CLASSES[name], list(item.args)
    if name == "log":
        return "apply", "log", [*item.args, sympy.E][:2]
    if name in _FUNCTIONS:
        return "apply", name, list(item.args)
    for function, matrix_class in _MATRIX_FUNCTIONS.items():
        if name == matrix_class:
            return "apply", function, list(item.args)
    if isinstance(item, sympy.core.function.AppliedUndef):
        return "call", str(item.func), list(item.args)
    if isinstance(item, sympy.Sum | sympy.Product | sympy.Integral) and len(item.limits) == 1:
        return "bind", name, [item.function, *item.limits[0]]
    if name == "Derivative" and len(item.variables) == 1:
        return "bind", name, [item.expr, item.variables[0]]
    if name == "Limit":
        body, variable, point, direction = item.args
        kinds = {sign: kind for kind, sign in _DIRECTIONS.items()}
        return "bind", kinds[str(direction)], [body, variable, point]
    raise ValueError(f"expected an object that answers are made of, got {name}")


_CONSTANTS = {
    "Pi": "pi",
    "Exp1": "E",
    "ImaginaryUnit": "I",
    "EulerGamma": "EulerGamma",
    "Infinity": "oo",
    "NegativeInfinity": "-oo",
}
_LISTS = {
    "Add": "add",
    "MatAdd": "add",
    "Mul": "mul",
    "MatMul": "mul",
    "Pow": "pow",
    "MatPow": "pow",
    "Tuple": "tuple",
    "Union": "union",
    "Intersection": "intersection",
    "Complement": "difference",
    "And": "chain",
    "Not": "not",
}
