"""A search that asks a real `transformers serve`, which is killed and started again on the way."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("transformers.cli.serve", reason="transformers has no such server")
is_serve_available = pytest.importorskip("transformers.utils.import_utils").is_serve_available
if not is_serve_available():
    pytest.skip("transformers[serving] is not installed", allow_module_level=True)

import byte_model  # noqa: E402
from icpo.evaluation.folder import JOURNAL  # noqa: E402
from icpo.generation.server_engine import Retry, ServerEngine  # noqa: E402
from icpo.test_time.run import RESULTS, TABLE, TRACE, solve  # noqa: E402
from icpo.test_time.settings import SolveSettings  # noqa: E402

#: Patient: on a busy machine a server takes its time to start.
RETRY = Retry(attempts=400, first=0.1, most=0.3)


class Serve:
    """The server's process, on one port for all its lives."""

    def __init__(self, model: Path, log: Path) -> None:
        self.model, self.log = model, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(self.model)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"],
                stdout=log,
                stderr=log,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def answered(self) -> int:
        """Requests that were answered properly, in all its lives."""
        return self.log.read_text().count('"POST /v1/chat/completions HTTP/1.1" 200')


@pytest.fixture
def serve(tmp_path):
    model = byte_model.write(tmp_path / "model")
    generation = model / "generation_config.json"
    generation.write_text(json.dumps({**json.loads(generation.read_text()), "do_sample": True}))
    server = Serve(model, tmp_path / "log.txt")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def run(serve: Serve, out: Path) -> None:
    questions = out.parent / "say.jsonl"
    rows = [{"question": f"Say {digit}", "answer": digit} for digit in "58"]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = SolveSettings.build(
        {
            "benchmarks": [f"say={questions}"],
            "out": out,
            "methods": ["me_icpo", "sample"],
            "search": {
                "rounds": 2,
                "k": 3,
                "probes": 2,
                "answers": 3,
                "max_new_tokens": 3,
                "summary_tokens": 5,
                "temperature": 1.0,
                "repetition_penalty": 1.3,
            },
        }
    )
    engine = ServerEngine(
        serve.url,
        str(serve.model),
        # Its seed is one for all that it answers at the time.
        concurrency=1,
        timeout=60,
        retry=RETRY,
        dialect="transformers",
    )
    solve(settings, engine=lambda: engine, stream=io.StringIO())


def journal(folder: Path) -> list[dict]:
    path = folder / JOURNAL
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def answers(folder: Path) -> dict[str, tuple[str, bool, int]]:
    rows = journal(folder)
    found = {row["request"]: (row["text"], row["finished"], row["tokens"]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.slow
def test_killed_and_started_again_on_the_way_it_changes_nothing(serve, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(serve, whole)
    expected = answers(whole)
    assert serve.answered() == len(expected)
    assert len({text for text, *_ in expected.values()}) > 5

    had = []

    def killer():
        while len(journal(cut)) < len(expected) // 2:
            time.sleep(0.01)
        serve.kill()
        had.append(len(journal(cut)))
        serve.start()

    thread = threading.Thread(target=killer)
    thread.start()
    run(serve, cut)
    thread.join()
    assert len(expected) // 2 <= had[0] < len(expected)
    assert answers(cut) == expected
    for name in (RESULTS, TABLE, TRACE):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    # Nothing was asked twice but what the dying server could not say any more.
    assert 0 <= serve.answered() - 2 * len(expected) <= 1
