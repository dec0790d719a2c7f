"""Settings as frozen dataclasses that check themselves.

A section of the configuration is a `Section`; the annotation of a field states what it accepts, and
is where the words of the error come from. Every error begins with the dotted key.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union

from icpo.errors import ConfigError

__all__ = ["Form", "Range", "Section", "expected", "refuse_unknown"]

_Section = TypeVar("_Section", bound="Section")


@dataclass(frozen=True)
class Range:
    """Which numbers a field accepts, in an annotation: ``Annotated[int, Range(least=1)]``."""

    above: float = -math.inf
    least: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        """Whether it is one of them."""
        return self.above < number < self.below and self.least <= number <= self.most

    def __str__(self) -> str:
        """Behind "a number"."""
        bounds = {
            "above": self.above,
            "from": self.least,
            "up to": self.most,
            "below": self.below,
        }
        return "".join(
            f" {word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)
        )


@dataclass(frozen=True)
class Form:
    """How a field that is no section is written in a file, in an annotation."""

    #: Its key and what the file has there, to the value; an error begins with the key.
    read: Callable[[str, Any], Any]
    #: The value, to what `read` takes.
    write: Callable[[Any], Any]


@dataclass(frozen=True)
class Section:
    """Base of the sections: frozen dataclasses, checked when they are made."""

    #: Dotted key of the section; empty at the top.
    key: ClassVar[str] = ""

    def __init_subclass__(cls, key: str = "") -> None:
        """`key` is the dotted key of the section."""
        cls.key = key

    def __post_init__(self) -> None:
        """Checks every field, and makes sections of mappings, tuples of lists, paths of texts."""
        for name, hint in _hints(type(self)).items():
            value = _checked(self._dotted(name), hint, getattr(self, name))
            object.__setattr__(self, name, value)

    @classmethod
    def build(cls: type[_Section], values: Mapping[str, Any]) -> _Section:
        """The section with these values, as a file has them.

        Raises:
            ConfigError: if there is no such key, one is missing, or a value does not fit.
        """
        fields = dataclasses.fields(cls)
        refuse_unknown(cls.key, values, [field.name for field in fields], list(_below(cls)))
        for field in fields:
            needed = field.default is MISSING and field.default_factory is MISSING
            if needed and field.name not in values:
                hint = _hints(cls)[field.name]
                raise ConfigError(
                    f"{cls._dotted(field.name)}: expected {expected(hint)}, but it is not set"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """What `build` takes, every key included."""
        return {
            name: _written(hint, getattr(self, name)) for name, hint in _hints(type(self)).items()
        }

    @classmethod
    def _dotted(cls, name: str) -> str:
        return f"{cls.key}.{name}" if cls.key else name


def refuse_unknown(
    section: str, given: Iterable[str], known: Sequence[str], below: Sequence[str] = ()
) -> None:
    """Refuses keys that a section does not have, and names the nearest one.

    Args:
        section: dotted key of the section; empty at the top.
        given: the keys.
        known: those that the section has.
        below: dotted keys in its own sections, one of which may have been meant.

    Raises:
        ConfigError: naming the first of them.
    """
    for name in given:
        if name in known:
            continue
        prefix = f"{section}." if section else ""
        near = [key for key in below if key.rpartition(".")[2] == name]
        near += [f"{prefix}{key}" for key in difflib.get_close_matches(name, known, 1, 0.5)]
        there = f"{section} has" if section else "there are"
        hint = f"did you mean {near[0]}?" if near else f"{there} {', '.join(known)}"
        raise ConfigError(f"{prefix}{name}: no such setting; {hint}")


def _below(section: type[Section]) -> Iterator[str]:
    """The dotted keys in the sections of a section."""
    for hint in _hints(section).values():
        for inner in (hint, *typing.get_args(hint)):
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from (f"{inner.key}.{name}" for name in _hints(inner))
                yield from _below(inner)


def _hints(section: type) -> dict[str, Any]:
    hints = typing.get_type_hints(section, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(section)}


def _parts(hint: Any) -> tuple[Any, Range | Form | None]:
    """A type, and what an `Annotated` adds to it."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, extra = typing.get_args(hint)
        return inner, extra
    return hint, None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def expected(hint: Any) -> str:
    """What a type accepts, in words."""
    inner, extra = _parts(hint)
    if _is_union(inner):
        return " or ".join(expected(choice) for choice in typing.get_args(inner))
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if origin is Literal:
        return " or ".join(_shown(choice) for choice in arguments)
    if origin is tuple:
        if arguments[-1] is ...:
            return f"a list, each {expected(arguments[0])}"
        return f"a list of {len(arguments)}, each {expected(arguments[0])}"
    if isinstance(inner, type) and issubclass(inner, Section):
        return f"a section with {', '.join(_hints(inner))}"
    return f"{_WORDS[inner]}{extra or ''}"


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


def _shown(value: Any) -> str:
    """As a file has it."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)


def _checked(key: str, hint: Any, value: Any) -> Any:
    """The value as the type wants it."""
    found = _fitted(key, hint, value)
    if found is _MISFIT:
        raise ConfigError(f"{key}: expected {expected(hint)}, got {_shown(value)}")
    return found


_MISFIT = object()


def _fitted(key: str, hint: Any, value: Any) -> Any:
    inner, extra = _parts(hint)
    if isinstance(extra, Form):
        return value if isinstance(value, inner) else extra.read(key, value)
    if _is_union(inner):
        for choice in typing.get_args(inner):
            found = _fitted(key, choice, value)
            if found is not _MISFIT:
                return found
        return _MISFIT
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if origin is Literal:
        # `True == 1`, but they are not the same setting.
        known = [choice for choice in arguments if choice is value or choice == value]
        return known[0] if known and type(known[0]) is type(value) else _MISFIT
    if origin is tuple:
        return _fitted_list(key, arguments, value)
    if isinstance(inner, type) and issubclass(inner, Section):
        return inner.build(value) if isinstance(value, Mapping) else _instance(inner, value)
    if inner is float or inner is int:
        return _fitted_number(inner, extra, value)
    if inner is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    return _MISFIT if value == "" else _instance(inner, value)


def _instance(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else _MISFIT


def _fitted_list(key: str, arguments: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return _MISFIT
    hints = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
    if len(hints) != len(value):
        return _MISFIT
    found = tuple(_fitted(key, hint, item) for hint, item in zip(hints, value, strict=True))
    return _MISFIT if _MISFIT in found else found


def _fitted_number(kind: type, extra: Range | None, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return _MISFIT
    if kind is int and not isinstance(value, int):
        return _MISFIT
    number = kind(value)
    return _MISFIT if extra is not None and number not in extra else number


def _written(hint: Any, value: Any) -> Any:
    _, extra = _parts(hint)
    if isinstance(extra, Form):
        return extra.write(value)
    if isinstance(value, Section):
        return value.to_dict()
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
