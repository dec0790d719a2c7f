"""The reward of laptop.sh: something that a model with random weights earns a little of."""

from __future__ import annotations

from typing import Any


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, float]:
    """The share of digits in the response, and 1 if it holds the right box.

    A random model never answers right, so this has no key `acc` or `verdict`: with one, ICPO would
    accept verified expert rollouts only. A real run scores with ``pkg://icpo.verl.reward``.
    """
    digits = sum(character.isdecimal() for character in solution_str) / max(1, len(solution_str))
    right = float(f"\\boxed{{{ground_truth}}}" in solution_str)
    return {"score": digits + right, "digits": digits, "right": right}
