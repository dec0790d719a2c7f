"""A template as settings hold it: a name in `TEMPLATES`, or a mapping with the fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from icpo.demos.prompt import TEMPLATES, Template
from icpo.errors import ConfigError
from icpo.schema import Form

__all__ = ["TemplateSetting", "spelled"]


def spelled(text: str) -> str | dict[str, Any]:
    """What ``--template`` stands for on a command line: a name, or the fields as JSON.

    >>> spelled("qa"), spelled('{"chat": true}')
    ('qa', {'chat': True})
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        fields: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--template: expected a name or JSON, got {text!r}: {error}") from None
    return fields


def _read(key: str, value: Any) -> Template:
    if not isinstance(value, (str, Mapping)):
        raise ConfigError(f"{key}: expected {' or '.join(TEMPLATES)} or a mapping, got {value!r}")
    try:
        return Template.of(value)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _write(template: Template) -> Any:
    if TEMPLATES.get(template.name) == template:
        return template.name
    return {name: value for name, value in vars(template).items() if name != "name"}


#: The annotation of a field that holds one.
TemplateSetting = Annotated[Template, Form(_read, _write)]
