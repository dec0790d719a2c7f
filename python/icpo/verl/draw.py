"""What the trainer draws for each prompt of a batch, from seeds, and continued exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from icpo.demos import DemoSampler
from icpo.errors import CheckpointError
from icpo.types import Demo, Problem

__all__ = ["Draws", "load_state", "save_state"]

#: In verl's folder of a step.
FILE = "icpo.json"


class Draws:
    """Demonstrations for expert requests, and a seed for everything else that is random."""

    def __init__(self, sampler: DemoSampler | None, n_off: int, seed: int) -> None:
        """`sampler` chooses the demonstrations; None: there are no expert requests."""
        self.sampler = sampler
        self._n_off = n_off
        self._seed = seed
        self._batches = 0

    def draw(
        self, problems: Sequence[Problem], *, lesson: bool = False
    ) -> Iterator[dict[str, Any]]:
        """What the worker of each problem is told; whether its solution is just imitated."""
        count = len(problems)
        sequence = np.random.SeedSequence(self._seed, spawn_key=(self._batches,))
        seeds = sequence.generate_state(count, np.uint64)
        shown: list[list[tuple[Demo, ...]]] = [[] for _ in problems]
        fingerprint, joined = "", frozenset[Demo]()
        if self.sampler is not None:
            fingerprint, joined = self.sampler.pool.fingerprint, frozenset(self.sampler.solved)
            asks = [place for place in range(count) for _ in range(self._n_off)]
            drawn = self.sampler.draw([problems[place] for place in asks])
            for place, demos in zip(asks, drawn, strict=True):
                shown[place].append(demos)
        self._batches += 1
        for seed, of_prompt in zip(seeds.tolist(), shown, strict=True):
            yield {
                "seed": seed,
                "demos": [[demo.id for demo in demos] for demos in of_prompt],
                # Those that workers have not read from the files.
                "joined": [asdict(demo) for demos in of_prompt for demo in demos if demo in joined],
                "pool": fingerprint,
                "lesson": lesson,
            }

    def join(self, solved: Iterable[Demo]) -> None:
        """Lets solved prompts join the demonstrations, in this order."""
        if self.sampler is not None:
            self.sampler.add(solved)

    def state_dict(self) -> dict[str, Any]:
        """Where the sequences stand. Plain values."""
        return {
            "batches": self._batches,
            "seed": self._seed,
            "n_off": self._n_off,
            "demonstrations": None if self.sampler is None else self.sampler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken. Refuses that of other sequences."""
        ours = self.state_dict()
        if set(state) != set(ours):
            raise CheckpointError(
                f"expected a state with {', '.join(ours)}, got {', '.join(state)}"
            )
        for key in ("seed", "n_off"):
            if state[key] != ours[key]:
                raise CheckpointError(
                    f"the checkpoint was made with icpo.{key}={state[key]}, this run has "
                    f"{ours[key]}"
                )
        batches = state["batches"]
        if not isinstance(batches, int) or batches < 0:
            raise CheckpointError(f"batches: expected a number from 0, got {batches!r}")
        if self.sampler is not None:
            self.sampler.load_state_dict(state["demonstrations"])
        self._batches = batches

    def skip(self, batches: int) -> None:
        """Begins at the batch of that number."""
        self._batches = batches
        if self.sampler is not None:
            self.sampler.load_state_dict({**self.sampler.state_dict(), "batches": batches})


def save_state(folder: Path, draws: Draws) -> None:
    """Writes the state into verl's folder of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(draws.state_dict()))


def load_state(folder: Path, draws: Draws) -> bool:
    """Continues as the folder says; False if it says nothing.

    Raises:
        CheckpointError: naming the file, if it can not be read or is of other sequences.
    """
    file = folder / FILE
    if not file.exists():
        return False
    try:
        draws.load_state_dict(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError, CheckpointError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    return True
