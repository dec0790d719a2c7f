"""What is read from run folders is what was written there, and where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from icpo import ConfigError, DataError
from icpo.analysis import open_run
from icpo.analysis.runs import problem_name
from icpo.mixing import MixedGroup, Plan, mix
from icpo.trainer.config import LogConfig
from icpo.trainer.record import Recorder
from icpo.types import Problem, Rollout, RolloutGroup

QUESTION, SHOWN = np.array([40, 41]), np.array([1, 2, 40, 41])


def rollout(text: str, *, right: bool, expert: bool) -> Rollout:
    return Rollout(
        prompt=SHOWN if expert else QUESTION,
        tokens=np.array([5] * len(text)),
        logp=np.zeros(len(text), np.float32),
        text=text,
        finished=text != "cut",
        reward=float(right),
        outcome="equal" if right else "unknown",
        expert=expert,
        demos=("d1", "d2") if expert else (),
    )


def mixed(name: str, expert_right: bool = True) -> MixedGroup:
    group = RolloutGroup(
        Problem(name, "q", ("9", "nine")),
        QUESTION,
        (rollout("é\udc80", right=False, expert=False), rollout("cut", right=True, expert=False)),
        (rollout("nine", right=expert_right, expert=True),),
    )
    return mix(group, Plan(n=2, n_off=1), np.random.default_rng(0))


@pytest.fixture
def trained(tmp_path) -> Path:
    """A folder as the trainer leaves it."""
    config = LogConfig(tensorboard=False)
    with Recorder(tmp_path, config, {}, lambda ids: "".join(map(chr, ids))) as recorder:
        recorder.metrics(0, {"eval/greedy": 0.25}, {})
        recorder.metrics(1, {"eval/greedy": float("nan"), "on/reward": 0.5}, {})
        recorder.samples(1, [mixed("p1"), mixed("p2", expert_right=False)])
    (tmp_path / "config.yaml").write_text("optim:\n  lr: 1e-6\n")
    (tmp_path / "versions.json").write_text('{"torch": "2.6"}')
    return tmp_path


def verl_rows(*, ours: bool) -> list[dict]:
    row = {"input": "user\n2+2?", "output": "4", "gts": "4", "score": 1.5, "step": 2}
    if not ours:
        return [row, {**row, "score": 0.0, "output": "5"}]
    plain = {"uid": "u_0", "expert": False, "accepted": False, "trained": False, "demos": []}
    shown = {"uid": "u_1", "expert": True, "accepted": True, "trained": True, "demos": ["a"]}
    told = {"reward": 1.0, "bonus": 0.5, "verdict": "equal"}
    return [
        {**row, **plain, **told, "expert_prompt": None},
        {**row, **shown, **told, "expert_prompt": "D; 2+2?"},
    ]


def write_lines(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


##### The trainer's


def test_rollouts_come_back_as_they_were(trained):
    run = open_run(trained)
    assert (run.kind, run.config["optim"]["lr"], run.versions["torch"]) == ("trainer", 1e-6, "2.6")
    assert [(row["step"], row.get("eval/greedy")) for row in run.metrics] == [(0, 0.25), (1, None)]
    assert run.curve("eval/greedy") == ([0], [0.25])
    responses = list(run.responses())
    assert [one.line for one in responses] == [1, 2, 3, 4, 5, 6]
    assert [one.problem for one in responses] == ["p1"] * 3 + ["p2"] * 3
    assert [one.text for one in responses[:3]] == ["é\udc80", "cut", "nine"]
    assert [one.right for one in responses] == [False, True, True, False, True, False]
    assert [one.accepted for one in responses] == [None, None, True, None, None, False]
    first, _, expert = responses[:3]
    assert (first.prompt, first.expert_prompt, first.gold) == ("()", None, ("9", "nine"))
    assert (expert.prompt, expert.expert_prompt) == ("()", "\x01\x02()")
    assert (expert.demos, expert.tokens, expert.finished) == (("d1", "d2"), 4, True)
    assert responses[1].finished is False
    assert first.place == "samples.jsonl:1" and first.file.read_bytes().count(b"\n") == 6


def test_a_line_that_is_being_written_is_no_row(trained):
    with (trained / "samples.jsonl").open("a") as file:
        file.write('{"step": 2, "prob')
    assert len(list(open_run(trained).responses())) == 6


def test_an_expert_rollout_takes_no_other_problems_prompt(tmp_path):
    write_lines(
        tmp_path / "samples.jsonl",
        [
            {**row, "step": 1, "reward": 0, "outcome": "equal", "response": "r", "answer": "1"}
            for row in (
                {"problem": "a", "prompt": "A", "expert": False},
                {"problem": "b", "prompt": "D; B", "expert": True, "demos": ["d"]},
            )
        ],
    )
    assert [one.prompt for one in open_run(tmp_path).responses()] == ["A", None]


##### verl's


@pytest.mark.parametrize("place", ["", "rollouts"])
def test_dumps_with_our_columns(tmp_path, place):
    write_lines(tmp_path / place / "10.jsonl", verl_rows(ours=True))
    write_lines(tmp_path / place / "2.jsonl", verl_rows(ours=True))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "data": {"actor/entropy": 0.5}}\n')
    run = open_run(tmp_path)
    assert [file.name for file in run.response_files] == ["2.jsonl", "10.jsonl"]
    assert run.metrics == ({"step": 1, "actor/entropy": 0.5},)
    plain, shown = list(run.responses())[:2]
    assert plain.problem == shown.problem == problem_name("user\n2+2?")
    # The bonus is not part of R.
    assert plain.reward == shown.reward == 1.0
    assert (plain.expert, plain.accepted, plain.trained) == (False, None, False)
    assert (shown.expert, shown.accepted, shown.trained) == (True, True, True)
    assert (shown.expert_prompt, shown.demos, shown.outcome) == ("D; 2+2?", ("a",), "equal")


def test_dumps_of_verl_alone(tmp_path):
    write_lines(tmp_path / "dump" / "1.jsonl", verl_rows(ours=False))
    write_lines(tmp_path / "logs.jsonl", [{"step": 1, "data": {"a": 1.0}}])
    run = open_run(tmp_path / "dump", metrics=tmp_path / "logs.jsonl")
    assert run.metrics_file == tmp_path / "logs.jsonl" and run.metrics[0]["a"] == 1.0
    right, wrong = run.responses()
    assert (right.outcome, right.right, wrong.right) == (None, True, False)
    assert (right.expert, right.trained, right.demos) == (False, True, ())


##### Errors


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected the folder of a run, got"):
        open_run(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"expected samples.jsonl of a training run"):
        open_run(tmp_path)
    write_lines(tmp_path / "1.jsonl", verl_rows(ours=False))
    with pytest.raises(ConfigError, match="metrics: expected a file, got"):
        open_run(tmp_path, metrics=tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{]", "line 2: no JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"input": 7}', "line 2: expected text in column 'input', got 7"),
        ("{}", "line 2: expected text in column 'input'; the row has "),
        (
            json.dumps({**verl_rows(ours=False)[0], "step": True}),
            "line 2: expected an integer in column 'step', got True",
        ),
        (
            json.dumps({**verl_rows(ours=False)[0], "demos": "a"}),
            "line 2: expected a list in column 'demos', got 'a'",
        ),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    write_lines(tmp_path / "1.jsonl", verl_rows(ours=False)[:1])
    with (tmp_path / "1.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message.replace("[", r"\[")) as caught:
        list(open_run(tmp_path).responses())
    assert str(tmp_path / "1.jsonl") in str(caught.value)


def test_a_broken_configuration_is_named(trained):
    (trained / "config.yaml").write_text("a: [1\n")
    with pytest.raises(DataError, match=r"config.yaml:\d+: no YAML"):
        open_run(trained)
