"""Sampling of a step with an engine that does as it is told."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import ScriptedEngine
from icpo.demos import DemoPool, DemoSampler, PromptBuilder, Template
from icpo.generation import Sampling
from icpo.mixing import Plan
from icpo.reward import Checker
from icpo.trainer.clock import Clock
from icpo.trainer.rollouts import RolloutSampler, Stream, seeds
from icpo.types import Demo, Problem, Tokens

TEMPLATE = Template("t", demo="{question}{solution};", separator="", question="{question}?")
PROBLEMS = [Problem(f"p{i}", f"{i}", str(i)) for i in range(5)]
POOL = DemoPool([Demo(f"d{i}", f"{i}{i}", "x" * (i + 1)) for i in range(6)])
END = 0


def encode(text: str, chat: bool) -> list[int]:
    return list(text.encode())


def decode(tokens) -> str:
    return bytes(int(token) for token in tokens if token != END).decode()


def says(text: str) -> list[int]:
    return [*text.encode(), END]


def sampler(script, plan, *, limit=60, seed=0, prefix=None) -> RolloutSampler:
    return RolloutSampler(
        engine=ScriptedEngine(script, end_ids=(END,)),
        prompts=PromptBuilder(TEMPLATE, encode, limit),
        demos=DemoSampler(POOL, "random", k=2, seed=0) if plan.n_off else None,
        checker=Checker(),
        decode=decode,
        sampling=Sampling(20),
        seed=seed,
        clock=Clock(),
        total_steps=10,
        encode=stored,
        prefix=prefix,
    )


def stored(problem: Problem) -> tuple[Tokens, ...]:
    """Solutions of different lengths, with their end."""
    return tuple(np.array(says(solution)) for solution in problem.solutions)


def asks_plainly(prompt) -> bool:
    return b";" not in bytes(prompt.astype(np.uint8).tobytes())


def right(prompt, seed):
    """The right answer with demonstrations; without, for even numbers only."""
    number = chr(int(prompt[-2]))
    wrong = asks_plainly(prompt) and int(number) % 2
    return says(rf"\boxed{{{99 if wrong else number}}}")


def test_groups_hold_what_was_planned_and_what_it_was_sampled_from():
    collected = sampler(right, Plan(n=3, n_off=2)).collect(PROBLEMS, 1, Plan(n=3, n_off=2))
    assert collected.demos_dropped == collected.prompts_bare == 0
    for problem, group in zip(PROBLEMS, collected.groups, strict=True):
        assert group.problem is problem and decode(group.prompt) == f"{problem.question}?"
        assert [len(group.policy), len(group.expert)] == [3, 2]
        even = int(problem.question) % 2 == 0
        for rollout in group.policy:
            assert rollout.prompt.tolist() == group.prompt.tolist() and not rollout.demos
            assert (rollout.reward, rollout.outcome) == (
                (1.0, "equal") if even else (0.0, "not_equal")
            )
        for rollout in group.expert:
            assert rollout.expert and len(rollout.demos) == 2 and rollout.reward == 1.0
            shown = "".join(
                f"{demo.question}{demo.solution};"
                for name in rollout.demos
                for demo in POOL
                if demo.id == name
            )
            assert decode(rollout.prompt) == shown + f"{problem.question}?"
        drawn = {rollout.demos for rollout in group.expert}
        assert drawn, "each expert rollout draws its own"


def test_wrong_and_could_not_tell_stay_different():
    def script(prompt, seed):
        return says("no idea") if chr(int(prompt[-2])) == "0" else says(r"\boxed{7}")

    groups = sampler(script, Plan(n=1, n_off=0)).collect(PROBLEMS, 1, Plan(n=1, n_off=0)).groups
    assert [group.policy[0].outcome for group in groups] == ["unknown"] + ["not_equal"] * 4


def test_one_round_for_all_prompts_two_for_targets():
    for target, asked in (("all", [15]), ("non_pass", [10, 2]), ("some_pass", [10])):
        plan = Plan(n=2, target=target)
        taken = sampler(right, plan)
        groups = taken.collect(PROBLEMS, 1, plan).groups
        calls = [len(prompts) for prompts, _, _ in taken.engine.calls]
        assert calls == asked
        odd = [group for group in groups if int(group.problem.question) % 2]
        if target == "non_pass":
            assert all(len(group.expert) == (group in odd) for group in groups)


def test_every_rollout_has_a_seed_of_its_own_that_follows_from_the_step():
    plan = Plan(n=4, n_off=1)
    first = sampler(right, plan)
    first.collect(PROBLEMS, 1, plan)
    again = sampler(right, plan)
    again.collect(PROBLEMS, 1, plan)
    again.collect(PROBLEMS, 2, plan)
    one, other, later = first.engine.calls[0][2], again.engine.calls[0][2], again.engine.calls[1][2]
    assert one == other and len(set(one)) == 25 and not set(one) & set(later)
    # Policy rollouts do not change when expert ones are added: methods share their luck.
    alone = sampler(right, Plan(n=4, n_off=0))
    alone.collect(PROBLEMS, 1, Plan(n=4, n_off=0))
    assert one[:20] == alone.engine.calls[0][2]


def test_streams_are_apart():
    names = [name for name in vars(Stream) if name.isupper()]
    drawn = [tuple(seeds(0, 1, getattr(Stream, name), 3)) for name in names]
    assert len(names) == 10 and len(set(drawn)) == 10
    assert seeds(0, 1, 0, 5)[:3] == seeds(0, 1, 0, 3) and seeds(1, 0, 0, 3) != seeds(0, 1, 0, 3)


def test_the_prompt_limit_costs_demonstrations_then_the_rollout():
    collected = sampler(right, Plan(n=1), limit=9).collect(PROBLEMS, 1, Plan(n=1))
    bare = sum(not group.expert for group in collected.groups)
    shown = sum(len(rollout.demos) for group in collected.groups for rollout in group.expert)
    assert collected.prompts_bare == bare > 0
    assert collected.demos_dropped == 2 * len(PROBLEMS) - shown
    assert all(len(group.policy) == 1 for group in collected.groups)


def test_what_is_cut_off_is_not_finished():
    def script(prompt, seed):
        return list(b"7" * 50)

    (group, *_) = (
        sampler(script, Plan(n=1, n_off=0)).collect(PROBLEMS, 1, Plan(n=1, n_off=0)).groups
    )
    assert not group.policy[0].finished and len(group.policy[0].tokens) == 20


@pytest.mark.parametrize("target", ["non_pass", "some_pass"])
def test_what_is_drawn_later_does_not_depend_on_rewards(target):
    """A demonstration is drawn for every prompt, so that runs can be compared."""
    plan = Plan(n=2, target=target)
    lucky, unlucky = (sampler(script, plan) for script in (right, lambda prompt, seed: says("?")))
    for taken in (lucky, unlucky):
        for step in (1, 2):
            taken.collect(PROBLEMS, step, plan)
    assert lucky.demos.state_dict() == unlucky.demos.state_dict()
