"""How hard a question is for a model, from how often it was answered right (appendix C)."""

from __future__ import annotations

from icpo.errors import DataError

__all__ = ["DIFFICULTIES", "SAMPLES", "difficulty_of"]

#: From the easiest on.
DIFFICULTIES = ("easy", "medium", "hard")

#: How often the paper asks each question.
SAMPLES = 3


def difficulty_of(right: int, samples: int = SAMPLES) -> str:
    """``easy`` if every answer was right, ``hard`` if none was, else ``medium``.

    >>> [difficulty_of(right) for right in range(4)]
    ['hard', 'medium', 'medium', 'easy']
    """
    if samples < 1:
        raise DataError(f"samples: expected at least 1, got {samples}")
    if not 0 <= right <= samples:
        raise DataError(f"right: expected 0 to samples = {samples}, got {right}")
    if right == 0:
        return "hard"
    return "easy" if right == samples else "medium"
