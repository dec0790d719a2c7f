"""A run in which things go wrong: it counts them and goes on, or ends with the reason.

Of its four steps the first accepts no expert rollout, the second all of them; in the third a part
of the requests fails, each in another way; in the fourth there is no reward for any response.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_laptop import HERE, Laptop, NewRun

pytestmark = pytest.mark.verl

#: Of N = 4 rollouts one is reserved for an expert.
SETTINGS = (
    "icpo.group=reserve",
    "icpo.delta=0.5",
    "icpo.bonus.alpha=0.5",
    "icpo.demonstrations.strategy=subject",
    "icpo.demonstrations.k=2",
    "icpo.demonstrations.bad_rows=skip",
    "icpo.expert_timeout=15",
    "data.max_prompt_length=256",
    "actor_rollout_ref.rollout.name=faulty_cpu",
    "actor_rollout_ref.rollout.max_num_seqs=64",
    "actor_rollout_ref.model.external_lib=run_faults",
    f"reward.custom_reward_function.path={HERE / 'run_reward.py'}",
    "trainer.total_training_steps=4",
    "trainer.save_freq=-1",
    "trainer.test_freq=-1",
)

#: By their subject. Of the long ones not even one fits into a prompt, of the others one or two.
SOLUTIONS = {"short": "2", "medium": "xqj" * 40, "long": "xqj" * 200}
BROKEN = ['{"id": "cut off', '{"id": "no-solution", "question": "What?"}', '{"id": "short-1"}']


def write_tasks(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    subjects = {21: "long", 22: "medium"}
    rows = [
        {
            "data_source": "tasks",
            "prompt": [{"role": "user", "content": f"Task {task}: what is 1+1?"}],
            "reward_model": {"style": "rule", "ground_truth": "2"},
            "extra_info": {"index": task, "subject": subjects.get(task, "short")},
        }
        for task in range(32)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_demos(path: Path, broken: list[str]) -> None:
    lines = [
        json.dumps(
            {
                "id": f"{subject}-{number}",
                "question": f"{subject} {number}?",
                "solution": solution,
                "subject": subject,
            }
        )
        for subject, solution in SOLUTIONS.items()
        for number in (1, 2)
    ]
    path.write_text("\n".join([*lines, *broken, ""]))


@pytest.fixture(scope="module")
def runs(new_run: NewRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Laptop, Laptop]:
    """The run, and one that refuses rows which it can not read."""
    folder = tmp_path_factory.mktemp("faults")
    write_tasks(folder / "tasks.parquet")
    write_demos(folder / "demos.jsonl", BROKEN)
    source = f"icpo.demonstrations.source={folder / 'demos.jsonl'}"
    with (
        new_run("faulty", *SETTINGS, source, f"data.train_files={folder / 'tasks.parquet'}") as run,
        # To this one the script gives what it reads, as it does for everybody.
        Laptop(folder / "refused", None, source) as refused,
    ):
        refused.wait()
        run.wait()
    return run, refused


@pytest.fixture(scope="module")
def faulty(runs: tuple[Laptop, Laptop]) -> Laptop:
    return runs[0]


@pytest.fixture(scope="module")
def metrics(faulty: Laptop) -> dict[int, dict[str, Any]]:
    found = faulty.metrics()
    assert sorted(found) == [1, 2, 3], faulty.tail()
    return found


def icpo(metrics: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: metrics[f"icpo/{name}"] for name in names}


def test_broken_demonstrations_are_counted(faulty: Laptop) -> None:
    assert "3 of 9 rows with demonstrations were passed over" in faulty.output
    assert "demos.jsonl: line 7" in faulty.output


def test_a_step_without_accepted_rollouts(metrics: dict[int, dict[str, Any]]) -> None:
    # The reserved places stay empty.
    names = "expert/rollouts", "expert/accepted", "expert/entered", "batch/rows", "update/off/rows"
    assert list(icpo(metrics[1], *names).values()) == [8, 0, 0, 24, 0]
    assert metrics[1]["actor/grad_norm"] > 0


def test_a_step_with_nothing_but_accepted_rollouts(metrics: dict[int, dict[str, Any]]) -> None:
    names = "expert/rollouts", "expert/accepted", "expert/entered", "batch/rows", "update/off/rows"
    assert list(icpo(metrics[2], *names).values()) == [8, 1, 8, 32, 8]
    # The bonus of the second of four steps, on a quarter of the rows; rewards are logged without.
    figures = icpo(metrics[2], "batch/shaped_reward", "batch/reward")
    assert figures["batch/shaped_reward"] - figures["batch/reward"] == pytest.approx(0.375 / 4)
    assert metrics[2]["critic/rewards/mean"] == pytest.approx(figures["batch/reward"])


def test_failed_requests_are_counted(metrics: dict[int, dict[str, Any]]) -> None:
    requests = "expert/failed", "expert/empty", "expert/timed_out", "policy/failed"
    prompts = "expert/demos_dropped", "expert/prompts_bare"
    for step in (1, 2):
        assert not any(icpo(metrics[step], *requests, *prompts, "prompts/lost").values())
    assert list(icpo(metrics[3], *requests).values()) == [1, 1, 1, 2]
    assert list(icpo(metrics[3], *prompts).values()) == [3, 1]
    # One prompt was left without any response, so nothing is known of its requests.
    assert list(icpo(metrics[3], "prompts", "prompts/lost").values()) == [7, 1]
    assert metrics[3]["actor/grad_norm"] > 0


def rows_by_task(faulty: Laptop, step: int) -> dict[int, list[dict[str, Any]]]:
    saved = torch.load(faulty.out / "spy" / f"{step}.pt", weights_only=False)
    tasks: dict[int, list[dict[str, Any]]] = {}
    for row, task in enumerate(saved["index"]):
        if not saved["tags"][row].get("is_padding", False):
            fields = {name: saved[name][row] for name in run_fields(saved)}
            tasks.setdefault(task, []).append(fields)
    return tasks


def run_fields(saved: dict[str, Any]) -> list[str]:
    return [name for name in saved if name not in ("keys", "tags", "index")]


def test_what_failed_costs_nothing_else(faulty: Laptop, metrics: dict[int, dict[str, Any]]) -> None:
    rows = {
        task: (len(of), sum(int(row["icpo_expert"]) for row in of))
        for task, of in rows_by_task(faulty, 3).items()
    }
    # On-policy rows are three, unless one has failed.
    assert rows == {
        16: (3, 0),
        17: (3, 0),
        18: (3, 1),
        19: (3, 1),
        21: (3, 0),
        22: (4, 1),
        23: (3, 0),
    }


@pytest.mark.parametrize("step", [1, 2, 3])
def test_nothing_trains_on_another_prompt(
    faulty: Laptop, metrics: dict[int, dict[str, Any]], step: int
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(faulty.out / "assets" / "model")
    for task, rows in rows_by_task(faulty, step).items():
        messages = [{"role": "user", "content": f"Task {task}: what is 1+1?"}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for row in rows:
            assert row["prompts"].tolist() == prompt
            assert len(row["responses"]) > 0


@pytest.mark.parametrize(("step", "bonus"), [(1, 0.5), (2, 0.375), (3, 0.25)])
def test_advantages_are_from_rewards_with_the_bonus(
    faulty: Laptop, metrics: dict[int, dict[str, Any]], step: int, bonus: float
) -> None:
    for rows in rows_by_task(faulty, step).values():
        reward = np.array([float(row["rm_scores"].sum()) for row in rows])
        reward += bonus * np.array([float(row["icpo_expert"]) for row in rows])
        expected = (reward - reward.mean()) / (reward.std(ddof=1) + 1e-6)
        found = [float(row["advantages"][0]) for row in rows]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_step_without_rewards_ends_the_run_with_the_reason(faulty: Laptop) -> None:
    assert faulty.status != 0
    assert "no score for task 24" in faulty.output


def test_a_broken_demonstration_ends_the_run_before_it_begins(runs: tuple[Laptop, Laptop]) -> None:
    _, refused = runs
    assert refused.status != 0
    assert "demos.jsonl: line 7: no JSON" in refused.output
    assert not refused.metrics_file.exists()
