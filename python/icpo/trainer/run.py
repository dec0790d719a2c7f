"""A run: its parts, and what happens around the steps of the algorithm.

Everything that a later step depends on is either in the parts' states, which checkpoints hold, or
follows from the seed and the number of the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from icpo.algorithms import Algorithm
from icpo.algorithms.composition import Step
from icpo.demos import DemoSampler
from icpo.mixing import LESSON_PLAN, Batch, MixedGroup, Timetable, step_metrics, unsolved
from icpo.trainer.checkpoint import Checkpoint, Checkpoints
from icpo.trainer.clock import Clock
from icpo.trainer.config import TrainConfig
from icpo.trainer.data import PromptOrder
from icpo.trainer.evaluate import Evaluator
from icpo.trainer.progress import Progress
from icpo.trainer.record import Recorder
from icpo.trainer.rollouts import RolloutSampler, Sampled
from icpo.trainer.schedule import learning_rate
from icpo.trainer.update import Learned, Learner
from icpo.types import Problem, Tokens

__all__ = ["Quiz", "Run"]


@dataclass(frozen=True, eq=False)
class Quiz:
    """Problems to evaluate on, and what they are asked by."""

    problems: Sequence[Problem]
    prompts: Sequence[Tokens]
    #: Tells the seeds of different quizzes apart.
    stream: int


@dataclass(eq=False)
class Run:
    """The parts of a run, and the step that it stands at."""

    config: TrainConfig
    algorithm: Algorithm
    model: Any
    tokenizer: Any
    optimizer: torch.optim.Optimizer
    order: PromptOrder
    timetable: Timetable[Problem]
    demos: DemoSampler | None
    sampler: RolloutSampler
    learner: Learner
    evaluator: Evaluator
    #: The test problems, by their bare prompts; None: there is no evaluation.
    test: Quiz | None
    #: The same with demonstrations.
    test_shown: Quiz | None
    #: Training problems, of which it is followed how many of the hard ones are solved.
    probe: Quiz | None
    checkpoints: Checkpoints
    recorder: Recorder
    progress: Progress
    clock: Clock
    #: Steps made.
    step: int = 0
    #: Which problems of the probe no sample solved before training.
    non_pass: NDArray[np.bool_] | None = None
    #: Of the last step.
    metrics: dict[str, float] = field(default_factory=dict)

    ##### Before the first step

    def begin(self) -> None:
        """Evaluates the model as it is, unless the run is a resumed one."""
        if self.step > 0:
            return
        if self.probe is not None:
            self.non_pass = self._evaluate(self.probe).unsolved
        if self.config.eval.at_start and self.test is not None:
            self.recorder.metrics(0, self._evaluation(shown=True, last=False), self.clock.take())

    def turn(self, step: int) -> tuple[list[Problem], Step]:
        """The problems of a step, and what is done with them."""
        lesson = self.timetable.lesson(step, self.order.draw)
        if lesson is not None:
            return lesson, self.algorithm.lesson
        return self.order.draw(self.config.batch), self.algorithm.reinforcement

    def rate(self, step: int, does: Step) -> float:
        """The learning rate of a step, counted from 1."""
        optim, lessons = self.config.optim, self.algorithm.lessons
        if lessons is not None and lessons.lr is not None and does == self.algorithm.lesson:
            return lessons.lr
        return learning_rate(
            step - 1,
            peak=optim.lr,
            warmup=optim.warmup,
            schedule=optim.schedule,
            total_steps=self.config.steps,
        )

    ##### After each step

    def finish(
        self,
        step: int,
        does: Step,
        sampled: Sampled,
        mixed: Sequence[MixedGroup],
        batch: Batch,
        learned: Learned,
    ) -> None:
        """Evaluates, records, and writes a checkpoint, where they are due."""
        self.step = step
        for one in mixed:
            if unsolved(one, does.plan.delta):
                self.timetable.met(one.group.problem.id, one.group.problem)
        metrics = self._metrics(does, sampled, mixed, batch, learned)
        if self.test is not None and self._due(self.config.eval.every):
            last = step == self.config.steps
            metrics |= self._evaluation(shown=last, last=last)
        self.metrics, seconds = metrics, self.clock.take()
        self.recorder.metrics(step, metrics, seconds)
        every = self.config.log.samples_every
        if every is not None and step % every == 0:
            self.recorder.samples(step, mixed[: self.config.log.samples])
        sampled_tokens = sum(
            len(rollout.tokens) - rollout.given
            for one in mixed
            for rollout in (*one.group.policy, *one.group.expert)
        )
        self.progress.step(step, metrics, seconds, tokens=sampled_tokens)
        if self._due(self.config.checkpoint.every):
            self.save()

    def save(self) -> Checkpoint:
        """Writes a checkpoint of everything that the next step depends on."""
        return self.checkpoints.save(
            self.step, self.model, self.tokenizer, self.optimizer, self.state_dict()
        )

    def last_checkpoint(self) -> str:
        """Where to go on from, in words."""
        found = self.checkpoints.all()
        return f"the last checkpoint is {found[-1].folder}" if found else "there is no checkpoint"

    def state_dict(self) -> dict[str, Any]:
        """The state of all parts but model and optimizer. Plain values."""
        return {
            "settings": self.config.fingerprint(),
            "step": self.step,
            "order": self.order.state_dict(),
            "lessons": self.timetable.state_dict(),
            "demos": None if self.demos is None else self.demos.state_dict(),
            "recorder": self.recorder.state_dict(),
            "metrics": self.metrics,
            "non_pass": None if self.non_pass is None else self.non_pass.tolist(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continues where a checkpoint was written."""
        state = checkpoint.state()
        self.config.check_fingerprint(state["settings"], checkpoint.folder)
        checkpoint.restore(self.model, self.optimizer)
        self.order.load_state_dict(state["order"])
        self.timetable.load_state_dict(state["lessons"], self.order.by_id)
        self.recorder.load_state_dict(state["recorder"])
        if self.demos is not None:
            self.demos.load_state_dict(state["demos"])
        self.non_pass = None if state["non_pass"] is None else np.array(state["non_pass"], bool)
        self.step, self.metrics = checkpoint.step, state["metrics"]

    ##### Figures

    def _due(self, every: int | None) -> bool:
        return self.step == self.config.steps or (every is not None and self.step % every == 0)

    def _metrics(
        self,
        does: Step,
        sampled: Sampled,
        mixed: Sequence[MixedGroup],
        batch: Batch,
        learned: Learned,
    ) -> dict[str, float]:
        bonus, total = does.bonus, self.config.steps
        policy = [rollout for one in mixed for rollout in one.group.policy]
        surprise = -sum(float(rollout.logp.sum(dtype=np.float64)) for rollout in policy)
        tokens = sum(len(rollout.tokens) for rollout in policy)
        return {
            "epoch": self.order.epoch,
            "lesson": float(does.plan.group == LESSON_PLAN.group),
            **step_metrics(mixed, batch, does.plan).as_dict(),
            # The mean of -ln π_old over what was sampled: entropy, estimated from all tokens. That
            # of the update is exact, but sees only rows that have a gradient.
            "on/surprise": surprise / tokens if tokens else math.nan,
            "expert/demos_dropped": sampled.demos_dropped,
            "expert/prompts_without_demos": sampled.prompts_bare,
            "expert/demos_solved": 0 if self.demos is None else len(self.demos.solved),
            "bonus": 0.0 if bonus is None else bonus.alpha * bonus.gamma(self.step - 1, total),
            **{f"update/{name}": value for name, value in dict(learned.loss).items()},
            "update/grad_norm": float(np.mean(learned.grad_norms or [math.nan])),
            "update/steps": len(learned.grad_norms),
            "update/tokens": learned.tokens,
            "update/lr": self.rate(self.step, does),
        }

    def _evaluation(self, *, shown: bool, last: bool) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self.test is not None:
            figures |= _named("eval", self._evaluate(self.test).figures())
        if self.test_shown is not None and shown:
            figures |= _named("eval_demos", self._evaluate(self.test_shown).figures())
        if self.probe is not None and self.non_pass is not None and shown:
            unsolved = self._evaluate(self.probe).unsolved if last else self.non_pass
            figures["probe/non_pass"] = float(unsolved.mean())
            if last and self.non_pass.any():
                figures["probe/non_pass_solved"] = float(1 - unsolved[self.non_pass].mean())
        return figures

    def _evaluate(self, quiz: Quiz) -> Any:
        with self.clock("evaluation"):
            return self.evaluator.evaluate(quiz.problems, quiz.prompts, quiz.stream)


def _named(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in figures.items()}
