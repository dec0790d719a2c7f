"""Stored solutions in verl: as rows, as beginnings, and as steps of their own; verl's real code."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
import verl_fakes as fakes
from test_verl_rollout import EMPTY, RIGHT, TRAIN, WRONG, Run, by_kind, plain_run, plain_tokens
from test_verl_trainer_steps import PROMPTS, SEEDED, TIMES, N, Training, by_group, write_rows

from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.mixing import Prefix
from icpo.verl.given import encoder
from icpo.verl.padding import rows_counted
from icpo.verl.rollout import DRAWN_FIELD, GIVEN_FIELD, RECORD_FIELD

pytestmark = pytest.mark.verl

#: Of the worker's tests: how long a response may be.
LIMIT = 8
STORED = ("icpo.source=stored", "icpo.group=always")
PREFIX = ("icpo.source=prefix", "icpo.group=always", "icpo.preset=dr_grpo")
ALONE = ("icpo.source=stored", "icpo.group=alone", "icpo.sft_coef=1.0")
LESSONS = ("icpo.n_off=0", "icpo.preset=grpo", "icpo.sft_coef=1.0")


@pytest.fixture(scope="module")
def tokenizer():
    return fakes.make_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("given")
    fakes.model_folder(folder / "model")
    fakes.write_demos(folder / "demos.jsonl")
    rows = list(fakes.prompts(None, 12))
    for place, row in enumerate(rows):
        row["extra_info"]["solution"] = solution(tokenizer, RIGHT, 1 + place % 5)[0]
    write_rows(folder / "rows.parquet", rows)
    return folder


def solution(tokenizer, first, more):
    """A text that the reward function finds right or wrong, and its tokens as a response."""
    ids = [first, *range(64, 64 + more)]
    text = tokenizer.decode(ids)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    return text, [*ids, tokenizer.eos_token_id]


##### The worker


def asked_rows(run, tokenizer, solutions, *, lesson=False, **changes):
    """Prompts with solutions in their extra_info."""
    rows = run.prompts(tokenizer, len(solutions), **changes)
    for row, texts in zip(rows, solutions, strict=True):
        row["extra_info"] = {**row["extra_info"], "solution": texts}
        row[DRAWN_FIELD]["lesson"] = lesson
    return rows


def said(row):
    return row["responses"].tolist()


def expert_rows(run, uid):
    return [row for row in run.queue.rows(uid) if row["icpo_expert"]]


@pytest.mark.parametrize("first", [RIGHT, WRONG])
def test_a_stored_solution_is_a_row(folder, monkeypatch, tokenizer, first):
    run = Run(folder, monkeypatch, *STORED)
    text, tokens = solution(tokenizer, first, 3)
    [row] = asked_rows(run, tokenizer, [text])
    run.go(by_kind(tokenizer, policy=[WRONG, RIGHT], expert=[]), [row])
    plain = plain_tokens(tokenizer, row)
    assert [asked.prompt_ids for asked in run.server.asked] == [plain] * 3
    assert run.queue.status("uid-0") == "finished"
    assert len(run.queue.rows("uid-0")) == 4
    [given] = expert_rows(run, "uid-0")
    assert given["prompts"].tolist() == plain
    assert given["responses"].tolist() == tokens
    assert given["response_mask"].tolist() == given["loss_mask"].tolist() == [1] * len(tokens)
    assert given["rollout_log_probs"].tolist() == [0.0] * len(tokens)
    assert given[GIVEN_FIELD] == len(tokens)
    assert float(given["rm_scores"].sum()) == float(first == RIGHT)
    for policy in run.queue.rows("uid-0")[:3]:
        assert policy[GIVEN_FIELD] == policy["icpo_expert"] == 0
    told = run.record()["rows"][-1]
    assert (told["expert"], told["accepted"], told["trained"]) == (True, first == RIGHT, True)
    assert (told["given"], told["demos"]) == (len(tokens), [])
    # As verl asks of every row: the weights that wrote the others, too.
    tag = run.queue.tags["train"]["uid-0_3_0"]
    assert tag["min_global_steps"] == tag["max_global_steps"] == 0


def test_the_first_solutions_are_taken_as_far_as_there_are(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, *STORED, "icpo.n_off=2")
    texts = [solution(tokenizer, first, more) for first, more in ((RIGHT, 1), (WRONG, 2), (54, 1))]
    rows = asked_rows(run, tokenizer, [[text for text, _ in texts], [texts[1][0]]])
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[]), rows)
    taken = [
        [row["responses"].tolist() for row in expert_rows(run, uid)] for uid in ("uid-0", "uid-1")
    ]
    assert taken == [[texts[0][1], texts[1][1]], [texts[1][1]]]
    assert run.counts("uid-0") == {"requests": 2, "policy_requests": 2}


def test_a_solution_that_is_too_long_is_counted(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, *STORED)
    fits, over = solution(tokenizer, RIGHT, LIMIT - 2), solution(tokenizer, RIGHT, LIMIT - 1)
    assert (len(fits[1]), len(over[1])) == (LIMIT, LIMIT + 1)
    rows = asked_rows(run, tokenizer, [fits[0], over[0]])
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[]), rows)
    assert len(expert_rows(run, "uid-0")) == 1
    assert expert_rows(run, "uid-1") == []
    assert run.queue.status("uid-1") == "finished"
    assert run.counts("uid-1") == {"too_long": 1, "policy_requests": 3}


def test_beside_a_group_it_has_no_part_in_advantages(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, *STORED, "icpo.group=beside", "icpo.sft_coef=1.0")
    text, _ = solution(tokenizer, RIGHT, 2)
    [row] = asked_rows(run, tokenizer, [text])
    run.go(by_kind(tokenizer, policy=[WRONG, WRONG, WRONG, RIGHT], expert=[]), [row])
    *policy, stored = run.queue.rows("uid-0")
    # Which of the requests got the right response is chance: they are asked at once.
    pairs = sorted((float(row["rm_scores"].sum()), float(row["icpo_advantage"])) for row in policy)
    # (R - 1/4) / 0.5, the deviation of 0, 0, 0, 1.
    np.testing.assert_allclose(pairs, [(0.0, -0.5)] * 3 + [(1.0, 1.5)], atol=1e-5)
    assert stored["icpo_expert"] == 1 and float(stored["icpo_advantage"]) == 0.0


@pytest.mark.parametrize("lesson", [False, True])
def test_alone_nothing_is_sampled(folder, monkeypatch, tokenizer, lesson):
    """An algorithm that always imitates, and one that does so in some steps."""
    overrides = (*LESSONS, "icpo.lessons.when=first") if lesson else ALONE
    run = Run(folder, monkeypatch, *overrides, n=4 if lesson else 1)
    (text, tokens), (over, _) = solution(tokenizer, WRONG, 2), solution(tokenizer, RIGHT, LIMIT)
    rows = asked_rows(run, tokenizer, [text, over], lesson=lesson)
    run.go(by_kind(tokenizer, policy=[], expert=[]), rows)
    assert run.server.asked == []
    [only] = run.queue.rows("uid-0")
    assert only["prompts"].tolist() == plain_tokens(tokenizer, rows[0])
    assert only["responses"].tolist() == tokens
    assert (only["icpo_expert"], only["icpo_advantage"]) == (1, 0)
    assert run.queue.status("uid-0") == "finished"
    # Of this prompt there is nothing to learn from.
    assert run.queue.status("uid-1") == "failure"
    assert run.queue.rows("uid-1") == []


def test_between_lessons_it_is_verls_grpo(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, *LESSONS, "icpo.lessons.when=hardest")
    rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 2)[0]])
    firsts = [RIGHT, WRONG, 54, 55]
    run.go(by_kind(tokenizer, policy=firsts, expert=[]), rows)
    # Which of the requests, asked at once, gets which response is chance.
    theirs = sorted(plain_run(run, tokenizer, rows), key=said)
    ours = sorted(run.queue.rows("uid-0"), key=said)
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["icpo_expert"] == mine[GIVEN_FIELD] == 0
        for name, value in other.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(mine[name], value), name


@pytest.mark.parametrize("missing", [None, "", [], [" "], 7])
def test_a_prompt_without_a_solution_asks_nobody(folder, monkeypatch, tokenizer, missing, caplog):
    run = Run(folder, monkeypatch, *STORED)
    rows = asked_rows(run, tokenizer, [missing])
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[]), rows)
    assert run.queue.status("uid-0") == "failure"
    assert run.server.asked == []
    assert "extra_info.solution: expected a solution or a list of them" in caplog.text


def test_where_nobody_answers_a_solution_is_no_group(folder, monkeypatch, tokenizer):
    """verl's GRPO would give it the advantage of its reward."""
    for group in ("icpo.group=always", "icpo.group=beside"):
        run = Run(folder, monkeypatch, *STORED, group, "icpo.sft_coef=1.0")
        rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 2)[0]])
        run.go(by_kind(tokenizer, policy=[RuntimeError("down")], expert=[]), rows)
        assert run.queue.status("uid-0") == "failure"
        assert run.queue.rows("uid-0") == []


@pytest.mark.parametrize(("policy", "experts"), [(WRONG, 1), (RIGHT, 0)])
def test_only_what_is_not_solved_gets_a_solution(folder, monkeypatch, tokenizer, policy, experts):
    run = Run(folder, monkeypatch, *STORED, "icpo.target=non_pass")
    rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 2)[0]])
    run.go(by_kind(tokenizer, policy=[policy], expert=[]), rows)
    assert len(expert_rows(run, "uid-0")) == experts


def test_validation_is_verls(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, *STORED, "actor_rollout_ref.rollout.val_kwargs.n=2")
    rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 2)[0]])
    run.go(
        by_kind(tokenizer, policy=[WRONG], expert=[]), rows, trajectory={**TRAIN, "validate": True}
    )
    plain = plain_tokens(tokenizer, rows[0])
    assert [asked.prompt_ids for asked in run.server.asked] == [plain] * 2
    assert all("icpo_expert" not in row for row in run.queue.rows("uid-0", "val"))


@pytest.mark.parametrize("step", [1, 6, 10])
def test_a_beginning_is_continued(folder, monkeypatch, tokenizer, step):
    total = "actor_rollout_ref.actor.optim.total_training_steps=10"
    run = Run(folder, monkeypatch, *PREFIX, total)
    solutions = [solution(tokenizer, 54, more) for more in (1, 3, 5, 6, 6, 6)]
    rows = asked_rows(run, tokenizer, [text for text, _ in solutions], global_steps=step)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[]), rows)
    lengths = []
    for row, (_, tokens) in zip(rows, solutions, strict=True):
        [hybrid] = expert_rows(run, row["uid"])
        # What the worker draws behind the seeds of four requests.
        rng = np.random.default_rng(row[DRAWN_FIELD]["seed"])
        rng.integers(2**63, size=4)
        length = Prefix().length(len(tokens), step - 1, 10, rng.random())
        lengths.append(length)
        plain, response = plain_tokens(tokenizer, row), hybrid["responses"].tolist()
        [asked] = [
            one
            for one in run.server.asked
            if one.prompt_ids[: len(plain)] == plain and "max_tokens" in one.sampling_params
        ]
        assert asked.prompt_ids == plain + tokens[:length]
        assert asked.sampling_params["max_tokens"] == LIMIT - length
        assert response[:length] == tokens[:length]
        sampled = response[length:]
        assert sampled[0] == WRONG
        expected = [0.0] * length + fakes.log_probs(asked.prompt_ids, sampled)
        # verl cuts a response off at its limit, and the engine does not know better here.
        np.testing.assert_allclose(hybrid["rollout_log_probs"][:length], 0.0)
        assert len(hybrid["rollout_log_probs"]) == len(response) <= len(expected)
        assert hybrid["prompts"].tolist() == plain
        assert hybrid[GIVEN_FIELD] == length
    assert len(set(lengths)) > 1 or step == 10
    assert max(lengths) <= Prefix().bound(step - 1, 10) * 8


def test_nothing_given_is_still_an_expert_row(folder, monkeypatch, tokenizer):
    none = ("icpo.prefix.longest=0.0", "icpo.prefix.shortest=0.0")
    run = Run(folder, monkeypatch, *PREFIX, *none)
    rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 3)[0]])
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[]), rows)
    [hybrid] = expert_rows(run, "uid-0")
    assert hybrid[GIVEN_FIELD] == 0
    assert [told["expert"] for told in run.record()["rows"]] == [False] * 3 + [True]


def test_a_beginning_alone_is_no_response(folder, monkeypatch, tokenizer):
    most = ("icpo.prefix.longest=1.0", "icpo.prefix.shortest=1.0")
    run = Run(folder, monkeypatch, *PREFIX, *most)
    rows = asked_rows(run, tokenizer, [solution(tokenizer, RIGHT, 3)[0]])
    continued = {True: EMPTY, False: WRONG}

    async def answer(asked):
        first = continued["max_tokens" in asked.sampling_params]
        return [] if first == EMPTY else [first]

    run.go(answer, rows)
    assert expert_rows(run, "uid-0") == []
    assert run.counts() == {"requests": 1, "empty": 1, "policy_requests": 3}


def test_an_end_of_its_own_is_the_end(tokenizer):
    encode = encoder(tokenizer)
    [word] = tokenizer("1", add_special_tokens=False)["input_ids"]
    end, other = tokenizer.eos_token_id, tokenizer.pad_token_id
    assert (tokenizer.decode([end]), tokenizer.decode([other])) == ("<|im_end|>", "<|endoftext|>")
    assert encode("1") == encode("1<|im_end|>") == encode("1<|im_end|>1<|im_end|>") == [word, end]
    assert encode("1<|endoftext|>") == [word, other, end]
    plain = fakes.make_tokenizer(chat_template=None)
    assert encoder(plain)("1") == [word, end]
    plain.eos_token = None
    with pytest.raises(ConfigError, match="end token"):
        encoder(plain)


##### The trainer


def questions(batch):
    return [item["index"] for item in map(_data, batch["extra_info"])]


def _data(item):
    return getattr(item, "data", item)


def always(first):
    async def answer(asked):
        return [first, 60, 61]

    return answer


def solves(tokenizer, *solved):
    """Right about the questions of these numbers."""

    async def answer(asked):
        text = tokenizer.decode(asked.prompt_ids)
        number = int(text.split("What is ")[1].split(" + 1?")[0])
        return [RIGHT if number in solved else WRONG, 60]

    return answer


class Steps:
    """A training, and what its steps were about."""

    def __init__(self, folder, monkeypatch, *overrides):
        self.training = Training(folder, monkeypatch, SEEDED, *overrides)
        self.trainer = self.training.trainer
        self.asked: list[tuple[bool, list[int]]] = []

    def step(self, number, answer):
        """Up to the advantages: the batch, and verl's metrics."""
        trainer = self.trainer
        trainer.global_steps = number
        submit = trainer._submit_batch_to_rollout

        def noted(batch):
            self.asked.append((bool(_data(batch[DRAWN_FIELD][0])["lesson"]), questions(batch)))
            return submit(batch)

        trainer._submit_batch_to_rollout = noted
        metrics = {}
        batch = self.training.sample(answer)
        del trainer._submit_batch_to_rollout
        batch = trainer._balance_batch(batch, metrics=metrics)
        batch = trainer._compute_old_log_prob(batch, metrics)
        batch = trainer._compute_advantage(batch, metrics)
        trainer._compute_metrics(batch, metrics, TIMES, global_steps=number, epoch=0)
        return batch, metrics

    def end(self, batch):
        """As verl's loop ends a step."""
        self.training.queue.kv_clear(batch.keys, "train")


def test_rows_without_solution_stop_the_run_at_its_start(folder, monkeypatch, tmp_path, tokenizer):
    rows = list(fakes.prompts(None, 6))
    for place, row in enumerate(rows):
        row["extra_info"]["solution"] = None if place == 4 else solution(tokenizer, RIGHT, 2)[0]
    write_rows(tmp_path / "rows.parquet", rows)
    files = f"data.train_files={tmp_path / 'rows.parquet'}"
    for overrides in (STORED, PREFIX, ALONE, (*LESSONS, "icpo.lessons.when=hardest")):
        with pytest.raises(DataError, match=r"^data\.train_files: row of index 4: extra_info\.sol"):
            Training(folder, monkeypatch, *overrides, files)
    Training(folder, monkeypatch, files)  # ICPO reads none


def test_lessons_come_first(folder, monkeypatch):
    first = ("icpo.lessons.when=first", "icpo.lessons.share=0.2")
    steps = Steps(folder, monkeypatch, *LESSONS, *first)
    for number in (1, 2, 3):
        batch, metrics = steps.step(number, always(WRONG))
        rows = [row for rows in by_group(steps.training, batch) for row in rows]
        lesson = number <= 2  # of ten steps
        assert metrics["icpo/lesson"] == float(lesson)
        assert len(rows) == (PROMPTS if lesson else PROMPTS * N)
        assert all(bool(row["icpo_expert"]) is lesson for row in rows)
        assert all(float(row["advantages"].abs().sum()) == 0 for row in rows)
        steps.end(batch)
    assert steps.asked == [(True, [0, 1, 2]), (True, [3, 4, 5]), (False, [6, 7, 8])]


def test_a_lesson_is_about_what_was_not_solved(folder, monkeypatch, tokenizer):
    """It waits until there are enough, of several steps, and takes nothing from the data."""
    steps = Steps(folder, monkeypatch, *LESSONS, "icpo.lessons.when=hardest")
    uids = []
    for number in range(1, 6):
        batch, metrics = steps.step(number, solves(tokenizer, 0, 4, 5))
        uids.append(list(steps.trainer._asked))
        assert metrics["icpo/lesson"] == float(number in (3, 5))
        steps.end(batch)
    assert steps.asked == [
        (False, [0, 1, 2]),
        (False, [3, 4, 5]),
        (True, [1, 2, 3]),
        (False, [6, 7, 8]),
        (True, [6, 7, 8]),
    ]
    assert len({uid for of_step in uids for uid in of_step}) == 5 * PROMPTS


def test_what_waits_is_in_the_checkpoint_of_its_step(folder, monkeypatch, tmp_path, tokenizer):
    """verl saves a step before it computes the step's metrics."""
    overrides = (*LESSONS, "icpo.lessons.when=hardest", f"trainer.default_local_dir={tmp_path}")
    first = Steps(folder, monkeypatch, *overrides)
    for number in (1, 2):
        batch, _ = first.step(number, solves(tokenizer, 0, 4, 5))
        first.end(batch)
    trainer = first.trainer
    trainer.global_steps = 2
    trainer._save_checkpoint()

    def two_more(steps):
        for number in (3, 4):
            batch, _ = steps.step(number, solves(tokenizer))
            steps.end(batch)

    two_more(first)
    again = Steps(folder, monkeypatch, *overrides)
    again.trainer._load_checkpoint()
    assert again.trainer.global_steps == 2
    two_more(again)
    assert again.asked == first.asked[2:] == [(True, [1, 2, 3]), (False, [6, 7, 8])]

    file = tmp_path / "global_step_2" / "icpo_lessons.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"icpo_lessons\.pt: "):
        Steps(folder, monkeypatch, *overrides).trainer._load_checkpoint()


def test_waiting_is_noted_before_the_step_is_saved(folder, monkeypatch):
    steps = Steps(folder, monkeypatch, *LESSONS, "icpo.lessons.when=hardest")
    batch = steps.training.sample(always(WRONG))
    steps.trainer._balance_batch(batch, metrics={})
    assert len(steps.trainer.timetable.waiting) == PROMPTS


##### How verl counts rows

EXACT = "actor_rollout_ref.actor.use_dynamic_bsz=true"


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        ((*ALONE, "actor_rollout_ref.rollout.n=1"), 1),
        ((*STORED, "icpo.group=beside", "icpo.sft_coef=1.0"), N + 1),
        ((*LESSONS, "icpo.lessons.when=first"), 1),
        (STORED, N),
        (PREFIX, N),
    ],
)
@pytest.mark.parametrize("mini_batch", [1, PROMPTS])
def test_an_update_is_of_as_many_prompts_as_are_asked_for(
    folder, monkeypatch, overrides, rows, mini_batch
):
    size = f"actor_rollout_ref.actor.ppo_mini_batch_size={mini_batch}"
    steps = Steps(folder, monkeypatch, *overrides, EXACT, size)
    batch, _ = steps.step(1, always(WRONG))
    assert len(batch) == PROMPTS * rows
    assert not any(tag.get("is_padding", False) for tag in batch.tags)
    told = {}
    monkeypatch.setattr(
        steps.trainer.actor_rollout_wg,
        "update_actor",
        lambda batch: told.update(batch.extra_info) or {"metrics": {"mfu": [0.5]}},
    )
    monkeypatch.setattr("icpo.verl.trainer.take_loss_figures", lambda metrics, updates: {})
    n = steps.trainer.config.actor_rollout_ref.rollout.n
    steps.trainer._update_actor(batch, {})
    assert told["mini_batch_size"] == told["global_batch_size"] == mini_batch * rows
    assert steps.trainer.config.actor_rollout_ref.rollout.n == n


@pytest.mark.parametrize("ranks", [1, 2])
def test_micro_batches_of_rows_get_rows_enough(folder, monkeypatch, ranks):
    """verl stops at a mini-batch that is no multiple of its micro-batches."""
    micro = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4"
    training = Training(folder, monkeypatch, SEEDED, *ALONE, micro, ranks=ranks)
    batch = training.trainer._balance_batch(training.sample(always(WRONG)), metrics={})
    assert len(batch) == PROMPTS * 4 * ranks
    assert sum(not tag.get("is_padding", False) for tag in batch.tags) == PROMPTS


@pytest.mark.parametrize("unit", [1, 2, 8, 12])
def test_rows_counted(unit):
    for rows, prompts in itertools.product(range(1, 12), (1, 2, 3, 64)):
        fitting = [count for count in range(rows, rows + unit) if count * prompts % unit == 0]
        assert rows_counted(rows, prompts, unit) == fitting[0]


def test_means_over_rows_that_do_not_exist_are_refused(folder, monkeypatch):
    mode = "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"
    lessons = (*LESSONS, "icpo.lessons.when=first", mode)
    training = Training(folder, monkeypatch, *lessons)
    with pytest.raises(ConfigError, match=r"loss_agg_mode: expected 'token-mean', .*2 rows a prom"):
        training.trainer._check_means()
    Training(folder, monkeypatch, *lessons, EXACT).trainer._check_means()
    Training(folder, monkeypatch, mode).trainer._check_means()


##### What is known of given tokens once the policy has seen them


@pytest.mark.parametrize("share", [0.2, 0.6, None])
def test_given_tokens(folder, monkeypatch, share):
    long = ("icpo.prefix.longest=1.0", "icpo.prefix.shortest=0.8")
    overrides = STORED if share is None else (*PREFIX, f"icpo.prefix.entropy_share={share}", *long)
    steps = Steps(folder, monkeypatch, *overrides)
    batch, _ = steps.step(1, always(WRONG))
    lengths = []
    for rows in by_group(steps.training, batch):
        for row in rows:
            given = int(row[GIVEN_FIELD])
            same = torch.equal(row["rollout_log_probs"], row["old_log_probs"].float())
            assert same is (given > 0)
            mask = row["response_mask"].tolist()
            assert row["loss_mask"].tolist() == mask
            expected = [1] * len(row["responses"])
            if share is not None and given:
                lengths.append(given)
                # The least certain ones are trained on, an earlier one before a later one.
                entropy = row["entropy"].tolist()
                order = sorted(range(given), key=lambda place: (-entropy[place], place))
                for place in order[math.ceil(share * given) :]:
                    expected[place] = 0
            assert mask == expected
            advantage = row["advantages"]
            assert torch.equal(advantage != 0, torch.tensor(mask).bool() & (advantage.sum() != 0))
    assert share is None or max(lengths) > 2


def test_dump_of_stored_solutions(folder, monkeypatch, tmp_path, tokenizer):
    overrides = (*STORED, f"trainer.rollout_data_dir={tmp_path}")
    steps = Steps(folder, monkeypatch, *overrides)
    batch, _ = steps.step(1, always(WRONG))
    steps.trainer._log_rollout_data(batch, {}, str(tmp_path))
    steps.trainer._shutdown_dump_executor()
    lines = [json.loads(line) for line in (tmp_path / "1.jsonl").read_text().splitlines()]
    assert [line["expert"] for line in lines] == [False, False, False, True] * PROMPTS
    for place, line in enumerate(lines[N - 1 :: N]):
        text, tokens = solution(tokenizer, RIGHT, 1 + place % 5)
        assert line["output"] == text
        assert line["given"] == len(tokens)
        assert (line["accepted"], line["demos"], line["expert_prompt"]) == (True, [], None)
    assert RECORD_FIELD not in lines[0]
