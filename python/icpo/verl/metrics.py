"""What became of the requests to the rollout engine, as sums that add up over groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from icpo.mixing.metrics import MixingMetrics, StepMetrics
from icpo.objective.metrics import Figures, LossMetrics, RolloutMetrics, _Metrics

__all__ = ["RequestMetrics", "loss_figures", "none_came_back", "packed", "rollout_figures"]


class RequestMetrics(_Metrics):
    """Requests for expert rollouts, and those that gave none."""

    NAMES: ClassVar[list[str]] = [
        "requests",
        "failed",
        "timed_out",
        "empty",
        "demos_dropped",
        "bare",
        "too_long",
        "policy_requests",
        "policy_failed",
    ]
    FIGURES: ClassVar[Figures] = {
        "expert/requests": (("requests",), ()),
        # The rollout engine, or the reward, raised an error.
        "expert/failed": (("failed",), ()),
        "expert/timed_out": (("timed_out",), ()),
        # No token came back.
        "expert/empty": (("empty",), ()),
        # Demonstrations that the prompt limit has cost.
        "expert/demos_dropped": (("demos_dropped",), ()),
        # Prompts that were left without any, and so were not asked.
        "expert/prompts_bare": (("bare",), ()),
        # Stored solutions that exceed the response length.
        "expert/solutions_too_long": (("too_long",), ()),
        "policy/requests": (("policy_requests",), ()),
        "policy/failed": (("policy_failed",), ()),
    }

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> RequestMetrics:
        """From counts by name; those that are missing are 0."""
        return cls(np.array([counts.get(name, 0) for name in cls.NAMES], np.float64))


#: What a group reports, in this order.
_KINDS = (RolloutMetrics, MixingMetrics, RequestMetrics)


def packed(step: StepMetrics, requests: RequestMetrics) -> list[list[float]]:
    """The sums of a group, as they travel from a worker."""
    return [metrics.sums.tolist() for metrics in (step.rollouts, step.mixing, requests)]


def rollout_figures(groups: Iterable[list[list[float]]]) -> dict[str, float]:
    """The figures of all groups together. The keys are always the same."""
    totals = [np.zeros(len(kind.NAMES)) for kind in _KINDS]
    for group in groups:
        for total, sums in zip(totals, group, strict=True):
            total += np.asarray(sums)
    figures: dict[str, float] = {}
    for kind, total in zip(_KINDS, totals, strict=True):
        figures |= {f"icpo/{name}": value for name, value in kind(total).as_dict().items()}
    return figures


#: Ways in which expert requests come to nothing.
_CAME_TO_NOTHING = ("failed", "timed_out", "empty", "prompts_bare", "solutions_too_long")


def none_came_back(figures: Mapping[str, float]) -> str | None:
    """Why a step got no expert rollout at all, if it should have; figures as `rollout_figures`."""
    lost = {name: int(figures[f"icpo/expert/{name}"]) for name in _CAME_TO_NOTHING}
    if figures["icpo/expert/rollouts"] or not any(lost.values()):
        return None
    counts = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
    return f"no expert request gave a rollout ({counts})"


def loss_figures(metrics: LossMetrics) -> dict[str, float]:
    """The figures of the update. verl reports the terms of the loss itself."""
    return {
        f"icpo/update/{name}": value
        for name, value in metrics.as_dict().items()
        if not name.startswith("loss/") and "entropy" not in name and name != "ref_kl"
    }
