"""The reward manager in verl's own hands: its configuration, loaders, workers and metrics."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

import icpo
from icpo.reward import Checker
from icpo.verl.reward_settings import check_reward, checker_of

pytestmark = pytest.mark.verl

PEER = "verl.experimental.reward_loop.reward_loop"
# CI installs the peer, so there its absence is a failure and not a reason to skip.
reward_loop = (
    importlib.import_module(PEER)
    if os.environ.get("CI")
    else pytest.importorskip(PEER, reason="verl is not installed", exc_type=ImportError)
)
importlib.import_module("icpo.verl.reward_manager")  # registers it, as the plugin does

MANAGER = "reward.reward_manager.name=icpo"
FUNCTION = "reward.custom_reward_function.path=pkg://icpo.verl.reward"
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
PAD, END = "<pad>", "<end>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer of characters, of which verl knows the folder only."""
    vocabulary = {word: number for number, word in enumerate([PAD, END, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([PAD, END])
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    return folder


def config(folder, *overrides):
    """verl's configuration, with the overrides of a command line."""
    from hydra import compose, initialize_config_dir

    verl = Path(importlib.util.find_spec("verl").origin).parent
    with initialize_config_dir(str(verl / "trainer" / "config"), version_base=None):
        return compose(
            "ppo_trainer", [f"actor_rollout_ref.model.path={folder}", MANAGER, *overrides]
        )


def function_config(folder, *overrides):
    return config(folder, "reward.reward_manager.name=naive", FUNCTION, *overrides)


def tokens(text):
    return [CHARACTERS.index(character) + 2 for character in text] + [1]


def batch(responses, truths, sources=None, width=None):
    """What verl hands to reward workers: prompts on the left, responses on the right."""
    from verl import DataProto

    ids = [torch.tensor(tokens(text)) for text in responses]
    width = width or max(map(len, ids))
    padded = torch.zeros(len(ids), width, dtype=torch.int64)
    mask = torch.zeros(len(ids), 3 + width, dtype=torch.int64)
    mask[:, 1:3] = 1
    for row, text in enumerate(ids):
        padded[row, : len(text)] = text
        # Padding is no response, whatever stands there.
        padded[row, len(text) :] = tokens("9")[0]
        mask[row, 3 : 3 + len(text)] = 1
    prompts = torch.ones(len(ids), 3, dtype=torch.int64)
    rows = [{"style": "rule", "ground_truth": truth} for truth in truths]
    return DataProto.from_dict(
        tensors={"prompts": prompts, "responses": padded, "attention_mask": mask},
        non_tensors={
            "data_source": np.array(sources or ["toy"] * len(ids), object),
            "reward_model": np.array(rows, object),
            "extra_info": np.array([{"index": k} for k in range(len(ids))], object),
        },
    )


def scores(settings, data):
    """As a reward worker of verl computes them."""

    async def computed():
        return await reward_loop.RewardLoopWorker(settings).compute_score_batch(data)

    return asyncio.run(computed())


def some_pairs(count):
    rng = random.Random(3)
    golds, responses = [], []
    for _ in range(count):
        a, b = rng.randint(-9, 9), rng.randint(1, 5)
        golds.append(rng.choice([a, f"{a}", rf"\frac{{{a}}}{{{b}}}", [f"{b}", a], None]))
        said = rng.choice([f"{a}", rf"\frac{{{a}}}{{{b}}}", f"{a / b}", "none", ""])
        responses.append(rng.choice([rf"So \boxed{{{said}}}.", f"The answer is {said}.", said]))
    return responses, golds


##### scores


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_scores_are_the_checkers_and_those_of_the_reward_function(folder, profile):
    responses, golds = some_pairs(200)
    data = batch(responses, golds)
    settings = [f"profile={profile}", "float_rounding=3"]
    ours = scores(config(folder, *[f"+reward.reward_kwargs.{key}" for key in settings]), data)
    key = "+reward.custom_reward_function.reward_kwargs."
    assert ours == scores(function_config(folder, *[key + setting for setting in settings]), data)

    checker = Checker(profile, float_rounding=3)
    for response, gold, score in zip(responses, golds, ours, strict=True):
        several = gold if isinstance(gold, list) else [gold]
        verdict = checker.check(["" if one is None else str(one) for one in several], response)
        fields = score["reward_extra_info"]
        assert (fields["verdict"], fields["reason"]) == (verdict.outcome, verdict.reason or "")
        assert score["reward_score"] == fields["acc"] == float(verdict.equal)
        assert type(score["reward_score"]) is float
    verdicts = {score["reward_extra_info"]["verdict"] for score in ours}
    assert verdicts == {"equal", "not_equal", "unknown"}


def test_a_response_is_what_stands_before_the_padding_without_special_tokens(folder):
    data = batch(["4", "the answer is 4"], ["4", "4"], width=40)
    assert [score["reward_extra_info"]["pred"] for score in scores(config(folder), data)] == [
        "4",
        "4",
    ]
    data.batch["responses"][0, 0] = 1  # only an end
    [empty, _] = scores(config(folder), data)
    assert empty["reward_extra_info"]["reason"] == "response"


def test_the_last_part_of_a_rollout_counts(folder):
    # verl pads parts on the right, prompts and all, so that only the length tells the response.
    data = batch([r"first \boxed{3}", "4"], ["4", "4"])
    data.batch["attention_mask"] = torch.tensor([[1] * 19, [1] * 3 + [0] * 16])
    data.non_tensor_batch["response_len"] = np.array([16, 2])
    worker = reward_loop.RewardLoopWorker(config(folder))
    assert asyncio.run(worker.compute_score(data))["reward_score"] == 1.0


def test_many_at_once_in_threads_that_are_not_the_main_one(folder):
    responses = [rf"so \boxed{{{k % 7}}}" for k in range(64)]
    data = batch(responses, [4] * 64)
    settings = config(folder)
    expected = [float(k % 7 == 4) for k in range(64)]
    worker = reward_loop.RewardLoopWorker(settings)  # made here, used in loops of others
    with ThreadPoolExecutor(4) as threads:
        made_there = [threads.submit(scores, settings, data) for _ in range(4)]
        made_here = [
            threads.submit(lambda: asyncio.run(worker.compute_score_batch(data))) for _ in range(4)
        ]
        for done in made_there + made_here:
            assert [score["reward_score"] for score in done.result()] == expected


def test_the_event_loop_goes_on_meanwhile(folder):
    worker = reward_loop.RewardLoopWorker(config(folder))
    manager, went_on = worker.reward_manager, threading.Event()
    decode = manager.tokenizer.decode

    class Waiting:
        def decode(self, *arguments, **keywords):
            assert went_on.wait(60)
            return decode(*arguments, **keywords)

    manager.tokenizer = Waiting()

    async def both():
        score = asyncio.ensure_future(manager.run_single(batch(["4"], ["4"])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        went_on.set()
        return await score

    assert asyncio.run(both())["reward_score"] == 1.0


def test_a_row_without_ground_truth_stops(folder):
    data = batch(["4"], ["4"])
    for row in ({"style": "model"}, None):
        data.non_tensor_batch["reward_model"] = np.array([row], object)
        with pytest.raises(icpo.DataError, match=r"reward_model: expected .* data source toy"):
            scores(config(folder), data)


def test_ground_truths_of_parquet_files(folder, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = importlib.import_module("pyarrow.parquet")
    columns = {
        "text": ["4", "5"],
        "integer": [4, 5],
        "float": [4.0, 0.1],
        "list": [["3", "4"], ["3"]],
        "numbers": [[3.0, 4.0], [3.0]],
    }
    for name, truths in columns.items():
        field = pa.StructArray.from_arrays([pa.array(truths)], ["ground_truth"])
        pq.write_table(pa.table({"reward_model": field}), tmp_path / "rows.parquet")
        rows = pq.read_table(tmp_path / "rows.parquet")
        for read in (rows.to_pylist(), rows.to_pandas().to_dict("records")):
            data = batch([r"\boxed{4}"] * 2, ["", ""])
            data.non_tensor_batch["reward_model"] = np.array(
                [row["reward_model"] for row in read], object
            )
            verdicts = [score["reward_extra_info"] for score in scores(config(folder), data)]
            assert [fields["verdict"] for fields in verdicts] == ["equal", "not_equal"], name


##### settings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+reward.reward_kwargs.profle=strict"], r"reward\.reward_kwargs\.profle: expected one"),
        (["+reward.reward_kwargs.profile=loose"], r"reward\.reward_kwargs\.profile: expected 'str"),
        (["+reward.reward_kwargs.lenient=3"], r"reward\.reward_kwargs\.lenient: expected True or"),
        (["+reward.reward_kwargs.max_resp_len=3"], r"reward_kwargs\.max_resp_len: expected one of"),
        (["+reward.reward_kwargs=strict"], r"reward\.reward_kwargs: expected a mapping.*'strict'"),
        ([FUNCTION], r"reward\.custom_reward_function\.path: expected null .*got 'pkg://icpo"),
        (["reward.reward_model.enable=true"], r"reward\.reward_model\.enable: expected False"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(folder, overrides, message):
    settings = config(folder, *overrides)
    with pytest.raises(icpo.ConfigError, match=message):
        check_reward(settings)
    if "model.enable" not in overrides[0]:  # of which verl would load the tokenizer before
        with pytest.raises(icpo.ConfigError, match=message):
            reward_loop.RewardLoopWorker(settings)


def test_a_misspelt_setting_of_the_function_is_refused(folder):
    settings = function_config(folder, "+reward.custom_reward_function.reward_kwargs.profle=strict")
    with pytest.raises(icpo.ConfigError, match=r"reward_function\.reward_kwargs\.profle: expected"):
        check_reward(settings)
    with pytest.raises(icpo.ConfigError, match="profle: expected one of"):
        scores(settings, batch(["4"], ["4"]))


def test_rewards_from_elsewhere_are_not_looked_at(folder):
    naive = "reward.reward_manager.name=naive"
    check_reward(config(folder))
    check_reward(config(folder, naive))
    check_reward(config(folder, naive, "+reward.reward_kwargs.max_resp_len=3"))
    function = "reward.custom_reward_function"
    check_reward(
        config(folder, naive, f"{function}.path=a.py", f"+{function}.reward_kwargs.profle=1")
    )
    check_reward(function_config(folder, f"+{function}.reward_kwargs.profile=math_verify"))


def test_older_keys_of_verl_lead_to_it(folder):
    settings = config(
        folder,
        "reward.reward_manager.name=naive",
        "reward_model.reward_manager=icpo",
        "+reward_model.reward_kwargs.profile=math_verify",
    )
    settings = reward_loop.migrate_legacy_reward_impl(settings)
    worker = reward_loop.RewardLoopWorker(settings)
    assert worker.reward_manager.checker == checker_of(settings) == Checker("math_verify")


def test_it_can_be_named_without_the_registry(folder):
    settings = config(
        folder,
        "reward.reward_manager.source=importlib",
        "reward.reward_manager.name=IcpoRewardManager",
        "reward.reward_manager.module.path=pkg://icpo.verl.reward_manager",
    )
    assert scores(settings, batch(["4"], [4]))[0]["reward_score"] == 1.0


##### every manager of verl may call the function


@pytest.mark.parametrize("name", ["naive", "dapo", "rate_limited"])
def test_managers_of_verl_call_the_function(folder, name):
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils import hf_tokenizer

    settings = function_config(folder, f"reward.reward_manager.name={name}")
    manager = load_reward_manager(
        settings,
        hf_tokenizer(str(folder)),
        # With a router verl passes two arguments more.
        reward_router_address="host:1",
        reward_model_tokenizer=object(),
    )
    manager.loop = loop = asyncio.new_event_loop()
    score = loop.run_until_complete(manager.run_single(batch(["so 4"], [4])))
    loop.close()
    assert score["reward_score"] == 1.0 and score["reward_extra_info"]["verdict"] == "equal"


##### validation


def test_validation_metrics_and_dumps(folder, tmp_path):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    half = [r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", r"\boxed{1/2}", r"\boxed{3}"]
    mute = ["", "no idea", "", r"\boxed{7}"]
    responses = [*half, *mute, *half]
    truths = ["1/2"] * 4 + ["7"] * 4 + [None] * 4
    sources = ["read"] * 8 + ["unread"] * 4
    uids = [f"prompt{k // 4}" for k in range(12)]
    infos = [score["reward_extra_info"] for score in scores(config(folder), batch(
        responses, truths, sources
    ))]  # fmt: skip
    columns = {"reward": [info["score"] for info in infos]}
    columns |= {name: [info[name] for info in infos] for name in infos[0]}
    expected = {("read", "prompt0"): 4, ("read", "prompt1"): 4, ("unread", "prompt2"): 4}
    metrics = PPOTrainer._val_metrics_update(
        None, sources, uids, columns, [], expected_acc_counts=expected
    )

    assert metrics["val-core/read/acc/mean@4"] == pytest.approx((0.75 + 0.25) / 2)
    assert metrics["val-aux/read/no_answer/mean@4"] == pytest.approx((0 + 0.75) / 2)
    assert metrics["val-aux/read/no_gold/mean@4"] == 0.0
    assert metrics["val-aux/unread/no_gold/mean@4"] == 1.0
    assert metrics["val-core/unread/acc/mean@4"] == 0.0
    # Three spellings of one half are one vote: of four draws with replacement most are right in
    # 84.4 % (of a tie the first wins); of the other prompt's in 15.6 %. As four votes, 75 and 25 %.
    maj = [
        PPOTrainer._val_metrics_update(
            None, ["s"] * 4, ["u"] * 4, {k: v[start : start + 4] for k, v in columns.items()}, []
        )["val-core/s/acc/maj@4/mean"]
        for start in (0, 4)
    ]
    assert maj[0] == pytest.approx(0.844, abs=0.04) and maj[1] == pytest.approx(0.156, abs=0.04)
    names = {name.split("/")[2] for name in metrics}
    numbers = {"score", "acc", "unknown", "no_answer", "no_gold"}
    assert names == numbers | {"reward", "acc_success_only"}

    rows = len(responses)
    PPOTrainer._write_generations(
        [""] * rows, responses, truths, columns["reward"], columns, str(tmp_path), 7
    )
    written = [json.loads(line) for line in (tmp_path / "7.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in written] == columns["verdict"]
    assert [row["pred"] for row in written[:4]] == ["1/2", "1/2", "1/2", "3"]


##### workers


@pytest.mark.slow
def test_workers_that_are_processes_of_ray_find_it_by_its_name(folder):
    import ray

    responses, golds = some_pairs(41)  # not a multiple of the number of workers
    data = batch(responses, golds)
    settings = config(folder, "reward.num_workers=2", "+reward.reward_kwargs.float_rounding=3")
    expected = scores(settings, data)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        output = reward_loop.RewardLoopManager(settings).compute_rm_score(data)
    finally:
        ray.shutdown()
    last = data.batch["attention_mask"][:, 3:].sum(dim=1) - 1  # the token that has the reward
    rewards = torch.tensor([score["reward_score"] for score in expected])
    assert torch.equal(output.batch["rm_scores"].sum(dim=1), rewards)
    assert torch.equal(output.batch["rm_scores"][range(41), last], rewards)
    for name in output.meta_info["reward_extra_keys"]:
        fields = [score["reward_extra_info"][name] for score in expected]
        assert output.non_tensor_batch[name].tolist() == fields
    assert "verdict" in output.meta_info["reward_extra_keys"]
