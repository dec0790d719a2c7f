"""The reward function for verl: the answer checker's verdict, in fields that verl logs.

It is of use without ICPO, too; neither verl nor torch is imported::

    reward.custom_reward_function.path=pkg://icpo.verl.reward
    +reward.custom_reward_function.reward_kwargs.profile=math_verify

The reward manager ``icpo`` of ``icpo.verl.reward_manager`` gives the same with less work a score.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from icpo.reward.checker import Checker, _cached

__all__ = ["compute_score", "grade"]

_log = logging.getLogger(__name__)

#: So many characters of a response's answer are kept, and of a ground truth reported: what a model
#: says may be as long as it likes, and verl stores a batch of them as one array of equal widths.
CHARACTERS = 200
#: So many ground truths without an answer are reported one by one in a process.
REPORTS = 50

_reported: set[tuple[str, str]] = set()
_reporting = threading.Lock()


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    profile: str = "strict",
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **settings: Any,
) -> dict[str, float | str]:
    """Whether the solution gives the ground truth, or one of several; see `grade` for the fields.

    `profile` and `settings` are those of `Checker`. ``extra_info`` and the two arguments about
    reward models are what verl passes to every reward function: they do not matter here, and
    nothing else is accepted besides settings.

    >>> compute_score("math", "so it is 4", 4)["acc"]
    1.0

    Raises:
        ConfigError: if there is no such profile or setting, or it does not have such values.
    """
    return grade(_cached(profile, settings), data_source, solution_str, ground_truth)


def grade(
    checker: Checker, data_source: str, response: str, ground_truth: Any
) -> dict[str, float | str]:
    """What a checker says about a response, always with the same fields.

    - ``score``, ``acc``: 1.0 if the answers are equal, else 0.0.
    - ``verdict``: ``equal``, ``not_equal`` or ``unknown``; ``reason``: why unknown, else "".
    - ``pred``: the response's answer as it was read, by which verl takes majority votes, so that
      one half is one vote however it is spelt; "" if there is none.
    - ``unknown``, ``no_answer``, ``no_gold``: 1.0 if it could not be told, if no answer was found
      in the response, if none was found in the ground truth. verl averages numbers, not words.

    A ground truth without an answer is also logged, once.
    """
    verdict = checker.check(answers(ground_truth), response)
    no_answer, no_gold = verdict.reason == "response", verdict.reason == "gold"
    if no_gold:
        _report(str(data_source), ground_truth)
    pred = "" if no_answer else verdict.pred or verdict.extracted or ""
    return {
        "score": float(verdict.equal),
        "acc": float(verdict.equal),
        "verdict": verdict.outcome,
        "reason": verdict.reason or "",
        "pred": pred[:CHARACTERS],
        "unknown": float(verdict.outcome == "unknown"),
        "no_answer": float(no_answer),
        "no_gold": float(no_gold),
    }


def answers(ground_truth: Any) -> list[str]:
    """The right answers that a ground truth stands for, any of which will do.

    Data sets hold texts, numbers, and sequences of these. What is none of them becomes the empty
    text, of which the checker says that it can not be read.
    """
    if isinstance(ground_truth, np.ndarray):
        return answers(list(ground_truth.ravel()))
    if isinstance(ground_truth, Sequence) and not isinstance(ground_truth, str | bytes):
        return [text for item in ground_truth for text in answers(item)] or [""]
    return [_text(ground_truth)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return ""
    # Neither exponents, which math_verify takes for names, nor digits that float32 does not have.
    if isinstance(value, int | np.integer):
        return format(Decimal(int(value)), "f")
    if isinstance(value, float | np.floating):
        return np.format_float_positional(value, trim="-") if np.isfinite(value) else ""
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    return ""


def _report(data_source: str, ground_truth: Any) -> None:
    """Says of each ground truth once that it has no answer, so that the data can be mended."""
    key = (data_source, repr(ground_truth)[:CHARACTERS])
    with _reporting:
        if key in _reported or len(_reported) > REPORTS:
            return
        _reported.add(key)
        if len(_reported) > REPORTS:
            _log.warning("ground_truth: more have no answer; the field no_gold counts them")
            return
        _log.warning(
            "ground_truth of data source %s: expected an answer (a text, a number or several), got "
            "%s, which can not be read, or is prose that the response does not repeat",
            *key,
        )
