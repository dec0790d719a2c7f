"""What a run writes about itself: metrics, timings, samples; and who else is told.

The files are JSON lines. Nothing in metrics.jsonl depends on the clock, and a resumed run cuts the
files back to where its checkpoint saw them, so that they end up as if it had never stopped.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from icpo.errors import CheckpointError, ConfigError
from icpo.mixing import MixedGroup
from icpo.trainer.config import LogConfig
from icpo.types import Rollout, Tokens

__all__ = ["CHECKPOINTS", "Recorder", "Writer", "check_stopped", "holds_run"]

METRICS, TIMINGS, SAMPLES = "metrics.jsonl", "timings.jsonl", "samples.jsonl"
#: A folder beside them, which others write.
CHECKPOINTS = "checkpoints"


def holds_run(folder: Path) -> bool:
    """Whether a folder has records or checkpoints of a run."""
    return (folder / METRICS).exists() or any((folder / CHECKPOINTS).glob("*"))


def check_stopped(folder: Path) -> None:
    """Refuses a folder whose run another process is still writing to.

    Raises:
        CheckpointError: if there is such a process.
    """
    if (folder / METRICS).exists():
        with (folder / METRICS).open("rb") as file:
            _lock(file, folder / METRICS)


class Writer(Protocol):
    """Somebody who is told the figures of each step."""

    def metrics(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes the figures of a step, all of them finite."""
        ...

    def state(self) -> Any:
        """What is needed to go on after a stop, as JSON has it."""
        ...

    def close(self) -> None:
        """Writes what is left."""
        ...


class Recorder:
    """The records of a run, in its folder. A context manager.

    Files are opened by the first thing written: those of a run that is not resumed are emptied.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Recorder(Path(folder), LogConfig(tensorboard=False), {}, str) as recorder:
    ...         recorder.metrics(1, {"loss": 0.5, "accuracy": float("nan")}, {"generation": 2.0})
    ...     print((Path(folder) / "metrics.jsonl").read_text(), end="")
    {"step": 1, "accuracy": null, "loss": 0.5}
    """

    def __init__(
        self,
        folder: Path,
        config: LogConfig,
        settings: Mapping[str, Any],
        decode: Callable[[Tokens], str],
    ) -> None:
        """Checks that everybody who is to be told is installed.

        Args:
            folder: the run's; made if it is not there.
            config: who is told.
            settings: those of the run, for them.
            decode: tokens of a prompt to text, special tokens included.

        Raises:
            ConfigError: if somebody who was asked for is not installed.
        """
        self._folder = folder
        self._config = config
        self._settings = settings
        self._decode = decode
        self._writers_wanted = [name for name in WRITERS if _wanted(name, config)]
        self._files: dict[str, _Lines] = {}
        self._writers: dict[str, Writer] = {}
        #: Where the records end, if nothing is written after that.
        self._state: Mapping[str, Any] = {"step": -1, "lengths": {}, "writers": {}}
        self._is_open = False

    def metrics(
        self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]
    ) -> None:
        """Writes what is known about a step.

        Args:
            step: its number.
            metrics: anything but times, by name. What is not a finite number becomes null.
            seconds: where the time of the step went, by name.
        """
        self._open()
        self._files[METRICS].write({"step": step, **_sorted(metrics)})
        self._files[TIMINGS].write({"step": step, **_sorted(seconds)})
        figures = {**metrics, **{f"seconds/{name}": spent for name, spent in seconds.items()}}
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        for writer in self._writers.values():
            writer.metrics(step, finite)
        self._state = {**self._state, "step": step}

    def samples(self, step: int, mixed: Iterable[MixedGroup]) -> None:
        """Writes every rollout of some groups, on-policy ones first."""
        self._open()
        for one in mixed:
            for row in _rows(one, self._decode):
                self._files[SAMPLES].write({"step": step, **row})

    def state_dict(self) -> dict[str, Any]:
        """Where the records end; up to there they are on the disk. Plain values."""
        self._open()
        return {
            "step": self._state["step"],
            "lengths": {name: file.length() for name, file in self._files.items()},
            "writers": {name: writer.state() for name, writer in self._writers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the records ended; what was written behind that is cut off.

        Raises:
            CheckpointError: if a record is shorter than it was then.
        """
        self._state = state
        self._open()

    def close(self) -> None:
        """Closes everything."""
        for file in self._files.values():
            file.close()
        for writer in self._writers.values():
            writer.close()

    def __enter__(self) -> Recorder:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes everything, also after an error."""
        self.close()

    def _open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, TIMINGS, SAMPLES):
            length = int(self._state["lengths"].get(name, 0))
            self._files[name] = _Lines(self._folder / name, length)
        for name in self._writers_wanted:
            self._writers[name] = WRITERS[name](
                self._folder,
                self._config,
                self._settings,
                self._state["writers"].get(name),
                int(self._state["step"]) + 1,
            )


def _rows(one: MixedGroup, decode: Callable[[Tokens], str]) -> Iterator[dict[str, Any]]:
    group = one.group
    sides: list[tuple[Rollout, bool | None]] = [(rollout, None) for rollout in group.policy]
    sides += zip(group.expert, one.accepted, strict=True)
    for rollout, accepted in sides:
        yield {
            "problem": group.problem.id,
            "answer": group.problem.answer,
            "expert": rollout.expert,
            "demos": list(rollout.demos),
            "prompt": decode(rollout.prompt),
            "response": rollout.text,
            "tokens": len(rollout.tokens),
            "given": rollout.given,
            "finished": rollout.finished,
            "outcome": rollout.outcome,
            "reward": rollout.reward,
            "accepted": accepted,
        }


##### Files


class _Lines:
    """A file of JSON lines that grows. No other process can write to it."""

    def __init__(self, path: Path, length: int) -> None:
        """Cuts the file back to `length` bytes."""
        there = path.stat().st_size if path.exists() else 0
        if there < length:
            raise CheckpointError(
                f"{path}: expected at least the {length} bytes that the checkpoint saw, got {there}"
            )
        self._path = path
        # Without a buffer: what was written is there if the process is killed, and nothing is left
        # that closing could fail on.
        self._file = path.open("ab", buffering=0)
        try:
            _lock(self._file, path)
        except CheckpointError:
            self._file.close()
            raise
        self._file.truncate(length)

    def write(self, row: Mapping[str, Any]) -> None:
        text = json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False)
        # Half a surrogate pair, which a model may well produce, has no UTF-8.
        left = memoryview(text.encode("utf-8", "backslashreplace") + b"\n")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def length(self) -> int:
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    """Keeps other processes out until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CheckpointError(
            f"{path}: expected the run to have stopped, but another process is writing to it"
        ) from None


def _sorted(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in sorted(values)}


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity, nor numpy's numbers."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


##### Writers


class _TensorBoard:
    """TensorBoard's files, in ``tensorboard/``."""

    def __init__(
        self, folder: Path, config: LogConfig, settings: Mapping[str, Any], state: Any, first: int
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run has written beyond its checkpoint is struck out.
        self._writer: Any = SummaryWriter(
            str(folder / "tensorboard"), purge_step=None if state is None else first
        )

    def metrics(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def state(self) -> Any:
        return True

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run on Weights & Biases; ``WANDB_MODE`` decides whether it is told at once."""

    def __init__(
        self, folder: Path, config: LogConfig, settings: Mapping[str, Any], state: Any, first: int
    ) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=config.wandb,
            dir=str(folder),
            config=dict(settings),
            id=state,
            resume=None if state is None else "allow",
        )

    def metrics(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def state(self) -> Any:
        return self._run.id

    def close(self) -> None:
        self._run.finish()


#: Who can be told, by the name of the setting and of the package.
WRITERS: dict[str, Callable[[Path, LogConfig, Mapping[str, Any], Any, int], Writer]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
}


def _wanted(name: str, config: LogConfig) -> bool:
    choice = getattr(config, name)
    if choice is None or choice is False:
        return False
    installed = importlib.util.find_spec(name) is not None
    if choice != "auto" and not installed:
        raise ConfigError(
            f"log.{name}: {name} is asked for, and is not installed: pip install icpo-rs[logs]"
        )
    return installed
