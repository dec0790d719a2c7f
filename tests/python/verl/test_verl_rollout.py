"""verl's agent-loop worker with groups: its real code, against fakes of server, reward, queue."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
import torch
import verl_fakes as fakes

from icpo.demos.sources import load_pool
from icpo.types import Problem
from icpo.verl.demos import demo_sampler, load_demonstrations
from icpo.verl.draw import Draws
from icpo.verl.metrics import RequestMetrics
from icpo.verl.rollout import ADVANTAGE_FIELD, DRAWN_FIELD, GIVEN_FIELD, RECORD_FIELD
from icpo.verl.settings import IcpoSettings

pytestmark = pytest.mark.verl

RIGHT, WRONG, RAISES, EMPTY = 50, 51, 52, 53
TRAIN = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}
SAMPLING = {"temperature": 0.7, "top_p": 1.0, "logprobs": True}


class Refused(Exception):
    """What a server or a reward function raises."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    fakes.model_folder(folder / "model")
    fakes.write_demos(folder / "demos.jsonl")
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return fakes.make_tokenizer()


def score(tokens):
    """The reward function: the first token decides."""
    if tokens[0] == RAISES:
        raise Refused("reward")
    right = float(tokens[0] == RIGHT)
    return right, {"score": right, "acc": right, "pred": str(tokens[0])}


class Run:
    """A worker, what it is asked, and what came of it."""

    def __init__(self, folder, monkeypatch, *overrides: str, n: int = 4) -> None:
        self.config = fakes.compose_config(
            "+icpo=on",
            f"icpo.demonstrations.source={folder / 'demos.jsonl'}",
            f"actor_rollout_ref.model.path={folder / 'model'}",
            "actor_rollout_ref.rollout.name=vllm",
            f"actor_rollout_ref.rollout.n={n}",
            "actor_rollout_ref.rollout.response_length=8",
            *overrides,
        )
        self.queue = fakes.Queue().install(monkeypatch)
        self.settings = IcpoSettings.of_workers(self.config)
        self.pool = load_pool([folder / "demos.jsonl"]).pool

    def go(self, answer, prompts, sampling=SAMPLING, trajectory=TRAIN) -> Run:
        """Runs the prompts together."""
        from icpo.verl.rollout import _GroupWorker

        async def run() -> None:
            self.rewards = fakes.Rewards(score)
            self.server = fakes.Server(answer, self.rewards)
            worker = _GroupWorker(self.config, self.server, None, [self.rewards])
            tasks = [
                worker._run_prompt(dict(prompt), sampling, dict(trajectory)) for prompt in prompts
            ]
            await asyncio.wait_for(asyncio.gather(*tasks), 30)

        asyncio.run(run())
        return self

    def prompts(self, tokenizer, count=1, **changes: Any) -> list[dict[str, Any]]:
        """Rows as the trainer sends them, with what it draws."""
        rows = [{**row, **changes} for row in fakes.prompts(tokenizer, count)]
        settings, sampler = self.settings, None
        if settings.shows_demos:
            sampler = demo_sampler(
                settings.demonstrations, load_demonstrations(settings.demonstrations)
            )
        draws = Draws(sampler, settings.n_off, settings.seed)
        problems = [Problem("", row["extra_info"]["question"], "") for row in rows]
        for row, told in zip(rows, draws.draw(problems), strict=True):
            row[DRAWN_FIELD] = told
        return rows

    def record(self, uid="uid-0") -> dict[str, Any]:
        return self.queue.rows(uid)[0][RECORD_FIELD]

    def counts(self, uid="uid-0") -> dict[str, int]:
        sums = self.record(uid)["sums"][-1]
        return {
            name: int(value)
            for name, value in zip(RequestMetrics.NAMES, sums, strict=True)
            if value
        }


def plain_tokens(tokenizer, row):
    return tokenizer.apply_chat_template(row["raw_prompt"], add_generation_prompt=True)["input_ids"]


def is_expert(tokenizer, asked):
    """Whether a request shows a demonstration."""
    return "Let's think step by step" in tokenizer.decode(asked.prompt_ids)


def by_kind(tokenizer, *, policy, expert):
    """Answers in turn, on-policy and expert requests apart: a first token, or what is raised."""
    turns = {False: itertools.cycle(policy), True: itertools.cycle(expert)}

    async def answer(asked):
        await asyncio.sleep(0)
        first = next(turns[is_expert(tokenizer, asked)])
        if isinstance(first, Exception):
            raise first
        if first == EMPTY:
            return []
        # A length of its own for each.
        return [first, *range(60, 60 + len(asked.prompt_ids) % 5)]

    return answer


##### What is asked, and what is stored

GROUPS = ["replace", "reserve", "always"]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("n_off", [1, 2])
@pytest.mark.parametrize("experts", [[RIGHT], [WRONG], [RIGHT, WRONG]])
def test_a_group(folder, monkeypatch, tokenizer, group, n_off, experts):
    run = Run(folder, monkeypatch, f"icpo.group={group}", f"icpo.n_off={n_off}")
    answer = by_kind(tokenizer, policy=[WRONG, RIGHT, WRONG], expert=experts)
    rows = run.prompts(tokenizer, 3)
    run.go(answer, rows)
    asked = [is_expert(tokenizer, one) for one in run.server.asked]
    sampled = 4 if group == "replace" else 4 - n_off
    assert (asked.count(False), asked.count(True)) == (3 * sampled, 3 * n_off)
    for row in rows:
        stored = run.queue.rows(row["uid"])
        assert run.queue.status(row["uid"]) == "finished"
        record = run.record(row["uid"])
        every = [*record["rows"], *record["left_out"]]
        right = sum(one["accepted"] for one in every)
        entered = n_off if group == "always" else right
        assert len(stored) == (4 if group == "replace" else sampled + entered)
        assert len(every) == sampled + n_off
        plain = plain_tokens(tokenizer, row)
        for session, one in enumerate(stored):
            check_row(one, plain, record["rows"][session], run, tokenizer)
            assert (one[RECORD_FIELD] == {}) is (session > 0)
        assert sum(bool(one["icpo_expert"]) for one in stored) == entered


def check_row(one, plain, described, run, tokenizer):
    """A row of the batch: the plain prompt, and a response as it came under its own prompt."""
    assert one["prompts"].tolist() == plain
    response = one["responses"].tolist()
    assert one["input_ids"].tolist() == plain + response
    assert one["position_ids"].tolist() == list(range(len(plain) + len(response)))
    assert one["response_mask"].tolist() == [1] * len(response)
    expert = bool(one["icpo_expert"])
    # The log-probabilities say which prompt the response was sampled from.
    under = [
        asked
        for asked in run.server.asked
        if np.allclose(one["rollout_log_probs"], fakes.log_probs(asked.prompt_ids, response))
    ]
    assert under
    for asked in under:
        assert is_expert(tokenizer, asked) is expert
        assert (asked.prompt_ids == plain) is not expert
    right = float(response[0] == RIGHT)
    assert one["rm_scores"].tolist() == [0.0] * (len(response) - 1) + [right]
    assert one["extra_fields"]["reward_extra_info"] == score(response)[1]
    assert described["expert"] is expert
    assert described["trained"] is True
    assert (described["reward"], described["pred"]) == (right, str(response[0]))
    assert described["accepted"] is (expert and right == 1)
    assert DRAWN_FIELD not in one
    assert "agent_name" not in one


def test_expert_prompts_show_what_was_drawn(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, "icpo.n_off=2", "icpo.demonstrations.k=3")
    rows = run.prompts(tokenizer, 4)
    run.go(by_kind(tokenizer, policy=[RIGHT], expert=[WRONG]), rows)
    texts = [tokenizer.decode(asked.prompt_ids) for asked in run.server.asked]
    demos = {demo.id: demo for demo in run.pool}
    for row in rows:
        for ids in row[DRAWN_FIELD]["demos"]:
            [text] = [
                text
                for text in texts
                if row["raw_prompt"][-1]["content"] in text
                and all(demos[id].question in text for id in ids)
            ]
            places = [text.index(f"Question: {demos[id].question} ") for id in ids]
            assert places == sorted(places)
            assert text.count("Question: ") == 3
            assert row["raw_prompt"][0]["content"] in text
        assert [one["demos"] for one in run.record(row["uid"])["left_out"]] == row[DRAWN_FIELD][
            "demos"
        ]


def test_fields_of_the_data_stay(folder, monkeypatch, tokenizer):
    """As verl's own worker stores them, and nothing but ours beside them."""
    run = Run(folder, monkeypatch)
    [row] = run.prompts(tokenizer)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), [row])
    ours = {"icpo_expert", ADVANTAGE_FIELD, GIVEN_FIELD, RECORD_FIELD}
    theirs = plain_run(run, tokenizer, [row])
    for one in run.queue.rows("uid-0"):
        assert set(one) == set(theirs[0]) | ours
        for name in ("raw_prompt", "extra_info", "reward_model", "data_source", "uid"):
            assert one[name] == row[name]


#: First tokens of four responses, one of which is right.
FIRST = [RIGHT, WRONG, 54, 55]


def plain_run(run, tokenizer, rows):
    """The same prompts through verl's own worker."""
    from verl.trainer.ppo.v1 import AgentLoopWorkerTQ

    from icpo.verl.hooks import plain_class

    queue = fakes.Queue()
    with pytest.MonkeyPatch.context() as patch:
        queue.install(patch)
        patch.setattr("icpo.verl.rollout._GroupWorker", plain_class(AgentLoopWorkerTQ))
        other = Run.__new__(Run)
        other.config, other.queue, other.settings = run.config, queue, run.settings
        bare = [{k: v for k, v in row.items() if k != DRAWN_FIELD} for row in rows]
        other.go(by_kind(tokenizer, policy=FIRST, expert=[]), bare)
    return queue.rows(rows[0]["uid"])


def test_without_experts_it_is_verls_own(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, "icpo.n_off=0", "icpo.demonstrations.source=null")
    rows = run.prompts(tokenizer)
    run.go(by_kind(tokenizer, policy=FIRST, expert=[]), rows)
    ours, theirs = (
        sorted(found, key=lambda row: int(row["responses"][0]))  # answered in any order
        for found in (run.queue.rows("uid-0"), plain_run(run, tokenizer, rows))
    )
    assert [int(row["responses"][0]) for row in ours] == FIRST
    assert len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        for name, value in other.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(one[name], value), name
            elif name not in ("metrics", "session_id"):  # times, and that order
                assert one[name] == value, name
    assert run.counts() == {"policy_requests": 4}
    tags = [tag for key, tag in run.queue.log if key.startswith("uid-0_")]
    assert len(tags) == 4
    assert all(tag["status"] == "success" for tag in tags)


def test_prompt_is_running_first_and_done_last(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer))
    keys = [key for key, _ in run.queue.log]
    assert run.queue.log[0] == ("uid-0", {"status": "running"})
    assert run.queue.log[-1] == ("uid-0", {"status": "finished"})
    assert keys[1:-1] == [f"uid-0_{session}_0" for session in range(4)]


def test_tags_are_of_what_is_stored(folder, monkeypatch, tokenizer):
    """verl balances ranks by them: the plain prompt counts, not the expert prompt."""
    run = Run(folder, monkeypatch, "icpo.group=always")
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer))
    for session, one in enumerate(run.queue.rows("uid-0")):
        tag = run.queue.tags["train"][f"uid-0_{session}_0"]
        assert (tag["prompt_len"], tag["seq_len"]) == (len(one["prompts"]), len(one["input_ids"]))


##### Validation


def test_validation_is_left_to_verl(folder, monkeypatch, tokenizer):
    from verl.trainer.ppo.v1 import AgentLoopWorkerTQ

    from icpo.verl.hooks import plain_class

    passed = []

    async def theirs(self, *arguments):
        passed.append(arguments)

    monkeypatch.setattr(plain_class(AgentLoopWorkerTQ), "_run_prompt", theirs)
    run = Run(folder, monkeypatch)
    [row] = fakes.prompts(tokenizer, 1)
    trajectory = {**TRAIN, "validate": True}
    run.go(None, [row], trajectory=trajectory)
    assert passed == [(row, SAMPLING, trajectory, False)]
    assert run.queue.log == []


def test_validation_rows_are_verls(folder, monkeypatch, tokenizer):
    run = Run(
        folder, monkeypatch, "actor_rollout_ref.rollout.val_kwargs.n=2", "icpo.seed_requests=true"
    )
    [row] = fakes.prompts(tokenizer, 1)
    answer = by_kind(tokenizer, policy=[RIGHT], expert=[Refused("asked")])
    run.go(answer, [row], trajectory={**TRAIN, "validate": True})
    stored = run.queue.rows("uid-0", "val")
    assert len(stored) == 2
    assert run.queue.status("uid-0", "val") == "finished"
    assert "train" not in run.queue.tags
    for one in stored:
        assert not [name for name in one if name.startswith("icpo")]
    assert all("seed" not in asked.sampling_params for asked in run.server.asked)


##### Two waves


@pytest.mark.parametrize(
    ("target", "policy", "wanted"),
    [
        ("non_pass", [WRONG], True),
        ("non_pass", [WRONG, WRONG, RIGHT], False),
        ("some_pass", [WRONG], False),
        ("some_pass", [WRONG, RIGHT], True),
        ("some_pass", [RIGHT], False),
        ("all", [RIGHT], True),
    ],
)
@pytest.mark.parametrize("group", GROUPS)
def test_targets(folder, monkeypatch, tokenizer, target, policy, wanted, group):
    run = Run(folder, monkeypatch, f"icpo.target={target}", f"icpo.group={group}", "icpo.n_off=1")
    run.go(by_kind(tokenizer, policy=policy, expert=[RIGHT]), run.prompts(tokenizer))
    sampled = 4 if group == "replace" else 3
    experts = [asked for asked in run.server.asked if is_expert(tokenizer, asked)]
    assert len(experts) == wanted
    if target != "all":  # the second wave comes once all of the first is scored
        assert all(asked.scored == sampled for asked in experts)
    else:
        assert all(asked.scored < sampled for asked in experts)
    assert run.counts().get("requests", 0) == wanted
    assert run.queue.status("uid-0") == "finished"


def test_both_kinds_are_asked_together(folder, monkeypatch, tokenizer):
    """No request waits for another: none is answered until all have come."""
    run = Run(folder, monkeypatch, "icpo.n_off=2")
    all_came = asyncio.Event()

    async def answer(asked):
        if len(run.server.asked) == 6:
            all_came.set()
        await all_came.wait()
        return [RIGHT]

    run.go(answer, run.prompts(tokenizer))
    assert run.queue.status("uid-0") == "finished"


##### Faults of expert requests


@pytest.mark.parametrize(
    ("fault", "counted"),
    [(Refused("server"), "failed"), (EMPTY, "empty"), (RAISES, "failed")],
    ids=["server", "empty", "reward"],
)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("target", ["all", "non_pass"])
def test_fault_of_an_expert_request_costs_only_itself(
    folder, monkeypatch, tokenizer, fault, counted, group, target
):
    run = Run(folder, monkeypatch, "icpo.n_off=2", f"icpo.group={group}", f"icpo.target={target}")
    rows = run.prompts(tokenizer, 4)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[fault, RIGHT, fault]), rows)
    lost = 0
    for row in rows:
        counts, stored = run.counts(row["uid"]), run.queue.rows(row["uid"])
        assert run.queue.status(row["uid"]) == "finished"
        sampled = 4 if group == "replace" else 2
        accepted = 2 - counts.get(counted, 0)
        assert counts == {
            "requests": 2,
            "policy_requests": sampled,
            **({counted: counts[counted]} if counted in counts else {}),
        }
        assert sum(bool(one["icpo_expert"]) for one in stored) == accepted
        assert len(stored) == (4 if group == "replace" else sampled + accepted)
        lost += counts.get(counted, 0)
    assert lost in (5, 6)  # of 8, in turns of three


def test_hanging_expert_request_is_given_up(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, "icpo.n_off=2", "icpo.expert_timeout=0.2")
    ended = []
    asked_before = []

    async def answer(asked):
        if not is_expert(tokenizer, asked):
            return [WRONG]
        asked_before.append(asked)
        if len(asked_before) == 1:
            return [RIGHT]
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(asked)

    run.go(answer, run.prompts(tokenizer))
    assert run.counts() == {"requests": 2, "timed_out": 1, "policy_requests": 4}
    assert run.queue.status("uid-0") == "finished"
    assert len(ended) == 1  # it was told
    assert sum(bool(one["icpo_expert"]) for one in run.queue.rows("uid-0")) == 1


def test_hanging_reward_of_an_expert_rollout_is_given_up(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, "icpo.expert_timeout=0.2")
    original = fakes.Rewards.remote

    async def remote(self, data):
        if data.batch["responses"][-1, 0] == RIGHT:
            await asyncio.Event().wait()
        return await original(self, data)

    monkeypatch.setattr(fakes.Rewards, "remote", remote)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer))
    assert run.counts()["timed_out"] == 1
    assert run.queue.status("uid-0") == "finished"


def test_all_experts_fail_in_every_prompt(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch)
    rows = run.prompts(tokenizer, 3)
    run.go(by_kind(tokenizer, policy=[WRONG, RIGHT], expert=[Refused("down")]), rows)
    for row in rows:
        assert run.queue.status(row["uid"]) == "finished"
        assert len(run.queue.rows(row["uid"])) == 4


@pytest.mark.parametrize("room", [0, 1, 2])
def test_prompts_over_the_limit(folder, monkeypatch, tokenizer, room):
    """With room for none of two demonstrations, for one, and for both."""
    [row] = fakes.prompts(tokenizer, 1)
    plain = len(plain_tokens(tokenizer, row))
    limit = plain + [5, 60, 200][room]
    k = "icpo.demonstrations.k=2"
    run = Run(folder, monkeypatch, "icpo.n_off=2", k, f"icpo.max_prompt_tokens={limit}")
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[WRONG]), run.prompts(tokenizer))
    experts = [asked for asked in run.server.asked if is_expert(tokenizer, asked)]
    assert all(len(asked.prompt_ids) <= limit for asked in experts)
    assert all("What is 0 + 1? Answer" in tokenizer.decode(one.prompt_ids) for one in experts)
    expected = [
        {"demos_dropped": 4, "bare": 2},
        {"demos_dropped": 2, "requests": 2},
        {"requests": 2},
    ]
    assert run.counts() == {**expected[room], "policy_requests": 4}
    shown = [len(one["demos"]) for one in run.record()["left_out"]]
    assert shown == [[], [1, 1], [2, 2]][room]


def test_question_over_the_limit_costs_its_expert_rollouts_only(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch, "icpo.max_prompt_tokens=8")
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[WRONG]), run.prompts(tokenizer))
    assert run.queue.status("uid-0") == "finished"
    assert not any(is_expert(tokenizer, asked) for asked in run.server.asked)
    assert sum(run.counts().get(name, 0) for name in ("failed", "bare")) == 1


def test_message_that_is_no_text_costs_its_expert_rollouts_only(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch)
    [row] = run.prompts(tokenizer)
    row["raw_prompt"] = [{"role": "user", "content": [{"type": "text", "text": "2?"}]}]
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), [row])
    assert run.queue.status("uid-0") == "finished"
    assert run.counts() == {"failed": 1, "policy_requests": 4}


@pytest.mark.parametrize("over", [0, 1])
def test_prompts_beyond_verls_limit_do_not_shorten_responses(folder, monkeypatch, tokenizer, over):
    """verl's servers take from a response what a prompt has more than `prompt_length`."""
    run = Run(folder, monkeypatch)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[WRONG]), run.prompts(tokenizer))
    [length] = {len(one.prompt_ids) for one in run.server.asked if is_expert(tokenizer, one)}
    room = [f"actor_rollout_ref.rollout.prompt_length={length - over}"]
    room += ["icpo.max_prompt_tokens=500", "actor_rollout_ref.rollout.max_model_len=508"]
    run = Run(folder, monkeypatch, *room)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[WRONG]), run.prompts(tokenizer))
    for asked in run.server.asked:
        told = {"max_tokens": 8} if over and is_expert(tokenizer, asked) else {}
        assert asked.sampling_params == {**SAMPLING, **told}


@pytest.mark.parametrize("question", [{"question": "2?"}, {}])
def test_without_experts_a_message_may_be_anything(folder, monkeypatch, tokenizer, question):
    run = Run(folder, monkeypatch, "icpo.n_off=0")
    [row] = run.prompts(tokenizer)
    row["raw_prompt"] = [{"role": "user", "content": [{"type": "text", "text": "2?"}]}]
    row["extra_info"] = {"index": 0, **question}
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), [row])
    assert run.queue.status("uid-0") == "finished"
    assert len(run.queue.rows("uid-0")) == 4


##### Faults of on-policy requests


@pytest.mark.parametrize(
    "fault", [Refused("server"), EMPTY, RAISES], ids=["server", "empty", "reward"]
)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("target", ["all", "non_pass"])
def test_rest_of_the_group_is_used_as_in_verl(folder, monkeypatch, tokenizer, fault, group, target):
    overrides = [f"icpo.group={group}", f"icpo.target={target}"]
    run = Run(folder, monkeypatch, *overrides)
    run.go(
        by_kind(tokenizer, policy=[WRONG, fault, WRONG, WRONG], expert=[RIGHT]),
        run.prompts(tokenizer),
    )
    assert run.queue.status("uid-0") == "failure"
    stored = run.queue.rows("uid-0")
    assert [bool(one["icpo_expert"]) for one in stored].count(True) == 1
    sampled = 4 if group == "replace" else 3
    assert len(stored) == (3 if group == "replace" else sampled - 1 + 1)
    assert run.counts() == {"requests": 1, "policy_requests": sampled, "policy_failed": 1}


@pytest.mark.parametrize("target", ["all", "non_pass"])
def test_no_on_policy_rollout_no_group(folder, monkeypatch, tokenizer, target):
    run = Run(folder, monkeypatch, f"icpo.target={target}")
    run.go(by_kind(tokenizer, policy=[Refused("down")], expert=[RIGHT]), run.prompts(tokenizer))
    assert run.queue.status("uid-0") == "failure"
    assert run.queue.rows("uid-0") == []
    experts = [asked for asked in run.server.asked if is_expert(tokenizer, asked)]
    assert len(experts) == (target == "all")


def test_a_prompt_that_fails_leaves_the_others_alone(folder, monkeypatch, tokenizer, caplog):
    from icpo.verl import rollout

    form = rollout.form_group

    def fails_once(problem, *arguments):
        if problem.id == "uid-1":
            raise Refused("a group")
        return form(problem, *arguments)

    monkeypatch.setattr(rollout, "form_group", fails_once)
    run = Run(folder, monkeypatch)
    rows = run.prompts(tokenizer, 3)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), rows)
    assert [run.queue.status(row["uid"]) for row in rows] == ["finished", "failure", "finished"]
    assert "uid-1" in caplog.text


##### Sampling parameters


def test_requests_are_alike_unless_seeds_are_asked_for(folder, monkeypatch, tokenizer):
    run = Run(folder, monkeypatch)
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer))
    assert [asked.sampling_params for asked in run.server.asked] == [SAMPLING] * 5


def seeds(run, tokenizer, rows):
    """Of each request, by its prompt."""
    run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), rows)
    return sorted((one.prompt_ids, one.sampling_params["seed"]) for one in run.server.asked)


def test_each_request_has_a_seed_of_its_own(folder, monkeypatch, tokenizer):
    override = "icpo.seed_requests=true"
    run = Run(folder, monkeypatch, override, "icpo.n_off=2")
    found = seeds(run, tokenizer, run.prompts(tokenizer, 3))
    numbers = [seed for _, seed in found]
    assert len(set(numbers)) == len(numbers) == 3 * 6
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in numbers)
    for asked in run.server.asked:
        assert asked.sampling_params == {**SAMPLING, "seed": asked.sampling_params["seed"]}
    # The same in another run, whatever order prompts come in; others with another seed.
    again = Run(folder, monkeypatch, override, "icpo.n_off=2")
    assert seeds(again, tokenizer, again.prompts(tokenizer, 3)[::-1]) == found
    other = Run(folder, monkeypatch, override, "icpo.n_off=2", "icpo.seed=1")
    assert {seed for _, seed in seeds(other, tokenizer, other.prompts(tokenizer, 3))}.isdisjoint(
        numbers
    )


def test_second_wave_has_the_seeds_that_it_would_have_had(folder, monkeypatch, tokenizer):
    """Whether a prompt waits for its rewards changes no seed."""
    found = []
    for target in ("all", "non_pass"):
        run = Run(folder, monkeypatch, "icpo.seed_requests=true", f"icpo.target={target}")
        found.append(seeds(run, tokenizer, run.prompts(tokenizer)))
    assert found[0] == found[1]


##### What a dump needs


def test_texts_travel_only_to_be_dumped(folder, monkeypatch, tokenizer):
    for dump in (False, True):
        overrides = ["trainer.rollout_data_dir=rollouts"] if dump else []
        run = Run(folder, monkeypatch, *overrides)
        run.go(by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer))
        record = run.record()
        [gone] = record["left_out"]
        [expert] = [one for one in record["rows"] if one["expert"]]
        assert ("response_ids" in gone) is ("expert_prompt_ids" in expert) is dump
        if dump:
            [asked] = [asked for asked in run.server.asked if is_expert(tokenizer, asked)]
            assert expert["expert_prompt_ids"] == asked.prompt_ids
            assert gone["response_ids"][0] == WRONG
        assert "expert_prompt_ids" not in gone


def test_on_policy_rollouts_that_make_room_are_told(folder, monkeypatch, tokenizer):
    run = Run(
        folder,
        monkeypatch,
        "icpo.bonus.alpha=0.5",
        "actor_rollout_ref.actor.optim.total_training_steps=10",
    )
    run.go(
        by_kind(tokenizer, policy=[WRONG], expert=[RIGHT]), run.prompts(tokenizer, global_steps=3)
    )
    record = run.record()
    assert [one["bonus"] for one in record["rows"] if one["expert"]] == [pytest.approx(0.4)]
    [gone] = record["left_out"]
    assert (gone["expert"], gone["trained"], gone["accepted"]) == (False, False, False)
    # What verl trains on is the reward without the bonus; advantages have it.
    [row] = [one for one in run.queue.rows("uid-0") if one["icpo_expert"]]
    assert row["rm_scores"].sum() == 1.0
    advantages = [float(one[ADVANTAGE_FIELD]) for one in run.queue.rows("uid-0")]
    rewards = np.array([1.4, 0, 0, 0])
    expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
    np.testing.assert_allclose(sorted(advantages), sorted(expected), rtol=1e-6)
