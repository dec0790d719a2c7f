"""With how many rows verl fills up a batch, and where these stand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["micro_batch", "rows_counted", "spread"]


def rows_counted(rows: int, prompts: int, unit: int) -> int:
    """The rows by which verl counts a prompt, so that a mini-batch has a multiple of `unit`.

    verl counts by N. Where a prompt has another number of rows, that makes mini-batches of other
    prompts than are asked for, and means over rows of other rows than there are.

    >>> rows_counted(9, prompts=64, unit=8), rows_counted(1, prompts=4, unit=16)
    (9, 4)

    Args:
        rows: that a prompt has.
        prompts: of a mini-batch.
        unit: what ranks and micro-batches divide the rows of a mini-batch into.
    """
    return next(count for count in itertools.count(rows) if count * prompts % unit == 0)


def micro_batch(config: Any) -> int:
    """What a rank's rows have to be a multiple of, because verl makes micro-batches of them.

    Micro-batches by tokens ask for nothing.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    sizes = [
        (actor.use_dynamic_bsz, actor.ppo_micro_batch_size_per_gpu),
        (rollout.log_prob_use_dynamic_bsz, rollout.log_prob_micro_batch_size_per_gpu),
    ]
    if actor.use_kl_loss:
        ref = config.actor_rollout_ref.ref
        sizes.append((ref.log_prob_use_dynamic_bsz, ref.log_prob_micro_batch_size_per_gpu))
    return math.lcm(*(size for dynamic, size in sizes if not dynamic and size))


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
