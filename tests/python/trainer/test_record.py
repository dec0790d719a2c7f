"""Records: stable lines, cut back on resume, and everybody told who was asked for."""

from __future__ import annotations

import importlib.util
import json
import math
import multiprocessing
import resource
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from icpo import CheckpointError, ConfigError
from icpo.mixing import Plan, mix
from icpo.trainer import record
from icpo.trainer.config import LogConfig
from icpo.trainer.record import Recorder, holds_run
from icpo.types import Problem, Rollout, RolloutGroup

QUIET = LogConfig(tensorboard=False)


def recorder(folder: Path, config: LogConfig = QUIET) -> Recorder:
    return Recorder(folder, config, {"seed": 0}, lambda tokens: " ".join(map(str, tokens)))


def metrics_of(step: int) -> dict[str, float]:
    rng = np.random.default_rng(step)
    return {"b": rng.random(), "a/é": float(rng.integers(9)), "c": math.nan if step % 2 else 1.0}


def run(folder: Path, first: int, last: int, state=None, *, stop_after=None):
    """Steps `first` to `last`; the state after one of them."""
    saved = None
    with recorder(folder) as records:
        if state is not None:
            records.load_state_dict(state)
        for step in range(first, last + 1):
            records.metrics(step, metrics_of(step), {"generation": np.random.random()})
            records.samples(step, [mixed()])
            if step == stop_after:
                saved = json.loads(json.dumps(records.state_dict()))
    return saved


def mixed(texts=("7", "8"), expert=("9",), reward=1.0):
    def rollout(text, is_expert):
        return Rollout(
            prompt=np.array([1, 2, 3] if is_expert else [3]),
            tokens=np.array([5, 6]),
            logp=np.array([-0.5, -0.25], np.float32),
            text=text,
            finished=not is_expert,
            reward=reward if is_expert else 0.0,
            outcome="equal" if is_expert and reward else "unknown",
            expert=is_expert,
            demos=("d1", "d2") if is_expert else (),
        )

    group = RolloutGroup(
        Problem("p1", "q", ("9", "nine")),
        np.array([3]),
        tuple(rollout(text, False) for text in texts),
        tuple(rollout(text, True) for text in expert),
    )
    plan = Plan(n=len(texts), n_off=len(expert))
    return mix(group, plan, np.random.default_rng(0))


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


##### Files


def test_a_line_a_step_with_sorted_keys(tmp_path):
    with recorder(tmp_path / "a" / "run") as records:
        records.metrics(0, {"z": 1, "a": math.inf, "m": math.nan}, {})
        records.metrics(
            1, {"m": np.float32(0.5), "a": np.int64(3), "z": -0.0}, {"y": 2.0, "x": 1.0}
        )
        # They are there while the run goes on.
        assert (tmp_path / "a/run/metrics.jsonl").read_text() == (
            '{"step": 0, "a": null, "m": null, "z": 1}\n{"step": 1, "a": 3, "m": 0.5, "z": -0.0}\n'
        )
        assert lines(tmp_path / "a/run/timings.jsonl")[1] == {"step": 1, "x": 1.0, "y": 2.0}


def test_numbers_come_back_exactly(tmp_path):
    values = np.random.default_rng(4).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    with recorder(tmp_path) as records:
        records.metrics(1, {str(i): value for i, value in enumerate(values)}, {})
    (found,) = lines(tmp_path / "metrics.jsonl")
    assert [found[str(i)] for i in range(200)] == values.tolist()


def test_samples_have_everything_that_was_said(tmp_path):
    with recorder(tmp_path) as records:
        records.samples(4, [mixed(), mixed(("\ud800 half a pair, é\n", "x"), ("y",), 0.0)])
    first, second, third, fourth, _, sixth = lines(tmp_path / "samples.jsonl")
    assert first == {
        "step": 4,
        "problem": "p1",
        "answer": ["9", "nine"],
        "expert": False,
        "demos": [],
        "prompt": "3",
        "response": "7",
        "tokens": 2,
        "given": 0,
        "finished": True,
        "outcome": "unknown",
        "reward": 0.0,
        "accepted": None,
    }
    assert second["response"] == "8"
    assert third["prompt"] == "1 2 3"
    assert (third["expert"], third["demos"], third["accepted"]) == (True, ["d1", "d2"], True)
    assert fourth["response"] == "\ud800 half a pair, é\n"
    assert (sixth["accepted"], sixth["reward"]) == (False, 0.0)


@pytest.mark.parametrize("stop", [1, 4, 9])
@pytest.mark.parametrize("torn", [b"", b'{"step": 99, "a', b"\xc3"])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, stop, torn):
    run(tmp_path / "whole", 0, 10)
    # Killed at step 10, perhaps in the middle of a line; the checkpoint was written at `stop`.
    state = run(tmp_path / "stopped", 0, 10, stop_after=stop)
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (tmp_path / "stopped" / name).open("ab") as file:
            file.write(torn)
    run(tmp_path / "stopped", stop + 1, 10, state)
    for name in ("metrics.jsonl", "samples.jsonl"):
        expected = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "stopped" / name).read_bytes() == expected
    steps = [line["step"] for line in lines(tmp_path / "stopped" / "timings.jsonl")]
    assert steps == list(range(11))


def test_a_new_run_empties_the_records(tmp_path):
    assert not holds_run(tmp_path)
    run(tmp_path, 0, 5)
    assert holds_run(tmp_path)
    run(tmp_path, 0, 1)
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [0, 1]


def test_nothing_is_touched_before_something_is_written(tmp_path):
    """A run that can not start leaves the one before as it was."""
    run(tmp_path, 0, 5)
    with recorder(tmp_path):
        pass
    assert len(lines(tmp_path / "metrics.jsonl")) == 6


def test_records_that_have_lost_their_end_are_refused(tmp_path):
    state = run(tmp_path, 0, 5, stop_after=5)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with (
        recorder(tmp_path) as records,
        pytest.raises(CheckpointError, match=r"metrics\.jsonl: expected at least the \d+ bytes"),
    ):
        records.load_state_dict(state)


def test_two_runs_in_one_folder_are_refused(tmp_path):
    with recorder(tmp_path) as first, recorder(tmp_path) as second:
        first.metrics(0, {"a": 1.0}, {})
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: .* another process is writing"):
            second.metrics(0, {"a": 2.0}, {})
        first.metrics(1, {"a": 3.0}, {})
    assert [line["a"] for line in lines(tmp_path / "metrics.jsonl")] == [1.0, 3.0]
    with recorder(tmp_path) as third:  # after the first has ended
        third.metrics(0, {"a": 4.0}, {})


def write_within(limit: int, folder: Path) -> None:
    """Writes metrics until they find no room, and looks at what is said of it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with recorder(folder) as records:
        try:
            for step in range(100):
                records.metrics(step, metrics_of(step), {})
        except OSError as error:
            raise SystemExit(0 if error.filename == str(folder / "metrics.jsonl") else 1) from None
    raise SystemExit(2)


def test_a_full_disk_names_the_file(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=write_within, args=(1000, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert (tmp_path / "metrics.jsonl").stat().st_size == 1000


##### Others who are told


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {
        name: {event.step: event.value for event in found.Scalars(name)}
        for name in found.Tags()["scalars"]
    }


def test_tensorboard_gets_what_is_finite(tmp_path):
    pytest.importorskip("tensorboard")
    with recorder(tmp_path, LogConfig(tensorboard=True)) as records:
        records.metrics(1, {"a": 1.0, "b": math.nan}, {"generation": 2.0})
        state = records.state_dict()
        records.metrics(2, {"a": -1.0, "b": 5.0}, {})
        records.metrics(3, {"a": -2.0}, {})
    with recorder(tmp_path, LogConfig(tensorboard=True)) as records:
        records.load_state_dict(state)
        records.metrics(2, {"a": 2.0}, {})
    found = {name: values for name, values in scalars(tmp_path).items() if values}
    assert found == {"a": {1: 1.0, 2: 2.0}, "seconds/generation": {1: 2.0}}


class FakeRun:
    id = "abc123"

    def __init__(self, **settings):
        self.settings, self.logged, self.finished = settings, [], False

    def log(self, figures, step):
        self.logged.append((step, figures))

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb_runs(monkeypatch):
    """Stands in for wandb; the runs that were started."""
    runs = []

    def init(**settings):
        runs.append(FakeRun(**settings))
        return runs[-1]

    module = types.ModuleType("wandb")
    module.init = init
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_wandb_continues_the_same_run(tmp_path, wandb_runs):
    config = LogConfig(tensorboard=False, wandb="project")
    with recorder(tmp_path, config) as records:
        assert wandb_runs == []
        records.metrics(1, {"a": 1.0, "b": math.nan}, {"x": 0.5})
        state = json.loads(json.dumps(records.state_dict()))
    with recorder(tmp_path, config) as records:
        records.load_state_dict(state)
        records.metrics(2, {"a": 2.0}, {})
    first, second = wandb_runs
    assert first.settings["project"] == "project"
    assert first.settings["config"] == {"seed": 0}
    assert (first.settings["id"], first.settings["resume"]) == (None, None)
    assert (second.settings["id"], second.settings["resume"]) == ("abc123", "allow")
    assert first.logged == [(1, {"a": 1.0, "seconds/x": 0.5})]
    assert second.logged == [(2, {"a": 2.0})]
    assert first.finished
    assert second.finished


@pytest.mark.parametrize(
    ("config", "package"),
    [(LogConfig(tensorboard=True), "tensorboard"), (LogConfig(wandb="p"), "wandb")],
)
def test_who_was_asked_for_has_to_be_installed(tmp_path, monkeypatch, config, package):
    monkeypatch.setattr(record.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"^log\.{package}: {package} is asked for, and is not"):
        recorder(tmp_path, config)
    assert list(tmp_path.iterdir()) == []
    with recorder(tmp_path, LogConfig(tensorboard="auto")) as records:
        records.metrics(1, {}, {})
    assert not (tmp_path / "tensorboard").exists()
