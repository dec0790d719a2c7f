"""Rollouts in verl's agent-loop workers: expert requests beside the plain ones (lines 5 to 12 of
Algorithm 1).

For each prompt a worker asks the rollout engine for on-policy responses and expert ones together,
has them scored by verl's reward workers, forms the group, and puts its rows into verl's transfer
queue: all behind the plain prompt, expert rows with the log-probabilities under the prompt that
they were sampled from.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import ray
import torch
import transfer_queue as tq
from verl.trainer.ppo.v1 import AgentLoopManagerTQ, AgentLoopWorkerTQ

from icpo.demos import DemoPool, ExpertPrompt, solved_demo
from icpo.errors import DataError
from icpo.mixing import LESSON_PLAN, Plan
from icpo.mixing.rules import SOURCES, TARGETS
from icpo.types import Demo, Problem, Tokens
from icpo.verl import given
from icpo.verl.demos import load_demonstrations
from icpo.verl.expert import AGENT, EXPERT_PROMPT, asked, expert_prompts, problem_of
from icpo.verl.group import GroupRules, Response, form_group, is_right
from icpo.verl.hooks import plain_class
from icpo.verl.loss import EXPERT_FIELD
from icpo.verl.metrics import RequestMetrics, packed
from icpo.verl.settings import IcpoSettings, clips_of

__all__ = ["ADVANTAGE_FIELD", "DRAWN_FIELD", "GIVEN_FIELD", "RECORD_FIELD", "IcpoAgentLoopManager"]

logger = logging.getLogger(__name__)

#: What the trainer drew for a prompt: ``demos``, ids for each expert request; ``seed``; ``pool``,
#: the fingerprint of the pool that the ids are of; ``joined``, those that are not in it;
#: ``lesson``, whether it is imitated only.
DRAWN_FIELD = "icpo_drawn"
#: Of each row, how many tokens of the response were given, the first ones.
GIVEN_FIELD = "icpo_given"
#: Of each row, Â by the conventions of the settings.
ADVANTAGE_FIELD = "icpo_advantage"
#: On the first row of each group, sums and what a dump needs; empty on the others.
RECORD_FIELD = "icpo_record"

#: Keyword that keeps a response from the transfer queue until its group is formed.
_HOLD = "icpo_hold"

_Worker = plain_class(AgentLoopWorkerTQ)  # Ray refuses to derive from an actor


class EmptyResponse(Exception):
    """No token came back."""


@dataclass(frozen=True)
class _Request:
    """A request for an expert rollout."""

    #: What it has in place of the prompt's own fields.
    row: dict[str, Any]
    #: Sampling parameters.
    params: dict[str, int]
    #: Ids of the demonstrations in the prompt.
    demos: tuple[str, ...] = ()
    #: Tokens of the response that are given.
    given: int = 0


class _GroupWorker(_Worker):  # type: ignore[misc, valid-type]  # verl is not typed
    """verl's worker, with groups in place of single responses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rollout, actor = self.config.actor_rollout_ref.rollout, self.config.actor_rollout_ref.actor
        self.settings = IcpoSettings.of_workers(self.config)
        self.rules = GroupRules(
            plan=self.settings.plan(rollout.n),
            loss=self.settings.loss(**clips_of(actor)),
            bonus=self.settings.annealed_bonus(),
            # The trainer has filled this in before workers start.
            total_steps=max(actor.optim.total_training_steps, 1),
            response_length=rollout.response_length,
        )
        self.online = self.settings.demonstrations.rule if self.settings.shows_demos else None
        self.dump = bool(self.config.trainer.get("rollout_data_dir"))
        self.pool: DemoPool | None = None
        self.demos: dict[str, Demo] = {}
        if self.settings.reads_solutions:
            self.encode = given.encoder(self.tokenizer)
        if self.settings.shows_demos:
            self.pool = load_demonstrations(self.settings.demonstrations).pool
            self.demos = {demo.id: demo for demo in self.pool}
            self.prompts = expert_prompts(
                self.settings.demonstrations.template,
                self.tokenizer,
                self.hf_model_type,
                self.config.data.get("apply_chat_template_kwargs") or {},
                self.settings.max_prompt_tokens or rollout.prompt_length,
                self.processor,
            )

    async def generate_sequences(self, batch: Any) -> None:
        """As in verl. An error here stops the run; in the tasks it begins, it costs a prompt."""
        if self.pool is not None and DRAWN_FIELD in batch:
            found = batch.get(DRAWN_FIELD)[0].data["pool"]
            if found != self.pool.fingerprint:
                raise DataError(
                    "icpo.demonstrations.source: expected the same demonstrations on every node, "
                    f"got others on {ray.util.get_node_ip_address()}"
                )
        await super().generate_sequences(batch)

    async def _run_prompt(
        self,
        prompt: dict[str, Any],
        sampling_params: dict[str, Any],
        trajectory: dict[str, Any],
        trace: bool = False,
    ) -> None:
        """Everything for one prompt. Validation is left to verl."""
        if trajectory["validate"]:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
            return
        uid = prompt["uid"]
        await tq.async_kv_put(key=uid, partition_id="train", tag={"status": "running"})
        try:
            failed = await self._run_group(prompt, sampling_params, trajectory, trace)
            status = "failure" if failed else "finished"
        except Exception:
            # The trainer waits for every prompt; verl counts and replaces those that failed.
            logger.exception("icpo: the group of prompt %s failed", uid)
            status = "failure"
        await tq.async_kv_put(key=uid, partition_id="train", tag={"status": status})

    async def _run_group(
        self,
        prompt: dict[str, Any],
        sampling_params: dict[str, Any],
        trajectory: dict[str, Any],
        trace: bool,
    ) -> int:
        """Samples and stores a group. Returns how many on-policy requests failed."""
        drawn = prompt.pop(DRAWN_FIELD)
        plan, counts = LESSON_PLAN if drawn["lesson"] else self.rules.plan, Counter[str]()
        rng = np.random.default_rng(drawn["seed"])
        seeds = rng.integers(2**63, size=plan.policy_rollouts + plan.n_off).tolist()

        def ask(session: int, row: dict[str, Any], **more: Any) -> Any:
            params = {**sampling_params, **more}
            if self.settings.seed_requests:
                params["seed"] = seeds[session]
            return self._run_agent_loop(
                params,
                trajectory=trajectory,
                trace=trace,
                session_id=session,
                **{_HOLD: True, **row},
            )

        if SOURCES[plan.source].solutions:
            requests = self._given(prompt, plan, rng, counts)
        else:
            requests = [
                functools.partial(self._shown, prompt, demos, counts)
                for demos in self._drawn(drawn)
            ]
        policy_tasks = [
            asyncio.ensure_future(ask(session, prompt)) for session in range(plan.policy_rollouts)
        ]

        def ask_experts() -> list[asyncio.Task[Response | None]]:
            return [
                asyncio.ensure_future(
                    self._ask_expert(ask, plan.policy_rollouts + turn, prompt, request, counts)
                )
                for turn, request in enumerate(requests)
            ]

        waits = TARGETS[plan.target].needs_rewards
        expert_tasks = [] if waits else ask_experts()
        settled = await asyncio.gather(*policy_tasks, return_exceptions=True)
        policy = [Response(outputs) for outputs in settled if isinstance(outputs, list)]
        if waits and plan.expert_rollouts([response.reward for response in policy]) and policy:
            expert_tasks = ask_experts()
        expert = [found for found in await asyncio.gather(*expert_tasks) if found is not None]

        errors = [error for error in settled if isinstance(error, BaseException)]
        if errors:  # one line a prompt: what breaks all of them would fill a disk
            logger.error(
                "icpo: %d of %d on-policy requests of %s failed, the first with %r",
                len(errors),
                len(settled),
                prompt["uid"],
                errors[0],
            )
        counts["policy_requests"], counts["policy_failed"] = len(settled), len(errors)
        if plan.policy_rollouts and not policy:
            return len(errors)
        if not policy and not expert:
            logger.error("icpo: no solution of %s can be imitated: %s", prompt["uid"], dict(counts))
            return 1
        # Token by token as the engine got it; behind a stored solution it is x, too.
        x = list([*policy, *expert][0].final.prompt_ids)
        await self._store(prompt, x, policy, expert, plan, rng, counts)
        return len(errors)

    async def _ask_expert(
        self,
        ask: Any,
        session: int,
        prompt: dict[str, Any],
        request: Callable[[], Awaitable[_Request | None]],
        counts: Counter[str],
    ) -> Response | None:
        """An expert rollout; None: there is none, which costs nothing else."""
        try:
            made = await request()
            if made is None:
                return None
            counts["requests"] += 1
            outputs = await asyncio.wait_for(
                ask(session, {**prompt, **made.row}, **made.params), self.settings.expert_timeout
            )
            if len(outputs) != 1:
                raise DataError(f"expected one output of an expert request, got {len(outputs)}")
        except asyncio.TimeoutError:
            counts["timed_out"] += 1
        except EmptyResponse:
            counts["empty"] += 1
        except Exception as error:  # whatever engine, server and reward function raise
            counts["failed"] += 1
            logger.warning("icpo: an expert request of %s failed: %r", prompt["uid"], error)
        else:
            return Response(outputs, True, made.demos, made.given)
        return None

    async def _shown(
        self, prompt: dict[str, Any], demos: Sequence[Demo], counts: Counter[str]
    ) -> _Request | None:
        """The request for a rollout with these demonstrations; None: none of them fits in."""
        made = await self._made_aside(prompt, demos)
        counts["demos_dropped"] += made.dropped
        if not made.demos:
            counts["bare"] += 1
            return None
        return _Request(
            {"agent_name": AGENT, EXPERT_PROMPT: made.tokens.tolist()},
            self._length(made.tokens),
            demos=tuple(demo.id for demo in made.demos),
        )

    def _given(
        self,
        prompt: dict[str, Any],
        plan: Plan,
        rng: np.random.Generator,
        counts: Counter[str],
    ) -> list[Callable[[], Awaitable[_Request | None]]]:
        """The requests for stored solutions of a prompt, whole or begun."""
        texts = given.stored_solutions(prompt.get("extra_info"), self.settings.solution)
        continued = SOURCES[plan.source].continued
        limit, step = self.rules.response_length, int(prompt["global_steps"])
        shares = rng.random(plan.n_off)

        async def request(text: str, share: float) -> _Request | None:
            tokens = await asyncio.get_running_loop().run_in_executor(None, self.encode, text)
            if len(tokens) > limit:
                counts["too_long"] += 1
                return None
            if continued:
                prefix = self.settings.beginnings()
                tokens = tokens[
                    : prefix.length(len(tokens), step - 1, self.rules.total_steps, share)
                ]
            row = {"agent_name": given.AGENT, given.GIVEN: tokens, given.CONTINUED: continued}
            params = {"max_tokens": limit - len(tokens)} if continued else {}
            return _Request(row, params, given=len(tokens))

        pairs = zip(texts[: plan.n_off], shares.tolist(), strict=False)
        return [functools.partial(request, *pair) for pair in pairs]

    def _drawn(self, drawn: Mapping[str, Any]) -> list[list[Demo]]:
        """The demonstrations of each expert request."""
        joined = {row["id"]: Demo(**row) for row in drawn["joined"]}
        return [[joined.get(id) or self.demos[id] for id in ids] for ids in drawn["demos"]]

    async def _solved(self, prompt: dict[str, Any], policy: list[Response]) -> Demo | None:
        """What the prompt becomes if it is solved; None: no demonstration.

        One that is too long before its own question would be too long before most.
        """
        if self.online is None:
            return None

        def text(place: int) -> str:
            tokens = policy[place].final.response_ids
            decoded: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
            return decoded

        answer = self.online.answer([is_right(one, self.rules) for one in policy], text)
        if answer is None:
            return None
        demo = solved_demo(self._problem(prompt), answer)
        made = await self._made_aside(prompt, [demo])
        return demo if made.demos else None

    async def _made_aside(self, prompt: dict[str, Any], demos: Sequence[Demo]) -> ExpertPrompt:
        """An expert prompt. In a thread, as verl makes its prompts: a long one takes a while."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._expert_prompt, prompt, demos)

    def _expert_prompt(self, prompt: dict[str, Any], demos: Sequence[Demo]) -> ExpertPrompt:
        messages = prompt["raw_prompt"]
        return self.prompts(messages).expert(asked(messages, self._problem(prompt)), demos)

    async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> Any:
        """Scores a response; those of a group are handed back, all others go on as in verl."""
        if not kwargs.pop(_HOLD, False):
            return await super()._agent_loop_postprocess(output, validate, **kwargs)
        outputs = output if isinstance(output, list) else [output]
        if not outputs or not outputs[-1].response_ids:
            raise EmptyResponse("the response has no token")
        for name in (EXPERT_PROMPT, given.GIVEN, given.CONTINUED):
            kwargs.pop(name, None)
        await self._compute_score(outputs, kwargs=kwargs)
        return outputs

    async def _store(
        self,
        prompt: dict[str, Any],
        x: list[int],
        policy: list[Response],
        expert: list[Response],
        plan: Plan,
        rng: np.random.Generator,
        counts: Counter[str],
    ) -> None:
        """Forms the group, and puts its rows into the transfer queue."""
        step = int(prompt["global_steps"])
        problem = Problem(id=prompt["uid"], question="", answer="")  # is what errors name
        solved = await self._solved(prompt, policy)
        group = form_group(problem, policy, expert, replace(self.rules, plan=plan), step, rng)
        fields = {key: value for key, value in prompt.items() if key != "agent_name"}
        record: dict[str, Any] = {
            "sums": packed(group.metrics, RequestMetrics.of(counts)),
            "solved": None if solved is None else asdict(solved),
            "rows": [
                self._described(row.response, trained=True, accepted=row.accepted, bonus=row.bonus)
                for row in group.rows
            ],
            "left_out": [
                self._described(response, trained=False, accepted=False, bonus=0.0)
                for response in group.left_out
            ],
        }
        for session, row in enumerate(group.rows):
            if row.expert:
                row.response.final.prompt_ids = x
            await super()._agent_loop_postprocess(
                row.response.outputs,
                False,
                session_id=session,
                **{
                    EXPERT_FIELD: torch.tensor(float(row.expert)),
                    ADVANTAGE_FIELD: torch.tensor(row.advantage, dtype=torch.float32),
                    GIVEN_FIELD: torch.tensor(float(row.response.given)),
                    RECORD_FIELD: record if session == 0 else {},
                },
                **fields,
            )

    def _described(
        self, response: Response, *, trained: bool, accepted: bool, bonus: float
    ) -> dict[str, Any]:
        """What a dump says of a response. Texts are left to the trainer, which has the time."""
        described: dict[str, Any] = {
            # First: whatever it is called, it hides nothing of what follows.
            **{
                key: value
                for key, value in response.details.items()
                if isinstance(value, (str, int, float, bool))
            },
            "expert": response.expert,
            "accepted": accepted,
            "trained": trained,
            "demos": list(response.demos),
            "given": response.given,
            "reward": response.reward,
            "bonus": bonus,
        }
        if self.dump:
            if response.demos:
                described["expert_prompt_ids"] = list(response.final.prompt_ids)
            if not trained:
                described["response_ids"] = list(response.final.response_ids)
        return described

    def _problem(self, prompt: dict[str, Any]) -> Problem:
        return problem_of(prompt["raw_prompt"], prompt.get("extra_info"), self.settings)

    def _length(self, expert_prompt: Tokens) -> dict[str, int]:
        """The response length, if verl's servers have to be told.

        They take from it what a prompt has beyond ``rollout.prompt_length``.
        """
        rollout = self.config.actor_rollout_ref.rollout
        if len(expert_prompt) <= rollout.prompt_length:
            return {}
        return {"max_tokens": int(rollout.response_length)}


GroupWorker = ray.remote(_GroupWorker)


class IcpoAgentLoopManager(AgentLoopManagerTQ):  # type: ignore[misc]  # verl is not typed
    """verl's manager, with these workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """verl's own sets the class of its workers, so this comes after it."""
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = GroupWorker
