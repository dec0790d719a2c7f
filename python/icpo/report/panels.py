"""Which figures of a run are drawn, and under which names they are found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from icpo.report.numbers import Format, integer, number, percent
from icpo.report.runs import Curve, Run

__all__ = ["PANELS", "PART", "WINDOW", "Panel", "found", "window"]

#: What is known of every step jumps, so the mean of so many values around each is drawn, too; of
#: long runs, of this part of their steps.
WINDOW, PART = 7, 40


def window(steps: int) -> int:
    """Values of the running mean, an odd number, where the longest run has so many steps."""
    return max(WINDOW, steps // PART | 1)


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    #: How it is read, for somebody who has to decide whether to believe a run.
    meaning: str
    #: Names of the figure, the first that a run has; patterns that match whole names.
    keys: tuple[str, ...]
    form: Format = number
    #: Whether it is measured at every step, and jumps.
    smooth: bool = True
    #: Whether the axis goes from 0 to 1 whatever the values are.
    whole: bool = False

    def curve(self, run: Run) -> Curve:
        """The run's; empty if it has none."""
        return run.curve(found(run.keys, self.keys) or self.keys[0])


def found(keys: Sequence[str], patterns: Sequence[str]) -> str | None:
    """The key that the first pattern to match anything matches; of several the last in order."""
    for pattern in patterns:
        those = [key for key in keys if re.fullmatch(pattern, key)]
        if those:
            return max(those, key=_natural)
    return None


def _natural(key: str) -> list[tuple[int, str]]:
    """So that avg@32 comes after avg@4."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key)]


PANELS = (
    Panel(
        "Accuracy on test problems",
        "Sampled from plain prompts. The figure that the rest has to explain.",
        (r"eval/avg@\d+", r"eval/greedy", r"val-core/.*/mean@\d+", r"val-core/.*"),
        percent,
        smooth=False,
        whole=True,
    ),
    Panel(
        "Reward of on-policy rollouts",
        "Mean over all that was sampled from plain prompts, before any bonus.",
        (r"on/reward", r"icpo/on/reward", r"critic/score/mean"),
    ),
    Panel(
        "Prompts without a right on-policy rollout",
        "Where plain sampling has nothing to learn from.",
        (r"prompts/non_pass", r"icpo/prompts/non_pass"),
        integer,
    ),
    Panel(
        "Expert rollouts accepted",
        "Share that passed eq. 8 and 9. Near 0 demonstrations do not help, and this is GRPO.",
        (r"expert/accepted", r"icpo/expert/accepted"),
        percent,
        whole=True,
    ),
    Panel(
        "Entropy of on-policy rollouts",
        "Nats a token. Near 0 exploration has ended, whether or not the task is solved.",
        (r"on/surprise", r"icpo/on/surprise", r"actor/entropy"),
    ),
    Panel(
        "Gradient weight of expert tokens",
        "Mean f (1 - f), eq. 10. It falls to λ/(1 + λ)² as the policy takes over what was shown.",
        (r"update/off/gradient_weight", r"icpo/update/off/gradient_weight"),
    ),
    Panel(
        "Ratio of expert tokens",
        "Mean of eq. 7. It rises to 1 as the plain prompt comes to do what the expert prompt does.",
        (r"update/off/ratio", r"icpo/update/off/ratio"),
    ),
    Panel(
        "Response length",
        "Tokens, on policy. Growth towards the limit can look like learning.",
        (r"on/response_length", r"icpo/on/response_length", r"response_length/mean"),
    ),
    Panel(
        "Responses cut off at the limit",
        "Share of on-policy rollouts that did not end by themselves.",
        (r"on/unfinished", r"icpo/on/unfinished", r"response_length/clip_ratio"),
        percent,
        whole=True,
    ),
    Panel(
        "Rows without a gradient",
        "Share of the update's rows in groups without spread: nothing is learned from them.",
        (r"batch/zero_advantage", r"icpo/batch/zero_advantage"),
        percent,
        whole=True,
    ),
    Panel(
        "Norm of the gradient",
        "Mean over the updates of a step, before it is cut down.",
        (r"update/grad_norm", r"actor/grad_norm"),
    ),
    Panel(
        "Tokens whose gradient the clip stops",
        "Share of on-policy tokens.",
        (r"update/on/clip_fraction", r"icpo/update/on/clip_fraction", r"actor/pg_clipfrac"),
        percent,
    ),
    Panel(
        "Divergence from the old policy",
        "Mean of old less new log-probability, on policy, over the updates of a step.",
        (r"update/on/kl", r"icpo/update/on/kl", r"actor/ppo_kl"),
    ),
)
