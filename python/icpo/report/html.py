"""Elements of a page. Whatever is not `Markup` is text, and is escaped.

Whatever a model or a file says may be hostile. Besides the five characters that mean something in
HTML, those are spelt out that can not be seen, that turn the direction of writing, or that no page
may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["CHARACTERS", "Child", "Markup", "cut", "element", "escape", "join"]

#: Of a text that a model wrote, so many characters are shown if nothing else is said.
CHARACTERS = 6000

#: Elements that have no content and no end tag.
VOID = frozenset({"br", "col", "link", "meta"})

MEANINGFUL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})

#: Control characters but for line feed and tab, marks of direction, invisible ones, halves of
#: surrogate pairs, noncharacters, tags. The joiners U+200C and U+200D belong to ordinary writing.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff"
    + "".join(chr(plane << 16 | low) for plane in range(1, 17) for low in (0xFFFE, 0xFFFF))
    + "]"
)

Child = Any  # Markup, a text, None, or an iterable of these


class Markup(str):
    """HTML, as opposed to text."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """A text as HTML, for content and for attributes in quotes.

    >>> escape('<b>\\x00')
    '&lt;b&gt;⟨U+0000⟩'
    """
    shown = UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))
    return Markup(shown.translate(MEANINGFUL))


def join(children: Iterable[Child], between: str = "") -> Markup:
    """Children behind each other, with HTML between them."""
    return Markup(between.join(_children(children)))


def element(name: str, /, *children: Child, **attributes: object) -> Markup:
    """An element. None drops an attribute, True leaves it without a value.

    An underscore in the name of an attribute is a hyphen, one at its end is nothing.

    >>> element("p", "a < b", class_="note", id=None)
    '<p class="note">a &lt; b</p>'
    """
    start = f"<{name}{_attributes(attributes)}>"
    if name in VOID:
        return Markup(start)
    # A line feed that follows <pre> at once is dropped by every browser.
    first = "\n" if name == "pre" else ""
    return Markup(f"{start}{first}{join(children)}</{name}>")


def cut(text: str, most: int) -> tuple[str, int, str]:
    """Beginning and end of a text of more than `most` characters, and how many are left out.

    Answers stand at the end of a response, so a third is spent on that.
    """
    if len(text) <= most:
        return text, 0, ""
    end = most // 3
    return text[: most - end], len(text) - most, text[len(text) - end :]


def _attributes(attributes: Mapping[str, object]) -> str:
    parts = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        parts.append(f" {written}" if value is True else f' {written}="{escape(value)}"')
    return "".join(parts)


def _children(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield str(child)
        elif isinstance(child, str):
            yield escape(child)
        else:
            yield from _children(child)
