"""YAML as configurations need it: plain values that know their line.

The rules are those of YAML 1.2: ``1e-6`` is a number, ``off`` is a text, ``1:30`` is not 90. A key
that comes twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icpo.errors import ConfigError

__all__ = ["Document", "dump", "read"]

#: Values on the command line have no line.
COMMAND_LINE = "command line"


@dataclass
class Document:
    """Nested mappings, and where each value stands."""

    #: What a place is named after that nothing better is known of.
    name: str
    values: Any = field(default_factory=dict)
    #: By dotted key: ``icpo.yaml:12``, or the command line.
    places: dict[str, str] = field(default_factory=dict)

    def override(self, assignment: str) -> None:
        """Sets what ``key=value`` says; the value is YAML.

        Raises:
            ConfigError: if it says nothing, or the key leads through something that is no section.
        """
        key, equals, text = assignment.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise ConfigError(f"{COMMAND_LINE}: expected key=value, got {assignment!r}")
        value = _parse(text, f"{COMMAND_LINE}: {key}")
        self.set(names, value.values, COMMAND_LINE)

    def set(self, names: Sequence[str], value: Any, place: str) -> None:
        """Sets one key; sections that do not exist on the way to it, or are null, are made."""
        section = self.values
        for depth, name in enumerate(names[:-1], 1):
            if section.get(name) is None:
                section[name] = {}
                self.places[".".join(names[:depth])] = place
            section = section[name]
            if not isinstance(section, dict):
                there = ".".join(names[:depth])
                raise ConfigError(
                    f"{place}: {'.'.join(names)}: {there} is {section!r}, not a section"
                )
        section[names[-1]] = value
        key = ".".join(names)
        for old in [old for old in self.places if old.startswith(f"{key}.")]:
            del self.places[old]
        self.places[key] = place

    def located(self, error: ConfigError) -> ConfigError:
        """The same error, with the place of the key that it begins with, or of what holds that."""
        names = str(error).partition(":")[0].split(".")
        for count in range(len(names), 0, -1):
            place = self.places.get(".".join(names[:count]))
            if place is not None:
                return ConfigError(f"{place}: {error}")
        return ConfigError(f"{self.name}: {error}")


def read(path: Path) -> Document:
    """The document in a file.

    Raises:
        ConfigError: naming file and line, if it is no YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can not be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8: {error}") from None
    document = _parse(text, str(path))
    if document.values is None:
        document.values = {}
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {document.values!r:.80}")
    return document


def dump(values: dict[str, Any]) -> str:
    """As YAML, in the order given."""
    import yaml

    # Texts that either version of YAML takes for something else have to be quoted.
    ours, theirs = _resolvers(), yaml.SafeDumper.yaml_implicit_resolvers
    both = {first: [*theirs.get(first, []), *ours.get(first, [])] for first in {*ours, *theirs}}
    dumper = type("Dumper", (yaml.SafeDumper,), {"yaml_implicit_resolvers": both})
    text: str = yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _parse(text: str, name: str) -> Document:
    """The document in a text. Its values may be anything, not only a mapping."""
    import yaml

    loader = yaml.SafeLoader(text)
    loader.yaml_implicit_resolvers = _resolvers()
    document = Document(name)
    try:
        node = loader.get_single_node()
        document.values = None if node is None else _plain(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{_place(name, error.problem_mark)}: no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}: no YAML: {error}") from None
    finally:
        loader.dispose()
    return document


def _place(name: str, mark: Any) -> str:
    return name if mark is None or name.startswith(COMMAND_LINE) else f"{name}:{mark.line + 1}"


def _resolvers() -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    """Which scalars are what, by first character, as PyYAML keeps it: YAML 1.2's core schema."""
    tag = "tag:yaml.org,2002:"
    table: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
    ):
        for character in first:
            table.setdefault(character, []).append((tag + kind, re.compile(f"(?:{pattern})$")))
    return table


def _plain(loader: Any, node: Any, keys: tuple[str, ...], document: Document) -> Any:
    """What a node holds; the places of its keys go into the document."""
    import yaml

    place = _place(document.name, node.start_mark)
    if keys:
        document.places.setdefault(".".join(keys), place)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (), document) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, keys, document)
    kind = node.tag.rpartition(":")[2]
    if kind not in _SCALARS:
        raise ConfigError(f"{place}: expected a plain value, got one tagged {node.tag}")
    try:
        return _SCALARS[kind](node.value)
    except ValueError:
        raise ConfigError(
            f"{place}: expected {kind} after {node.tag}, got {node.value!r}"
        ) from None


def _mapping(loader: Any, node: Any, keys: tuple[str, ...], document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = _place(document.name, key_node.start_mark)
        if not isinstance(key_node.value, str):
            raise ConfigError(f"{place}: expected a name before the colon, got several values")
        name = key_node.value
        dotted = ".".join((*keys, name))
        if name in values:
            raise ConfigError(
                f"{place}: {dotted}: it is set twice, first at {document.places[dotted]}"
            )
        document.places[dotted] = place
        values[name] = _plain(loader, value_node, (*keys, name), document)
    return values


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    # Python knows no dot in ".inf".
    "float": lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    "str": str,
}
