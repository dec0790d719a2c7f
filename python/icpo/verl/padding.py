"""Where the rows stand with which verl fills up a batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

__all__ = ["spread"]


def spread(padding: Sequence[bool], ranks: int, updates: int) -> list[int]:
    """An order of the rows in which all updates of a step have as much padding, give or take one.

    verl appends padding, and each rank cuts its share of the batch into mini-batches from the
    front. So the last mini-batch would have all of it, and its few other rows a great weight each;
    with groups that keep places free (``reserve``), in every step.

    >>> spread([False, False, False, False, False, False, True, True], ranks=1, updates=2)
    [0, 1, 2, 6, 3, 4, 5, 7]

    Args:
        padding: of each row, whether it is padding.
        ranks: each has an equal share of the rows, one after the other.
        updates: of a step, each by an equal part of every rank's share.
    """
    share = len(padding) // ranks
    order: list[int] = []
    for rank in range(ranks):
        rows = range(rank * share, (rank + 1) * share)
        filling = [row for row in rows if padding[row]]
        others = iter([row for row in rows if not padding[row]])
        for update in range(updates):
            # What does not divide goes to another update on each rank.
            turn = (update + rank) % updates
            first, end = (len(filling) * i // updates for i in (turn, turn + 1))
            order += itertools.islice(others, share // updates - (end - first))
            order += filling[first:end]
    return order
