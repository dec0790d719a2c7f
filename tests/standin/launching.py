"""Launches on numpy arrays, for processes that tests start: without torch they start fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icpo import _core
from icpo.objective.memory import view
from standin import Libraries, StandIn

LOG2_E = 1.4426950408889634
#: A vocabulary whose rows take a cluster of two blocks.
VOCABULARY = 40_000


def machine(folder: str) -> StandIn:
    """The stand-in of this process, which its environment has put in place."""
    return StandIn(Libraries(Path(folder)))


def log_probs(stream: _core.CudaStream, seed: int = 0) -> float:
    """How far log-probs of random rows are from those in float64, after two launches."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(5, 1003)).astype(np.float32)
    ids = random.integers(0, 1003, size=5)
    states, logp = np.empty((5, 5)), np.empty(5, np.float32)
    stream.row_states(view(logits), view(ids), LOG2_E, view(states))
    stream.finish_rows(view(states), view(ids), LOG2_E, 1003, logp=view(logp))
    return distance(logits, ids, logp)


def distance(
    logits: NDArray[np.float32], ids: NDArray[np.int64], logp: NDArray[np.float32]
) -> float:
    """The greatest difference of log-probs from those in float64."""
    exact = logits.astype(np.float64)
    truth = exact[np.arange(len(ids)), ids] - np.log(np.exp(exact).sum(axis=1))
    return float(np.abs(logp - truth).max())


def everything(device: int) -> float:
    """Loads all units for a vocabulary, and uses one of them."""
    _core.cuda_prepare(device, VOCABULARY, "bfloat16")
    return log_probs(_core.CudaStream(device, 0))
