"""Searches against servers that fail: some of the time, and for good."""

from __future__ import annotations

import hashlib
import io
import json
import re

import pytest

from fake_server import QUICK_FAULTS, SLOW_FAULTS, hashed_faults, name_of, serving
from icpo.evaluation.folder import JOURNAL
from icpo.generation.server_engine import Retry, ServerEngine
from icpo.generation.text import EngineError
from icpo.test_time.run import RESULTS, TABLE, TRACE, solve
from icpo.test_time.settings import SolveSettings

pytest.importorskip("httpx", reason="httpx is not installed")

FILES = (RESULTS, TABLE, TRACE)

#: As many attempts as the unluckiest request needs, and two for a server that is down anyway.
PATIENT, CURT = Retry(attempts=12, first=0.001, most=0.01), Retry(2, 0.001, 0.001)


def answer(request):
    """Sums, right or wrong or not at all, as prompt and seed have it; and a summary of anything."""
    said = request["messages"][-1]["content"]
    luck = hashlib.sha256(f"{said} {request['seed']}".encode()).digest()
    if "Summarise" in said:
        return f"Add them, number {luck[0]}.", "stop"
    a, b = map(int, re.findall(r"(\d+) plus (\d+)", said)[-1])
    if luck[0] < 60:
        return ("I give up.", "stop") if luck[0] < 30 else ("Let me think of", "length")
    return rf"So \boxed{{{a + b + luck[1] % 3}}}.", "stop"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solve")
    rows = [{"question": f"What is {i} plus {9 * i}?", "answer": str(10 * i)} for i in range(3)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(place, out, server, retry=PATIENT, timeout=60.0, **options):
    settings = SolveSettings.build(
        {
            "benchmarks": [f"sums={place / 'sums.jsonl'}"],
            "out": place / out,
            "methods": ["me_icpo", "self_refine", "sample"],
            "search": {"rounds": 2, "k": 3, "probes": 2, "answers": 3, "history": 1},
        }
    )
    engine = ServerEngine(server.url, "fake", concurrency=8, timeout=timeout, retry=retry)
    return solve(settings, engine=lambda: engine, stream=io.StringIO(), **options)


def files(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def rows_of(folder) -> dict[str, tuple]:
    """What the journal says of each request; each is in it once."""
    rows = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    found = {
        row["request"]: tuple(row[name] for name in ("text", "finished", "tokens")) for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def faultless(place):
    """What comes of a server that never fails: its files, its journal, what it was asked."""
    with serving(answer) as server:
        run(place, "faultless", server)
    assert set(server.asked.values()) == {1} and len(server.asked) > 80
    folder = place / "faultless"
    rows = rows_of(folder)
    assert len(rows) == len(server.asked)
    # Else there would have been nothing to choose, and nothing to leave out.
    assert {text for text, *_ in rows.values()} >= {"I give up.", "Let me think of"}
    assert len({text for text, *_ in rows.values() if "boxed" in text}) >= 9
    return files(folder), rows, set(server.asked)


def attempts(faults, name: str) -> int:
    """How often something has to be asked."""
    prompt, messages, seed = json.loads(name)
    request = {"prompt": prompt, "messages": messages, "seed": seed}
    assert name_of(request) == name
    return next(n for n in range(20) if faults(request, n) is None) + 1


@pytest.mark.parametrize(
    ("seed", "share", "kinds"),
    [
        (0, 0.2, ("drop",)),
        (1, 0.35, QUICK_FAULTS),
        (2, 0.2, QUICK_FAULTS),
        (3, 0.05, SLOW_FAULTS),
    ],
)
def test_a_bad_server_changes_nothing(place, faultless, seed, share, kinds):
    expected, rows, asked = faultless
    faults = hashed_faults(seed, share, kinds)
    slow = set(kinds) & set(SLOW_FAULTS)
    with serving(answer, faults) as server:
        run(place, f"bad{seed}", server, timeout=1.5 if slow else 60)
    assert files(place / f"bad{seed}") == expected
    assert rows_of(place / f"bad{seed}") == rows
    # Each was answered once, and asked as often as that took.
    assert set(server.answered) == asked and set(server.answered.values()) == {1}
    assert server.asked == {name: attempts(faults, name) for name in asked}
    assert server.asked.total() > len(asked) * (1 + share / 2)


@pytest.mark.parametrize(
    ("then", "stops", "why"),
    [
        # In the first wave, and in a late one.
        ("gone", (5, 45), "no answer after 2 attempts, the last: "),
        ("hang", (30,), "no answer after 2 attempts, the last: ReadTimeout"),
        ("malformed", (1,), "no answer after 2 attempts, the last: a body that is no JSON"),
        (500, (60,), "no answer after 2 attempts, the last: status 500: fault 500"),
        (401, (10, 10), "status 401: fault 401"),
    ],
)
def test_a_server_that_is_down_for_good_ends_with_one_error_and_loses_nothing(
    place, faultless, then, stops, why
):
    expected, rows, asked = faultless
    folder = place / f"then-{then}"
    answered: set[str] = set()
    for lasts in (*stops, None):
        with serving(answer) as server:
            server.lasts, server.then = lasts, then
            if lasts is None:
                run(place, folder.name, server, resume=True)
            else:
                with pytest.raises(EngineError) as raised:
                    run(place, folder.name, server, CURT, timeout=1.5, resume=True)
        # Nothing that was answered is lost, or asked again.
        assert not answered & set(server.asked)
        assert set(server.answered.values()) == {1}
        answered |= set(server.answered)
        assert len(rows_of(folder)) == len(answered)
        if lasts is not None:
            assert len(server.answered) == lasts
            said = str(raised.value)
            assert said.startswith(f"{server.url}/chat/completions: {why}") and "\n" not in said
            assert said.endswith("; every answer so far is in the journal, --resume continues")
            assert max(server.asked.values()) <= 2 and not (folder / RESULTS).exists()
    assert answered == asked and files(folder) == expected and rows_of(folder) == rows
