"""Lines 3 to 9 of Algorithm 1: what the policy says to each prompt, without and with examples.

Baselines have expert rollouts from elsewhere: a table of small functions says where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from icpo.demos import DemoSampler, PromptBuilder, solved_demo
from icpo.demos.solution import SolutionEncoder
from icpo.generation import Completion, Engine, Sampling
from icpo.mixing import Plan, Prefix, accept
from icpo.reward import Checker, Verdict
from icpo.trainer.clock import Clock
from icpo.types import Problem, Rollout, RolloutGroup, Tokens

__all__ = ["Decode", "RolloutSampler", "Sampled", "Stream", "seeds"]

#: Token ids to text, without special tokens.
Decode = Callable[[Tokens], str]

#: Told the step, what is being done, how much of it is done, and of how much.
Doing = Callable[[int, str, int, int], None]


class Stream:
    """Uses of randomness. Each has numbers of its own, whatever the others draw."""

    POLICY, EXPERT, MIXING, MINI_BATCHES, EVALUATION, PROBE, ORDER, DEMOS, WEIGHTS = range(9)
    PREFIX = 9


def seeds(seed: int, step: int, stream: int, count: int) -> list[int]:
    """`count` numbers for one use in one step, which follow from the arguments alone.

    A resumed run needs no state of a generator: it asks for the same step again.
    """
    sequence = np.random.SeedSequence((seed, step, stream))
    return [int(value) for value in sequence.generate_state(count, np.uint64)]


_NOTHING: Tokens = np.empty(0, np.int64)


class Ask(NamedTuple):
    """A rollout to be sampled."""

    #: Of the problem, in the batch.
    number: int
    prompt: Tokens
    expert: bool = False
    demos: tuple[str, ...] = ()
    seed: int = 0
    #: The beginning of the completion, which the policy continues.
    given: Tokens = _NOTHING
    #: Whether there is nothing to continue: all of the completion is given.
    whole: bool = False


class Asks(NamedTuple):
    """The expert rollouts of a step that are to be had."""

    asks: list[Ask]
    #: Demonstrations that the prompt limit has cost.
    dropped: int
    #: Expert prompts that were left without any.
    bare: int


@dataclass(frozen=True, eq=False)
class Sampled:
    """The rollouts of a step."""

    groups: list[RolloutGroup]
    #: Demonstrations that the prompt limit has cost.
    demos_dropped: int
    #: Expert prompts that were left without any, and so were not asked.
    prompts_bare: int


@dataclass(frozen=True, eq=False)
class RolloutSampler:
    """Samples the rollouts of a step, policy and expert ones, and checks them."""

    engine: Engine
    prompts: PromptBuilder
    #: None: the algorithm shows no demonstrations.
    demos: DemoSampler | None
    checker: Checker
    decode: Decode
    sampling: Sampling
    seed: int
    clock: Clock
    #: T of the run.
    total_steps: int
    #: Of stored solutions.
    encode: SolutionEncoder
    #: How much of a solution is given; None: the algorithm continues none.
    prefix: Prefix | None = None
    doing: Doing | None = None

    def collect(self, problems: Sequence[Problem], step: int, plan: Plan) -> Sampled:
        """All rollouts of one step, those that will be rejected included."""
        plain = [self.prompts.plain(problem) for problem in problems]
        on = [
            Ask(number, prompt)
            for number, prompt in enumerate(plain)
            for _ in range(plan.policy_rollouts)
        ]
        on = self._seeded(on, step, Stream.POLICY)
        off, dropped, bare = _EXPERT_ASKS[plan.source](self, problems, plain, step, plan)
        shown = self._seeded(off, step, Stream.EXPERT)

        if plan.needs_rewards_first:  # `non_pass`, `some_pass`: a second round for some
            sampled = self._sample(step, problems, on)
            rewards: list[list[float]] = [[] for _ in problems]
            for ask, rollout in sampled:
                rewards[ask.number].append(rollout.reward)
            wanted = [plan.expert_rollouts(of_prompt) > 0 for of_prompt in rewards]
            second = [ask for ask in shown if wanted[ask.number]]
            sampled += self._sample(step, problems, second)
        else:  # the engine gets everything at once
            sampled = self._sample(step, problems, on + shown)

        policy: list[list[Rollout]] = [[] for _ in problems]
        expert: list[list[Rollout]] = [[] for _ in problems]
        for ask, rollout in sampled:
            (expert if ask.expert else policy)[ask.number].append(rollout)
        groups = [
            RolloutGroup(problem, prompt, tuple(policy[number]), tuple(expert[number]))
            for number, (problem, prompt) in enumerate(zip(problems, plain, strict=True))
        ]
        self._join(groups, plan)
        return Sampled(groups, dropped, bare)

    def _join(self, groups: Sequence[RolloutGroup], plan: Plan) -> None:
        """Solved prompts join the demonstrations, if the settings say so, from the next step on.

        One that is too long before its own question would be too long before most.
        """
        if self.demos is None or self.demos.online is None:
            return
        solved = []
        for group in groups:
            right = [each.finished and accept(each, plan.delta) for each in group.policy]
            texts = [each.text for each in group.policy]
            answer = self.demos.online.answer(right, texts.__getitem__)
            if answer is not None:
                demo = solved_demo(group.problem, answer)
                if self.prompts.expert(group.problem, [demo]).demos:
                    solved.append(demo)
        self.demos.add(solved)

    def _shown(
        self, problems: Sequence[Problem], plain: Sequence[Tokens], step: int, plan: Plan
    ) -> Asks:
        """Line 8: k demonstrations and x_exp for each expert rollout, needed or not.

        Which are needed may depend on rewards; what is drawn later must not depend on that.
        """
        if self.demos is None or plan.n_off == 0:
            return Asks([], 0, 0)
        numbers = [number for number in range(len(problems)) for _ in range(plan.n_off)]
        drawn = self.demos.draw([problems[number] for number in numbers])
        asks, dropped, bare = [], 0, 0
        for number, demos in zip(numbers, drawn, strict=True):
            prompt = self.prompts.expert(problems[number], demos)
            dropped += prompt.dropped
            bare += not prompt.demos
            shown = tuple(demo.id for demo in prompt.demos)
            if shown:
                asks.append(Ask(number, prompt.tokens, True, shown))
        return Asks(asks, dropped, bare)

    def _stored(
        self, problems: Sequence[Problem], plain: Sequence[Tokens], step: int, plan: Plan
    ) -> Asks:
        """The first stored solutions of each problem; fewer than planned, if it has no more."""
        asks = [
            Ask(number, prompt, True, given=solution, whole=True)
            for number, (problem, prompt) in enumerate(zip(problems, plain, strict=True))
            for solution in self.encode(problem)[: plan.n_off]
        ]
        return Asks(asks, 0, 0)

    def _begun(
        self, problems: Sequence[Problem], plain: Sequence[Tokens], step: int, plan: Plan
    ) -> Asks:
        """The beginnings of stored solutions, of lengths that are drawn anew in every step."""
        asks = []
        rng = np.random.default_rng(seeds(self.seed, step, Stream.PREFIX, 1))
        for ask in self._stored(problems, plain, step, plan).asks:
            assert self.prefix is not None  # the algorithm has one for this source
            chance = rng.random()
            length = self.prefix.length(len(ask.given), step - 1, self.total_steps, chance)
            asks.append(ask._replace(given=ask.given[:length], whole=False))
        return Asks(asks, 0, 0)

    def _seeded(self, asks: list[Ask], step: int, stream: int) -> list[Ask]:
        numbers = seeds(self.seed, step, stream, len(asks))
        return [ask._replace(seed=number) for ask, number in zip(asks, numbers, strict=True)]

    def _sample(
        self, step: int, problems: Sequence[Problem], asks: list[Ask]
    ) -> list[tuple[Ask, Rollout]]:
        """Lines 5 and 9: τ ~ π_old(·|prompt), and R(τ)."""

        def progress(done: int) -> None:
            if self.doing is not None:
                self.doing(step, "rollouts", done, len(asks))

        open_asks = [ask for ask in asks if not ask.whole]
        with self.clock("generation"):
            continued = iter(
                self.engine.generate(
                    [np.concatenate([ask.prompt, ask.given]) for ask in open_asks],
                    self.sampling,
                    [ask.seed for ask in open_asks],
                    progress,
                )
                if open_asks
                else ()
            )
            completions = [
                self._completed(ask, None if ask.whole else next(continued)) for ask in asks
            ]
        with self.clock("checking"):
            texts = [self.decode(completion.tokens) for completion in completions]
            verdicts = self._check(texts, [problems[ask.number].answer for ask in asks])
        return [
            (
                ask,
                Rollout(
                    prompt=ask.prompt,
                    tokens=completion.tokens,
                    logp=completion.logp,
                    text=text,
                    finished=completion.finished,
                    reward=float(verdict.equal),
                    outcome=verdict.outcome,
                    expert=ask.expert,
                    demos=ask.demos,
                    given=min(len(ask.given), len(completion.tokens)),
                ),
            )
            for ask, completion, text, verdict in zip(
                asks, completions, texts, verdicts, strict=True
            )
        ]

    def _completed(self, ask: Ask, sampled: Completion | None) -> Completion:
        """What was given, and what was sampled behind it, up to the limit on both together."""
        if sampled is None:
            return Completion(ask.given, np.zeros(len(ask.given), np.float32), finished=True)
        if not len(ask.given):
            return sampled
        limit = self.sampling.max_new_tokens
        tokens = np.concatenate([ask.given, sampled.tokens])
        logp = np.concatenate([np.zeros(len(ask.given), np.float32), sampled.logp])
        finished = sampled.finished and len(tokens) <= limit
        return Completion(tokens[:limit], logp[:limit], finished)

    def _check(self, texts: list[str], answers: list[str | tuple[str, ...]]) -> list[Verdict]:
        """R(τ) of each response. Equal ones, of which there are more and more, are checked once."""
        pairs = list(zip(texts, answers, strict=True))
        once = list(dict.fromkeys(pairs))
        found = self.checker.check_many([text for text, _ in once], [gold for _, gold in once])
        verdicts = dict(zip(once, found, strict=True))
        return [verdicts[pair] for pair in pairs]


#: Where expert rollouts come from; the names are those of `icpo.mixing.SOURCES`.
_EXPERT_ASKS: dict[
    str,
    Callable[[RolloutSampler, Sequence[Problem], Sequence[Tokens], int, Plan], Asks],
] = {
    "demonstrations": RolloutSampler._shown,
    "stored": RolloutSampler._stored,
    "prefix": RolloutSampler._begun,
}
