"""The folder of what asks a model: begun once, continued after any stop, never mixed up."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icpo.errors import CheckpointError, ConfigError

__all__ = [
    "JOURNAL",
    "SETTINGS",
    "about_of",
    "as_json",
    "check_folder",
    "check_same",
    "holds",
    "write",
]

#: What is asked, and every response.
SETTINGS, JOURNAL = "settings.json", "journal.jsonl"


def holds(folder: Path) -> bool:
    """Whether something was begun in a folder."""
    journal = folder / JOURNAL
    # Whoever writes opens the journal first: an empty one says nothing.
    return (folder / SETTINGS).exists() or (journal.exists() and journal.stat().st_size > 0)


def about_of(folder: Path, noun: str) -> dict[str, Any]:
    """What a folder says of what was begun in it, which messages call an `noun`."""
    path = folder / SETTINGS
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        found["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected the settings of an {noun} to resume: {error}"
        ) from None
    return found


def check_folder(
    folder: Path,
    about: Mapping[str, Any],
    names: Sequence[str],
    noun: str,
    *,
    resume: bool,
    fresh: bool,
) -> None:
    """Refuses a folder in which something else was begun.

    Args:
        folder: where it is going to be written.
        about: what is known of it, by name.
        names: those by which it must be the same to be resumed.
        noun: what it is called, behind "an".
        resume: whether to continue what is there.
        fresh: whether to overwrite it.

    Raises:
        ConfigError: there is something, and nobody has said what becomes of it.
        CheckpointError: what is to be resumed is another one.
    """
    if fresh or not holds(folder):
        return
    if not resume:
        raise ConfigError(
            f"out: {folder} holds an {noun} already: --resume continues it, --fresh starts "
            "anew and overwrites it, --out FOLDER leaves it alone"
        )
    check_same(folder, about, names, noun)


def check_same(folder: Path, about: Mapping[str, Any], names: Sequence[str], noun: str) -> None:
    """Refuses to continue another one."""
    before = about_of(folder, noun)
    for name in names:
        now = json.loads(json.dumps(about[name]))
        if before.get(name) != now:
            raise CheckpointError(
                f"{folder}: expected the {noun} that is resumed to be the same, but "
                f"{_differing(name, before.get(name), now)}"
            )


def _differing(name: str, before: Any, now: Any) -> str:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                inner = key if name == "identity" else f"{name}.{key}"
                return _differing(inner, before.get(key), now.get(key))
    return f"{name} was {before!r}, and is {now!r}"


def as_json(value: Any) -> str:
    """As files have it."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8", errors="surrogatepass")
    os.replace(aside, path)
