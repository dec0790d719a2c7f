"""A preset as a whole run: solutions that are begun, and continued by the rollout engine.

The oracles are the data, the arithmetic of prefixes, and the model by itself in double precision.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from run_laptop import REPEATABLE, Laptop, NewRun

pytestmark = pytest.mark.verl

PROMPTS, N, STEPS = 8, 4, 2
DELTA = 0.05


@pytest.fixture(scope="module")
def run(new_run: NewRun) -> Laptop:
    steps = (f"trainer.total_training_steps={STEPS}", "trainer.test_freq=-1")
    with new_run("prefix", *REPEATABLE, *steps, ICPO="prefix_rft") as run:
        run.succeed()
    return run


@dataclass
class Step:
    """A batch as the update got it, and what it was made of."""

    number: int
    rows: dict[str, Any]
    dump: list[dict[str, Any]]
    #: π_old: before this step's updates.
    model: torch.nn.Module
    #: Of each row, the tokens of the stored solution.
    solutions: list[list[int]]

    def hybrids(self) -> list[int]:
        return [row for row, flag in enumerate(self.rows["icpo_expert"]) if flag == 1]

    @torch.no_grad()
    def logits(self, row: int) -> torch.Tensor:  # (T, V)
        """Of the places of a row's response."""
        ids = self.rows["input_ids"][row]
        logits = self.model(input_ids=ids[None]).logits[0]
        return logits[-len(self.rows["responses"][row]) - 1 : -1]


@pytest.fixture(scope="module", params=range(1, STEPS + 1))
def step(request: pytest.FixtureRequest, run: Laptop) -> Step:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    transformers = pytest.importorskip("transformers")
    number, assets = request.param, run.out / "assets"
    model = transformers.AutoModelForCausalLM.from_pretrained(assets / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(assets / "model")
    if number > 1:
        saved = run.out / f"checkpoints/global_step_{number - 1}/actor/model_world_size_1_rank_0.pt"
        weights = torch.load(saved, weights_only=False)
        model.load_state_dict({name: weight.to_local() for name, weight in weights.items()})
    texts = [
        row["extra_info"]["solution"]
        for row in pyarrow.read_table(assets / "train.parquet").to_pylist()
    ]
    rows = torch.load(run.out / "spy" / f"{number}.pt", weights_only=False)
    encoded = [tokenizer(texts[place])["input_ids"] for place in rows["index"]]
    solutions = [[*tokens, tokenizer.eos_token_id] for tokens in encoded]
    return Step(number, rows, run.dump(number), model.double().eval(), solutions)


def test_solutions_are_begun_and_continued(step: Step) -> None:
    uids = [key.split("_")[0] for key in step.rows["keys"]]
    assert len(set(uids)) == PROMPTS
    for row, uid in enumerate(uids):
        # The last of each group of four.
        assert (row in step.hybrids()) is (row == len(uids) - 1 - uids[::-1].index(uid))
    for row in step.hybrids():
        given, response = int(step.rows["icpo_given"][row]), step.rows["responses"][row].tolist()
        assert response[:given] == step.solutions[row][:given]
        assert given < len(response) <= 16
    for row in set(range(len(uids))) - set(step.hybrids()):
        assert step.rows["icpo_given"][row] == 0


def test_lengths_fall_from_step_to_step(step: Step) -> None:
    """By the seeds of the run, whatever was answered first."""
    sequence = np.random.SeedSequence(0, spawn_key=(step.number - 1,))
    seeds = sequence.generate_state(PROMPTS, np.uint64)
    # A cosine from 0.95 to 0.05 over the two steps: its beginning, its middle.
    bound = {1: 0.95, 2: 0.5}[step.number]
    for seed, row in zip(seeds.tolist(), step.hybrids(), strict=True):
        rng = np.random.default_rng(seed)
        rng.integers(2**63, size=N)
        share = 0.05 + rng.random() * (bound - 0.05)
        assert step.rows["icpo_given"][row] == math.floor(share * len(step.solutions[row]))


def test_of_what_was_given_the_least_certain_tokens_are_trained_on(step: Step) -> None:
    left_out = 0
    for row in range(len(step.rows["keys"])):
        logp = step.logits(row).log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        assert (step.rows["entropy"][row] - entropy).abs().max() < 1e-4
        given, found = int(step.rows["icpo_given"][row]), step.rows["entropy"][row]
        order = sorted(range(given), key=lambda place: (-float(found[place]), place))
        expected = torch.ones(len(found))
        expected[order[math.ceil(0.2 * given) :]] = 0
        for mask in ("response_mask", "loss_mask"):
            assert torch.equal(step.rows[mask][row].float(), expected)
        left_out += int((expected == 0).sum())
        assert not step.rows["advantages"][row][expected == 0].any()
    assert left_out > PROMPTS


def test_the_ratio_is_over_what_the_policy_thought_of_it(step: Step) -> None:
    for row in range(len(step.rows["keys"])):
        response = step.rows["responses"][row][:, None]
        expected = step.logits(row).log_softmax(-1).gather(-1, response)[:, 0]
        assert (step.rows["old_log_probs"][row] - expected).abs().max() < 1e-5
        behavior = step.rows["rollout_log_probs"][row]
        assert (behavior - expected).abs().max() < 1e-5
        if step.rows["icpo_given"][row] > 0:
            assert torch.equal(behavior, step.rows["old_log_probs"][row])


def test_advantages_have_no_divisor(step: Step) -> None:
    reward = np.array([float(scores.sum()) for scores in step.rows["rm_scores"]])
    uids = [key.split("_")[0] for key in step.rows["keys"]]
    for row, uid in enumerate(uids):
        group = reward[[other == uid for other in uids]]
        assert len(group) == N
        advantages = step.rows["advantages"][row][step.rows["response_mask"][row].bool()]
        np.testing.assert_allclose(advantages, reward[row] - group.mean(), rtol=1e-4, atol=1e-6)


def test_dump_and_metrics_tell_of_it(step: Step, run: Laptop) -> None:
    metrics, hybrids = run.metrics()[step.number], step.hybrids()
    lines = [line for line in step.dump if line["expert"]]
    assert len(step.dump) == PROMPTS * N
    assert [line["given"] for line in lines] == [step.rows["icpo_given"][row] for row in hybrids]
    for line in lines:
        assert line["trained"]
        assert line["accepted"] is (line["reward"] >= DELTA)
        assert (line["demos"], line["expert_prompt"]) == ([], None)
    assert metrics["icpo/expert/rollouts"] == metrics["icpo/expert/requests"] == PROMPTS
    assert metrics["icpo/update/off/rows"] == PROMPTS
    trained = sum(int(step.rows["loss_mask"][row].sum()) for row in hybrids)
    assert metrics["icpo/update/off/tokens"] == trained
    rewards = [line["reward"] for line in lines]
    assert metrics["icpo/off/reward"] == pytest.approx(np.mean(rewards), rel=1e-6)
    assert metrics["icpo/lesson"] == metrics["icpo/prompts/lost"] == 0
    assert metrics["actor/grad_norm"] > 0


def test_the_start_says_what_is_in_force(run: Laptop) -> None:
    assert "icpo: on, in verl" in run.output
    assert "3 on-policy rollouts and 1 expert ones a prompt (group always" in run.output
    assert "source prefix" in run.output
    assert not json.loads((run.out / "checkpoints/global_step_1/icpo.json").read_text())[
        "demonstrations"
    ]
