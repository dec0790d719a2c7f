"""The runs of the demonstration: which there are, what is known of each, and making them.

Each is `icpo train` in a process of its own, with one thread: two runs on two cores are faster than
one run on both. A run that stands finished in its folder with the same settings, model and data is
not made again; one that was interrupted continues.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods import Method
from screen import Screen, clock

from icpo import __version__
from icpo.errors import DataError
from icpo.trainer import TrainConfig

__all__ = ["EXAMPLE", "ORIGIN", "FailedError", "Job", "rows", "train_all"]

EXAMPLE = Path(__file__).with_name("icpo.yaml")

#: In the folder of a run: what it was made of, and what it printed.
ORIGIN, LOG = "origin.json", "log.txt"

#: Seconds between two looks at the runs.
LOOK = 1.0


class FailedError(RuntimeError):
    """A run ended with an error, which the message ends with."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run to make."""

    method: Method
    seed: int
    #: Changes of the example's configuration.
    settings: tuple[str, ...]
    config: TrainConfig

    @classmethod
    def of(cls, method: Method, seed: int, out: Path, settings: Sequence[str]) -> Job:
        """The run of a method and a seed.

        Raises:
            ConfigError: if the trainer does not take the settings.
        """
        folder = out / f"{method.folder}-seed{seed}"
        every = (*method.settings, *settings, f"seed={seed}", f"out={folder}")
        return cls(method, seed, every, TrainConfig.load(EXAMPLE, every))

    @property
    def title(self) -> str:
        """How it is called in lines of progress."""
        return f"{self.method.name} {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return self.config.out

    @property
    def steps_made(self) -> int:
        """Steps recorded so far."""
        there = rows(self.folder / "metrics.jsonl")
        return int(there[-1]["step"]) if there else 0

    @property
    def is_finished(self) -> bool:
        """Whether the last step is recorded."""
        return self.steps_made == self.config.steps

    def origin(self) -> dict[str, Any]:
        """What the run follows from: settings, and the contents of all files."""
        config = self.config
        assert config.demos is not None and config.data.test is not None  # the example has both
        files = [*sorted(Path(config.model.path).glob("*")), config.data.train, config.data.test]
        settings = json.loads(json.dumps(config.to_dict(), default=str))
        return {
            "icpo": __version__,
            "method": self.method.name,
            "seed": self.seed,
            "settings": settings,
            "files": {
                str(file): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in (*files, config.demos.path)
                if file.name != "pretraining.json"  # it says how long that took
            },
        }

    def keep_or_clear(self) -> str | None:
        """Makes sure that the records in the folder, if any, are of this run.

        Returns:
            Why they were not, and are gone; None: they were, or there were none.

        Raises:
            DataError: if they are of a run that the demonstration did not make.
        """
        origin, file, records = self.origin(), self.folder / ORIGIN, self.folder / "metrics.jsonl"
        there = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        if there == origin:
            return None
        if there is None and records.exists():
            raise DataError(f"{self.folder}: expected a run of the demonstration, found another")
        self.folder.mkdir(parents=True, exist_ok=True)
        records.unlink(missing_ok=True)
        file.write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        return None if there is None else f"{self.title}: anew, since {_difference(there, origin)}"

    def start(self) -> subprocess.Popen[bytes]:
        """A process that makes the run, or what is left of it."""
        saved = any((self.folder / "checkpoints").glob("step-*"))
        resumed = saved and (self.folder / "metrics.jsonl").exists()
        how = "--resume" if resumed else "--fresh"
        command = [sys.executable, "-m", "icpo.cli", "train", str(EXAMPLE), *self.settings, how]
        with (self.folder / LOG).open("ab" if resumed else "wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )

    def last_words(self, lines: int = 12) -> str:
        """The end of what it printed."""
        printed = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in printed[-lines:])


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that are written to their end; none if it is not there."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


def _difference(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words, what two origins differ in first."""
    before, now = dict(_flat(there)), dict(_flat(wanted))
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            if key.startswith("files."):
                return f"{key.removeprefix('files.')} has changed"
            return f"{key.removeprefix('settings.')} was {before.get(key)}, is {now.get(key)}"
    raise AssertionError("expected two origins that differ")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        flat += _flat(value, f"{key}.") if isinstance(value, dict) else [(key, value)]
    return flat


##### All of them


def train_all(jobs: Sequence[Job], at_once: int, screen: Screen) -> None:
    """Makes all runs that are not made yet, so many at once.

    However it ends, no process is left.

    Raises:
        FailedError: if a run fails; the others are stopped.
    """
    waiting = [job for job in jobs if not job.is_finished]
    done = len(jobs) - len(waiting)
    if done:
        screen.say(f"  {done} of {len(jobs)} are there already")
    running: dict[Job, subprocess.Popen[bytes]] = {}
    pace = _Pace(waiting)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = job.start()
            time.sleep(LOOK)
            for job, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[job]
                if code != 0:
                    raise FailedError(
                        f"{job.title}: the run ended with exit code {code}, and the others were "
                        f"stopped. The end of {job.folder / LOG}:\n{job.last_words()}"
                    )
                done += 1
                screen.say(f"  {clock(screen.elapsed)}  {_described(job)}  done")
            if running:
                state = f"{done} of {len(jobs)} done, {pace.left([*waiting, *running])}"
                screen.show(" | ".join([state, *map(_described, running)]))
    finally:
        _stop(running.values())


class _Pace:
    """How long it will take, by how long it took so far."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._began = time.monotonic()
        self._missing = _steps_missing(jobs)

    def left(self, jobs: Sequence[Job]) -> str:
        """The time until these runs are made, in words."""
        missing = _steps_missing(jobs)
        made = self._missing - missing
        if made <= 0:  # a run that continues is at its checkpoint first
            return "starting"
        return f"about {clock((time.monotonic() - self._began) * missing / made)} left"


def _steps_missing(jobs: Sequence[Job]) -> int:
    return sum(job.config.steps - job.steps_made for job in jobs)


def _described(job: Job) -> str:
    there = rows(job.folder / "metrics.jsonl")
    step = int(there[-1]["step"]) if there else 0
    words = [f"{job.title}: {step}/{job.config.steps}"]
    reward = next((row["on/reward"] for row in reversed(there) if "on/reward" in row), None)
    if reward is not None:
        words.append(f"reward {reward:.2f}")
    seen = (value for row in reversed(there) for name, value in row.items() if _is_accuracy(name))
    accuracy = next(seen, None)
    if accuracy is not None:
        words.append(f"test {100 * accuracy:.0f} %")
    return " ".join(words)


def _is_accuracy(name: str) -> bool:
    return name.startswith("eval/avg@")


def _stop(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs; checkpoints are whole whenever that happens."""
    still = [process for process in processes if process.poll() is None]
    for process in still:
        process.terminate()
    for process in still:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
