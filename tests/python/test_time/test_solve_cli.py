"""The command `icpo solve`, with an engine that is a function."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from solve_cases import Sums

from icpo import cli
from icpo.evaluation.settings import EngineSettings
from icpo.generation.text import EngineError
from icpo.test_time import cli as solve_cli
from icpo.test_time import run
from icpo.test_time.config import SearchConfig
from icpo.test_time.methods import METHODS
from icpo.test_time.rewards import REWARDS
from icpo.test_time.run import RESULTS, TABLE, TIMINGS, TRACE, stored
from icpo.test_time.select import SELECTIONS
from icpo.test_time.settings import SolveSettings

SAME = (RESULTS, TABLE, TRACE)

SMALL = ["--rounds", "2", "--k", "3", "--probes", "2", "--answers", "3", "--refinements", "2"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    rows = [
        *({"question": f"What is {i} plus {2 * i}?", "answer": str(3 * i)} for i in range(1, 5)),
        {"question": "What is nothing?", "answer": ""},
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def engines(monkeypatch):
    """Engines that are opened, in their order."""
    opened = []

    def open_engine(settings, *, chat):
        opened.append(Sums())
        return opened[-1]

    monkeypatch.setattr(run, "open_engine", open_engine)
    return opened


def solve(out, *more):
    return cli.main(["solve", "sums=sums.jsonl", *SMALL, "--out", out, *more])


def refusal(capsys, *arguments):
    capsys.readouterr()
    assert cli.main(["solve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def contents(folder, names=SAME):
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_and_its_replay(place, engines, capsys, monkeypatch):
    methods = ["me_icpo", "without_reward", "oracle", "self_refine", "sample"]
    assert solve("a", "--methods", *methods) == 0
    captured = capsys.readouterr()
    assert captured.out == (place / "a/table.md").read_text()
    assert captured.out.startswith("sums (problems: 4; seeds: 0)\n")
    assert [line.split("|")[1].strip() for line in captured.out.splitlines()[4:9]] == methods
    assert "sums.jsonl: line 5" in captured.out and captured.err.count("sums: skipped: ") == 1
    assert captured.err.splitlines()[-1].startswith(
        "seconds a problem, in step with the others: me_icpo 0."
    )
    assert {path.name for path in (place / "a").iterdir()} == {
        "settings.json", "versions.json", "journal.jsonl", *SAME, TIMINGS,
        "tokens.png", "tokens.svg",
    }  # fmt: skip
    assert len((place / "a" / TRACE).read_text().splitlines()) == 5 * 4

    monkeypatch.setattr(run, "open_engine", None)  # nobody is asked
    before = contents(place / "a", (*SAME, "journal.jsonl", "settings.json", TIMINGS))
    assert cli.main(["solve", "--replay", "--out", "a"]) == 0
    assert capsys.readouterr().out == captured.out
    assert contents(place / "a", before) == before

    for name in SAME:
        text = (place / "a" / name).read_text()
        (place / "a" / name).write_text(text.replace("sample", "simple", 1))
        assert cli.main(["solve", "--replay", "--out", "a"]) == 1
        number = 1 + text[: text.index("sample")].count("\n")
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"icpo solve: a/{name}: line {number}: expected what the journal comes to, got "
            "something else"
        )
        (place / "a" / name).write_text(text)
    (place / "a" / TRACE).unlink()
    assert cli.main(["solve", "--replay", "--out", "a"]) == 1


def test_the_same_run_has_the_same_bytes(place, engines):
    assert solve("a") == solve("b") == 0
    names = (*SAME, "tokens.png", "tokens.svg", "versions.json")
    assert contents(place / "a", names) == contents(place / "b", names)
    assert solve("c", "--seeds", "1") == 0
    assert contents(place / "a") != contents(place / "c")


def test_methods_may_join_a_run(place, engines, capsys):
    assert solve("a", "--methods", "sample") == 0
    assert refusal(capsys, "sums=sums.jsonl", "--out", "a").startswith(
        "icpo solve: out: a holds an answer search already: --resume continues it"
    )
    asked = len(engines[0].asked)
    assert cli.main(["solve", "--resume", "--out", "a", "--methods", "self_refine", "sample"]) == 0
    # What sampling has asked is not asked again; self-refine begins with it.
    assert not {one.seed for one in engines[0].asked} & {one.seed for one in engines[-1].asked}
    assert asked == 12 and stored(place / "a").methods == ("self_refine", "sample")
    assert solve("b", "--methods", "self_refine", "sample") == 0
    assert contents(place / "a") == contents(place / "b")
    assert refusal(capsys, "--resume", "--out", "a", "--k", "4") == (
        "icpo solve: a: expected the answer search that is resumed to be the same, but search.k "
        "was 3, and is 4"
    )
    assert solve("a", "--fresh", "--methods", "sample") == 0
    assert len(json.loads((place / "a" / RESULTS).read_text())["benchmarks"][0]["methods"]) == 1


def test_questions(place, engines, capsys):
    words = ["What is 17 plus 4?", "What is 1 plus 1?"]
    arguments = [part for word in words for part in ("--question", word)]
    assert cli.main(["solve", *arguments, *SMALL, "--out", "q"]) == 0
    out = capsys.readouterr().out
    assert all(f"{word}\n\n| method" in out for word in words) and "maj@K" not in out
    asked = json.loads((place / "q" / RESULTS).read_text())["questions"]
    assert [one["question"] for one in asked] == words
    assert {answer for row in asked[0]["methods"] for answer in row["answer"]} <= {
        None, "21", "22", "23",
    }  # fmt: skip
    assert not (place / "q/tokens.png").exists()
    assert cli.main(["solve", "--replay", "--out", "q"]) == 0


def test_without_matplotlib_it_goes_on(place, engines, capsys, monkeypatch):
    assert solve("a") == 0
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert solve("a", "--fresh") == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-2] == (
        "icpo solve: no figure: matplotlib is needed for figures, and is not installed: "
        "pip install icpo-rs[plots]"
    )
    assert captured.out.endswith((place / "a" / TABLE).read_text())
    # That of another run would be worse than none.
    assert not (place / "a/tokens.png").exists() and not (place / "a/tokens.svg").exists()


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "icpo solve: interrupted; --resume continues"),
        (
            EngineError("gone"),
            2,
            "icpo solve: gone; every answer so far is in the journal, --resume continues",
        ),
    ],
)
def test_what_stops_a_run(place, engines, capsys, monkeypatch, fault, code, message):
    def complete(self, requests, done=None):
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(Sums, "complete", complete)
        assert solve("a") == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines()[-1] == message
    assert cli.main(["solve", "--resume", "--out", "a"]) == 0


##### Arguments


def settings_of(*arguments):
    options = cli._parser().parse_args(["solve", "aime24", *arguments])
    given = solve_cli._given(options)
    return SolveSettings.build({**given, "benchmarks": options.benchmarks, "out": options.out})


#: Every argument with another value than its default, and what it sets.
ARGUMENTS = [
    (["--rounds", "2"], "search.rounds", 2),
    (["--k", "3"], "search.k", 3),
    (["--probes", "4"], "search.probes", 4),
    (["--answers", "5"], "search.answers", 5),
    (["--select", "reward"], "search.select", "reward"),
    (["--reward", "none"], "search.reward", "none"),
    (["--epsilon", "0.25"], "search.epsilon", 0.25),
    (["--no-penalty"], "search.invalid_penalty", False),
    (["--history", "3"], "search.history", 3),
    (["--no-summaries"], "search.summarise", False),
    (["--summary-tokens", "99"], "search.summary_tokens", 99),
    (["--summary-temperature", "0"], "search.summary_temperature", 0),
    (["--refinements", "0"], "search.refinements", 0),
    (["--max-tokens", "77"], "search.max_new_tokens", 77),
    (["--temperature", "1"], "search.temperature", 1),
    (["--top-p", "1"], "search.top_p", 1),
    (["--top-k", "20"], "search.top_k", 20),
    (["--repetition-penalty", "1"], "search.repetition_penalty", 1),
    (["--stop", "a", "--stop", "b"], "search.stop", ("a", "b")),
    (["--prompt-tokens", "512"], "search.prompt_tokens", 512),
    (["--profile", "math_verify"], "search.profile", "math_verify"),
    (["--form", "text"], "search.form.name", "text"),
    (["--form", '{"approval": "GOOD"}'], "search.form.approval", "GOOD"),
    (["--model", "m"], "engine.model", "m"),
    (["--dtype", "float32"], "engine.dtype", "float32"),
    (["--device", "cpu"], "engine.device", "cpu"),
    (["--batch", "9"], "engine.batch", 9),
    (["--server", "http://a/v1"], "engine.url", "http://a/v1"),
    (["--server", "http://a/v1"], "engine.kind", "server"),
    (["--vllm"], "engine.kind", "vllm"),
    (["--concurrency", "2"], "engine.concurrency", 2),
    (["--timeout", "1.5"], "engine.timeout", 1.5),
    (["--attempts", "1"], "engine.attempts", 1),
    (["--tokenizer", "t"], "engine.tokenizer", "t"),
    (["--dialect", "llama.cpp"], "engine.dialect", "llama.cpp"),
    (["--key-variable", "KEY"], "engine.key_variable", "KEY"),
    (["--methods", "oracle", "sample:answers=3"], "methods", ("oracle", "sample:answers=3")),
    (["--seeds", "4", "5"], "seeds", (4, 5)),
    (["--limit", "6"], "limit", 6),
    (["--option-seed", "7"], "option_seed", 7),
    (["--no-shuffle"], "option_seed", None),
]


@pytest.mark.parametrize(("arguments", "name", "value"), ARGUMENTS)
def test_arguments_are_settings(arguments, name, value):
    found, before = settings_of(*arguments), settings_of()
    for part in name.split("."):
        found, before = getattr(found, part), getattr(before, part)
    assert found == value != before


def test_every_setting_has_an_argument():
    named = {name for _, name, _ in ARGUMENTS}
    for section, kind in (("search", SearchConfig), ("engine", EngineSettings)):
        for field in dataclasses.fields(kind):
            assert any(f"{name}.".startswith(f"{section}.{field.name}.") for name in named)


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["solve", "--help"])
    assert raised.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in ("examples:", "exit codes:", *METHODS, *SELECTIONS, *REWARDS):
        assert name in out
    defaults = SearchConfig()
    for option, name in (
        ("--rounds N", "rounds"),
        ("--probes N", "probes"),
        ("--history N", "history"),
        ("--summary-temperature T", "summary_temperature"),
        ("--top-p P", "top_p"),
        ("--max-tokens N", "max_new_tokens"),
    ):
        told = out.split(option)[-1].split("default: ")[1]
        assert told.startswith(f"{getattr(defaults, name)}"), option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "icpo solve: benchmarks: expected at least one, or a question, got none"),
        (["nope"], "icpo solve: benchmarks: expected aime24, aime25"),
        (["say=none.jsonl"], "icpo solve: none.jsonl: can not be read: No such file"),
        (["sums=sums.jsonl", "--select", "x"], "icpo solve: select: expected one of entropy, rew"),
        (["sums=sums.jsonl", "--k", "0"], "icpo solve: search.k: expected"),
        (["sums=sums.jsonl", "--form", "{"], "icpo solve: --form: expected a name or JSON, got"),
        (["sums=sums.jsonl", "--methods", "x"], "icpo solve: methods: expected one of me_icpo,"),
        (["--question", "1?", "--methods", "oracle"], "icpo solve: methods: oracle needs gold"),
        (
            ["--resume", "--out", "none"],
            "icpo solve: out: expected the folder of a run to resume, got none",
        ),
        (["--replay", "--out", "none"], "icpo solve: none/settings.json: expected the settings"),
        (["--replay", "--k", "3"], "icpo solve: --replay: expected --out alone, since"),
    ],
)
def test_mistakes_are_one_line(place, capsys, arguments, message):
    assert refusal(capsys, *arguments).startswith(message)
