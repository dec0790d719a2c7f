"""What a batch has sampled so far, in this process's memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from icpo.errors import NonFiniteError
from icpo.generation.cache import Vacancies
from icpo.generation.engine import Completion

__all__ = ["Transcript"]


class Transcript:
    """Tokens and log-probabilities by slot: the rows of the batch that are left, in its order."""

    def __init__(self, prompts: Sequence[int], limit: int, end_ids: NDArray[np.int64]) -> None:
        """An empty one.

        Args:
            prompts: (B,) the number of the prompt in each slot.
            limit: tokens that a completion may have.
            end_ids: tokens that end one.
        """
        self._prompt = np.array(prompts, dtype=np.int64)
        self._end_ids, self._limit = end_ids, limit
        self._tokens = np.zeros((len(prompts), limit), dtype=np.int64)
        self._logp = np.zeros((len(prompts), limit), dtype=np.float32)
        self._row = np.arange(len(prompts))  # of those arrays, by slot
        self._running = np.ones(len(prompts), dtype=bool)  # by slot
        self._length = 0

    @property
    def slots(self) -> int:
        """Rows left in the batch."""
        return len(self._row)

    @property
    def running(self) -> int:
        """Rows that have not finished."""
        return int(np.count_nonzero(self._running))

    def add(
        self,
        tokens: NDArray[np.int64],  # (slots, T)
        logp: NDArray[np.float32],  # (slots, T)
    ) -> dict[int, Completion]:
        """Notes what was sampled; the completions that this ended, by prompt.

        Slots that have finished go on sampling until they are dropped; that is not looked at.

        Raises:
            NonFiniteError: a log-probability of a running slot is NaN or infinite.
        """
        start, self._length = self._length, self._length + tokens.shape[1]
        self._tokens[self._row, start : self._length] = tokens
        self._logp[self._row, start : self._length] = logp

        ended = (tokens[..., None] == self._end_ids).any(axis=-1)  # (slots, T)
        # A token counts up to the first end, that one included.
        counts = self._running[:, None] & (np.cumsum(ended, axis=1) - ended == 0)
        self._check(logp, counts, start)
        finished = self._running & ended.any(axis=1)
        lengths = start + counts.sum(axis=1)
        if self._length == self._limit:
            leaving = np.flatnonzero(self._running)
        else:
            leaving = np.flatnonzero(finished)
        self._running[leaving] = False
        return {
            int(self._prompt[self._row[slot]]): Completion(
                self._tokens[self._row[slot], : lengths[slot]].copy(),
                self._logp[self._row[slot], : lengths[slot]].copy(),
                bool(finished[slot]),
            )
            for slot in leaving
        }

    def drop(self, device: torch.device) -> Vacancies:
        """Gives up the slots of finished rows; how the batch has to follow, on its device."""
        left = self.running
        holes = np.flatnonzero(~self._running[:left])
        fillers = left + np.flatnonzero(self._running[left:])
        self._row[holes] = self._row[fillers]
        self._row, self._running = self._row[:left], np.ones(left, dtype=bool)
        return Vacancies(
            torch.from_numpy(holes).to(device), torch.from_numpy(fillers).to(device), left
        )

    def _check(self, logp: NDArray[np.float32], counts: NDArray[np.bool_], start: int) -> None:
        bad = counts & ~np.isfinite(logp)
        if bad.any():
            slot, offset = (int(index) for index in np.argwhere(bad)[0])
            prompt = self._prompt[self._row[slot]]
            raise NonFiniteError(
                f"logits: after prompts[{prompt}] and {start + offset} new tokens: expected "
                f"finite values, got a log-probability of {logp[slot, offset]}"
            )
