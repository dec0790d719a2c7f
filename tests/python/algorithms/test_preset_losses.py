"""Every preset on one fixed batch: its loss and gradient against `preset_hand`, written by hand.

What is compared is the way of the trainer: rollouts, groups, batch, learner, two steps of the
optimizer. The second one sees another policy than the rollouts came from, so that ratios and clips
show.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from preset_hand import (
    BY_HAND,
    LONGEST,
    STEP,
    TOTAL_STEPS,
    Preset,
    Row,
    centred,
    least_certain,
    luffys,
    over_tokens,
    prefix_length,
    prefix_rft,
    with_expert,
)

from fakes import ScriptedEngine
from icpo.algorithms import ALGORITHMS, Algorithm, algorithm
from icpo.algorithms.composition import Step
from icpo.demos import DemoPool, DemoSampler, PromptBuilder, Template
from icpo.generation import Sampling
from icpo.mixing import Batch, Plan, Timetable, assemble, mini_batches, mix
from icpo.objective import LossConfig
from icpo.ops import policy_loss
from icpo.reward import Checker
from icpo.trainer.clock import Clock
from icpo.trainer.config import TrainConfig
from icpo.trainer.data import pool_problems
from icpo.trainer.rollouts import RolloutSampler, Stream, seeds
from icpo.trainer.update import Learner, UpdateConfig
from icpo.types import Demo, Problem, Rollout, RolloutGroup
from tiny_policy import END, PAD, VOCABULARY, logp_alone, qwen3

TEMPERATURE, SEED = 0.8, 14
PROBLEMS = [Problem(f"p{i}", "abcdefgh"[i:] + "?", "0") for i in range(6)]
POOL = DemoPool([Demo(f"d{i}", "opqrst"[i:], rf"\boxed{{{i % 2}}}") for i in range(6)])
TEMPLATE = Template("t", demo="{question}{solution};", separator="", question="{question}!")


##### The fixed batch


def words(text: str, chat: bool) -> list[int]:
    return [3 + ord(letter) % (VOCABULARY - 3) for letter in text]


def says(tokens) -> str:
    """A third of all completions are right."""
    return rf"\boxed{{{int(tokens.sum()) % 3}}}"


def anything(prompt, seed) -> list[int]:
    rng = np.random.default_rng((seed, *prompt.tolist()))
    found = rng.integers(3, VOCABULARY, rng.integers(1, LONGEST + 3)).tolist()
    return [*found, END]


def solutions(problem: Problem) -> tuple[np.ndarray, ...]:
    """Stored solutions of 9 to `LONGEST` tokens."""
    rng = np.random.default_rng([ord(letter) for letter in problem.id])
    return (np.append(rng.integers(3, VOCABULARY, rng.integers(8, LONGEST)), END),)


@dataclass
class Fixed:
    """What a preset makes of the fixed batch."""

    algorithm: Algorithm
    does: Step
    groups: list[RolloutGroup]
    batch: Batch


def preset(name: str, **changes: Any) -> Algorithm:
    """As the trainer has it, with half of its rollouts."""
    plan = algorithm(name).plan
    return TrainConfig.build(
        {
            "model": {"path": "m"},
            "data": {"train": "t", "solution": "s"},
            "demos": {"path": "d"},
            "generation": {"max_new_tokens": LONGEST},
            "algorithm": {"name": name, "n": max(1, plan.n // 2), **changes},
            "eval": {"every": None},
        }
    ).algorithm


def fixed(name: str, *, lesson: bool = False, **changes: Any) -> Fixed:
    chosen = preset(name, **changes)
    does = chosen.lesson if lesson else chosen.reinforcement
    sampler = RolloutSampler(
        engine=ScriptedEngine(anything, end_ids=(END,)),
        prompts=PromptBuilder(TEMPLATE, words, 60),
        demos=DemoSampler(POOL, "random", k=2, seed=0),
        checker=Checker(),
        decode=says,
        sampling=Sampling(LONGEST, TEMPERATURE),
        seed=SEED,
        clock=Clock(),
        total_steps=TOTAL_STEPS,
        encode=solutions,
        prefix=chosen.prefix,
    )
    asked = {"train": PROBLEMS, "demos": pool_problems(POOL, "pool", Checker())}[chosen.problems]
    groups = sampler.collect(asked, STEP + 1, does.plan).groups
    rng = np.random.default_rng(SEED)
    mixed = [mix(group, does.plan, rng) for group in groups]
    batch = assemble(mixed, loss=does.loss, bonus=does.bonus, step=STEP, total_steps=TOTAL_STEPS)
    return Fixed(chosen, does, groups, batch)


##### What the learner does with it


class Watched(torch.optim.SGD):
    """Plain descent that remembers the policy and the gradient of each step."""

    def __init__(self, model):
        super().__init__(model.parameters(), lr=0.0)
        self.model, self.steps = model, []

    def step(self):
        gradient = [parameter.grad.clone() for parameter in self.model.parameters()]
        self.steps.append((copy.deepcopy(self.model).double(), gradient))
        super().step()


def learned(case: Fixed, model):
    """The steps of the optimizer, and the figures."""
    optimizer = Watched(model)
    config = UpdateConfig(
        temperature=TEMPERATURE,
        mini_batch=len(PROBLEMS) // 2,
        micro_tokens=70,
        grad_clip=None,
        recompute_old=True,
        recompute_behavior=True,
        prefix=case.algorithm.prefix,
        autocast=None,
        pad_id=PAD,
    )
    chance = np.random.default_rng(SEED)
    found = Learner(model, optimizer, config, Clock()).update(
        case.batch, case.does.loss, 0.1, chance
    )
    return optimizer.steps, found.loss


##### The same by hand


def entropy_alone(model, prompt, tokens) -> torch.Tensor:
    ids = torch.tensor(np.concatenate([prompt, tokens]))[None]
    logp = (model(ids).logits[0, len(prompt) - 1 : -1] / TEMPERATURE).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def rows_by_hand(by_hand: Preset, case: Fixed) -> list[Row]:
    """The rows in the order of the batch, in which a rollout is known by its array."""
    there = {id(tokens) for tokens in case.batch.completions}
    found = {}
    for group in case.groups:
        stayed = [rollout for rollout in group.policy if id(rollout.tokens) in there]
        for row in by_hand.rows(group, stayed):
            found[id(row.rollout.tokens)] = row
    assert there == set(found), "the group holds these rollouts and no others"
    return [found[id(tokens)] for tokens in case.batch.completions]


CASES = [
    *((name, False, name) for name in ALGORITHMS),
    ("sft_then_rl", True, "sft"),
    ("relift", True, "sft"),
]


@pytest.mark.parametrize(("name", "lesson", "by_hand"), CASES)
def test_loss_and_gradient_are_those_by_hand(name, lesson, by_hand):
    check(fixed(name, lesson=lesson), BY_HAND[by_hand])


def test_thinned_prefixes_in_other_losses():
    """What is not trained on is not in Z either, also of rows that have no gradient."""

    def shaped(group, stayed):
        return with_expert(group, stayed, group.expert, worth=centred, expert=luffys, thinned=True)

    for loss, rows in (({}, prefix_rft), ({"off_ratio": "policy"}, shaped)):
        case = fixed("prefix_rft", loss={"aggregation": "token-mean", **loss})
        still = (case.batch.advantage == 0) & case.batch.expert_mask
        assert any(case.batch.given[row] > 1 for row in np.flatnonzero(still))
        check(case, Preset(rows, over_tokens))


def check(case: Fixed, by_hand: Preset) -> None:
    """Both steps of the optimizer, and the value of the loss."""
    model = qwen3()
    start = copy.deepcopy(model).double()
    steps, figures = learned(case, model)
    rows, batch = rows_by_hand(by_hand, case), case.batch
    np.testing.assert_allclose(
        batch.advantage, [row.advantage for row in rows], rtol=1e-9, atol=1e-12
    )
    old, behavior, counted = [], [], []
    with torch.no_grad():
        for i, row in enumerate(rows):
            x, tokens = batch.prompts[i], row.rollout.tokens
            old.append(logp_alone(start, x, tokens, TEMPERATURE))
            behavior.append(logp_alone(start, row.rollout.prompt, tokens, TEMPERATURE))
            given = row.rollout.given if row.thinned else 0
            counted.append(least_certain(entropy_alone(start, x, tokens), given))

    minis = mini_batches(batch, len(PROBLEMS) // 2, np.random.default_rng(SEED))
    assert len(minis) == len(steps) == 2
    total = 0.0
    for numbers, (then, gradient) in zip(minis, steps, strict=True):
        losses = []
        for i in numbers:
            logp = logp_alone(then, batch.prompts[i], rows[i].rollout.tokens, TEMPERATURE)
            assert (logp - behavior[i]).abs().max() < 20, "the clamp would show"
            losses.append(rows[i].loss(logp, old[i], behavior[i])[counted[i]])
        value = by_hand.total(losses)
        then.zero_grad()
        value.backward()
        total += value.item()
        scale = max(parameter.grad.abs().max() for parameter in then.parameters())
        for mine, parameter in zip(gradient, then.parameters(), strict=True):
            assert (mine - parameter.grad).abs().max() <= 5e-5 * scale
    assert figures["loss/policy"] + figures["loss/sft"] == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_the_batch_has_everything_that_presets_differ_in():
    """Or the comparison could not fail."""
    case = fixed("icpo")
    rights = [sum(rollout.reward for rollout in group.policy) for group in case.groups]
    assert 0 in rights and any(0 < right < 4 for right in rights)
    expert = [rollout for group in case.groups for rollout in group.expert]
    assert {rollout.outcome for rollout in expert} == {"equal", "not_equal"}
    assert len(set(case.batch.lengths.tolist())) > 4
    for name in ("luffy", "prefix_rft"):
        given = [rollout for group in fixed(name).groups for rollout in group.expert]
        assert {rollout.outcome for rollout in given} == {"equal", "not_equal"}
    # Clips bind: for policy tokens, for f of wrong expert rollouts, for the ratio of hybrids.
    for name, sides in (("icpo", ["on"]), ("icpo_always", ["off"]), ("prefix_rft", ["on", "off"])):
        _, figures = learned(fixed(name), qwen3())
        assert all(figures[f"{side}/clip_fraction"] > 0 for side in sides)


def test_prefixes_are_as_long_as_by_hand():
    case = fixed("prefix_rft")
    chance = np.random.default_rng(seeds(SEED, STEP + 1, Stream.PREFIX, 1))
    lengths = []
    for group in case.groups:
        (hybrid,) = group.expert
        (solution,) = solutions(group.problem)
        assert hybrid.given == prefix_length(len(solution), chance.random())
        assert hybrid.tokens[: hybrid.given].tolist() == solution[: hybrid.given].tolist()
        assert hybrid.given < len(hybrid.tokens) <= LONGEST
        lengths.append(hybrid.given)
    assert len(set(lengths)) > 2 and max(lengths) > 5


##### Where presets differ from ICPO


def group_of(plan: Plan, *, right: bool) -> RolloutGroup:
    """A group as this plan asks for it; its first on-policy rollout is right, the others wrong."""

    def rollout(reward: bool, expert: bool = False) -> Rollout:
        outcome = "equal" if reward else "not_equal"
        tokens = np.array([3, END])
        logp = np.zeros(2, np.float32)
        return Rollout(tokens, tokens, logp, "", True, float(reward), outcome, expert)

    return RolloutGroup(
        PROBLEMS[0],
        np.array([3]),
        tuple(rollout(number == 0) for number in range(plan.policy_rollouts)),
        tuple(rollout(right, expert=True) for _ in range(plan.n_off)),
    )


def mixed_of(chosen: Algorithm, *, right: bool):
    return mix(group_of(chosen.plan, right=right), chosen.plan, np.random.default_rng(0))


def loss_of(loss: LossConfig, *, expert: bool, advantage: float, **extra) -> list[float]:
    """Of tokens by themselves, over ratios far below and above 1."""
    loss = loss.replace(aggregation="token-mean", norm_constant=None)
    apart = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    logp, old = -2.0 + apart / 2, -2.0 - apart / 2
    ones = torch.ones_like(logp, dtype=torch.bool)
    return [
        float(
            policy_loss(
                logp[i : i + 1],
                old[i : i + 1],
                torch.full((1,), advantage, dtype=torch.float64),
                ones[:1],
                ones[:1, 0] & expert,
                behavior_logp=old[i : i + 1],
                config=loss,
                denominator=1.0,
                **extra,
            )[0]
        )
        for i in range(len(logp))
    ]


def both_ways(loss: LossConfig, *, expert: bool) -> list[float]:
    return [
        *loss_of(loss, expert=expert, advantage=0.7),
        *loss_of(loss, expert=expert, advantage=-0.7),
    ]


def sum_of(loss: LossConfig) -> float:
    """Of a row of one token and one of three, each token of which costs -1."""
    mask = torch.tensor([[True, False, False], [True, True, True]])
    logp = torch.zeros(2, 3, dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    return float(policy_loss(logp, logp, one, mask, one < 0, behavior_logp=logp, config=loss)[0])


def steps_of(chosen: Algorithm) -> list[bool]:
    """Which of ten steps are lessons, if no problem is ever solved."""
    timetable = Timetable(chosen.lessons, total_steps=10, batch=2)
    drawn, found = itertools.cycle(PROBLEMS), []
    for step in range(1, 11):
        lesson = timetable.lesson(step, lambda count: [next(drawn) for _ in range(count)])
        found.append(lesson is not None)
        if lesson is None:
            for problem in (next(drawn), next(drawn)):
                timetable.met(problem.id, problem)
    return found


def expert(chosen: Algorithm) -> bool:
    return chosen.plan.n_off > 0


def advantaged(chosen: Algorithm) -> bool:
    return expert(chosen) and all(mixed_of(chosen, right=True).member_counts)


def bonus_of(chosen: Algorithm) -> list[float]:
    shape = {"loss": chosen.loss, "bonus": chosen.bonus, "step": STEP, "total_steps": TOTAL_STEPS}
    batch = assemble([mixed_of(chosen, right=True)], **shape)
    return (batch.shaped_rewards - batch.rewards)[batch.expert_mask].tolist()


#: What a composition consists of: of whom that can be said at all, and what to look at. The numbers
#: are those of the sections of the specification.
POINTS: dict[str, tuple[Callable[[Algorithm], bool], Callable[[Algorithm], Any]]] = {
    # 2: whose questions, and how many answers of the policy's own
    "questions": (lambda _: True, lambda a: a.problems),
    "policy rollouts": (lambda _: True, lambda a: a.plan.policy_rollouts),
    # 1.1
    "expert rollouts": (lambda _: True, lambda a: a.plan.source if expert(a) else "none"),
    "who gets them": (
        expert,
        lambda a: [a.plan.expert_rollouts(r) > 0 for r in ([0.0, 0.0], [0.0, 1.0], [1.0, 1.0])],
    ),
    "who makes room": (expert, lambda a: len(mixed_of(a, right=True).replaced)),
    # 1.2
    "who enters": (expert, lambda a: mixed_of(a, right=False).entered),
    # 1.3
    "bonus": (expert, bonus_of),
    # 1.4
    "who has an advantage": (expert, lambda a: mixed_of(a, right=True).member_counts[-1]),
    "advantages": (
        lambda a: a.plan.policy_rollouts > 0,
        lambda a: a.loss.advantages(
            [1.0, 0.0, 0.0, 1.0], [0, 0, 0, 0], expert_mask=[False, False, False, True]
        ).tolist(),
    ),
    # 1.5
    "policy tokens": (
        lambda a: a.plan.policy_rollouts > 0,
        lambda a: both_ways(a.loss, expert=False),
    ),
    "expert tokens": (
        advantaged,
        lambda a: both_ways(a.loss.replace(sft_coef=0.0), expert=True),
    ),
    "likelihood": (expert, lambda a: loss_of(a.loss, expert=True, advantage=0.0)),
    "divergence, entropy": (
        lambda _: True,
        lambda a: loss_of(
            a.loss,
            expert=False,
            advantage=0.0,
            ref_logp=torch.full((1, 1), -1.0, dtype=torch.float64),
            entropy=torch.ones(1, 1, dtype=torch.float64),
        ),
    ),
    "sum": (lambda _: True, lambda a: sum_of(a.loss)),
    # 2: Prefix-RFT; SFT+RL and ReLIFT
    "tokens of what was given": (
        expert,
        lambda a: int(a.prefix.trained(10, np.zeros(12)).sum()) if a.prefix else 12,
    ),
    "steps": (lambda _: True, steps_of),
}

#: In which of these points a preset differs from `icpo`. It does in no other one.
DIFFERENCES: dict[str, set[str]] = {
    "grpo": {"expert rollouts"},
    "grpo_extra_rollouts": {"expert rollouts", "policy rollouts"},
    "grpo_expert_domain": {"expert rollouts", "questions"},
    "dr_grpo": {"expert rollouts", "advantages", "sum"},
    "luffy": {
        "policy rollouts",
        "expert rollouts",
        "who makes room",
        "who enters",
        "advantages",
        "policy tokens",
        "expert tokens",
    },
    "sft": {
        "policy rollouts",
        "expert rollouts",
        "who makes room",
        "who enters",
        "who has an advantage",
        "likelihood",
    },
    "sft_then_rl": {"expert rollouts", "steps"},
    "rl_sft_term": {
        "expert rollouts",
        "who makes room",
        "who enters",
        "who has an advantage",
        "likelihood",
    },
    "relift": {"expert rollouts", "steps"},
    "prefix_rft": {
        "policy rollouts",
        "expert rollouts",
        "who makes room",
        "who enters",
        "advantages",
        "expert tokens",
        "sum",
        "tokens of what was given",
    },
    "icpo": set(),
    "icpo_bonus": {"bonus"},
    "icpo_always": {"policy rollouts", "who makes room", "who enters"},
    "icpo_non_pass": {"who gets them"},
    "icpo_some_pass": {"who gets them"},
    "icpo_reserve": {"policy rollouts", "who makes room"},
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_preset_differs_from_icpo_there_and_only_there(name):
    ours, icpo = preset(name), preset("icpo")
    found = set()
    for point, (said_of, look) in POINTS.items():
        assert said_of(icpo), f"{point} can be compared"
        if said_of(ours) and look(ours) != look(icpo):
            found.add(point)
    assert found == DIFFERENCES[name]


def test_every_point_is_one_in_which_some_preset_differs_or_none_does():
    everywhere = set().union(*DIFFERENCES.values())
    assert set(POINTS) - everywhere == {"divergence, entropy"}, "Table 8: there is none"
    changed = preset("icpo").replace(loss={"kl": "k3", "kl_coef": 0.1})
    _, look = POINTS["divergence, entropy"]
    assert look(changed) != look(preset("icpo"))
