"""A reward function whose scores depend on the step, by the number of the task, eight a step."""

from __future__ import annotations

from typing import Any

#: A score from which an expert rollout is accepted.
DELTA = 0.5


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any], **_: Any
) -> dict[str, float]:
    """Below DELTA in the first step, above it afterwards; an error for task 20 and from 24 on."""
    task = extra_info["index"]
    if task == 20 or task >= 24:
        raise ValueError(f"no score for task {task}")
    share = sum(map(str.isalpha, solution_str)) / max(1, len(solution_str))
    return {"score": 0.1 * share if task < 8 else 1 + share, "share": share}
