"""Likeness of questions: the words that they share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icpo.demos.pool import DemoPool

__all__ = ["likeness", "words"]


def words(text: str) -> set[str]:
    """The different words of a text, in lower case, as white space separates them."""
    return set(text.lower().split())


class _Index:
    """Where each word occurs. Most questions share few words, and only these are looked at."""

    def __init__(self, pool: DemoPool) -> None:
        places: dict[str, list[int]] = {}
        sizes = np.empty(len(pool), np.int64)
        for place, demo in enumerate(pool):
            found = words(demo.question)
            sizes[place] = len(found)
            for word in found:
                places.setdefault(word, []).append(place)
        self.sizes = sizes  # (pool,)
        self.places = {word: np.array(found, np.int64) for word, found in places.items()}


def likeness(pool: DemoPool, question: str) -> NDArray[np.float64]:
    """|A ∩ B| / |A ∪ B| of the question's words and those of each demonstration's, (pool,).

    >>> from icpo.types import Demo
    >>> pool = DemoPool([Demo("a", "What is 1 + 1 ?", "2"), Demo("b", "Why ?", "So.")])
    >>> likeness(pool, "what is 2 + 1 ?").round(2).tolist()
    [0.83, 0.14]
    """
    if pool.parts:
        return np.concatenate([likeness(part, question) for part in pool.parts])
    index = pool.once(_Index)
    asked = words(question)
    shared = np.zeros(len(pool), np.int64)
    for word in asked:
        # A place comes once for each word, so plain indexing adds up.
        shared[index.places.get(word, _NOWHERE)] += 1
    found: NDArray[np.float64] = shared / (len(asked) + index.sizes - shared)
    return found


_NOWHERE = np.empty(0, np.int64)
