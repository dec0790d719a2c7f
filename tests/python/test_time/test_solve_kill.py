"""A run that is killed at random points and resumed ends as one that was not; so does a replay."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill_child import settings
from scripted_text import ScriptedText, sums

from icpo import CheckpointError, ConfigError
from icpo.generation.text import EngineError
from icpo.test_time.run import replay, solve
from icpo.test_time.settings import SolveSettings

SAME = ("results.json", "table.md", "trace.jsonl", "settings.json")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "sums.jsonl"
    rows = [
        {"id": f"p{n}", "question": f"What is {7 * n + 3} + {5 * n}?", "answer": str(12 * n + 3)}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def whole(questions, tmp_path_factory):
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(folder, questions)
    return folder


def run(folder, questions, *, fails_after=None, **how):
    engine = ScriptedText(sums, together=5, fails_after=fails_after)
    solve(settings(folder, questions), engine=lambda: engine, stream=io.StringIO(), **how)
    return engine


def contents(folder):
    texts = {name: (folder / name).read_text() for name in SAME}
    stored = json.loads(texts["settings.json"])
    del stored["settings"]["out"]
    return {**texts, "settings.json": stored}


def lines(folder):
    """Of the journal, in any order, without the time that answers took."""
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert len({row["request"] for row in rows}) == len(rows)
    return {json.dumps({**row, "seconds": 0}) for row in rows}


@pytest.mark.slow
def test_twenty_kills(questions, whole, tmp_path):
    luck, kills, runs = random.Random(8), 0, 0
    while kills < 20:
        folder, runs, ended = tmp_path / str(runs), runs + 1, False
        while kills < 20 and not ended:
            killed, ended = start_and_kill(folder, questions, luck.uniform(0, 0.06))
            kills += killed
        run(folder, questions, resume=True)
        assert contents(folder) == contents(whole)
        assert lines(folder) == lines(whole)
    # Most runs are killed more than once.
    assert runs <= 10


def start_and_kill(folder, questions, after):
    """Begins or continues a run; whether it was killed, and whether it came to its end."""
    command = [sys.executable, str(Path(__file__).with_name("kill_child.py")), str(folder)]
    child = subprocess.Popen([*command, str(questions), "resume" if folder.exists() else "begin"])
    before = size(folder)
    # From the moment at which it writes: otherwise its start is all that is ever killed.
    while child.poll() is None and size(folder) == before:
        time.sleep(0.002)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    assert child.wait() in (0, -signal.SIGKILL)
    return child.returncode != 0, child.returncode == 0


def size(folder):
    path = folder / "journal.jsonl"
    return path.stat().st_size if path.exists() else 0


def test_stopped_after_every_so_many_answers(questions, whole, tmp_path):
    """Errors of the engine at twenty points, one run after the other."""
    total = (whole / "journal.jsonl").read_text().count('"text"')
    for number, stop in enumerate(random.Random(3).sample(range(1, total), 20)):
        folder = tmp_path / str(number)
        with pytest.raises(EngineError, match="the engine is gone; every answer so far is in"):
            run(folder, questions, fails_after=stop)
        with (folder / "journal.jsonl").open("a") as journal:
            journal.write('{"request": "cut in the midd')
        engine = run(folder, questions, resume=True)
        assert contents(folder) == contents(whole)
        assert lines(folder) == lines(whole)
        # Nothing that was finished is asked for again, but for the group that was under way.
        assert len(engine.asked) <= total - stop + 5


def test_a_replay_is_the_same_without_a_model(questions, whole):
    before = {path: path.read_bytes() for path in whole.iterdir()}
    found = replay(whole, stream=io.StringIO())
    assert found.differing == ()
    assert found.summary.table == (whole / "table.md").read_text()
    assert {path: path.read_bytes() for path in whole.iterdir()} == before
    # Prompts had to be shortened, or the test would not notice a replay that does not know.
    assert "longer_than" in (whole / "journal.jsonl").read_text()


def test_a_replay_says_what_differs(questions, tmp_path):
    run(tmp_path, questions)
    trace = tmp_path / "trace.jsonl"
    trace.write_text(trace.read_text().replace('"selected": 0', '"selected": 1', 1))
    (tmp_path / "table.md").unlink()
    assert replay(tmp_path, stream=io.StringIO()).differing == (
        "table.md: is not there",
        "trace.jsonl: line 1",
    )


def test_a_replay_needs_the_whole_journal(questions, tmp_path):
    with pytest.raises(EngineError):
        run(tmp_path, questions, fails_after=100)
    with pytest.raises(CheckpointError, match=r"journal: expected every response of a finished"):
        replay(tmp_path, stream=io.StringIO())
    (tmp_path / "journal.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"expected the journal of an answer search"):
        replay(tmp_path, stream=io.StringIO())


def test_questions_that_have_changed_are_not_replayed(questions, tmp_path):
    mine = tmp_path / "sums.jsonl"
    mine.write_text(questions.read_text())
    run(tmp_path / "out", mine)
    mine.write_text(questions.read_text().replace("What is 3", "What is 4"))
    with pytest.raises(CheckpointError, match=r"questions\.sums was '.*', and is '"):
        replay(tmp_path / "out", stream=io.StringIO())
    with pytest.raises(CheckpointError, match=r"questions\.sums was"):
        run(tmp_path / "out", mine, resume=True)


def test_a_folder_is_not_overwritten_unasked(questions, whole):
    with pytest.raises(ConfigError, match="holds an answer search already: --resume"):
        run(whole, questions)


def test_methods_and_seeds_may_join(questions, whole, tmp_path):
    """What is there already is not asked for again."""
    few = settings(tmp_path, questions).to_dict()
    few |= {"methods": ["me_icpo"], "seeds": [1]}
    engine = ScriptedText(sums, together=5)
    solve(SolveSettings.build(few), engine=lambda: engine, stream=io.StringIO())
    before = (tmp_path / "journal.jsonl").read_text()
    run(tmp_path, questions, resume=True)
    assert (tmp_path / "journal.jsonl").read_text().startswith(before)
    # Groups are others now, and this engine leaves a mark of its group on each answer; so only
    # what the models say is compared.
    assert (tmp_path / "trace.jsonl").read_text() == (whole / "trace.jsonl").read_text()


def test_other_settings_are_another_run(questions, whole):
    other = settings(whole, questions).to_dict()
    other["search"]["k"] = 5
    with pytest.raises(CheckpointError, match=r"search was|search\.k was 3, and is 5"):
        solve(
            SolveSettings.build(other),
            engine=lambda: ScriptedText(sums),
            resume=True,
            stream=io.StringIO(),
        )
