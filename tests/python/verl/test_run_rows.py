"""What verl trains on, of a run of the laptop example: prompts, log-probabilities, advantages.

The oracle is the model by itself, in double precision, a row at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_laptop import Laptop

pytestmark = pytest.mark.verl

STEPS = (1, 2, 3)
DELTA = 0.05


@dataclass
class Step:
    """A batch as the update got it, and all that is needed to compute it again."""

    rows: dict[str, Any]
    dump: list[dict[str, Any]]
    #: π_old: before this step's updates.
    model: torch.nn.Module
    tokenizer: Any
    questions: list[str]
    demos: dict[str, dict[str, str]]

    def __len__(self) -> int:
        return len(self.rows["keys"])

    def line(self, row: int) -> dict[str, Any]:
        """The dumped line of a row: verl's key ends with the number of the output."""
        uid = self.rows["keys"][row].rpartition("_")[0]
        (line,) = [line for line in self.dump if line["uid"] == uid]
        return line

    def is_expert(self, row: int) -> bool:
        return bool(self.rows["icpo_expert"][row] == 1)

    def question(self, row: int) -> str:
        return self.questions[self.rows["index"][row]]

    def plain_prompt(self, row: int) -> list[int]:
        return self._chat(self.question(row))

    def expert_prompt(self, row: int) -> list[int]:
        """The paper's form of demonstrations, then the question as it is."""
        shown = "".join(
            f"Question: {self.demos[id]['question']} Let's think step by step and output the final "
            f"answer within \\boxed{{}}\nAnswer: {self.demos[id]['solution']}\n\n\n"
            for id in self.line(row)["demos"]
        )
        return self._chat(shown + self.question(row))

    def _chat(self, text: str) -> list[int]:
        messages = [{"role": "user", "content": text}]
        prompt = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return self.tokenizer(prompt, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def logp(self, row: int, prompt: list[int]) -> torch.Tensor:  # (T,)
        """Of the row's response after this prompt."""
        response = self.rows["responses"][row]
        ids = torch.cat([torch.tensor(prompt), response])
        logits = self.model(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(-1, response[:, None])[:, 0]


@pytest.fixture(scope="module", params=STEPS)
def step(request: pytest.FixtureRequest, uninterrupted: Laptop) -> Step:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    transformers = pytest.importorskip("transformers")
    number, out = request.param, uninterrupted.out
    assets = out / "assets"
    model = transformers.AutoModelForCausalLM.from_pretrained(assets / "model")
    if number > 1:
        model.load_state_dict(_trained(out, number - 1))
    demos = map(json.loads, (assets / "demos.jsonl").read_text().splitlines())
    return Step(
        torch.load(out / "spy" / f"{number}.pt", weights_only=False),
        uninterrupted.dump(number),
        model.double().eval(),
        transformers.AutoTokenizer.from_pretrained(assets / "model"),
        [
            row["prompt"][0]["content"]
            for row in pyarrow.read_table(assets / "train.parquet").to_pylist()
        ],
        {demo["id"]: demo for demo in demos},
    )


def _trained(out: Path, step: int) -> dict[str, torch.Tensor]:
    file = out / f"checkpoints/global_step_{step}/actor/model_world_size_1_rank_0.pt"
    return {
        name: weight.to_local() for name, weight in torch.load(file, weights_only=False).items()
    }


def test_every_row_stands_behind_the_plain_prompt(step: Step) -> None:
    for row in range(len(step)):
        prompt, response = step.rows["prompts"][row], step.rows["responses"][row]
        assert prompt.tolist() == step.plain_prompt(row)
        assert step.rows["input_ids"][row].tolist() == [*prompt.tolist(), *response.tolist()]


def test_expert_rows_are_those_that_were_accepted(step: Step) -> None:
    lines = [step.line(row) for row in range(len(step))]
    assert [line["expert"] for line in lines] == [step.is_expert(row) for row in range(len(step))]
    assert any(line["expert"] for line in lines)
    for line in step.dump:
        if line["expert"]:
            assert len(line["demos"]) == 1
            assert line["accepted"] == line["trained"] == (line["reward"] >= DELTA)
    # Each one that entered has taken the place of an on-policy rollout.
    made_room = [line for line in step.dump if not line["trained"] and not line["expert"]]
    assert len(made_room) == sum(line["expert"] for line in lines)
    assert len(step.dump) == len(step) + sum(not line["trained"] for line in step.dump)


def test_behaviour_is_that_under_the_prompt_that_was_sampled_from(step: Step) -> None:
    for row in range(len(step)):
        sampled_from = step.expert_prompt(row) if step.is_expert(row) else step.plain_prompt(row)
        difference = step.rows["rollout_log_probs"][row] - step.logp(row, sampled_from)
        assert difference.abs().max() < 1e-5
        if step.is_expert(row):
            # The bound can tell the two prompts apart.
            other = step.rows["rollout_log_probs"][row] - step.logp(row, step.plain_prompt(row))
            assert other.abs().max() > 1e-3


def test_the_old_policy_is_that_under_the_plain_prompt(step: Step) -> None:
    for row in range(len(step)):
        difference = step.rows["old_log_probs"][row] - step.logp(row, step.plain_prompt(row))
        assert difference.abs().max() < 1e-5


def test_advantages_are_relative_to_the_mixed_group(step: Step) -> None:
    reward = np.array([float(scores.sum()) for scores in step.rows["rm_scores"]])
    uids = [key.split("_")[0] for key in step.rows["keys"]]
    for uid in set(uids):
        members = [row for row, of in enumerate(uids) if of == uid]
        assert len(members) == 4
        group = reward[members]
        expected = (group - group.mean()) / (group.std(ddof=1) + 1e-6)
        for row, advantage in zip(members, expected, strict=True):
            found = step.rows["advantages"][row]
            assert found.shape == step.rows["responses"][row].shape
            torch.testing.assert_close(
                found.double(), torch.full_like(found, advantage).double(), rtol=1e-4, atol=1e-5
            )
