"""Edit distances between token sequences: insertions, deletions and substitutions (Levenshtein).

Exact and in parallel; the interpreter is free meanwhile. Tokens are any integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo import _core
from icpo.errors import ShapeError
from icpo.objective.memory import as_integers, view

__all__ = ["edit_distance", "edit_distances", "edit_distances_between"]

#: Is told how many parts of the work are done, and how many there are.
Progress = Callable[[int, int], object]


def edit_distance(a: ArrayLike, b: ArrayLike) -> int:
    """The fewest edits that make one sequence the other.

    >>> edit_distance([1, 2, 3, 4], [2, 3, 5])
    2
    """
    return int(edit_distances_between([a], [b])[0, 0])


def edit_distances(
    sequences: Sequence[ArrayLike], progress: Progress | None = None
) -> NDArray[np.int64]:
    """The distances of all pairs i < j: of (0, 1), (0, 2) and so on, then of (1, 2).

    Args:
        sequences: n of them, integers each, of any length.
        progress: see `Progress`.

    Returns:
        (n(n - 1)/2,), the order of ``itertools.combinations`` and of scipy's condensed matrices.

    >>> edit_distances([[5, 6, 7], [5, 7], []])
    array([1, 3, 2])
    """
    n = len(sequences)
    return _distances(sequences, None, progress, np.empty(n * (n - 1) // 2, np.int64))


def edit_distances_between(
    ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike], progress: Progress | None = None
) -> NDArray[np.int64]:
    """The distance of each of our sequences to each of theirs, (ours, theirs)."""
    out = np.empty((len(ours), len(theirs)), np.int64)
    return _distances([*ours, *theirs], len(ours), progress, out)


def _distances(
    sequences: Sequence[ArrayLike],
    first: int | None,
    progress: Progress | None,
    out: NDArray[np.int64],
) -> NDArray[np.int64]:
    rows = [_tokens(number, sequence) for number, sequence in enumerate(sequences)]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    tokens = np.concatenate([np.empty(0, np.int64), *rows])
    _core.edit_distances(view(tokens), view(offsets), first, progress, out=view(out))
    return out


def _tokens(number: int, sequence: ArrayLike) -> NDArray[np.int64]:
    argument = f"sequences[{number}]"
    array = np.asarray(sequence)
    # numpy takes an empty list for floats.
    tokens = as_integers(argument, array if array.size else array.astype(np.int64))
    if tokens.ndim != 1:
        raise ShapeError(f"{argument}: expected tokens in a row, got shape {tokens.shape}")
    return tokens
