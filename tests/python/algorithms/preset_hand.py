"""Every preset written out by hand, in float64: what ALGORITHM 1 and 2 come to, term by term.

Nothing here knows a plan, a loss configuration, an operator or a batch. A preset says which
rollouts are in a group, what they are worth, and what each of their tokens costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from icpo.types import Rollout, RolloutGroup

#: Of the fixed batch: t counts from 0, and the run has T steps.
STEP, TOTAL_STEPS = 4, 10
#: No rollout is longer: what Dr. GRPO divides by.
LONGEST = 16


@dataclass
class Row:
    """A completion τ behind the bare prompt x of its problem."""

    rollout: Rollout
    advantage: float
    #: -> (T,), from ℓ = log πθ(τ|x), log π_old(τ|x) and log π_old(τ|the prompt it came from).
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    #: Whether only the least certain of the tokens that were given count.
    thinned: bool = False


@dataclass
class Preset:
    """A preset by hand."""

    #: The rows of a group, from it and which on-policy rollouts stayed.
    rows: Callable[[RolloutGroup, Sequence[Rollout]], list[Row]]
    #: The loss of a mini-batch, from the losses of the tokens of its rows that count.
    total: Callable[[list[Tensor]], Tensor]


##### What a token costs


def eq_5(advantage: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """-min(r Â, clip(r, 0.8, 1.2) Â), r = πθ(τ|x) / π_old(τ|x)."""

    def loss(logp: Tensor, old: Tensor, behavior: Tensor) -> Tensor:
        ratio = (logp - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)

    return loss


def unclipped(advantage: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """-r Â."""

    def loss(logp: Tensor, old: Tensor, behavior: Tensor) -> Tensor:
        return -(logp - old).exp() * advantage

    return loss


def eq_10(advantage: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """-min(f Â, clip(f, 0.8, 1.2) Â), f = r̂ / (r̂ + 0.01), r̂ = πθ(τ|x) / π_old(τ|x_exp)."""

    def loss(logp: Tensor, old: Tensor, behavior: Tensor) -> Tensor:
        ratio = (logp - behavior).exp()
        shaped = ratio / (ratio + 0.01)
        return -torch.minimum(shaped * advantage, shaped.clamp(0.8, 1.2) * advantage)

    return loss


def luffys(advantage: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """-f Â, f = π / (π + 0.1), π = πθ(τ|x)."""

    def loss(logp: Tensor, old: Tensor, behavior: Tensor) -> Tensor:
        chance = logp.exp()
        return -chance / (chance + 0.1) * advantage

    return loss


def imitation(logp: Tensor, old: Tensor, behavior: Tensor) -> Tensor:
    """-ln π."""
    return -logp


##### What a rollout is worth


def standardised(rewards: Sequence[float]) -> list[float]:
    """Eq. 4 and 6: (R - mean) / (std + 1e-6), 0 without spread."""
    mean = math.fsum(rewards) / len(rewards)
    spread = math.fsum((reward - mean) ** 2 for reward in rewards)
    if len(set(rewards)) == 1:
        return [0.0] * len(rewards)
    deviation = math.sqrt(spread / (len(rewards) - 1))
    return [(reward - mean) / (deviation + 1e-6) for reward in rewards]


def centred(rewards: Sequence[float]) -> list[float]:
    """R - mean."""
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def right(rollout: Rollout) -> bool:
    """Eq. 8 and 9 with δ = 1."""
    return rollout.reward >= 1.0 and rollout.outcome == "equal"


##### A mini-batch


def over_tokens(losses: list[Tensor]) -> Tensor:
    """Z of eq. 10: all tokens."""
    return torch.cat(losses).sum() / sum(len(loss) for loss in losses)


def over_rows(losses: list[Tensor]) -> Tensor:
    """The same constant for every row, however long it is."""
    return torch.stack([loss.sum() / LONGEST for loss in losses]).sum() / len(losses)


##### The presets


def only_policy(
    worth: Callable[[Sequence[float]], list[float]],
) -> Callable[[RolloutGroup, Sequence[Rollout]], list[Row]]:
    """On-policy rollouts by eq. 5."""

    def rows(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
        assert list(stayed) == list(group.policy) and not group.expert
        advantages = worth([rollout.reward for rollout in stayed])
        return [Row(one, a, eq_5(a)) for one, a in zip(stayed, advantages, strict=True)]

    return rows


def with_expert(
    group: RolloutGroup,
    stayed: Sequence[Rollout],
    entering: Sequence[Rollout],
    *,
    worth: Callable[[Sequence[float]], list[float]] = standardised,
    policy: Callable[[float], Callable[[Tensor, Tensor, Tensor], Tensor]] = eq_5,
    expert: Callable[[float], Callable[[Tensor, Tensor, Tensor], Tensor]] = eq_10,
    bonus: float = 0.0,
    thinned: bool = False,
) -> list[Row]:
    """On-policy rollouts and these expert ones, which have advantages relative to both."""
    rewards = [rollout.reward for rollout in stayed]
    rewards += [rollout.reward + bonus * right(rollout) for rollout in entering]
    advantages = worth(rewards)
    return [
        *(Row(one, a, policy(a)) for one, a in zip(stayed, advantages, strict=False)),
        *(
            Row(one, a, expert(a), thinned)
            for one, a in zip(entering, advantages[len(stayed) :], strict=True)
        ),
    ]


def icpo(group: RolloutGroup, stayed: Sequence[Rollout], bonus: float = 0.0) -> list[Row]:
    """Algorithm 1: an accepted expert rollout takes the place of an on-policy one."""
    (expert,) = group.expert
    entering = [expert] if right(expert) else []
    assert len(stayed) == len(group.policy) - len(entering)
    return with_expert(group, stayed, entering, bonus=bonus)


def icpo_bonus(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """Eq. 12: accepted ones are worth 1 - t/T more."""
    return icpo(group, stayed, bonus=1 - STEP / TOTAL_STEPS)


def icpo_for(wanted: Callable[[int, int], bool]) -> Callable[..., list[Row]]:
    """Table 14: only some prompts have an expert rollout."""

    def rows(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
        solved = sum(rollout.reward >= 1 for rollout in group.policy)
        if wanted(solved, len(group.policy)):
            return icpo(group, stayed)
        return only_policy(standardised)(group, stayed)

    return rows


def icpo_always(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """Without rejection."""
    assert list(stayed) == list(group.policy)
    return with_expert(group, stayed, group.expert)


def icpo_reserve(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """A rejected one is out of the loss and of the statistics, and nobody makes room."""
    assert list(stayed) == list(group.policy)
    return with_expert(group, stayed, [one for one in group.expert if right(one)])


def luffy(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """Stored solutions by LUFFY's ratio; no deviation, no clip."""
    assert list(stayed) == list(group.policy) and len(group.expert) == 1
    return with_expert(group, stayed, group.expert, worth=centred, policy=unclipped, expert=luffys)


def sft(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """Stored solutions are imitated."""
    assert not group.policy and len(group.expert) == 1
    return [Row(one, 0.0, imitation) for one in group.expert]


def rl_sft_term(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """GRPO, and a solution that is imitated; tokens of both are in Z."""
    assert list(stayed) == list(group.policy) and len(group.expert) == 1
    advantages = standardised([rollout.reward for rollout in stayed])
    return [
        *(Row(one, a, eq_5(a)) for one, a in zip(stayed, advantages, strict=True)),
        *sft(RolloutGroup(group.problem, group.prompt, (), group.expert), ()),
    ]


def prefix_rft(group: RolloutGroup, stayed: Sequence[Rollout]) -> list[Row]:
    """Hybrids count as if they had been sampled from x; of what was given a fifth is trained on."""
    assert list(stayed) == list(group.policy) and len(group.expert) == 1
    return with_expert(group, stayed, group.expert, worth=centred, expert=eq_5, thinned=True)


BY_HAND: dict[str, Preset] = {
    "grpo": Preset(only_policy(standardised), over_tokens),
    "grpo_extra_rollouts": Preset(only_policy(standardised), over_tokens),
    "grpo_expert_domain": Preset(only_policy(standardised), over_tokens),
    "dr_grpo": Preset(only_policy(centred), over_rows),
    "luffy": Preset(luffy, over_tokens),
    "sft": Preset(sft, over_tokens),
    "sft_then_rl": Preset(only_policy(standardised), over_tokens),
    "rl_sft_term": Preset(rl_sft_term, over_tokens),
    "relift": Preset(only_policy(standardised), over_tokens),
    "prefix_rft": Preset(prefix_rft, over_rows),
    "icpo": Preset(icpo, over_tokens),
    "icpo_bonus": Preset(icpo_bonus, over_tokens),
    "icpo_always": Preset(icpo_always, over_tokens),
    "icpo_non_pass": Preset(icpo_for(lambda solved, of: solved == 0), over_tokens),
    "icpo_some_pass": Preset(icpo_for(lambda solved, of: 0 < solved < of), over_tokens),
    "icpo_reserve": Preset(icpo_reserve, over_tokens),
}


def prefix_length(solution: int, chance: float) -> int:
    """Of a solution of so many tokens, at this step; `chance` is from 0 to 1.

    A share between 5 % and a bound that a cosine takes from 95 % to 5 %.
    """
    bound = 0.05 + 0.45 * (1 + math.cos(math.pi * STEP / TOTAL_STEPS))
    return min(math.floor((0.05 + (bound - 0.05) * chance) * solution), solution - 1)


def least_certain(entropy: Tensor, given: int) -> Tensor:
    """(T,): everything that was sampled, and of what was given the fifth with most entropy."""
    kept = sorted(range(given), key=lambda place: -entropy[place].item())[: math.ceil(given / 5)]
    return torch.tensor([place in kept or place >= given for place in range(len(entropy))])
