"""Rows of different lengths as rectangular arrays, in the layout that verl has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from icpo.mixing.assemble import Batch

__all__ = ["Padded", "pad"]


@dataclass(frozen=True, eq=False)
class Padded:
    """B rows: prompts padded on the left to P tokens, completions on the right to T.

    So every prompt ends in column P - 1 and every completion begins in column P. The logits of the
    T response tokens are those of columns P - 1 to P + T - 2.
    """

    input_ids: NDArray[np.int64]  # (B, P + T)
    attention_mask: NDArray[np.bool_]  # (B, P + T)
    #: 0 at the first token of the prompt, and on from there.
    position_ids: NDArray[np.int64]  # (B, P + T)
    #: The last T columns of `input_ids`.
    responses: NDArray[np.int64]  # (B, T)
    loss_mask: NDArray[np.bool_]  # (B, T)
    advantage: NDArray[np.float32]  # (B,)
    expert_mask: NDArray[np.bool_]  # (B,)
    #: 0 where there is no token.
    old_logp: NDArray[np.float32]  # (B, T)
    #: 0 where there is no token.
    behavior_logp: NDArray[np.float32]  # (B, T)


def pad(batch: Batch, pad_id: int) -> Padded:
    """The batch as rectangular arrays, no wider than they have to be."""
    prompt_lengths = np.array([len(prompt) for prompt in batch.prompts], np.int64)
    responses = _right(batch.completions, pad_id, np.int64)
    taken = _places(batch.lengths)
    # Prompts are turned round, padded on the right, and turned round again.
    attention_mask = np.concatenate([_places(prompt_lengths)[:, ::-1], taken], axis=1)
    prompts = _right([prompt[::-1] for prompt in batch.prompts], pad_id, np.int64)[:, ::-1]
    return Padded(
        input_ids=np.concatenate([prompts, responses], axis=1),
        attention_mask=attention_mask,
        # What pads has the position of the token before it: attended to by none, but in range.
        position_ids=np.maximum(attention_mask.cumsum(axis=1, dtype=np.int64) - 1, 0),
        responses=responses,
        loss_mask=taken if batch.trained is None else _right(batch.trained, False, np.bool_),
        advantage=batch.advantage.astype(np.float32),
        expert_mask=batch.expert_mask,
        old_logp=_right(batch.old_logp, 0.0, np.float32),
        behavior_logp=_right(batch.behavior_logp, 0.0, np.float32),
    )


def _places(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places of a padded array are taken: the first L_i of each row."""
    places: NDArray[np.bool_] = np.arange(lengths.max(initial=0)) < lengths[:, None]
    return places


def _right(rows: Sequence[NDArray[Any]], fill: float, dtype: DTypeLike) -> NDArray[Any]:
    """Rows side by side, each filled up at its end."""
    places = _places(np.array([len(row) for row in rows], np.int64))
    padded = np.full(places.shape, fill, dtype)
    if rows:
        padded[places] = np.concatenate(rows)
    return padded
