"""Multiple choice: options found in a question, shuffled, and read off a response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icpo.data.schemas import last_boxed
from icpo.errors import DataError
from icpo.reward import Checker

__all__ = ["LETTERS", "Options"]

#: Labels that options may have; MMLU-Pro has ten options, a few of ARC's questions have numbers.
LETTERS, NUMBERS = "ABCDEFGHIJ", "123456789"

#: A label at the beginning of a line: "A) ...", "(A) ...", "A. ...", "A: ...".
_LABEL = re.compile(r"^[ \t]*(?:\(([A-J1-9])\)|([A-J1-9])[).:])[ \t]+", re.MULTILINE)


def _referring(one: str) -> re.Pattern[str]:
    """What speaks of other options by label or place: such an option holds in one order only."""
    return re.compile(
        # "both A and B", "neither B nor D"
        rf"\b(?i:both|either|neither|only|options?|choices?|answers?)\s+\(?{one}\b(?![-.\w])"
        # "A and C", "A, B and D", "(A) or (B)", and nothing else
        rf"|^\W*{one}\b\W*(?:(?:,|\b(?:and|or|nor)\b|&)\W*{one}\b\W*)+(?i:only)?\W*$"
        r"|\b(?i:all|none|both|neither|any|some|two|either)\s+of\s+(?i:the|these|those)\b"
        r"(?=\s*$|.*\b(?i:above|below|these|those|options|choices|answers|other))"
        r"|\b(?i:the|options?|choices?|answers?)\s+(?i:above|below)\b"
    )


#: By the kind of labels.
_REFERS = {LETTERS[0]: _referring("[A-J]"), NUMBERS[0]: _referring("[1-9]")}

#: "The answer is (C)", "ANSWER: C", "**Answer:** C) shorter": what the checker leaves open because
#: more follows, or because the letter is a word too. The last one counts.
_ANNOUNCED = re.compile(
    r"(?i:\banswer)\W*(?i:\bis\b|\boption\b|:)?\W*(?i:\boption\b)?\W*?\b([A-J1-9])"
    r"(?=\s*(?:[).:,;*$\]}\"]|$))",
    re.MULTILINE,
)


#: In a box: "B. 4 cm", "\\text{(B) 4 cm}", "B: 4 cm". The label alone is the checker's business.
_IN_A_BOX = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{|[\s*({\[])*([A-J1-9])[)}\]*]*(?:[.:](?!\d)|(?<=[)\]]))"
)


@dataclass(frozen=True)
class Options:
    """The options of a question, and where they stand in it.

    >>> found = Options.find("Which is even?\\n\\nA) 3\\nB) 4\\n", "B")
    >>> found.texts, found.gold, found.labels
    (('3', '4'), 1, 'AB')
    >>> other = found.ordered([1, 0])
    >>> print(other.question, other.label)
    Which is even?
    <BLANKLINE>
    A) 4
    B) 3
     A
    """

    #: The question around the options: before the first, between each two, behind the last. Labels
    #: belong to it.
    around: tuple[str, ...]
    texts: tuple[str, ...]
    #: Which of them is right, from 0.
    gold: int
    #: A character an option.
    labels: str

    @classmethod
    def find(cls, question: str, label: str) -> Options | None:
        """The options in a question's text, of which the one with this label is right.

        They are the last lines that are labelled A, B, C and so on, or 1, 2, 3; None: there are
        none, or the right one is not among them.
        """
        alphabet = next((each for each in (LETTERS, NUMBERS) if label in tuple(each)), None)
        if alphabet is None:
            return None
        labels = [one for one in _LABEL.finditer(question) if _letter(one) in alphabet]
        firsts = [place for place, one in enumerate(labels) if _letter(one) == alphabet[0]]
        if not firsts:
            return None
        labels = labels[firsts[-1] :]
        known = alphabet[: len(labels)]
        if "".join(map(_letter, labels)) != known or label not in known or len(labels) < 2:
            return None
        ends = [*(one.start() for one in labels[1:]), len(question)]
        around, texts = [question[: labels[0].end()]], []
        for one, end, after in zip(labels, ends, [*labels[1:], None], strict=True):
            text = question[one.end() : end]
            if not text.strip():
                return None
            texts.append(text.rstrip())
            behind = question[one.end() + len(texts[-1]) : end]
            around.append(behind + ("" if after is None else after[0]))
        return cls(tuple(around), tuple(texts), known.index(label), known)

    @classmethod
    def listed(cls, question: str, texts: Sequence[str], gold: int) -> Options:
        """The options of a column, put behind the question.

        Raises:
            DataError: there are less than two or too many, or the right one is none of them.
        """
        if not 2 <= len(texts) <= len(LETTERS):
            raise DataError(f"options: expected 2 to {len(LETTERS)}, got {len(texts)}")
        if not 0 <= gold < len(texts):
            raise DataError(f"answer: expected one of {len(texts)} options, got number {gold + 1}")
        labels = LETTERS[: len(texts)]
        between = (f"\n{label}) " for label in labels[1:])
        around = (f"{question.rstrip()}\n\n{labels[0]}) ", *between, "")
        return cls(around, tuple(" ".join(text.split()) for text in texts), gold, labels)

    @property
    def question(self) -> str:
        """The whole text."""
        parts = [self.around[0]]
        for text, behind in zip(self.texts, self.around[1:], strict=True):
            parts += [text, behind]
        return "".join(parts)

    @property
    def label(self) -> str:
        """That of the right one."""
        return self.labels[self.gold]

    @property
    def movable(self) -> bool:
        """Whether no option speaks of others by their label or place."""
        return not any(_REFERS[self.labels[0]].search(text) for text in self.texts)

    def ordered(self, order: Sequence[int]) -> Options:
        """The options in another order under the same labels; the right one stays the right one."""
        if sorted(order) != list(range(len(self.texts))):
            raise DataError(f"order: expected each of {len(self.texts)} once, got {list(order)}")
        return Options(
            self.around,
            tuple(self.texts[place] for place in order),
            list(order).index(self.gold),
            self.labels,
        )

    def shuffled(self, seed: int) -> Options:
        """In a random order; as they are, if they can not be moved."""
        if not self.movable:
            return self
        order = np.random.default_rng(seed).permutation(len(self.texts))
        return self.ordered([int(place) for place in order])

    def chosen(self, response: str, checker: Checker) -> int | None:
        """Which option a response names, from 0; None: it can not be told.

        First by its label; without one, by its text, if that of no other option says the same.
        """
        named = [
            place for place, label in enumerate(self.labels) if checker.verify(label, response)
        ]
        announced = [
            self.labels.index(label)
            for label in _ANNOUNCED.findall(response)
            if label in self.labels
        ]
        inside = _IN_A_BOX.match(last_boxed(response) or "")
        if not named and inside is not None and inside[1] in self.labels:
            named = [self.labels.index(inside[1])]
        # The checker passes over labels that are words too, to ones announced before.
        elif not named or named[0] in announced:
            named = announced[-1:]
        if not named:
            named = [
                place for place, text in enumerate(self.texts) if checker.verify(text, response)
            ]
        return named[0] if len(named) == 1 else None


def _letter(label: re.Match[str]) -> str:
    return str(label[1] or label[2])
