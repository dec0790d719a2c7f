"""Reward functions for verl, which is not imported.

In verl 0.9::

    reward.custom_reward_function.path=pkg://icpo.reward.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.profile=math_verify
    +reward.custom_reward_function.reward_kwargs.details=true

In older versions the keys begin with ``custom_reward_function``; there, with the reward manager
``batch``, the name ``compute_scores`` checks whole batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icpo.reward.checker import _cached

__all__ = ["compute_score", "compute_scores"]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Sequence[str],
    extra_info: Mapping[str, Any] | None = None,
    *,
    details: bool = False,
    profile: str = "strict",
    **kwargs: Any,
) -> float | dict[str, Any]:
    """1.0 if the solution gives the ground truth, or one of several; else 0.0.

    With `details`, a dictionary that verl logs: ``score``, ``acc``, ``unknown`` (it could not be
    told) and ``no_answer`` (none was found in the solution). Keyword arguments that are settings
    of `Checker` apply. All others are ignored, since verl passes some of its own, so a setting
    that is misspelt is ignored, too.
    """
    verdict = _cached(profile, _settings(kwargs)).check(_text(ground_truth), solution_str)
    if not details:
        return float(verdict.equal)
    return {
        "score": float(verdict.equal),
        "acc": float(verdict.equal),
        "unknown": float(verdict.outcome == "unknown"),
        "no_answer": float(verdict.reason == "response"),
    }


def compute_scores(
    data_sources: Iterable[str],
    solution_strs: Iterable[str],
    ground_truths: Iterable[str | Sequence[str]],
    extra_infos: Iterable[Mapping[str, Any] | None] | None = None,
    *,
    profile: str = "strict",
    **kwargs: Any,
) -> list[float]:
    """The same for a batch, on all threads, without details."""
    checker = _cached(profile, _settings(kwargs))
    scores = checker.score(solution_strs, [_text(truth) for truth in ground_truths])
    return [float(score) for score in scores]


def _text(truth: Any) -> Any:
    """Ground truths come from data sets, some of which hold numbers or arrays."""
    if isinstance(truth, int | float) and not isinstance(truth, bool):
        return str(truth)
    if hasattr(truth, "tolist"):
        return _text(truth.tolist())
    if isinstance(truth, list | tuple):
        return [_text(item) for item in truth]
    return truth


def _settings(kwargs: dict[str, Any]) -> dict[str, Any]:
    from icpo import _core

    known = _core.checker_defaults("strict")
    return {name: value for name, value in kwargs.items() if name in known}
