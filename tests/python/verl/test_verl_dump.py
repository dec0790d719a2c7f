"""Rollout dumps: a line for everything that was sampled, and all lines alike."""

from __future__ import annotations

import json

import pytest
import verl_fakes as fakes

from icpo.verl.dump import dump_columns, dump_rows

pytestmark = pytest.mark.verl

assert fakes  # skips this module where verl is not installed

POLICY = {"expert": False, "accepted": False, "trained": True, "demos": [], "bonus": 0.0}
EXPERT = {"expert": True, "accepted": True, "trained": True, "demos": ["a", "b"], "bonus": 0.5}
OUT = {"accepted": False, "trained": False, "bonus": 0.0}


def decode(ids):
    return "".join(map(chr, ids))


def ids(text):
    return [ord(character) for character in text]


def record(**told):
    return {
        "rows": [
            {**POLICY, "reward": 0.25, "acc": 0.0, **told},
            {**EXPERT, "reward": 1.0, "acc": 1.0, "expert_prompt_ids": ids("D; x"), **told},
        ],
        "left_out": [
            {**POLICY, **OUT, "reward": 0.0, "acc": 0.0, "response_ids": ids("no"), **told},
            {
                **EXPERT,
                **OUT,
                "reward": 0.1,
                "expert_prompt_ids": ids("E; x"),
                "response_ids": ids("bad"),
                **told,
            },
        ],
    }


def lines(uid="u", of=None):
    # Rows come in the order of ranks, not of the group.
    rows = {1: ("good", 1.0), 0: ("so so", 0.25)}
    return list(dump_rows(uid, "x", "7", rows, of or record(), decode))


def test_lines():
    found = lines()
    assert [line.output for line in found] == ["so so", "good", "no", "bad"]
    assert [line.score for line in found] == [0.25, 1.0, 0.0, 0.1]
    assert {(line.input, line.gold) for line in found} == {("x", "7")}
    assert [line.details["expert_prompt"] for line in found] == [None, "D; x", None, "E; x"]
    for name, expected in {
        "uid": ["u_0", "u_1", "u_out0", "u_out1"],
        "expert": [False, True, False, True],
        "accepted": [False, True, False, False],
        "trained": [True, True, False, False],
        "demos": [[], ["a", "b"], [], ["a", "b"]],
        "reward": [0.25, 1.0, 0.0, 0.1],
        "bonus": [0.0, 0.5, 0.0, 0.0],
    }.items():
        assert [line.details[name] for line in found] == expected, name


def test_every_line_has_every_column():
    """Also what only some responses have been told, and of groups that differ."""
    found = [*lines("u"), *lines("v", record(pred="7"))]
    columns = dump_columns(found)
    assert {len(values) for values in columns.values()} == {8}
    assert columns["acc"] == [0.0, 1.0, 0.0, None] * 2
    assert columns["pred"] == [None] * 4 + ["7"] * 4
    assert not {name for name in columns if name.endswith("_ids")}


def test_what_travelled_is_left_as_it_was():
    """Metrics are made of the same record."""
    of = record()
    lines(of=of)
    assert of == record()


def test_no_line_no_column():
    assert dump_columns([]) == {}


def test_nothing_that_a_reward_function_tells_hides_verls_columns(tmp_path):
    """The line that verl writes in the end."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    names = ["input", "output", "gts", "score", "step", "uid", "expert_prompt"]
    found = lines(of=record(**dict.fromkeys(names, "told")))
    PPOTrainer._write_generations(
        [line.input for line in found],
        [line.output for line in found],
        [line.gold for line in found],
        [line.score for line in found],
        dump_columns(found),
        str(tmp_path),
        3,
    )
    written = [json.loads(line) for line in (tmp_path / "3.jsonl").read_text().splitlines()]
    assert [line["output"] for line in written] == ["so so", "good", "no", "bad"]
    for line in written:
        assert "told" not in line.values()
        assert (line["input"], line["gts"], line["step"]) == ("x", "7", 3)
        assert list(line) == list(written[0])
