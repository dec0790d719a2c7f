"""Which questions are the same, or nearly.

Two questions are the same if `same_question` is: case, white space, dollar signs and spellings of
LaTeX that look alike do not count.

They are nearly the same if they share most of their word n-grams: at least `NEAR` of the distinct
ones of the question that has fewer. Words are runs of letters, numbers, and signs of operations and
relations; punctuation, brackets and dollar signs do not count. A question of fewer than `WORDS`
words is one n-gram by itself. N-grams that more than `COMMON` questions have are instructions
("Let's think step by step ...") and do not count.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["COMMON", "NEAR", "WORDS", "near", "near_inside", "same_question", "words_of"]

#: Length of an n-gram.
WORDS = 8
#: Share of n-grams from which on questions are nearly the same.
NEAR = 0.6
#: An n-gram that more questions than this have tells nothing about any of them.
COMMON = 50

#: Spellings that look alike on paper, and what they become.
_ALIKE = (
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-z])|\\[,;:!()\[\]]|[$~\s]"), ""),
    (re.compile(r"\\[dt]frac(?![a-z])"), r"\\frac"),
)
#: Without signs, x + 1 and x - 1 would be the same.
_SIGNS = "+-*/=<>^|\u2264\u2265"
_WORD = re.compile(rf"\d+(?:\.\d+)?|[^\W\d_]+|[{re.escape(_SIGNS)}]")

#: Odd, so that multiplying by it loses nothing modulo 2^64.
_BASE = 0x9E3779B97F4A7C15

Digests = NDArray[np.uint64]
Places = NDArray[np.int64]


def same_question(text: str) -> str:
    r"""Two questions are the same if this is.

    >>> same_question("Find  $\\dfrac{1}{2}$ of X.") == same_question(r"find \(\frac{1}{2}\) of x.")
    True
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    for pattern, instead in _ALIKE:
        text = pattern.sub(instead, text)
    return text


def words_of(text: str) -> list[str]:
    r"""The words, numbers and signs of a question.

    >>> words_of(r"Find $\frac{1}{2}$ of X-3.5.")
    ['find', 'frac', '1', '2', 'of', 'x', '-', '3.5']
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(text.replace("\u2212", "-"))


def near(
    questions: Sequence[str],
    others: Sequence[str],
    *,
    same_numbers: bool = False,
    words: int = WORDS,
    share: float = NEAR,
    common: int = COMMON,
) -> dict[int, tuple[int, float]]:
    """The questions that nearly are one of `others`: which one, and the share of n-grams.

    Of several it is the one with the greatest share, the first of these. With `same_numbers` a
    question with other numbers or signs is another question.

    >>> near(["What is the sum of the first seven odd primes, please?"],
    ...      ["So: what is the sum of the first seven odd primes?"], words=4)
    {0: (0, 0.875)}
    """
    ours = _grams(questions, words, same_numbers)
    theirs = _grams(others, words, same_numbers)
    found: dict[int, tuple[int, float]] = {}
    for place, other, shared in _pairs(ours, theirs, len(questions), len(others), share, common):
        if place not in found or shared > found[place][1]:
            found[place] = (other, shared)
    return found


def near_inside(
    questions: Sequence[str],
    *,
    words: int = WORDS,
    share: float = NEAR,
    common: int = COMMON,
) -> dict[int, tuple[int, float]]:
    """The questions that nearly are an earlier one with the same numbers and signs.

    The earlier one is none of them itself.

    >>> near_inside(["Add 1 and 2, then stop.", "Now: add 1 and 2, then stop.",
    ...              "Add 1 and 3, then stop."], words=3)
    {1: (0, 1.0)}
    """
    grams = _grams(questions, words, True)
    count = len(questions)
    found: dict[int, tuple[int, float]] = {}
    for place, other, shared in _pairs(grams, grams, count, count, share, common):
        # Pairs come in order, so what came before `place` is settled.
        if other < place and other not in found and place not in found:
            found[place] = (other, shared)
    return found


def _pairs(
    ours: tuple[Digests, Places],
    theirs: tuple[Digests, Places],
    count: int,
    others: int,
    share: float,
    common: int,
) -> list[tuple[int, int, float]]:
    """Pairs that share enough n-grams, in order, and the share."""
    dull = np.union1d(_dull(ours[0], common), _dull(theirs[0], common))
    grams, owners = _without(ours, dull)
    their_grams, their_owners = _without(theirs, dull)
    order = np.argsort(their_grams, kind="stable")
    their_grams, their_owners = their_grams[order], their_owners[order]
    # A gram of ours meets all of theirs that are equal: places first to last of the sorted ones.
    first = np.searchsorted(their_grams, grams, "left")
    hits = np.searchsorted(their_grams, grams, "right") - first
    left = np.repeat(owners, hits)
    within = np.arange(len(left)) - np.repeat(np.cumsum(hits) - hits, hits)
    right = their_owners[np.repeat(first, hits) + within]
    pairs, shared = np.unique(left * max(others, 1) + right, return_counts=True)
    place, other = np.divmod(pairs, max(others, 1))
    sizes = np.minimum(
        np.bincount(owners, minlength=count)[place],
        np.bincount(their_owners, minlength=others)[other],
    )
    shares = shared / sizes
    enough = shares >= share
    return list(
        zip(place[enough].tolist(), other[enough].tolist(), shares[enough].tolist(), strict=True)
    )


def _dull(grams: Digests, common: int) -> Digests:
    found, counts = np.unique(grams, return_counts=True)
    return found[counts > common]


def _without(grams: tuple[Digests, Places], dull: Digests) -> tuple[Digests, Places]:
    keep = ~np.isin(grams[0], dull)
    return grams[0][keep], grams[1][keep]


def _grams(texts: Sequence[str], words: int, same_numbers: bool) -> tuple[Digests, Places]:
    """Digests of the distinct n-grams of all texts, and whose each is.

    With `same_numbers` they are digests of the n-gram and of all numbers and signs of its text.
    """
    each = [_grams_of(text, words, same_numbers) for text in texts]
    owners = np.repeat(np.arange(len(each)), [len(grams) for grams in each])
    return np.concatenate([np.zeros(0, np.uint64), *each]), owners


def _grams_of(text: str, words: int, same_numbers: bool) -> Digests:
    found = words_of(text)
    if not found:
        return np.zeros(0, np.uint64)
    size = min(words, len(found))
    codes = np.array([_code(word) for word in found], np.uint64)
    powers = np.array([pow(_BASE, i, 1 << 64) for i in range(1, size + 1)], np.uint64)
    grams = (sliding_window_view(codes, size) * powers).sum(axis=1, dtype=np.uint64)
    fixed = sorted(word for word in found if word[0] in _SIGNS or word[0].isdigit())
    # The whole of a short text is no n-gram of a longer one.
    salt = f"{size} {' '.join(fixed) if same_numbers else ''}"
    return np.unique(grams ^ np.uint64(_code(salt)))


@lru_cache(maxsize=1 << 16)
def _code(word: str) -> int:
    # Not hash(), which differs from process to process.
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
