"""Random rollouts and groups, without a model."""

from __future__ import annotations

import numpy as np

from icpo.mixing import Plan
from icpo.types import Problem, Rollout, RolloutGroup, Tokens

#: Token ids are below this.
VOCABULARY = 11


def tokens(rng: np.random.Generator, length: int) -> Tokens:
    return rng.integers(VOCABULARY, size=length)


def rollout(
    rng: np.random.Generator,
    prompt: Tokens,
    *,
    reward: float = 0.0,
    outcome: str | None = None,
    expert: bool = False,
    length: int | None = None,
    finished: bool = True,
) -> Rollout:
    """A response of 1 to 6 random tokens, unless told otherwise."""
    length = int(rng.integers(1, 7)) if length is None else length
    return Rollout(
        prompt=prompt,
        tokens=tokens(rng, length),
        logp=-rng.exponential(size=length).astype(np.float32),
        text="",
        finished=finished,
        reward=reward,
        outcome=outcome or ("equal" if reward >= 1 else "not_equal"),
        expert=expert,
        demos=("d1", "d2") if expert else (),
    )


def group(
    rng: np.random.Generator,
    policy: list[float],
    expert: list[float],
    *,
    number: int = 0,
    length: int | None = None,
) -> RolloutGroup:
    """A group whose rollouts got these rewards; 1 is right, all else wrong."""
    prompt = tokens(rng, int(rng.integers(1, 6)))
    longer = [np.concatenate([tokens(rng, int(rng.integers(1, 9))), prompt]) for _ in expert]
    return RolloutGroup(
        Problem(f"p{number}", "?", "1"),
        prompt,
        tuple(rollout(rng, prompt, reward=reward, length=length) for reward in policy),
        tuple(
            rollout(rng, x_exp, reward=reward, expert=True, length=length)
            for x_exp, reward in zip(longer, expert, strict=True)
        ),
    )


def random_groups(
    rng: np.random.Generator, plan: Plan, count: int, *, right: float = 0.4
) -> list[RolloutGroup]:
    """Groups as `plan` asks for them, in which this share of rollouts is right."""

    def rewards(size: int) -> list[float]:
        return (rng.random(size) < right).astype(float).tolist()

    groups = []
    for number in range(count):
        policy = rewards(plan.policy_rollouts)
        groups.append(group(rng, policy, rewards(plan.expert_rollouts(policy)), number=number))
    return groups
