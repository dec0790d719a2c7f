"""The progress line: what it says, and how often."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from icpo.trainer.progress import Progress


class Screen(io.StringIO):
    """A terminal, or not."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.isatty = lambda: terminal

    def shown(self) -> list[str]:
        """What stands on it in the end."""
        rows = []
        for row in self.getvalue().split("\n"):
            line = ""
            for part in row.split("\r"):
                line = part + line[len(part) :]
            rows.append(line.rstrip())
        return rows


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


METRICS = {
    "on/reward": 0.25,
    "expert/accepted": 0.5,
    "on/surprise": 1.2345,
    "batch/rows": 64.0,
    "eval/avg@8": 0.125,
    "eval/greedy": math.nan,
}


def test_a_line_says_what_a_step_came_to():
    screen = Screen(terminal=False)
    with Progress(100, stream=screen) as progress:
        progress.step(5, METRICS, {"generation": 2.0, "update": 2.0}, tokens=5000)
    assert screen.getvalue() == (
        "step   5/100  reward 0.250  expert accepted 50%  entropy 1.234  test 12.5%  "
        "2,500 tokens/s  16.0 rollouts/s  4.0 s  6:20 left\n"
    )


def test_a_line_survives_steps_that_lack_everything():
    screen = Screen(terminal=False)
    with Progress(2, stream=screen) as progress:
        progress.step(2, {"on/reward": math.nan}, {}, tokens=0)
    assert screen.getvalue() == "step 2/2  0.0 s  0:00 left\n"


def test_a_file_gets_a_line_every_few_seconds_and_the_last():
    screen, clock = Screen(terminal=False), Clock()
    with Progress(30, stream=screen, every=5.0, now=clock) as progress:
        for step in range(1, 31):
            clock.time += 1.5
            progress.doing(step, "sampling", 3, 4)
            progress.step(step, {}, {"update": 1.5}, tokens=0)
    steps = [int(line.split()[1].split("/")[0]) for line in screen.getvalue().splitlines()]
    assert steps == [1, 5, 9, 13, 17, 21, 25, 29, 30]
    assert "\r" not in screen.getvalue()


def test_a_terminal_gets_every_step_and_what_is_being_done():
    screen, clock = Screen(terminal=True), Clock()
    with Progress(2, stream=screen, now=clock) as progress:
        for step in (1, 2):
            for done in (0, 1000, 2000):
                clock.time += 1
                progress.doing(step, "a long description of sampling", done, 2000)
            assert "1,000/2,000" in screen.getvalue()
            progress.step(step, {}, {"update": 3.0}, tokens=0)
        clock.time += 1
        progress.doing(3, "sampling", 0, 1)
    assert screen.shown() == [
        "step 1/2  3.0 s  0:03 left",
        "step 2/2  3.0 s  0:00 left",
        "",
    ]


def test_what_is_being_done_fits_in_a_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen(terminal=True)
    Progress(2, stream=screen).doing(1, "sampling with many words", 1, 2)
    assert screen.getvalue() == "\rstep 1/2  sampling "


def test_what_is_being_done_is_not_written_too_often():
    screen, clock = Screen(terminal=True), Clock()
    progress = Progress(2, stream=screen, now=clock)
    for done in range(1000):
        clock.time += 0.001
        progress.doing(1, "sampling", done, 1000)
    assert 5 <= screen.getvalue().count("\r") <= 11


@pytest.mark.parametrize("resumed", [1, 900])
def test_the_time_left_follows_from_recent_steps(resumed):
    rng = np.random.default_rng(0)
    screen = Screen(terminal=False)
    progress = Progress(1000, stream=screen, every=0)
    seconds = [100.0] * 5 + rng.uniform(1, 3, 40).tolist()
    for step, spent in enumerate(seconds, resumed):
        progress.step(step, {}, {"a": spent / 2, "b": spent / 2}, tokens=0)
    minutes, rest = screen.getvalue().splitlines()[-1].split()[-2].rsplit(":", 1)
    left = int(minutes) * 60 + int(rest)
    expected = np.mean(seconds[-20:]) * (1000 - (resumed + len(seconds) - 1))
    assert abs(left - expected) <= 1
