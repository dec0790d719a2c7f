"""The steps of the trainer: verl's real ones in this process, workers and queue are fakes."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import verl_fakes as fakes
from tensordict import NonTensorData, NonTensorStack

from icpo.errors import CheckpointError, ConfigError, DataError, IcpoError
from icpo.objective.metrics import LossMetrics
from icpo.ops import reference
from icpo.types import Problem
from icpo.verl import loss as loss_module
from icpo.verl.demos import demo_sampler, load_demonstrations
from icpo.verl.draw import Draws
from icpo.verl.hooks import plain_class
from icpo.verl.rollout import ADVANTAGE_FIELD, DRAWN_FIELD, RECORD_FIELD

pytestmark = pytest.mark.verl

RIGHT, WRONG = 50, 51
N, PROMPTS = 4, 3
TIMES = {"step": 2.0, "gen": 1.0, "update_actor": 0.5, "adv": 0.1, "old_log_prob": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer")
    fakes.model_folder(folder / "model")
    fakes.write_demos(folder / "demos.jsonl")
    write_rows(folder / "rows.parquet", fakes.prompts(None, 12))
    return folder


def write_rows(path, prompts):
    names = ("data_source", "reward_model", "extra_info")
    rows = [{"prompt": row["raw_prompt"], **{name: row[name] for name in names}} for row in prompts]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def score(tokens):
    right = float(tokens[0] == RIGHT)
    return right, {"score": right, "acc": right, "pred": str(tokens[0])}


class Training:
    """verl's trainer, as far as it needs no Ray."""

    def __init__(self, folder, monkeypatch, *overrides, ranks=1) -> None:
        from icpo.verl.trainer import IcpoTrainer

        self.config = fakes.compose_config(
            "+icpo=on",
            f"icpo.demonstrations.source={folder / 'demos.jsonl'}",
            f"actor_rollout_ref.model.path={folder / 'model'}",
            f"data.train_files={folder / 'rows.parquet'}",
            f"data.val_files={folder / 'rows.parquet'}",
            f"data.train_batch_size={PROMPTS}",
            "data.dataloader_num_workers=0",
            "data.shuffle=false",
            "actor_rollout_ref.rollout.name=vllm",
            f"actor_rollout_ref.rollout.n={N}",
            "actor_rollout_ref.rollout.response_length=8",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
            "trainer.total_training_steps=10",
            *overrides,
        )
        self.queue = fakes.Queue().install(monkeypatch)
        self.trainer = trainer = IcpoTrainer(self.config)
        trainer._init_tokenizer()
        trainer._init_dataloader()
        trainer._init_dump_executor()
        trainer._init_resource_pool_mgr()
        trainer.actor_rollout_wg = Workers(self.queue, ranks)
        trainer.agent_loop_manager = self
        trainer.global_steps = 1
        trainer.on_sample_end = lambda: None

    def generate_sequences(self, prompts) -> None:
        """What verl's manager does, in this process."""
        from icpo.verl.rollout import _GroupWorker

        async def run() -> None:
            rewards = fakes.Rewards(score)
            self.server = fakes.Server(self.answer, rewards)
            worker = _GroupWorker(self.config, self.server, None, [rewards])
            await worker.generate_sequences(prompts)
            while worker.background_tasks:
                await asyncio.sleep(0.001)

        asyncio.run(run())

    def sample(self, answer):
        """A batch, as far as the replay buffer gives it to the trainer."""
        self.answer = answer
        self.trainer.prepare_step()
        batch, _ = self.trainer.replay_buffer.sample(1, "train", PROMPTS)
        return batch

    def rows(self, batch):
        return [self.queue.fields["train"][key] for key in batch.keys]


class Workers:
    """The group of workers that train."""

    def __init__(self, queue, ranks) -> None:
        self.queue = queue
        self._dispatch_info = {"actor": list(range(ranks))}
        self.updates: dict[str, object] = {}
        self.saved: list[str] = []
        self.loss = None

    def compute_log_prob(self, batch):
        for key in batch.keys:
            row = self.queue.fields["train"][key]
            rng = np.random.default_rng(len(row["input_ids"]))
            row["log_probs"] = -torch.tensor(rng.exponential(size=len(row["input_ids"])))
            row["entropy"] = row["log_probs"].neg()
        return batch

    def update_actor(self, batch):
        return {"metrics": {"mfu": [0.5], **self.updates}}

    def save_checkpoint(self, path, *args, **kwargs) -> None:
        self.saved.append(path)

    def load_checkpoint(self, local_path, **kwargs) -> None:
        self.loaded = local_path

    def set_loss_fn(self, loss) -> None:
        self.loss = loss


def answers(tokenizer, expert=(RIGHT, WRONG), delay=None):
    """Right or wrong by the request's own tokens, so that order does not matter."""

    async def answer(asked):
        text = tokenizer.decode(asked.prompt_ids)
        seed = asked.sampling_params["seed"]
        if delay is not None:
            await asyncio.sleep(delay(text))
        chosen = expert if "Let's think step by step" in text else (WRONG, RIGHT, WRONG)
        return [chosen[seed % len(chosen)], *range(60, 60 + seed % 7)]

    return answer


SEEDED = "icpo.seed_requests=true"


##### The constructor


def test_verl_is_told_what_it_has_to_know(folder, monkeypatch, capsys):
    training = Training(folder, monkeypatch, "icpo.advantages.std=none", "icpo.n_off=2")
    config = training.trainer.config
    assert config.trainer.v1.trainer_mode == training.trainer.trainer_mode == "sync"
    assert config.algorithm.rollout_correction is None
    assert config.algorithm.norm_adv_by_std_in_grpo is False
    assert type(training.trainer.replay_buffer).__name__ == "ReplayBuffer"
    said = capsys.readouterr().out
    assert "icpo: on, in verl 0.9" in said
    assert "4 on-policy rollouts and 2 expert ones a prompt" in said
    assert "20 demonstrations" in said


def test_it_checks_the_settings_itself(folder, monkeypatch):
    """Who calls the trainer without Hydra does not come by the check at the start."""
    with pytest.raises(ConfigError, match=r"^critic\.enable"):
        Training(folder, monkeypatch, "critic.enable=true")


def test_it_is_the_trainer_of_its_mode():
    from verl.trainer.ppo.v1 import get_trainer_cls

    from icpo.verl.trainer import IcpoTrainer

    assert get_trainer_cls("icpo_sync") is IcpoTrainer


@pytest.mark.parametrize("reference_policy", [False, True])
def test_workers_are_icpos(folder, monkeypatch, reference_policy):
    from icpo.verl.worker import IcpoWorker

    override = f"actor_rollout_ref.actor.use_kl_loss={str(reference_policy).lower()}"
    mapping = Training(folder, monkeypatch, override).trainer.role_worker_mapping
    assert len(mapping) == 1
    assert all(issubclass(plain_class(worker), IcpoWorker) for worker in mapping.values())


def test_workers_are_given_the_loss(folder, monkeypatch):
    training = Training(folder, monkeypatch, "icpo.lam=0.05")
    updated = []
    training.trainer.checkpoint_manager = SimpleNamespace(update_weights=updated.append)
    training.trainer.on_init_end()
    given = training.trainer.actor_rollout_wg.loss
    assert isinstance(given, loss_module.IcpoLoss)
    assert given.config.lam == 0.05
    assert updated == [1]


##### What is drawn


def test_batches_carry_what_is_drawn(folder, monkeypatch):
    training = Training(folder, monkeypatch, "icpo.n_off=2", "icpo.demonstrations.seed=7")
    settings = training.trainer.settings
    sampler = demo_sampler(settings.demonstrations, load_demonstrations(settings.demonstrations))
    draws = Draws(sampler, 2, settings.seed)
    questions = [f"What is {index} + 1?" for index in range(12)]
    for step in range(4):
        batch = training.trainer._next_train_batch()
        asked = [Problem(str(i), questions[i], "") for i in range(3 * step, 3 * step + 3)]
        told = list(batch[DRAWN_FIELD])
        assert told == list(draws.draw(asked))
        for problem, one in zip(asked, told, strict=True):
            shown = {id for ids in one["demos"] for id in ids}
            assert f"d{problem.id}" not in shown  # which asks the same


def test_other_demonstrations_on_a_node_stop_the_run(folder, monkeypatch, tmp_path):
    """Else all prompts of that node would be missing, step by step."""
    training = Training(folder, monkeypatch)
    training.config.icpo.demonstrations.source = str(fakes.write_demos(tmp_path / "demos.jsonl", 9))
    with pytest.raises(DataError, match=r"demonstrations\.source: expected the same .* every node"):
        training.sample(answers(training.trainer.tokenizer))


def test_without_experts_a_message_may_be_anything(folder, monkeypatch):
    none = ["icpo.n_off=0", "icpo.demonstrations.source=null"]
    trainer = Training(folder, monkeypatch, *none).trainer
    fetch = trainer._fetch_one_gen_batch

    def fetched():
        batch = fetch()
        image = [{"role": "user", "content": [{"type": "image"}]}]
        batch["raw_prompt"] = NonTensorStack.from_list([NonTensorData(image) for _ in range(3)])
        batch["extra_info"] = NonTensorStack.from_list([NonTensorData({}) for _ in range(3)])
        return batch

    monkeypatch.setattr(trainer, "_fetch_one_gen_batch", fetched)
    assert [told["demos"] for told in trainer._next_train_batch()[DRAWN_FIELD]] == [[]] * 3


def test_tables_of_other_data_sets_are_not_looked_at(folder, monkeypatch):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    trainer = Training(folder, monkeypatch).trainer

    def init(self):
        self.train_dataset = SimpleNamespace(dataframe=[{"prompt": "of some other kind"}])

    monkeypatch.setattr(PPOTrainer, "_init_dataloader", init)
    trainer._init_dataloader()


##### Between sampling and update


@pytest.mark.parametrize(
    ("overrides", "calls"),
    [
        ([], ["sleep", "update"]),
        (["icpo.expert_timeout=9"], ["abort", "sleep", "update", "resume"]),
        (["icpo.expert_timeout=9", "icpo.n_off=0"], ["sleep", "update"]),
        (
            ["icpo.expert_timeout=9", "actor_rollout_ref.rollout.free_cache_engine=false"],
            ["sleep", "update"],
        ),
    ],
)
def test_engines_do_not_sleep_over_requests_given_up(folder, monkeypatch, overrides, calls):
    trainer = Training(folder, monkeypatch, *overrides).trainer
    del trainer.on_sample_end  # which the fake has none of
    called = []
    trainer.checkpoint_manager = SimpleNamespace(
        abort_replicas=lambda: called.append("abort"),
        sleep_replicas=lambda: called.append("sleep"),
        update_weights=lambda step: called.append("update"),
        resume_generation_replicas=lambda: called.append("resume"),
    )
    trainer.curr_step_profile, trainer.timing_raw = False, {}
    trainer.on_sample_end()
    trainer.on_step_end()
    assert called == calls


@pytest.mark.parametrize("name", ["__rollout_n__", "__do_sample__"])
def test_rows_that_choose_for_themselves_are_refused(folder, monkeypatch, name):
    training = Training(folder, monkeypatch)
    fetch = training.trainer._fetch_one_gen_batch

    def fetched():
        batch = fetch()
        batch[name] = torch.ones(len(batch))
        return batch

    monkeypatch.setattr(training.trainer, "_fetch_one_gen_batch", fetched)
    with pytest.raises(ConfigError, match=name):
        training.trainer._next_train_batch()


def test_rows_of_other_agents_are_refused(folder, monkeypatch, tmp_path):
    rows = [{**row, "agent_name": "tool_agent"} for row in fakes.prompts(None, 6)]
    table = pyarrow.Table.from_pylist(
        [
            {"prompt": row["raw_prompt"], "extra_info": row["extra_info"]}
            | {name: row[name] for name in ("data_source", "reward_model", "agent_name")}
            for row in rows
        ]
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    training = Training(folder, monkeypatch, f"data.train_files={tmp_path / 'rows.parquet'}")
    with pytest.raises(DataError, match=r"agent_name: .*'single_turn_agent'.*tool_agent"):
        training.trainer._next_train_batch()


def test_prompts_without_demonstrations_stop_the_run_at_its_start(folder, monkeypatch):
    """Not in the middle of the night, when such a row is met."""
    with pytest.raises(IcpoError, match="problem '0'"):
        Training(folder, monkeypatch, "icpo.demonstrations.strategy=subject")


##### The order of a batch


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("group", ["replace", "reserve"])
def test_order_is_that_of_the_prompts(folder, monkeypatch, ranks, group):
    tokenizer = fakes.make_tokenizer()
    found = []
    for delay in (None, lambda text: 0.3 * ("What is 0 + 1? Answer" in text)):
        training = Training(folder, monkeypatch, SEEDED, f"icpo.group={group}", ranks=ranks)
        trainer = training.trainer
        batch = training.sample(answers(tokenizer, delay=delay))
        came = [key.rsplit("_", 2)[0] for key in batch.keys]
        metrics = {}
        batch = trainer._balance_batch(batch, metrics=metrics)
        assert "global_seqlen/mean" in metrics
        if delay is not None:  # they did come in another order
            asked = list(dict.fromkeys(came))
            assert asked != sorted(asked, key=trainer._places.__getitem__)
        found.append(
            [
                (row["prompts"].tolist(), row["responses"].tolist(), float(row["icpo_expert"]))
                for row in training.rows(batch)
            ]
        )
    assert found[0] == found[1]
    assert len(found[0]) == N * PROMPTS


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("mini_batch", [1, 2, PROMPTS])
def test_padding_is_spread_over_the_updates(folder, monkeypatch, ranks, mini_batch):
    """Else the rows of the last update would weigh more than those of the others."""
    size = f"actor_rollout_ref.actor.ppo_mini_batch_size={mini_batch}"
    overrides = ["icpo.group=reserve", "icpo.n_off=2", SEEDED, size]
    training = Training(folder, monkeypatch, *overrides, ranks=ranks)
    batch = training.sample(answers(training.trainer.tokenizer, expert=(WRONG,)))
    rows, keys = len(batch), set(batch.keys)
    batch = training.trainer._balance_batch(batch, metrics={})
    assert keys < set(batch.keys)
    assert len(set(batch.keys)) == len(batch) == -(-rows // (mini_batch * N)) * mini_batch * N
    # As verl's workers cut their shares.
    padding = np.array([tag.get("is_padding", False) for tag in batch.tags])
    each = padding.reshape(ranks, -1, mini_batch * N // ranks).sum((0, 2))
    assert each.sum() == len(batch) - rows
    assert np.ptp(each) <= ranks


def test_a_batch_of_nothing_is_an_error(folder, monkeypatch):
    training = Training(folder, monkeypatch)

    async def answer(asked):
        raise RuntimeError("the server is down")

    with pytest.raises(RuntimeError, match="no materializable trajectories"):
        training.sample(answer)
    # Samplers of one's own may give an empty batch.
    with pytest.raises(DataError, match="every prompt of the batch failed"):
        training.trainer._balance_batch(training.queue.batch("train", []), metrics={})


##### Advantages


def stepped(folder, monkeypatch, *overrides, expert=(RIGHT, WRONG)):
    """A training up to the advantages."""
    training = Training(folder, monkeypatch, SEEDED, *overrides)
    metrics = {}
    batch = training.sample(answers(fakes.make_tokenizer(), expert))
    batch = training.trainer._balance_batch(batch, metrics=metrics)
    batch = training.trainer._compute_old_log_prob(batch, metrics)
    batch = training.trainer._compute_advantage(batch, metrics)
    return training, batch, metrics


def by_group(training, batch):
    """Rows of each prompt, padding left out."""
    groups = {}
    for key, tag, row in zip(batch.keys, batch.tags, training.rows(batch), strict=True):
        if not tag.get("is_padding", False):
            groups.setdefault(key.rsplit("_", 2)[0], []).append(row)
    return list(groups.values())


@pytest.mark.parametrize("group", ["replace", "reserve", "always"])
@pytest.mark.parametrize("std", ["unbiased", "none"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("baseline", ["mixed", "on_policy"])
def test_advantages(folder, monkeypatch, group, std, alpha, baseline):
    """What is trained with is the reference's, whether verl computes it or the workers have."""
    training, batch, _ = stepped(
        folder,
        monkeypatch,
        "icpo.n_off=2",
        f"icpo.group={group}",
        f"icpo.advantages.std={std}",
        f"icpo.advantages.baseline={baseline}",
        f"icpo.bonus.alpha={alpha}",
    )
    experts = 0
    for rows in by_group(training, batch):
        expert = torch.tensor([bool(row["icpo_expert"]) for row in rows])
        rewards = torch.tensor([float(row["rm_scores"].sum()) for row in rows]).double()
        shaped = rewards + alpha * (expert & (rewards >= 1))
        expected = reference.group_advantages(
            shaped,
            torch.zeros(len(rows), dtype=torch.int64),
            std=std,
            baseline=baseline,
            expert_mask=expert,
        )
        for row, value in zip(rows, expected.tolist(), strict=True):
            for name in ("advantages", "returns"):
                assert row[name].shape == row["responses"].shape
                assert row[name].dtype == torch.float32
                np.testing.assert_allclose(row[name], value, rtol=1e-5, atol=1e-6)
            # The workers' own, of which verl's are none other unless the settings ask.
            np.testing.assert_allclose(row[ADVANTAGE_FIELD], value, rtol=1e-5, atol=1e-6)
        experts += int(expert.sum())
    assert experts > 0


@pytest.mark.parametrize("overrides", [[], ["icpo.bonus.alpha=0.5"]])
def test_verls_advantages_are_replaced_only_if_the_settings_ask(folder, monkeypatch, overrides):
    training = Training(folder, monkeypatch, SEEDED, *overrides)
    batch = training.sample(answers(fakes.make_tokenizer()))
    batch = training.trainer._balance_batch(batch, metrics={})
    batch = training.trainer._compute_old_log_prob(batch, {})
    for row in training.rows(batch):
        row[ADVANTAGE_FIELD] = torch.tensor(77.0)
    training.trainer._compute_advantage(batch, {})
    for row in training.rows(batch):
        assert (row["advantages"] == 77).all() == bool(overrides)


def test_padding_is_worth_nothing(folder, monkeypatch):
    """Groups that are short are filled up with rows that verl clones of the first."""
    training, batch, _ = stepped(
        folder, monkeypatch, "icpo.group=reserve", "icpo.bonus.alpha=0.5", expert=(WRONG,)
    )
    padding = [
        row
        for tag, row in zip(batch.tags, training.rows(batch), strict=True)
        if tag.get("is_padding", False)
    ]
    assert len(padding) == PROMPTS
    for row in padding:
        assert row["response_mask"].sum() == 0
        assert row["advantages"].abs().sum() == 0


##### Figures


def test_figures_that_expert_rows_falsify_are_left_out(folder, monkeypatch):
    *_, metrics = stepped(folder, monkeypatch)
    assert "actor/entropy" in metrics
    assert not [name for name in metrics if "probs_diff" in name or "pearson" in name]


@pytest.mark.parametrize(
    ("group", "expert", "padded"),
    [("replace", RIGHT, 0), ("reserve", RIGHT, 0), ("reserve", WRONG, PROMPTS)],
)
def test_figures_of_rollouts(folder, monkeypatch, group, expert, padded):
    training, batch, metrics = stepped(folder, monkeypatch, f"icpo.group={group}", expert=(expert,))
    assert sum(tag.get("is_padding", False) for tag in batch.tags) == padded
    training.trainer._compute_metrics(batch, metrics, TIMES, global_steps=1, epoch=0)
    groups = by_group(training, batch)
    rows = [row for rows in groups for row in rows]
    experts = [row for row in rows if row["icpo_expert"]]
    scores = [float(row["rm_scores"].sum()) for row in rows]
    # Padding is cloned of a row that carries its group's sums; it counts no second time.
    assert metrics["icpo/prompts"] == PROMPTS
    assert metrics["icpo/batch/rows"] == len(rows)
    assert metrics["icpo/expert/entered"] == len(experts)
    assert metrics["icpo/batch/reward"] == pytest.approx(np.mean(scores))
    assert metrics["critic/score/mean"] == pytest.approx(np.mean(scores))
    assert metrics["icpo/expert/requests"] == PROMPTS
    assert metrics["icpo/policy/requests"] == PROMPTS * (N if group == "replace" else N - 1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], ""),
        (["icpo.max_prompt_tokens=8"], "(failed 3)"),
        (["icpo.n_off=0", "icpo.demonstrations.source=null"], ""),
    ],
)
def test_a_step_without_any_expert_rollout_is_told(folder, monkeypatch, capsys, overrides, said):
    """A reason that holds for every prompt makes a run one of GRPO."""
    training, batch, metrics = stepped(folder, monkeypatch, *overrides)
    training.trainer._compute_metrics(batch, metrics, TIMES, global_steps=1, epoch=0)
    told = f"icpo: warning: step 1 was one of GRPO: no expert request gave a rollout {said}"
    assert (told in capsys.readouterr().out) is bool(said)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("mini_batch", [1, PROMPTS])
def test_figures_of_the_update(folder, monkeypatch, epochs, mini_batch):
    """verl averages over updates; sums of a step are what figures are made of."""
    training = Training(
        folder,
        monkeypatch,
        SEEDED,
        f"actor_rollout_ref.actor.ppo_epochs={epochs}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={mini_batch}",
    )
    trainer, workers = training.trainer, training.trainer.actor_rollout_wg
    batch = trainer._balance_batch(training.sample(answers(trainer.tokenizer)), metrics={})
    updates = epochs * PROMPTS // mini_batch
    rng = np.random.default_rng(0)
    names = [*LossMetrics.NAMES, loss_module._DIFFERENCE]
    each = rng.random((updates, len(names)))  # of each update
    workers.updates = {
        loss_module._SUM + name: list(values) for name, values in zip(names, each.T, strict=True)
    }
    workers.updates[loss_module._GREATEST] = [0.25] * updates
    metrics = {}
    trainer._update_actor(batch, metrics)
    expected = LossMetrics(each.sum(axis=0)[:-1])
    for name, value in metrics.items():
        if name.startswith("icpo/update/"):
            own = expected.as_dict()[name.removeprefix("icpo/update/")]
            assert value == pytest.approx(own, rel=1e-12), name
    assert {"icpo/update/on/ratio", "icpo/update/off/gradient_weight"} <= set(metrics)
    on_tokens = expected.total("on_tokens")
    difference = each[:, -1].sum() / on_tokens
    assert metrics["icpo/rollout_probs_difference"] == pytest.approx(difference, rel=1e-12)
    assert metrics["icpo/rollout_probs_difference_max"] == 0.25
    assert not [name for name in metrics if name.startswith(loss_module._SUM)]


def test_sums_survive_verls_reductions():
    """Over micro-batches, ranks and updates; extrema are taken of "max" and "min" alone."""
    from verl.utils.metric import AggregationType, Metric, reduce_metrics

    for name in (*LossMetrics.NAMES, loss_module._DIFFERENCE):
        ranks = []
        for rank in range(2):
            metric = Metric(AggregationType.SUM)
            for micro_batch in range(3):  # IcpoLoss multiplies by the number of ranks
                metric.append(2.0 * (10 * rank + micro_batch))
            ranks.append(metric)
        key = loss_module._SUM + name
        of_update = Metric.aggregate_dp(ranks)
        assert reduce_metrics({key: [of_update, 0.0]})[key] * 2 == 0 + 1 + 2 + 10 + 11 + 12


##### Dumps


@pytest.mark.parametrize("group", ["replace", "reserve", "always"])
def test_dump_has_a_line_for_every_sampled_rollout(folder, monkeypatch, tmp_path, group):
    training, batch, _ = stepped(
        folder,
        monkeypatch,
        f"icpo.group={group}",
        "icpo.n_off=2",
        "icpo.bonus.alpha=0.5",
        f"trainer.rollout_data_dir={tmp_path}",
    )
    training.trainer._log_rollout_data(batch, {}, str(tmp_path))
    training.trainer._shutdown_dump_executor()
    lines = [json.loads(line) for line in (tmp_path / "1.jsonl").read_text().splitlines()]
    asked = training.server.asked
    assert len(lines) == len(asked) == PROMPTS * (N + 2 if group == "replace" else N)
    assert {tuple(line) for line in lines} == {tuple(lines[0])}
    assert {"input", "output", "gts", "score", "step", "uid"} < set(lines[0])
    tokenizer = training.trainer.tokenizer

    def text(ids):
        return tokenizer.decode(ids, skip_special_tokens=True)

    prompts = {text(one.prompt_ids) for one in asked}
    for line in lines:
        question = line["input"].split("What is ")[1].split(" + 1?")[0]
        assert line["gts"] == str(int(question) + 1)
        assert line["input"] in prompts
        assert line["step"] == 1
        right = line["output"].startswith(text([RIGHT]))
        assert line["score"] == line["reward"] == line["acc"] == float(right)
        assert line["pred"] == str(RIGHT if right else WRONG)
        assert line["accepted"] is (line["expert"] and right and line["trained"])
        assert line["bonus"] == (0.5 if line["accepted"] else 0.0)
        assert (line["expert_prompt"] in prompts) is line["expert"]
        assert bool(line["demos"]) is line["expert"]
    assert len({line["uid"] for line in lines}) == len(lines)
    # Group by group in the order of the prompts, and what is trained on first.
    questions = [line["gts"] for line in lines]
    assert questions == sorted(questions, key=int)
    trained = sum(len(rows) for rows in by_group(training, batch))
    assert sum(line["trained"] for line in lines) == trained


##### Resuming


def saved(folder, monkeypatch, tmp_path, steps=2):
    """A training that has drawn for some steps, and saved its checkpoint."""
    training = Training(folder, monkeypatch, f"trainer.default_local_dir={tmp_path}")
    trainer = training.trainer
    for _ in range(steps):
        trainer._next_train_batch()
    trainer.global_steps = steps
    trainer._save_checkpoint()
    return training


def resumed(folder, monkeypatch, tmp_path, *overrides):
    training = Training(folder, monkeypatch, f"trainer.default_local_dir={tmp_path}", *overrides)
    training.trainer._load_checkpoint()
    return training


def told(trainer):
    batch = trainer._next_train_batch()
    return list(batch[DRAWN_FIELD])


@pytest.mark.parametrize("mode", ["auto", "resume_path"])
def test_resumed_draws_are_the_uninterrupted_ones(folder, monkeypatch, tmp_path, mode):
    first = saved(folder, monkeypatch, tmp_path)
    assert (tmp_path / "global_step_2" / "icpo.json").exists()
    overrides = [f"trainer.resume_mode={mode}"]
    if mode == "resume_path":
        overrides.append(f"trainer.resume_from_path={tmp_path}/global_step_2")
    again = resumed(folder, monkeypatch, tmp_path, *overrides)
    assert again.trainer.global_steps == 2
    assert again.trainer.actor_rollout_wg.loaded == str(tmp_path / "global_step_2" / "actor")
    expected = [told(first.trainer) for _ in range(2)]
    assert [told(again.trainer) for _ in range(2)] == expected


def test_resuming_from_another_folder_than_the_one_to_save_in(folder, monkeypatch, tmp_path):
    first = saved(folder, monkeypatch, tmp_path / "old")
    again = resumed(
        folder,
        monkeypatch,
        tmp_path / "new",
        "trainer.resume_mode=resume_path",
        f"trainer.resume_from_path={tmp_path}/old/global_step_2",
    )
    assert told(again.trainer) == told(first.trainer)


def test_checkpoint_of_plain_grpo(folder, monkeypatch, tmp_path, capsys):
    """Goes on at the batch of that number, and says so."""
    first = saved(folder, monkeypatch, tmp_path)
    (tmp_path / "global_step_2" / "icpo.json").unlink()
    again = resumed(folder, monkeypatch, tmp_path)
    assert "step 2 was made without ICPO" in capsys.readouterr().out
    assert told(again.trainer) == told(first.trainer)


def test_without_a_checkpoint_it_begins(folder, monkeypatch, tmp_path):
    again = resumed(folder, monkeypatch, tmp_path)
    assert again.trainer.global_steps == 0
    assert told(again.trainer) == told(Training(folder, monkeypatch).trainer)


def test_checkpoint_of_other_draws_is_refused(folder, monkeypatch, tmp_path):
    saved(folder, monkeypatch, tmp_path)
    with pytest.raises(CheckpointError, match=r"global_step_2.icpo\.json: .*icpo\.seed=0"):
        resumed(folder, monkeypatch, tmp_path, "icpo.seed=4")


def test_state_is_there_before_verl_names_the_folder(folder, monkeypatch, tmp_path):
    """Killed in between, the run resumes from the checkpoint before."""

    def killed(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Workers, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        saved(folder, monkeypatch, tmp_path)
    assert (tmp_path / "global_step_2" / "icpo.json").exists()
    assert not (tmp_path / "latest_checkpointed_iteration.txt").exists()


def test_sums_travel_on_one_row_a_group(folder, monkeypatch):
    training, batch, _ = stepped(folder, monkeypatch)
    for rows in by_group(training, batch):
        assert sum(bool(row[RECORD_FIELD]) for row in rows) == 1
