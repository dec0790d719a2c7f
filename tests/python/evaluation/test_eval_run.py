"""Whole evaluations: figures worked by hand, broken rows, and every way to stop and go on."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scripted_text import ScriptedText, hashed, sums

from icpo import CheckpointError, ConfigError, DataError
from icpo.analysis.runs import open_run
from icpo.evaluation.journal import Journal
from icpo.evaluation.run import evaluate, stored
from icpo.evaluation.settings import EvalSettings
from icpo.generation.text import EngineError

FILES = ("results.json", "table.md", "settings.json", "versions.json")


def lines(path, rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text)
    return path


@pytest.fixture
def place(tmp_path):
    lines(
        tmp_path / "sums.jsonl",
        [{"id": f"s{i}", "question": f"{i} + {2 * i}", "answer": str(3 * i)} for i in range(9)],
    )
    lines(
        tmp_path / "more.jsonl",
        [{"question": f"{i} + 100", "answer": str(100 + i)} for i in range(5)],
    )
    lines(
        tmp_path / "demos.jsonl",
        [{"question": f"{i} + 1", "solution": rf"\boxed{{{i + 1}}}"} for i in range(40, 60)],
    )
    return tmp_path


def settings(place, **changes) -> EvalSettings:
    return EvalSettings.build(
        {
            "benchmarks": [f"aime24={place / 'sums.jsonl'}", f"math500={place / 'more.jsonl'}"],
            "out": place / "out",
            "samples": 4,
            "template": "qa",
            "demos": {"source": str(place / "demos.jsonl")},
            "shots": [0, 1],
            "seeds": [0, 1, 2],
            "max_new_tokens": 50,
            **changes,
        }
    )


def run(chosen, engine=None, **options):
    engine = engine or ScriptedText(sums)
    return evaluate(chosen, engine=lambda: engine, stream=io.StringIO(), **options)


def files(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


##### Figures


def test_figures_are_those_counted_by_hand(place):
    found = run(settings(place)).results
    rows = [json.loads(line) for line in (place / "out/journal.jsonl").read_text().splitlines()]
    assert len(rows) == (9 + 5) * 4 * 2 * 3
    for benchmark in found["benchmarks"]:
        for one in benchmark["conditions"]:
            mine = [
                row
                for row in rows
                if (row["benchmark"], row["shots"]) == (benchmark["name"], one["shots"])
            ]
            right = [row["outcome"] == "equal" for row in mine]
            assert one["accuracy"] == pytest.approx(np.mean(right))
            assert one["responses"] == len(mine) == benchmark["asked"] * 4 * 3
            assert one["cut_off"] == sum(row["text"] == "Let me think of" for row in mine) > 0
            assert one["unknown"] == sum("boxed" not in row["text"] for row in mine)
            assert one["tokens"] == sum(len(row["text"].split()) for row in mine)
            per_seed = [np.mean([r["reward"] for r in mine if r["seed"] == s]) for s in (0, 1, 2)]
            assert one["per_seed"] == pytest.approx(per_seed)
            assert one["standard_error"] == pytest.approx(np.std(per_seed, ddof=1) / 3**0.5)
            low, high = one["interval"]
            assert low <= one["accuracy"] <= high
            groups: dict[tuple, list] = {}
            for row in mine:
                groups.setdefault((row["seed"], row["id"]), []).append(row)
            pairs = [
                np.mean([any(r["reward"] for r in pair) for pair in combinations(group, 2)])
                for group in groups.values()
            ]
            assert one["pass"]["2"] == pytest.approx(np.mean(pairs))
            assert one["pass"]["4"] == pytest.approx(
                np.mean([any(r["reward"] for r in group) for group in groups.values()])
            )
            pairs = [
                float(np.mean([majority(pair) for pair in combinations(group, 2)]))
                for group in groups.values()
            ]
            assert one["maj"]["2"] == pytest.approx(np.mean(pairs))
            assert (
                one["majority"]
                == one["maj"]["4"]
                == pytest.approx(float(np.mean([majority(group) for group in groups.values()])))
            )
            for problem in one["problems"]:
                assert problem["right"] == [
                    sum(r["reward"] for r in groups[seed, problem["id"]]) for seed in (0, 1, 2)
                ]
    averages = found["averages"]
    assert [(row["group"], row["shots"]) for row in averages] == [
        ("in distribution", 0), ("in distribution", 1),
    ]  # fmt: skip
    for row, shots in zip(averages, (0, 1), strict=True):
        each = [benchmark["conditions"][shots] for benchmark in found["benchmarks"]]
        assert row["accuracy"] == pytest.approx(np.mean([one["accuracy"] for one in each]))


def majority(group) -> Fraction:
    """Answers are integers in boxes here, so equal answers are equal texts; words do not vote."""
    votes = Counter(row["answer"] for row in group if "boxed" in row["text"])
    if not votes:
        return Fraction(0)
    best = [answer for answer, count in votes.items() if count == max(votes.values())]
    return Fraction(sum(answer == group[0]["gold"] for answer in best), len(best))


def test_the_table_says_it(place):
    summary = run(settings(place))
    assert (place / "out/table.md").read_text() == summary.table
    table = summary.table.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:6]]
    assert [row[:4] for row in cells] == [
        ["AIME24", "0", "9", "avg@4"],
        ["AIME24", "1", "9", "avg@4"],
        ["MATH-500", "0", "5", "avg@4"],
        ["MATH-500", "1", "5", "avg@4"],
    ]
    one = summary.results["benchmarks"][0]["conditions"][0]
    assert cells[0][4] == f"{100 * one['accuracy']:.1f}"
    assert cells[0][9] == f"{one['cut_off']} ({100 * one['cut_off'] / 108:.1f} %)"


def test_a_single_greedy_answer_is_pass_at_1(place):
    found = run(settings(place, samples=1, shots=[0], seeds=[0], temperature=0))
    assert "| AIME24                |     0 |        9 | pass@1 |" in found.table
    one = found.results["benchmarks"][0]["conditions"][0]
    assert one["standard_error"] is None and one["pass"] == {"1": one["accuracy"]}


def test_greedy_answers_are_asked_for_once(place):
    """Though AIME has 32 samples a problem otherwise."""
    found = run(settings(place, samples=None, shots=[0], seeds=[0], temperature=0))
    assert [each["conditions"][0]["samples"] for each in found.results["benchmarks"]] == [1, 1]
    assert len((place / "out" / "journal.jsonl").read_text().splitlines()) == 9 + 5


def test_the_journal_is_what_analysis_reads(place):
    run(settings(place))
    record = open_run(place / "out")
    responses = list(record.responses())
    assert record.kind == "eval" and len(responses) == 336
    assert record.versions["model"]["engine"] == "scripted"
    plain, expert = responses[0], responses[-1]
    assert plain.problem.startswith("aime24/") and plain.prompt and not plain.expert
    assert expert.expert and expert.expert_prompt.startswith("Question: ") and expert.demos
    assert {response.outcome for response in responses} == {"equal", "not_equal", "unknown"}


##### Broken rows


def test_broken_rows_are_told_and_the_rest_is_asked(place):
    rows = (place / "sums.jsonl").read_text().splitlines()
    lines(place / "sums.jsonl", [rows[0], "{", *rows[1:], '{"question": "x + y"}'])
    long = {"id": "long", "question": "1 + 2 " * 40, "answer": "3"}
    lines(place / "more.jsonl", [long, {"question": "1 + 1", "answer": "2"}])
    stream = io.StringIO()
    summary = evaluate(
        settings(place, prompt_tokens=60), engine=lambda: ScriptedText(sums), stream=stream
    )
    told = [line for line in stream.getvalue().splitlines() if "skipped" in line]
    for line, (file, where, why) in zip(
        told,
        [
            ("sums.jsonl", ": line 2: ", "no JSON"),
            ("sums.jsonl", ": line 11: ", "expected columns of a known schema"),
            ("more.jsonl", ": problem 'long': ", "its prompt has 122 tokens"),
        ],
        strict=True,
    ):
        assert f": skipped: {place / file}{where}" in line and why in line
    assert [len(benchmark["skipped"]) for benchmark in summary.results["benchmarks"]] == [2, 1]
    assert summary.results["benchmarks"][0]["asked"] == 9
    assert "AIME24: 2 rows were skipped:" in summary.table and ": line 11: " in summary.table


##### Stopping and going on


@pytest.mark.parametrize("together", [1, 5, 1000])
def test_stopped_anywhere_it_ends_the_same_and_asks_nothing_twice(place, together):
    whole = run(settings(place), ScriptedText(sums, together=together))
    expected = files(place / "out")
    rng = np.random.default_rng(together)
    chosen = settings(place, out=place / "stopped")
    asked = 0
    for attempt in range(40):
        engine = ScriptedText(sums, together=together, fails_after=int(rng.integers(0, 60)))
        if together == 1000:
            engine.left = 335 if attempt < 2 else None
        try:
            again = run(chosen, engine, resume=True)
        except EngineError as error:
            assert "responses are in the journal, --resume continues" in str(error)
            asked += len(engine.asked)
            # The last line may be half written.
            journal = chosen.out / "journal.jsonl"
            size = journal.stat().st_size
            if size and rng.random() < 0.5:
                os.truncate(journal, size - 3)
                asked -= 1
            continue
        asked += len(engine.asked)
        break
    assert again.table == whole.table
    assert {name: data for name, data in files(chosen.out).items() if name != "settings.json"} == {
        name: data for name, data in expected.items() if name != "settings.json"
    }
    keys = [
        tuple(json.loads(line)[name] for name in ("benchmark", "shots", "seed", "id", "sample"))
        for line in (chosen.out / "journal.jsonl").read_text().splitlines()
    ]
    assert len(keys) == len(set(keys)) == 336
    # In groups, those of a broken group are computed again, so that they come out the same.
    assert asked == 336 if together == 1 else asked >= 336


def test_an_evaluation_that_is_done_asks_nothing(place):
    run(settings(place))
    expected = files(place / "out")
    engine = ScriptedText(sums)
    run(settings(place), engine, resume=True)
    assert engine.asked == [] and files(place / "out") == expected


def test_the_folder_knows_its_settings(place):
    chosen = settings(place, stop=["\n\n"], template="paper")
    run(chosen)
    assert stored(place / "out") == chosen


def test_another_evaluation_is_not_continued(place):
    run(settings(place))
    for changes, why in [
        ({"temperature": 1.0}, "temperature was 0.6, and is 1.0"),
        ({"engine": {"model": "other"}}, "model was None, and is 'other'"),
        ({"shots": [0]}, r"shots was \[0, 1\], and is \[0\]"),
    ]:
        with pytest.raises(CheckpointError, match=f"to be the same, but .*{why}"):
            run(settings(place, **changes), resume=True)
    with (place / "more.jsonl").open("a") as file:
        file.write('{"question": "9 + 9", "answer": "18"}\n')
    with pytest.raises(CheckpointError, match=r"but questions\.math500 was"):
        run(settings(place), resume=True)
    # What changes no response may change.
    lines(place / "more.jsonl", (place / "more.jsonl").read_text().splitlines()[:-1])
    run(settings(place, engine={"concurrency": 3, "timeout": 1.5}), resume=True)


def test_a_server_with_another_model_does_not_continue(place):
    """Settings need not name it, and the address may change."""
    run(settings(place))
    other = ScriptedText(sums)
    other.describe = lambda: {"engine": "scripted", "model": "another"}
    with pytest.raises(CheckpointError, match="but model was 'scripted', and is 'another'"):
        run(settings(place), other, resume=True)
    assert other.asked == []


def test_a_folder_is_not_written_over(place):
    run(settings(place))
    with pytest.raises(ConfigError, match="holds an evaluation already: --resume continues it"):
        run(settings(place))
    before = files(place / "out")
    engine = ScriptedText(sums)
    run(settings(place), engine, fresh=True)
    assert len(engine.asked) == 336 and files(place / "out") == before
    with pytest.raises(ConfigError, match=r"engine\.model: expected a folder"):
        evaluate(settings(place), fresh=True, stream=io.StringIO())
    assert files(place / "out") == before  # not before it is sure that there is something new
    with (
        Journal(place / "out" / "journal.jsonl"),
        pytest.raises(CheckpointError, match="another process is writing to it"),
    ):
        run(settings(place), fresh=True)
    assert files(place / "out") == before
    (place / "out/settings.json").write_text("{")
    with pytest.raises(CheckpointError, match="expected the settings of an evaluation to resume"):
        run(settings(place), resume=True)


##### Killed


def slowly(request):
    time.sleep(0.001)
    return sums(request)


def test_killed_at_random_and_resumed_it_gives_the_same_bytes(place):
    run(settings(place))
    expected = files(place / "out")
    for name in (*FILES, "journal.jsonl"):
        (place / "out" / name).unlink()
    # A fork, since a process that first has to import everything is killed while it does that.
    processes = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(10):
        child = processes.Process(
            target=run, args=(settings(place), ScriptedText(slowly)), kwargs={"resume": True}
        )
        child.start()
        child.join(float(rng.uniform(0.02, 0.3)))
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        journal = place / "out/journal.jsonl"
        had = journal.read_bytes().count(b"\n") if journal.exists() else 0
        kills += 0 < had < 336
    else:
        run(settings(place), resume=True)
    assert kills >= 2
    assert files(place / "out") == expected


##### Mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmarks": []}, "benchmarks: expected at least one, got none"),
        (
            {"benchmarks": ["aime24=a.jsonl", "aime24"]},
            "expected different names, got 'aime24' twice",
        ),
        ({"demos": None}, r"demos: expected a source of demonstrations, since shots are \[0, 1\]"),
        ({"seeds": [1, 1]}, r"seeds: expected different numbers, got \[1, 1\]"),
        ({"temperature": 0}, "samples: expected 1, since at temperature 0 all are the same, got 4"),
        ({"profile": "lax"}, "profile: expected 'strict' or 'math_verify', got 'lax'"),
        ({"template": "none"}, "template: template: expected paper"),
        ({"demos": {"source": "x", "strategy": "best"}}, "demos.strategy: expected one of random"),
        ({"limit": 0}, "limit: expected an integer from 1"),
        ({"engine": {"kind": "magic"}}, "engine.kind: expected one of transformers, vllm, server"),
        ({"engine": {}}, "engine.model: expected a folder or a name on the hub, but it is not set"),
        ({"engine": {"kind": "server"}}, "engine.url: expected the address of a server"),
    ],
)
def test_mistakes_are_named_before_anything_is_asked(place, changes, message):
    with pytest.raises((ConfigError, DataError), match=message):
        evaluate(settings(place, **changes), stream=io.StringIO())
    assert not (place / "out").exists()


def test_responses_must_fit_the_model(place):
    engine = ScriptedText(sums, positions=60)
    with pytest.raises(
        ConfigError, match=r"expected at most 60 - 11 = 49, because the model has 60"
    ):
        run(settings(place, max_new_tokens=50), engine)
    assert engine.asked == []


def test_seeds_make_the_luck():
    # The fake is a function of prompt and seed, as an engine is to be.
    class Request:
        prompt, seed = "1 + 2", 3

    assert hashed(Request) == hashed(Request) and sums(Request) == sums(Request)


def test_who_loads_longer_finds_the_folder_taken(place):
    class Slow(ScriptedText):
        loading = True

        def describe(self):
            if self.loading:
                self.loading = False
                run(settings(place))
            return super().describe()

    with pytest.raises(ConfigError, match="holds an evaluation already"):
        run(settings(place), engine=Slow(sums))
    before = (place / "out/results.json").read_bytes()
    run(settings(place), resume=True)
    assert (place / "out/results.json").read_bytes() == before
