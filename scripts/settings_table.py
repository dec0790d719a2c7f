"""Writes the tables of settings in docs/training.md and verl.md from the comments beside them.

    python scripts/settings_table.py

A setting is documented once, where it is declared. Its test fails when the page is not up to date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icpo.mixing import Bonus, Lessons, Plan, Prefix
from icpo.objective import LossConfig
from icpo.schema import Form, Section, expected
from icpo.trainer.config import TrainConfig
from icpo.verl.settings import IcpoSettings

DOCS = Path(__file__).parents[1] / "docs"
PAGE, VERL_PAGE = DOCS / "training.md", DOCS / "verl.md"
BEGIN, END = "<!-- settings: written by scripts/settings_table.py -->", "<!-- /settings -->"

#: Parts of an algorithm, which are settings below its key.
PARTS = {
    "algorithm": Plan,
    "algorithm.bonus": Bonus,
    "algorithm.lessons": Lessons,
    "algorithm.prefix": Prefix,
    "algorithm.loss": LossConfig,
}


PRESET = "A loss to begin with, in `icpo.objective.PRESETS`, in place of the algorithm's own."

#: Where the paper speaks of settings of the verl plugin; it has no others.
IN_PAPER = {
    "icpo.n_off": "section 5: 1; Algorithm 1, line 9",
    "icpo.group": "Algorithm 1, line 12: `replace`; section 5: `reserve`; Table 3: `always`",
    "icpo.target": "Table 14",
    "icpo.delta": "eq. 8 and 9: 1.0",
    "icpo.off_ratio": "eq. 7: `none`; eq. 10: `behavior`",
    "icpo.lam": "below eq. 10: 0.01",
    "icpo.off_clip": "eq. 10: true",
    "icpo.max_prompt_tokens": "Table 8: 4096",
    "icpo.bonus.alpha": "eq. 12: 1.0 in ICPO†",
    "icpo.bonus.schedule": "eq. 12: `linear`",
    "icpo.advantages.std": "eq. 4 and 6",
    "icpo.advantages.baseline": "eq. 6: `mixed`",
    "icpo.demonstrations.source": "section 5: MATH's training set",
    "icpo.demonstrations.k": "Algorithm 1, line 8; section 5: 1",
    "icpo.demonstrations.strategy": "section 5: `random`; appendix C",
    "icpo.demonstrations.m": "appendix C: 32 and 10",
    "icpo.demonstrations.template": "Figure 9",
}


def head(*names: str) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


HEAD = head("key", "accepts", "default", "what it is")
PAPER_HEAD = head("key", "accepts", "default", "what it is", "in the paper")


def comments(section: type) -> dict[str, str]:
    """The ``#:`` comment of each field, as one line."""
    lines = textwrap.dedent(inspect.getsource(section)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            above = []
            for line in reversed(lines[: statement.lineno - 1]):
                if not line.strip().startswith("#:"):
                    break
                above.insert(0, line.strip().removeprefix("#:").strip())
            found[statement.target.id] = " ".join(above)
    return found


def settings(section: type) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each field."""
    hints = typing.get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        if field.init:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            yield field.name, hints[field.name], default


def subsection(hint: Any) -> type[Section] | None:
    """The section that a field holds, if it holds one."""
    for choice in (hint, *typing.get_args(hint)):
        if isinstance(choice, type) and issubclass(choice, Section):
            return choice
    return None


def shown(value: Any) -> str:
    """A default, as a file has it."""
    if value is dataclasses.MISSING:
        return "needed"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value!r}`".replace("e-0", "e-")
    return f"`{value}`"


def plain(text: str) -> str:
    """A docstring as Markdown."""
    return re.sub(r"``(.*?)``", r"`\1`", text)


def row(key: str, accepts: str, default: str, text: str, *more: str) -> str:
    """One line of a table."""
    texts = (f"`{key}`", accepts, default, plain(text), *more)
    cells = [cell.replace("|", "\\|") for cell in texts]
    return f"| {' | '.join(cells)} |"


def table(section: type[Section], paper: Mapping[str, str] | None = None) -> Iterator[str]:
    """The settings of a section, then those of the sections in it.

    With `paper`, a column says where in the paper a key stands.
    """
    said, prefix = comments(section), f"{section.key}." if section.key else ""
    rows, below = [], []
    for name, hint, default in settings(section):
        key = prefix + name
        cells = () if paper is None else (paper.get(key, ""),)
        inner = subsection(hint)
        if inner is not None:
            below.append(inner)
            if default is not None or not said[name]:
                continue  # nothing to say about it that its own table does not
            rows.append(row(key, "a section, or null", "`null`", said[name]))
        elif key in PARTS:
            rows.append(row(f"{key}.name", "a name", f"`{default.name}`", said[name]))
        elif any(isinstance(extra, Form) for extra in typing.get_args(hint)):
            default = getattr(default, "profile", None) or default.name
            rows.append(row(key, "a name or a section", shown(default), said[name], *cells))
        else:
            rows.append(row(key, expected(hint), shown(default), said[name], *cells))
    title = f"`{section.key}`" if section.key else "The run"
    about = (inspect.getdoc(section) or "") if section.key else ""
    yield f"### {title}\n\n{plain(about)}".rstrip()
    yield "\n".join([HEAD if paper is None else PAPER_HEAD, *rows])
    for inner in below:
        yield from table(inner, paper)


def parts() -> Iterator[str]:
    """What can be changed of an algorithm."""
    yield (
        "### Parts of an algorithm\n\nDefaults are those of `icpo`, which has no bonus, lessons or "
        "prefix: theirs hold once one is given. None is `null` in a file."
    )
    rows = []
    for key, part in PARTS.items():
        said = comments(part)
        if part is LossConfig:
            rows.append(row(f"{key}.preset", "a name", "none", PRESET))
        for name, hint, default in settings(part):
            accepts = {"str": "a name"}.get(hint.__name__ if isinstance(hint, type) else "", "")
            rows.append(row(f"{key}.{name}", accepts or words(hint), shown(default), said[name]))
    yield "\n".join([HEAD, *rows])


def words(hint: Any) -> str:
    """What a plain type accepts."""
    kinds = {int: "an integer", float: "a number", bool: "true or false", type(None): "null"}
    return " or ".join(kinds[choice] for choice in typing.get_args(hint) or (hint,))


def page_with(tables: str, page: str) -> str:
    """The page with these tables."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def tables() -> str:
    """All of those of training.md."""
    return "\n\n".join([*table(TrainConfig), *parts()])


def verl_tables() -> str:
    """All of those of verl.md."""
    return "\n\n".join(table(IcpoSettings, IN_PAPER))


if __name__ == "__main__":
    PAGE.write_text(page_with(tables(), PAGE.read_text()))
    VERL_PAGE.write_text(page_with(verl_tables(), VERL_PAGE.read_text()))
