"""Mixed groups to one batch: rewards, advantages, and completions behind their bare prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo.errors import ShapeError
from icpo.mixing.bonus import Bonus
from icpo.mixing.groups import MixedGroup
from icpo.objective.config import LossConfig
from icpo.types import Tokens

__all__ = ["Batch", "assemble"]

#: Log-probabilities of a completion, (L,).
LogProbs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Batch:
    """What is trained on: pairs of a prompt and a completion. B rows, in order of their groups."""

    #: x, the bare prompt, wherever the completion came from.
    prompts: tuple[Tokens, ...]
    #: The prompt that the completion was sampled from: x, or x_exp.
    sampled_prompts: tuple[Tokens, ...]
    #: τ.
    completions: tuple[Tokens, ...]
    #: log π_old(τ_t | the prompt it was sampled from), below the line of eq. 7.
    behavior_logp: tuple[LogProbs, ...]
    #: log π_old(τ_t | x), below the line of eq. 5. Until they are computed, expert rows hold
    #: `behavior_logp` here: the loss does not read theirs, but expects a number.
    old_logp: tuple[LogProbs, ...]
    #: R.
    rewards: NDArray[np.float64]  # (B,)
    #: R', which is R but for the bonus.
    shaped_rewards: NDArray[np.float64]  # (B,)
    #: Â (eq. 4 and 6).
    advantage: NDArray[np.float64]  # (B,)
    expert_mask: NDArray[np.bool_]  # (B,)
    #: Which of these expert rows passed the test of eq. 8 and 9.
    accepted: NDArray[np.bool_]  # (B,)
    #: Number of the row's group.
    group: NDArray[np.int64]  # (B,)
    #: Of each completion, how many tokens were given, not sampled, the first ones. None: none.
    given: tuple[int, ...] | None = None
    #: Which tokens of each completion are trained on. None: all.
    trained: tuple[NDArray[np.bool_], ...] | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.completions)

    @property
    def trained_tokens(self) -> NDArray[np.int64]:  # (B,)
        """How many tokens of each completion are trained on."""
        if self.trained is None:
            return self.lengths
        return np.array([int(mask.sum()) for mask in self.trained], np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:  # (B,)
        """Lengths of the completions."""
        return np.array([len(tokens) for tokens in self.completions], np.int64)

    def rows(self, index: ArrayLike) -> Batch:
        """The batch of these rows alone, in this order. Their advantages stay what they are."""
        chosen = np.asarray(index, np.int64)

        def take(values: Any) -> Any:
            if values is None:
                return None
            if isinstance(values, tuple):
                return tuple(values[i] for i in chosen)
            return values[chosen]

        names = [field.name for field in dataclasses.fields(self)]
        return Batch(**{name: take(getattr(self, name)) for name in names})

    def as_sampled(self) -> Batch:
        """The same completions behind the prompts that they were sampled from."""
        return dataclasses.replace(self, prompts=self.sampled_prompts)

    def with_old_logp(self, logp: Sequence[LogProbs]) -> Batch:
        """The same with log π_old(τ_t | x) as given, row by row."""
        return dataclasses.replace(self, old_logp=self._per_token("old_logp", logp))

    def with_behavior_logp(self, logp: Sequence[LogProbs]) -> Batch:
        """The same with log π_old(τ_t | sampled prompt) as given, row by row."""
        return dataclasses.replace(self, behavior_logp=self._per_token("behavior_logp", logp))

    def with_trained(self, masks: Sequence[NDArray[np.bool_]]) -> Batch:
        """The same with only these tokens trained on, row by row."""
        return dataclasses.replace(self, trained=self._per_token("trained", masks))

    def _per_token(self, name: str, rows: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        if len(rows) != len(self):
            raise ShapeError(f"{name}: expected {len(self)} rows, got {len(rows)}")
        for i, (row, tokens) in enumerate(zip(rows, self.completions, strict=True)):
            if row.shape != tokens.shape:
                raise ShapeError(f"{name}[{i}]: expected shape {tokens.shape}, got {row.shape}")
        return tuple(rows)


def assemble(
    mixed: Sequence[MixedGroup],
    *,
    loss: LossConfig,
    bonus: Bonus | None = None,
    step: float = 0,
    total_steps: float = 1,
) -> Batch:
    """The batch of one step: every member of every group.

    Args:
        mixed: the groups.
        loss: says what advantages are relative to, and whether they are divided.
        bonus: of accepted expert rollouts; None: none.
        step: t of the bonus.
        total_steps: T of the bonus.
    """
    members = [
        (number, one.group.prompt, rollout, accepted, counts)
        for number, one in enumerate(mixed)
        for rollout, accepted, counts in zip(
            one.members, one.member_accepted, one.member_counts, strict=True
        )
    ]
    groups = np.array([number for number, *_ in members], np.int64)
    rollouts = [rollout for _, _, rollout, *_ in members]
    rewards = np.array([rollout.reward for rollout in rollouts], np.float64)
    expert_mask = np.array([rollout.expert for rollout in rollouts], np.bool_)
    accepted = np.array([flag for *_, flag, _ in members], np.bool_)
    counts = np.array([flag for *_, flag in members], np.bool_)
    shaped = rewards if bonus is None else bonus.shaped(rewards, accepted, step, total_steps)
    given = [rollout.given for rollout in rollouts]
    advantage = loss.advantages(shaped, groups, expert_mask=expert_mask, keep_mask=counts)
    return Batch(
        prompts=tuple(prompt for _, prompt, *_ in members),
        sampled_prompts=tuple(rollout.prompt for rollout in rollouts),
        completions=tuple(rollout.tokens for rollout in rollouts),
        behavior_logp=tuple(rollout.logp for rollout in rollouts),
        old_logp=tuple(rollout.logp for rollout in rollouts),
        rewards=rewards,
        shaped_rewards=np.asarray(shaped, np.float64),
        advantage=np.asarray(advantage, np.float64),
        expert_mask=expert_mask,
        accepted=accepted,
        group=groups,
        given=tuple(given) if any(given) else None,
    )
