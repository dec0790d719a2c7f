"""Time and memory of a call on a GPU; on a CPU the same interface, to try the benchmark's logic.

Each timed call starts with a cold cache and after everything that prepares it: both are queued in
front of it, so the GPU is still busy with them while Python launches the call, and what is measured
is the GPU's time and not Python's. (Calls of few microseconds outrun that; they are also measured
as replays of a graph.)
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from icpo import _core

Run = Callable[[], object]

#: More than the second-level cache of any GPU to date.
FLUSHED_BYTES = 512 * 1024 * 1024


def nothing() -> None:
    """Prepares nothing."""


@dataclass(frozen=True)
class Measured:
    """Seconds of each call, and bytes that it took beyond what was there (None: not known)."""

    seconds: list[float]
    extra: int | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Machine(Protocol):
    """Where calls are measured."""

    device: torch.device

    def describe(self) -> str:
        """The machine in a line."""

    def stream(self) -> _core.CudaStream | None:
        """Where kernels can be launched one by one, if they can."""

    def times(self, run: Run, prepare: Run, count: int) -> list[float]:
        """Seconds of calls, each after a preparation that is not counted."""

    def extra_bytes(self, run: Run) -> int | None:
        """The most memory that a call holds beyond what is held already."""


class Gpu:
    """The current CUDA device."""

    def __init__(self) -> None:
        """Takes memory to flush the cache with."""
        self.device = torch.device("cuda", torch.cuda.current_device())
        self._flushed = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=self.device)

    def describe(self) -> str:
        """See `Machine`."""
        about = torch.cuda.get_device_properties(self.device)
        return (
            f"{about.name}, compute capability {about.major}.{about.minor}, "
            f"{about.multi_processor_count} multiprocessors, {about.total_memory / 2**30:.0f} GiB"
        )

    def stream(self) -> _core.CudaStream | None:
        """See `Machine`."""
        stream = torch.cuda.current_stream(self.device)
        return _core.CudaStream(stream.device_index, stream.cuda_stream)

    def times(self, run: Run, prepare: Run, count: int) -> list[float]:
        """See `Machine`."""
        pairs = []
        for _ in range(count):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            prepare()
            self._flushed.zero_()
            start.record()
            result = run()
            end.record()
            del result
            pairs.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in pairs]

    def extra_bytes(self, run: Run) -> int | None:
        """See `Machine`."""
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        del result
        return torch.cuda.max_memory_allocated() - before


class Cpu:
    """The CPU, where a clock on the wall is enough."""

    device = torch.device("cpu")

    def describe(self) -> str:
        """See `Machine`."""
        return f"CPU with {torch.get_num_threads()} threads: a trial of the benchmark, no benchmark"

    def stream(self) -> _core.CudaStream | None:
        """See `Machine`."""
        return None

    def times(self, run: Run, prepare: Run, count: int) -> list[float]:
        """See `Machine`."""
        seconds = []
        for _ in range(count):
            prepare()
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        return seconds

    def extra_bytes(self, run: Run) -> int | None:
        """Not known: torch keeps no account of memory on the CPU."""
        run()
        return None


def measure(machine: Machine, run: Run, prepare: Run = nothing, budget: float = 0.4) -> Measured:
    """Medians are over as many calls as fit into the budget of seconds, 3 to 50.

    The first call, which compiles, is not timed; the second one's memory is looked at.
    """
    prepare()
    run()
    prepare()
    extra = machine.extra_bytes(run)
    (once,) = machine.times(run, prepare, 1)
    count = min(50, max(3, int(budget / max(once, 1e-6))))
    return Measured(machine.times(run, prepare, count), extra)


def forget() -> None:
    """Gives back what earlier calls left, so that the next one has all of the memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
