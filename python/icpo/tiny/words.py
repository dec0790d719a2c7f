"""The words that the tiny model reads and writes, and how a prompt is made of them."""

from __future__ import annotations

from icpo.demos import Template
from icpo.tiny.task import LETTERS, RULES, TOPICS

__all__ = ["BOS", "EOS", "HEADER", "PAD", "TEMPLATE", "WORDS"]

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"

#: What a book of worked exercises opens with.
HEADER = "# worked solutions\n\n"

#: All tokens; a token's id is its place here.
WORDS = (
    PAD,
    BOS,
    EOS,
    "Q:",
    "\nA:",
    HEADER,
    " \\boxed{",
    "}",
    "=",
    "?",
    *RULES,
    *(f" {letter}=" for letter in LETTERS),
    *TOPICS,
    *"0123456789",
)

#: The form of the corpus: every exercise ends with the end token, also in the midst of a text.
TEMPLATE = Template(
    "tiny",
    demo=f"Q:{{question}}?\nA: {{solution}}{EOS}",
    separator="",
    question="Q:{question}?\nA:",
)
