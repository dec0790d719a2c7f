"""Solved prompts that join the demonstrations: from worker to trainer, back, and over a stop."""

from __future__ import annotations

import numpy as np
import pytest
import verl_fakes as fakes
from test_verl_trainer_steps import PROMPTS, RIGHT, SEEDED, WRONG, N, Training, write_rows

from icpo.errors import DataError, IcpoError
from icpo.types import Demo
from icpo.verl.draw import load_state, save_state
from icpo.verl.rollout import DRAWN_FIELD, RECORD_FIELD

pytestmark = pytest.mark.verl

ONLINE = ("icpo.demonstrations.online.size=7", "icpo.demonstrations.online.share=0.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    fakes.model_folder(folder / "model")
    fakes.write_demos(folder / "demos.jsonl", 2)
    write_rows(folder / "rows.parquet", fakes.prompts(None, 12))
    return folder


def is_expert(tokenizer, asked):
    return "Let's think step by step" in tokenizer.decode(asked.prompt_ids)


def often_right(tokenizer):
    """On-policy requests of most prompts are right more often than not; expert ones never are."""

    async def answer(asked):
        seed = asked.sampling_params["seed"]
        right = not is_expert(tokenizer, asked) and seed % 3
        return [RIGHT if right else WRONG, *range(60, 60 + seed % 6)]

    return answer


class Steps:
    """A training, step by step, as far as the demonstrations go."""

    def __init__(self, folder, monkeypatch, *overrides, answer=None):
        self.training = Training(folder, monkeypatch, SEEDED, *overrides)
        self.trainer = self.training.trainer
        self.answer = answer or often_right(self.trainer.tokenizer)

    def step(self, number):
        """What was drawn, the requests that were made, and the records of the groups."""
        self.trainer.global_steps = number
        told = []
        submit = self.trainer._submit_batch_to_rollout

        def noted(batch):
            told.extend(dict(one) for one in batch[DRAWN_FIELD])
            return submit(batch)

        self.trainer._submit_batch_to_rollout = noted
        try:
            batch = self.training.sample(self.answer)
        finally:
            self.trainer._submit_batch_to_rollout = submit
        batch = self.trainer._balance_batch(batch, metrics={})
        rows = [dict(row) for row in self.training.rows(batch)]
        self.training.queue.kv_clear(batch.keys, "train")
        return told, self.training.server.asked, rows

    @property
    def solved(self):
        return self.trainer.draws.sampler.solved


def test_solved_prompts_join_in_the_order_of_the_prompts(folder, monkeypatch):
    steps = Steps(folder, monkeypatch, *ONLINE)
    tokenizer = steps.trainer.tokenizer
    expected: dict[str, str] = {}
    for number in range(1, 5):
        told, _, _ = steps.step(number)
        for place, one in enumerate(told):
            # The seeds of a group's requests, in whatever order the server was asked.
            seeds = np.random.default_rng(one["seed"]).integers(2**63, size=N + 1)[:N].tolist()
            right = [seed for seed in seeds if seed % 3]
            if len(right) >= N / 2:
                question = f"What is {(number - 1) * PROMPTS + place} + 1?"
                first = [RIGHT, *range(60, 60 + right[0] % 6)]
                expected[question] = tokenizer.decode(first).strip()
        kept = list(expected.items())[-7:]
        assert [(demo.question, demo.solution) for demo in steps.solved] == kept
    assert len(expected) > 7


def test_workers_show_what_joined(folder, monkeypatch):
    steps = Steps(folder, monkeypatch, *ONLINE)
    tokenizer = steps.trainer.tokenizer
    shown = 0
    for number in range(1, 5):
        before = {demo.id: demo for demo in steps.solved}
        told, asked, _ = steps.step(number)
        assert [{row["id"] for row in one["joined"]} for one in told] == [
            {id for ids in one["demos"] for id in ids if id.startswith("solved:")} for one in told
        ]
        prompts = [tokenizer.decode(one.prompt_ids) for one in asked if is_expert(tokenizer, one)]
        for row in (row for one in told for row in one["joined"]):
            demo = Demo(**row)
            assert demo == before[demo.id]
            example = f"Question: {demo.question} Let's think"
            assert any(example in said and f"Answer: {demo.solution}" in said for said in prompts)
            # Never before its own question.
            assert not any(example in said and f"user\n{demo.question}" in said for said in prompts)
            shown += 1
    assert shown >= 3


def test_a_resumed_run_draws_what_it_would_have_drawn(folder, monkeypatch, tmp_path):
    whole = Steps(folder, monkeypatch, *ONLINE)
    sequence = []
    for number in range(1, 5):
        sequence.append(whole.step(number)[0])
        if number == 2:
            save_state(tmp_path, whole.trainer.draws)
    resumed = Steps(folder, monkeypatch, *ONLINE)
    for _ in range(2):  # as verl's loader of data would be told
        resumed.trainer._fetch_one_gen_batch()
    assert load_state(tmp_path, resumed.trainer.draws)
    assert [resumed.step(number)[0] for number in (3, 4)] == sequence[2:]
    assert any(one["joined"] for batch in sequence[2:] for one in batch)
    assert resumed.solved == whole.solved


@pytest.mark.parametrize(
    "answer",
    [
        [WRONG, 60],  # not right
        [RIGHT, *range(60, 67)],  # as long as the limit: it did not end
    ],
)
def test_what_is_not_solved_does_not_join(folder, monkeypatch, answer):
    async def always(asked):
        return answer

    steps = Steps(folder, monkeypatch, *ONLINE, answer=always)
    _, _, rows = steps.step(1)
    assert steps.solved == ()
    assert {row[RECORD_FIELD]["solved"] for row in rows if row[RECORD_FIELD]} == {None}


def test_what_does_not_fit_before_its_own_question_does_not_join(folder, monkeypatch):
    async def right(asked):
        return [RIGHT, 60]

    steps = Steps(folder, monkeypatch, *ONLINE, answer=right)
    steps.step(1)
    assert len(steps.solved) == PROMPTS
    steps = Steps(folder, monkeypatch, *ONLINE, "icpo.max_prompt_tokens=40", answer=right)
    steps.step(1)
    assert steps.solved == ()


def test_without_the_setting_nothing_joins(folder, monkeypatch):
    steps = Steps(folder, monkeypatch)
    told, _, rows = steps.step(1)
    assert steps.solved == ()
    assert {row[RECORD_FIELD]["solved"] for row in rows if row[RECORD_FIELD]} == {None}
    assert [one["joined"] for one in told] == [[]] * PROMPTS


##### What strategies need of the rows


def test_length_sorts_the_rows_of_the_table(folder, tmp_path, monkeypatch):
    def size(place):
        return (place * 5) % 12

    rows = list(fakes.prompts(None, 12))
    for place, row in enumerate(rows):
        row["extra_info"]["solution"] = ["x" * size(place), "y" * size(place)]
    write_rows(tmp_path / "rows.parquet", rows)
    (tmp_path / "demos.jsonl").write_text(
        '{"question": "Why?", "solution": "Because.", "id": "long"}\n'
        '{"question": "How?", "solution": "So.", "id": "short"}\n'
    )
    training = Training(
        tmp_path,
        monkeypatch,
        "icpo.demonstrations.strategy=length",
        f"actor_rollout_ref.model.path={folder / 'model'}",
    )
    for _ in range(4):
        batch = training.trainer._next_train_batch()
        for one, extra in zip(batch[DRAWN_FIELD], batch["extra_info"], strict=True):
            half = "short" if size(extra["index"]) < 6 else "long"
            assert one["demos"] == [[half]]


def test_what_rows_lack_is_told_at_the_start(folder, tmp_path, monkeypatch):
    with pytest.raises(IcpoError, match="problem '0': expected the length of its response"):
        Training(folder, monkeypatch, "icpo.demonstrations.strategy=length")
    with pytest.raises(DataError, match=r"^icpo\.demonstrations\.source: demonstration 'd0': exp"):
        Training(folder, monkeypatch, "icpo.demonstrations.strategy=hard")
