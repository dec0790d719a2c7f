"""examples/verl/laptop.sh as a process that tests start, wait for, and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parents[2] / "examples" / "verl" / "laptop.sh"
ASSETS_SCRIPT = SCRIPT.parent / "laptop" / "assets.py"

#: Less of everything than in the example, but for two things: two updates a step, the second of
#: which sees a policy that has moved on, and two micro-batches an update. One request at a time,
#: so that rounding does not depend on which of them come together.
SMALL = (
    "data.train_batch_size=8",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.rollout.max_num_seqs=1",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
)

#: What a reader would add to see a run repeat: a seed for each request, a checkpoint each step.
REPEATABLE = (
    "icpo.seed_requests=true",
    "trainer.save_freq=1",
    "actor_rollout_ref.model.external_lib=run_spy",
)

#: Metrics that say how long something took, or how much memory.
_MEASURED = ("timing_", "perf/", "memory")


class Laptop:
    """A run of the script. Leaving the `with` block ends every process of it."""

    def __init__(self, out: Path, assets: Path | None, *settings: str, **env: str) -> None:
        """A run that is yet to start.

        Args:
            out: folder for what it writes. Several runs may share it, one after the other.
            assets: folder with the files that it reads; None: the script makes them.
            settings: of verl.
            env: variables of the environment.
        """
        self.out = out
        self._assets = assets
        self._settings = settings
        self._env = env

    def __enter__(self) -> Laptop:
        """Starts the script in a session of its own, which all processes of Ray stay in."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self._assets is not None and not (self.out / "assets").exists():
            (self.out / "assets").symlink_to(self._assets)
        number = len(list(self.out.glob("output-*.txt")))
        self.output_file = self.out / f"output-{number}.txt"
        self.metrics_file = self.out / f"metrics-{number}.jsonl"
        # Sockets lie in it, and their paths must not be long.
        self._ray = tempfile.TemporaryDirectory(
            prefix="icpo-", dir="/tmp", ignore_cleanup_errors=True
        )
        # Not into a cluster that somebody else has started.
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        with self.output_file.open("wb") as output:
            self._process = subprocess.Popen(
                [str(SCRIPT), *SMALL, *self._settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.out,
                env={
                    **inherited,
                    "PYTHONPATH": path,
                    "OUT": str(self.out),
                    "PYTHON": sys.executable,
                    "RAY_TMPDIR": self._ray.name,
                    "VERL_FILE_LOGGER_PATH": str(self.metrics_file),
                    "ICPO_SPY": str(self.out / "spy"),
                    **self._env,
                },
            )
        return self

    def __exit__(self, *error: object) -> None:
        """Ends whatever is left."""
        self.kill()
        self._ray.cleanup()

    def kill(self) -> None:
        """SIGKILL to every process of the session: of this run, and of no other."""
        while running := list(_processes(self._process.pid)):
            for process in running:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)
        self._process.wait()

    def wait(self, seconds: float = 300) -> None:
        """Returns once it has ended."""
        self.wait_for(lambda: self._process.poll() is not None, seconds)

    def wait_for(self, happened: Callable[[], bool], seconds: float = 300) -> None:
        """Returns once it has happened. Fails with the output if that takes too long."""
        end = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > end:
                raise AssertionError(f"no end after {seconds:g} s:\n{self.tail()}")
            if self._process.poll() is not None and not happened():
                raise AssertionError(f"ended with {self.status}:\n{self.tail()}")
            time.sleep(0.05)

    def succeed(self, seconds: float = 300) -> None:
        """Waits, and fails with the output unless the run ends well."""
        self.wait(seconds)
        assert self.status == 0, f"ended with {self.status}:\n{self.tail()}"

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.returncode

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.output_file.read_text(errors="replace")

    def tail(self, lines: int = 80) -> str:
        """The end of what was printed."""
        return "\n".join(self.output.splitlines()[-lines:])

    def metrics(self) -> dict[int, dict[str, Any]]:
        """By step; without timings."""
        steps: dict[int, dict[str, Any]] = {}
        for line in self.metrics_file.read_text().splitlines():
            entry = json.loads(line)
            steps.setdefault(entry["step"], {}).update(
                (name, value)
                for name, value in entry["data"].items()
                if not any(part in name for part in _MEASURED)
            )
        return steps

    def dump(self, step: int) -> list[dict[str, Any]]:
        """The rollouts of a step, as they were dumped."""
        lines = (self.out / "rollouts" / f"{step}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def checkpointed(self, step: int) -> bool:
        """Whether the checkpoint of that step, or of a later one, is complete."""
        file = self.out / "checkpoints" / "latest_checkpointed_iteration.txt"
        return file.exists() and int(file.read_text() or 0) >= step


#: Starts a run of laptop.sh in a folder of that name, with settings of verl and variables of the
#: environment.
NewRun = Callable[..., Laptop]


@dataclass(frozen=True)
class RepeatedRuns:
    """Runs that begin alike."""

    #: Three steps, a checkpoint after each, validation after the last.
    uninterrupted: Laptop
    #: Killed after the first checkpoint,
    killed: Laptop
    #: and started again.
    resumed: Laptop
    #: Two steps of two ranks, with two workers of each kind, which ask for expert rollouts only
    #: where some on-policy ones are right.
    two_ranks: Laptop


def without_uids(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Dumped rollouts without what verl draws anew in every run."""
    return [{key: value for key, value in line.items() if key != "uid"} for line in lines]


def _processes(session: int) -> Iterator[int]:
    """Those of a session that have not ended, by Linux's process table."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            # The name, in brackets, may hold anything. What follows begins with these.
            state, _parent, _group, of = stat.rpartition(")")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                yield int(entry.name)
