"""What is known about a step once its rollouts are mixed, before any of them is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from icpo.mixing.assemble import Batch
from icpo.mixing.groups import MixedGroup
from icpo.mixing.plan import Plan
from icpo.objective.metrics import Figures, RolloutMetrics, _Metrics
from icpo.objective.rollouts import rollout_metrics
from icpo.types import Rollout

__all__ = ["MixingMetrics", "StepMetrics", "step_metrics"]


class MixingMetrics(_Metrics):
    """How rollouts ended, which of them entered the update, and with which rewards."""

    NAMES: ClassVar[list[str]] = [
        "on_rollouts",
        "on_unfinished",
        "on_unknown",
        "off_rollouts",
        "off_unfinished",
        "off_unknown",
        "off_entered",
        "replaced",
        "replaced_right",
        "rows",
        "off_rows",
        "reward",
        "shaped_reward",
        "rows_without_gradient",
    ]
    FIGURES: ClassVar[Figures] = {
        # Ended at the length limit.
        "on/unfinished": (("on_unfinished",), ("on_rollouts",)),
        "off/unfinished": (("off_unfinished",), ("off_rollouts",)),
        # The checker could not tell.
        "on/unknown": (("on_unknown",), ("on_rollouts",)),
        "off/unknown": (("off_unknown",), ("off_rollouts",)),
        "expert/rollouts": (("off_rollouts",), ()),
        "expert/entered": (("off_entered",), ()),
        "expert/replaced": (("replaced",), ()),
        # Right on-policy rollouts among those that made room.
        "expert/replaced_right": (("replaced_right",), ("replaced",)),
        "batch/rows": (("rows",), ()),
        "batch/expert_rows": (("off_rows",), ("rows",)),
        "batch/reward": (("reward",), ("rows",)),
        "batch/shaped_reward": (("shaped_reward",), ("rows",)),
        "batch/zero_advantage": (("rows_without_gradient",), ("rows",)),
    }


@dataclass(frozen=True)
class StepMetrics:
    """The diagnostics of section 1.5 that need no model; steps and ranks add up."""

    rollouts: RolloutMetrics
    mixing: MixingMetrics

    def __add__(self, other: StepMetrics) -> StepMetrics:
        """The metrics of both together."""
        if not isinstance(other, StepMetrics):
            return NotImplemented
        return StepMetrics(self.rollouts + other.rollouts, self.mixing + other.mixing)

    def as_dict(self) -> dict[str, float]:
        """All figures by name. A mean over nothing is NaN; the keys are always the same."""
        return {**self.rollouts.as_dict(), **self.mixing.as_dict()}


def step_metrics(mixed: Sequence[MixedGroup], batch: Batch, plan: Plan) -> StepMetrics:
    """The metrics of one step: of all that was sampled, and of what is trained on."""
    policy = [rollout for one in mixed for rollout in one.group.policy]
    expert = [rollout for one in mixed for rollout in one.group.expert]
    sampled = policy + expert
    groups = [number for number, one in enumerate(mixed) for _ in one.group.policy]
    groups += [number for number, one in enumerate(mixed) for _ in one.group.expert]
    accepted = [False] * len(policy) + [flag for one in mixed for flag in one.accepted]
    rollouts = rollout_metrics(
        np.array([rollout.reward for rollout in sampled], np.float64),
        np.array(groups, np.int64),
        np.array([rollout.expert for rollout in sampled], np.bool_),
        np.array(accepted, np.bool_),
        lengths=np.array([len(rollout.tokens) for rollout in sampled], np.int64),
        demos=np.array([len(rollout.demos) for rollout in sampled], np.int64),
        threshold=plan.delta,
    )
    replaced = [one.group.policy[i] for one in mixed for i in one.replaced]
    sums = {
        **_endings("on", policy),
        **_endings("off", expert),
        "off_entered": sum(sum(one.entered) for one in mixed),
        "replaced": len(replaced),
        "replaced_right": sum(rollout.reward >= plan.delta for rollout in replaced),
        "rows": len(batch),
        "off_rows": batch.expert_mask.sum(),
        "reward": batch.rewards.sum(),
        "shaped_reward": batch.shaped_rewards.sum(),
        "rows_without_gradient": (batch.advantage == 0).sum(),
    }
    return StepMetrics(
        rollouts,
        MixingMetrics(np.array([sums[name] for name in MixingMetrics.NAMES], np.float64)),
    )


def _endings(side: str, rollouts: Sequence[Rollout]) -> dict[str, int]:
    return {
        f"{side}_rollouts": len(rollouts),
        f"{side}_unfinished": sum(not rollout.finished for rollout in rollouts),
        f"{side}_unknown": sum(rollout.outcome == "unknown" for rollout in rollouts),
    }
