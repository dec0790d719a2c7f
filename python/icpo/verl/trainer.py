"""verl's synchronous trainer with ICPO: what differs from it, in the order of a step."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from tensordict.tensorclass import NonTensorData, NonTensorStack
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.engine_workers import ActorRolloutRefWorker

from icpo.errors import ConfigError, DataError
from icpo.mixing import GROUPS, LESSON_PLAN, SOURCES, Plan, Timetable
from icpo.types import Demo, Problem
from icpo.verl.checks import TRAINER, check_config, differing_from_preset
from icpo.verl.demos import demo_sampler, load_demonstrations
from icpo.verl.draw import Draws, load_state, save_state
from icpo.verl.dump import DumpRow, dump_columns, dump_rows
from icpo.verl.expert import problem_of
from icpo.verl.given import stored_solutions
from icpo.verl.hooks import check_hooks, plain_class
from icpo.verl.lessons import joined, load_waiting, rows_of, save_waiting, unsolved_in
from icpo.verl.loss import IcpoLoss, take_loss_figures
from icpo.verl.metrics import none_came_back, rollout_figures
from icpo.verl.padding import micro_batch, rows_counted, spread
from icpo.verl.rollout import ADVANTAGE_FIELD, DRAWN_FIELD, GIVEN_FIELD, RECORD_FIELD
from icpo.verl.settings import clips_of

__all__ = ["IcpoTrainer"]

#: In the place of a prompt for which nothing is drawn.
_UNASKED = Problem(id="", question="", answer="")


@register_trainer(TRAINER)
class IcpoTrainer(PPOTrainerSync):  # type: ignore[misc]  # verl is not typed
    """GRPO by verl, with expert rollouts."""

    def __init__(self, config: Any) -> None:
        """Checks verl and the settings once more: nobody has to come by `icpo.verl.start`."""
        version = check_hooks()
        self.settings = check_config(config)
        with open_dict(config):
            # The base class asks for the literal name of its own mode.
            config.trainer.v1.trainer_mode = "sync"
            # Its figures compare log-probabilities of rollout and actor, which expert rows have
            # under different prompts.
            config.algorithm.rollout_correction = None
            std = self.settings.loss().advantage_std
            config.algorithm.norm_adv_by_std_in_grpo = std == "unbiased"
        super().__init__(config)
        self.plan = self.settings.plan(config.actor_rollout_ref.rollout.n)
        sampler, demonstrations = None, "no demonstrations"
        if self.settings.shows_demos:
            loaded = load_demonstrations(self.settings.demonstrations)
            sampler = demo_sampler(self.settings.demonstrations, loaded)
            demonstrations = f"{len(loaded.pool)} demonstrations"
            if loaded.message:
                print(f"icpo: {loaded.message}", flush=True)
        self.draws = Draws(sampler, self.settings.n_off, self.settings.seed)
        self.timetable: Timetable[Any]
        #: The row of each prompt of the step, by uid; whether its solution is imitated only.
        self._asked: dict[str, Any] = {}
        self._lesson = False
        self._places: dict[str, tuple[int, int]] = {}
        self._dispatched = 0
        #: Prompts of the last step, whose places nobody asks for any more in the next.
        self._trained: set[str] = set()
        self._announce(version, demonstrations)

    def _announce(self, version: str, demonstrations: str) -> None:
        loss = self.settings.loss(**clips_of(self.config.actor_rollout_ref.actor))
        plan, bonus = self.plan, self.settings.bonus
        print(
            f"icpo: on, in verl {version}: {plan.policy_rollouts} on-policy rollouts and "
            f"{plan.n_off} expert ones a prompt (group {plan.group}, target {plan.target}, "
            f"delta {plan.delta:g}), ratio {loss.off_ratio} with lambda {loss.lam:g}, "
            f"{'clipped' if loss.off_clip else 'not clipped'}, bonus {bonus.alpha:g}, "
            f"advantages {loss.advantage_std}/{loss.advantage_baseline}, source {plan.source}, "
            f"likelihood {loss.sft_coef:g}, lessons {self.settings.lessons.when}, {demonstrations}",
            flush=True,
        )
        for note in differing_from_preset(self.config, self.settings):
            print(f"icpo: note: {note}", flush=True)

    ##### Start

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        self.timetable = Timetable(
            self.settings.imitation(),
            total_steps=self.total_training_steps,
            batch=self.config.data.train_batch_size,
        )
        # A data set of another class than verl's is looked at row by row, as training goes on.
        table: Any = getattr(self.train_dataset, "dataframe", None)
        if not hasattr(table, "column_names"):
            return
        messages = table[self.config.data.prompt_key]
        told = "extra_info" in table.column_names
        extras = table["extra_info"] if told else [None] * len(messages)
        self._check_solutions(extras, "data.train_files")
        if self.draws.sampler is not None:
            self.draws.sampler.check(
                self._problem(said, extra) for said, extra in zip(messages, extras, strict=True)
            )

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        from icpo.verl.worker import IcpoWorker

        for role, worker in self.role_worker_mapping.items():
            if issubclass(plain_class(worker), ActorRolloutRefWorker):
                self.role_worker_mapping[role] = ray.remote(IcpoWorker)

    def on_init_end(self) -> None:
        """Gives the workers the loss. A registered one alone would not see which rows are which."""
        actor = self.config.actor_rollout_ref.actor
        self._check_means()
        self.actor_rollout_wg.set_loss_fn(
            IcpoLoss(omega_conf_to_dataclass(actor), self.settings.loss(**clips_of(actor)))
        )
        super().on_init_end()

    def _check_means(self) -> None:
        """Refuses means over rows of which verl counts more than there are."""
        plans = [self.plan] if self.settings.lessons.when is None else [self.plan, LESSON_PLAN]
        mode = self.config.actor_rollout_ref.actor.loss_agg_mode
        for plan in plans:
            rows, counted = plan.policy_rollouts + plan.n_off, self._counted(plan)
            if not GROUPS[plan.group].counts and counted != rows and mode.startswith("seq-mean"):
                raise ConfigError(
                    f"actor_rollout_ref.actor.loss_agg_mode: expected 'token-mean', because verl "
                    f"would divide by {counted} rows a prompt where group {plan.group!r} has "
                    f"{rows}, got {mode!r}; or dynamic micro-batches, whose number of rows need "
                    "not divide a mini-batch"
                )

    def _save_checkpoint(self) -> None:
        # First: verl's last act is to name the folder as the one to resume from.
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        save_state(folder, self.draws)
        if self.settings.lessons.when is not None:
            save_waiting(folder, self.timetable)
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        trainer = self.config.trainer
        if trainer.resume_mode == "resume_path":
            folder = Path(trainer.resume_from_path)
        else:
            folder = Path(trainer.default_local_dir) / f"global_step_{self.global_steps}"
        load_waiting(folder, self.timetable)
        if self.global_steps > 0 and not load_state(folder, self.draws):
            self.draws.skip(self.global_steps)
            print(
                f"icpo: the checkpoint of step {self.global_steps} was made without ICPO; "
                f"demonstrations begin with those of batch {self.global_steps}",
                flush=True,
            )

    ##### A step

    @property
    def _gives_up(self) -> bool:
        """Whether engines may still be at work on expert requests when they are put to sleep."""
        engines_sleep = self.config.actor_rollout_ref.rollout.free_cache_engine
        return bool(
            engines_sleep and self.settings.n_off and self.settings.expert_timeout is not None
        )

    def on_sample_end(self) -> None:
        """As in verl. vLLM dies if its memory is taken while it works on a request."""
        if self._gives_up:
            self.checkpoint_manager.abort_replicas()
        super().on_sample_end()

    def on_step_end(self) -> None:
        """As in verl; engines that were told to abort wait to be told to go on."""
        super().on_step_end()
        if self._gives_up:
            self.checkpoint_manager.resume_generation_replicas()

    def _next_train_batch(self, num_prompts: int | None = None) -> Any:
        """The next prompts, and what is drawn for each."""
        batch = self._lesson_batch()
        self._lesson = batch is not None
        if batch is None:
            batch = super()._next_train_batch(num_prompts)
        if self.settings.lessons.when == "hardest":
            self._asked = dict(zip(_items(batch, "uid"), rows_of(batch), strict=True))
        self._check_agents(batch)
        messages = _items(batch, "raw_prompt")
        extras = _items(batch, "extra_info") if "extra_info" in batch else [None] * len(messages)
        self._check_solutions(extras, f"step {self.global_steps}")
        problems = [
            self._problem(said, extra) if self.settings.shows_demos else _UNASKED
            for said, extra in zip(messages, extras, strict=True)
        ]
        drawn = [NonTensorData(told) for told in self.draws.draw(problems, lesson=self._lesson)]
        batch[DRAWN_FIELD] = NonTensorStack.from_list(drawn)
        for place, uid in enumerate(_items(batch, "uid")):
            self._places[uid] = (self._dispatched, place)
        self._dispatched += 1
        return batch

    def _lesson_batch(self) -> Any:
        """The prompts whose solutions the step imitates; None: it is one of reinforcement."""
        draw = super()._next_train_batch
        rows = self.timetable.lesson(self.global_steps, lambda count: rows_of(draw(count)))
        return None if rows is None else joined(rows, self.global_steps)

    def _check_agents(self, batch: Any) -> None:
        agents = set(_items(batch, "agent_name")) if "agent_name" in batch else set()
        if (self.settings.n_off or self._lesson) and agents - {"single_turn_agent"}:
            raise DataError(
                "agent_name: expected 'single_turn_agent' in every row with icpo=on, because "
                f"expert prompts are of one turn, got {', '.join(sorted(agents))}"
            )
        for name in ("__rollout_n__", "__do_sample__"):
            if name in batch:
                raise ConfigError(f"{name}: expected none with icpo=on, got it in the data")

    def _check_solutions(self, extras: Iterable[Any], where: str) -> None:
        if not self.settings.reads_solutions:
            return
        for place, extra in enumerate(extras):
            try:
                stored_solutions(extra, self.settings.solution)
            except DataError as error:
                # verl may have left out rows before it.
                index = (extra or {}).get("index", place)
                raise DataError(f"{where}: row of index {index!r}: {error}") from error

    def _problem(self, messages: Any, extra: Any) -> Problem:
        return problem_of(messages, extra, self.settings)

    def _balance_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """In the order of the prompts, not in that in which they were finished: runs repeat.

        verl fills the batch up; see `spread`.
        """
        if len(batch) == 0:
            raise DataError(
                f"step {self.global_steps}: every prompt of the batch failed; the log of the agent "
                "loop workers says why"
            )

        def place(row: int) -> tuple[int, int, int, int]:
            uid, session, index = batch.keys[row].rsplit("_", 2)
            return *self._places[uid], int(session), int(index)

        batch.reorder(sorted(range(len(batch)), key=place))
        self._take_note(batch)
        for uid in self._trained:
            self._places.pop(uid, None)
        self._trained = {key.rsplit("_", 2)[0] for key in batch.keys}
        with self._rows_as_they_are():
            batch = super()._balance_batch(batch, *args, **kwargs)
        padding = [tag.get("is_padding", False) for tag in batch.tags]
        updates = len(batch) // self._rows_of_update
        if any(padding) and updates > 1:
            batch.reorder(spread(padding, self._ranks, updates))
        return batch

    def _take_note(self, batch: Any) -> None:
        """What later steps have to know of this one, before anything of it is saved."""
        if self.settings.demonstrations.rule is not None:
            # `_records` keeps the order of the prompts.
            found = [record["solved"] for record in self._records(batch).values()]
            self.draws.join(Demo(**row) for row in found if row is not None)
        if self.settings.lessons.when == "hardest" and not self._lesson:
            records = self._records(batch)
            for id, row in unsolved_in(records, self._asked, self.settings.delta):
                self.timetable.met(id, row)

    @property
    def _rows_of_update(self) -> int:
        return int(self.config.actor_rollout_ref.actor.ppo_mini_batch_size * self._rows_of_prompt)

    @property
    def _rows_of_prompt(self) -> int:
        """The rows by which a prompt of this step is counted."""
        plan = LESSON_PLAN if self._lesson else self.plan
        return self._counted(plan)

    def _counted(self, plan: Plan) -> int:
        if GROUPS[plan.group].counts:
            return int(self.config.actor_rollout_ref.rollout.n)
        prompts = self.config.actor_rollout_ref.actor.ppo_mini_batch_size
        rows = plan.policy_rollouts + plan.n_off
        return rows_counted(rows, prompts, self._ranks * micro_batch(self.config))

    @property
    def _ranks(self) -> int:
        """Data-parallel ones, asked for as verl does."""
        group = self.actor_rollout_wg
        if "actor" not in group._dispatch_info:
            group._dispatch_info["actor"] = group._query_dispatch_info("actor")
        return int(max(group._dispatch_info["actor"])) + 1

    @contextlib.contextmanager
    def _rows_as_they_are(self) -> Iterator[None]:
        """Makes verl count the rows of a prompt as `_rows_of_prompt` does; see `rows_counted`."""
        rollout = self.config.actor_rollout_ref.rollout
        n, rollout.n = rollout.n, self._rows_of_prompt
        try:
            yield
        finally:
            rollout.n = n

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """As in verl, without figures that expert rows falsify; `_update_actor` has others."""
        batch = super()._compute_old_log_prob(batch, metrics)
        for name in [name for name in metrics if name.startswith("training/rollout_")]:
            if "probs" in name:
                del metrics[name]
        if self.settings.n_off and SOURCES[self.settings.source].solutions:
            self._complete_given(batch)
        return batch

    def _complete_given(self, batch: Any) -> None:
        """Fills in what is not known of tokens that were given until the policy has seen them.

        No sampler has probabilities of them, so ratios are over log πold(τ|x). And of a beginning
        only the tokens are left to the loss of which the policy was least certain.
        """
        continued, prefix = SOURCES[self.settings.source].continued, self.settings.beginnings()
        found = _fetch(batch, [GIVEN_FIELD, "entropy", "old_log_probs", "response_mask"])
        keys, masks, logps = [], [], []
        for key, tag, given, entropy, logp, mask in zip(
            batch.keys,
            batch.tags,
            found[GIVEN_FIELD],
            found["entropy"].unbind(),
            found["old_log_probs"].unbind(),
            found["response_mask"].unbind(),
            strict=True,
        ):
            if tag.get("is_padding", False) or given == 0:
                continue
            if continued:
                trained = torch.from_numpy(prefix.trained(int(given), entropy.float().numpy()))
                mask = mask * trained.to(mask.dtype)
            keys.append(key)
            masks.append(mask)
            logps.append(logp.float())
        if keys:
            jagged = torch.nested.as_nested_tensor(masks, layout=torch.jagged)
            fields = {
                "response_mask": jagged,
                "loss_mask": jagged,
                "rollout_log_probs": torch.nested.as_nested_tensor(logps, layout=torch.jagged),
            }
            tq.kv_batch_put(
                keys=keys,
                partition_id=batch.partition_id,
                fields=TensorDict(fields, batch_size=len(keys)),
            )

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """verl's GRPO; in its place, if the settings ask for it, what the workers have found."""
        if not self.settings.own_advantages:
            return super()._compute_advantage(batch, metrics)
        found = _fetch(batch, [ADVANTAGE_FIELD, "response_mask"])
        mask = found["response_mask"]
        each = [
            row_mask.to(torch.float32) * advantage
            for row_mask, advantage in zip(mask.unbind(), found[ADVANTAGE_FIELD], strict=True)
        ]
        advantages = torch.nested.as_nested_tensor(each, layout=torch.jagged)
        return tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict(
                {"advantages": advantages, "returns": advantages}, batch_size=len(batch)
            ),
        )

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """The update, and the figures of both sides of the loss."""
        with self._rows_as_they_are():
            batch = super()._update_actor(batch, metrics)
        epochs = self.config.actor_rollout_ref.actor.ppo_epochs
        metrics.update(take_loss_figures(metrics, len(batch) // self._rows_of_update * epochs))
        return batch

    def _compute_metrics(
        self, batch: Any, metrics: dict[str, Any], timing_raw: Any, global_steps: int, epoch: int
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        records = self._records(batch)
        figures = rollout_figures(record["sums"] for record in records.values())
        metrics.update(figures)
        if reason := none_came_back(figures):
            print(f"icpo: warning: step {global_steps} was one of GRPO: {reason}", flush=True)
        sampler = self.draws.sampler
        metrics["icpo/demonstrations/solved"] = float(len(sampler.solved) if sampler else 0)
        metrics["icpo/lesson"] = float(self._lesson)
        # A prompt to which nobody has answered leaves no record, and is in no other count.
        metrics["icpo/prompts/lost"] = float(self.config.data.train_batch_size - len(records))

    def _records(self, batch: Any) -> dict[str, dict[str, Any]]:
        """What the workers told of each group, by uid."""
        rows = [
            key
            for key, tag in zip(batch.keys, batch.tags, strict=True)
            if not tag.get("is_padding", False) and key.rsplit("_", 2)[1] == "0"
        ]
        found = tq.kv_batch_get(
            keys=rows, partition_id=batch.partition_id, select_fields=[RECORD_FIELD]
        )
        records = _items(found, RECORD_FIELD)
        return {key.rsplit("_", 2)[0]: of for key, of in zip(rows, records, strict=True) if of}

    def _log_rollout_data(
        self, batch: Any, timing_raw: dict[str, Any], rollout_data_dir: str
    ) -> None:
        """verl's dump, with what is known of each rollout, and those that are not trained on."""
        lines = self._dump_lines(batch)
        self._dump_generations(
            inputs=[line.input for line in lines],
            outputs=[line.output for line in lines],
            gts=[line.gold for line in lines],
            scores=[line.score for line in lines],
            reward_extra_infos_dict=dump_columns(lines),
            dump_path=rollout_data_dir,
        )

    def _dump_lines(self, batch: Any) -> list[DumpRow]:
        def decode(ids: Any) -> str:
            text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
            return text

        records = self._records(batch)
        found = _fetch(batch, ["prompts", "responses", "rm_scores", "reward_model"])
        golds = _items(found, "reward_model") if "reward_model" in found else [None] * len(batch)
        prompts: dict[str, tuple[str, Any]] = {}
        rows: dict[str, dict[int, tuple[str, float]]] = defaultdict(dict)
        for key, tag, prompt, response, scores, gold in zip(
            batch.keys,
            batch.tags,
            found["prompts"].unbind(),
            found["responses"].unbind(),
            found["rm_scores"].unbind(),
            golds,
            strict=True,
        ):
            uid, session, _ = key.rsplit("_", 2)
            if tag.get("is_padding", False) or uid not in records:
                continue
            prompts.setdefault(uid, (decode(prompt), (gold or {}).get("ground_truth")))
            rows[uid][int(session)] = decode(response), float(scores.sum())
        order = sorted(rows, key=lambda uid: self._places[uid])
        return [
            line
            for uid in order
            for line in dump_rows(uid, *prompts[uid], rows[uid], records[uid], decode)
        ]


def _fetch(batch: Any, fields: list[str]) -> Any:
    return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)


def _items(batch: Any, field: str) -> list[Any]:
    """A field that holds no tensors, as a list."""
    found = batch[field]
    return [getattr(item, "data", item) for item in found]
