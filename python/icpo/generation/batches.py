"""Which prompts are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from icpo.types import Tokens

__all__ = ["batches", "parts"]


def batches(prompts: Sequence[Tokens], size: int) -> list[list[int]]:
    """Rows of `prompts` by batch: similar lengths together, equal prompts adjacent.

    As few batches as possible, of equal size, so that none is nearly empty. The longest prompts
    come first: if memory does not suffice, that shows at once.
    """
    if not prompts:
        return []
    order = sorted(
        range(len(prompts)), key=lambda row: (-len(prompts[row]), _identity(prompts[row]), row)
    )
    return [rows.tolist() for rows in np.array_split(order, -(-len(order) // size))]


def parts(prompts: Sequence[Tokens], tokens: int) -> Iterator[tuple[list[Tokens], list[int]]]:
    """What is read in one forward pass: different prompts, and how often each occurs in a row.

    A part holds at most so many tokens, padding included, or one prompt. The prompts must be in
    the order of `batches`.
    """
    different: list[Tokens] = []
    copies: list[int] = []
    for _, group in groupby(prompts, key=_identity):
        equal = list(group)
        if different and len(different[0]) * (len(different) + 1) > tokens:
            yield different, copies
            different, copies = [], []
        different.append(equal[0])
        copies.append(len(equal))
    yield different, copies


def _identity(prompt: Tokens) -> bytes:
    return prompt.astype(np.int64).tobytes()
