"""What to look at before a run is believed: each check says what was found, and with which bound.

A check sees a run and what was sampled in it, and answers with findings. No bound decides anything;
it only says where a reader should look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from icpo.report.conditions import Condition, deciding, differing
from icpo.report.html import Child, element
from icpo.report.numbers import Format, Number, integer, number, percent
from icpo.report.panels import PANELS, found
from icpo.report.runs import RESULTS, Run
from icpo.report.samples import ANY, Samples

__all__ = ["CHECKS", "FINE", "LEVELS", "Check", "Finding", "across", "check"]

#: From good to bad.
LEVELS = FINE, LOOK, WRONG = "fine", "look", "wrong"

#: Steps at the end that a statement about the end of training is about.
LAST = 10

Sentence = list[Child]  # with numbers in it that know their trace


@dataclass(frozen=True)
class Finding:
    """What a check found in a run, or in all of them together."""

    level: str
    #: Empty: of all runs.
    run: str
    sentence: Sentence


@dataclass(frozen=True)
class Check:
    """A question that is asked of each run."""

    name: str
    #: What makes it be marked, in words.
    bound: str
    #: What that means for who has to believe it.
    meaning: str
    #: What is found; None: the question does not arise.
    ask: Callable[[Run, Samples], tuple[str, Sentence] | None]


def check(one: Check, samples: Sequence[Samples]) -> list[Finding]:
    """What a check finds in each run in which its question arises."""
    found = [(each.run.name, one.ask(each.run, each)) for each in samples]
    return [Finding(answer[0], name, answer[1]) for name, answer in found if answer is not None]


##### Of one run


def _files(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    if run.damage:
        return WRONG, [_place("; ".join(run.damage))]
    return FINE, ["all read"]


def _complete(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    if run.record.kind == "eval":
        done = (run.record.folder / RESULTS).is_file()
        return (FINE, ["finished"]) if done else (LOOK, ["not finished"])
    if not run.steps:
        return LOOK, ["no step on record"]
    made, planned = run.made, run.planned
    if math.isnan(planned.value):
        return LOOK, [_say(made, integer), " steps; no file says of how many"]
    level = FINE if made.value == planned.value else LOOK
    return level, [_say(made, integer), " of ", _say(planned, integer), " steps"]


def _gaps(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    if len(run.steps) < 2:
        return None
    for line, (before, after) in enumerate(zip(run.steps, run.steps[1:], strict=False), 2):
        if after != before + 1:
            words = f"{run.metrics_name} line {line}: step {after} follows step {before}"
            return (LOOK if after > before else WRONG), [_place(words)]
    return FINE, ["one line a step"]


def _finite(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    keys = [key for key in MUST_BE_NUMBERS if key in run.keys]
    if not keys:
        return None
    for key in keys:
        there = {*run.curve(key).lines}
        for line, row in enumerate(run.record.metrics, 1):
            if key in row and line not in there:
                return WRONG, [_place(f"{run.metrics_name} line {line}: no {key}")]
    return FINE, [", ".join(keys)]


#: Means over nothing are null by design; these never are.
MUST_BE_NUMBERS = (
    "update/grad_norm",
    "update/loss/policy",
    "on/reward",
    "actor/grad_norm",
    "actor/pg_loss",
    "critic/score/mean",
)


def _level(
    keys: tuple[str, ...],
    is_bad: Callable[[float], bool],
    evaluated: Callable[[Samples], Number] | None = None,
) -> Callable[[Run, Samples], tuple[str, Sentence] | None]:
    """A check of the mean of a share over the last steps.

    Args:
        keys: of the figure, as patterns.
        is_bad: whether a share is to be marked.
        evaluated: what is looked at instead in an evaluation; None: nothing is.
    """

    def ask(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
        if run.record.kind == "eval":
            share = None if evaluated is None else evaluated(samples)
            if share is None or math.isnan(share.value):
                return None
            return (LOOK if is_bad(share.value) else FINE), [_say(share, percent)]
        key = found(run.keys, keys)
        curve = run.curve(key).last(LAST) if key else None
        if not curve:
            return None
        value = curve.mean()
        return (LOOK if is_bad(value.value) else FINE), [_say(value, percent)]

    return ask


def _accepted(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    if samples.accepted_wrong:
        first = _place(samples.first_accepted_wrong)
        return WRONG, [_say(samples.wrong_ones(), integer), " are not; the first is ", first]
    some = any(kind.endswith("accepted") for kind in samples.counts)
    return (FINE, ["all on record"]) if some else None


def _bare(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    key = found(run.keys, (r"(icpo/)?expert/prompts_without_demos",))
    curve = run.curve(key) if key else None
    if not curve:
        return None
    value = curve.sum()
    if value.value:
        return LOOK, [_say(value, integer), " left without"]
    return FINE, ["none left without"]


def _falls(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    curve = PANELS[0].curve(run)
    if len(curve.values) < 2:
        return None
    best = max(range(len(curve.values)), key=curve.values.__getitem__)
    said: Sentence = [_say(curve.at(0), percent), " → ", _say(curve.at(-1), percent)]
    if curve.values[best] - curve.values[-1] <= FALL:
        return FINE, said
    peak: Sentence = [" after ", _say(curve.at(best), percent), " at step "]
    return LOOK, [*said, *peak, _say(curve.step_at(best), integer)]


#: Of accuracy, from its best to its last evaluation.
FALL = 0.02


def _cut_gradient(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    bound = run.setting_number("optim.grad_clip", "actor_rollout_ref.actor.grad_clip")
    key = found(run.keys, ("update/grad_norm", "actor/grad_norm"))
    curve = run.curve(key) if key else None
    if not curve or math.isnan(bound.value):
        return None
    most = curve.most()
    level = LOOK if most.value > NORM * bound.value else FINE
    return level, ["at most ", _say(most, number), ", cut above ", _say(bound, number)]


#: Times the bound at which gradients are cut down.
NORM = 10


def _versions(run: Run, samples: Samples) -> tuple[str, Sentence] | None:
    return (FINE, ["recorded"]) if run.versions else (LOOK, ["not recorded"])


#: In the order in which they are read, if all of them are fine.
CHECKS = (
    Check(
        "Files",
        "a line that can not be read",
        "What stands behind it is neither counted nor shown.",
        _files,
    ),
    Check(
        "Finished",
        "fewer steps than planned",
        "It was stopped or still goes on: every figure here is of so far.",
        _complete,
    ),
    Check(
        "Steps in order",
        "a gap or a repetition",
        "Records of several runs may have been mixed.",
        _gaps,
    ),
    Check(
        "Losses, norms and rewards are numbers",
        "null, NaN or infinite",
        "The update of that step is not what it should be.",
        _finite,
    ),
    Check(
        "Accuracy, first and last",
        f"more than {100 * FALL:.0f} points below its best at the end",
        "The best is chosen on the test problems, so only the last figure is an estimate.",
        _falls,
    ),
    Check(
        "Norm of the gradient",
        f"beyond {NORM} times what it is cut down to",
        "Such a step says what the optimizer makes of an outlier.",
        _cut_gradient,
    ),
    Check(
        "Responses cut off at the limit",
        f"over 5 %, on policy in the last {LAST} steps",
        "Most of them earn nothing, whatever they are worth: the limit is part of the result.",
        _level(
            (r"(icpo/)?on/unfinished", "response_length/clip_ratio"),
            lambda value: value > 0.05,
            lambda samples: samples.unfinished(ANY),
        ),
    ),
    Check(
        "Answers that the checker could not judge",
        f"over 1 %, on policy in the last {LAST} steps",
        "They earn nothing, right or wrong: read some of them.",
        _level(
            (r"(icpo/)?on/unknown",),
            lambda value: value > 0.01,
            lambda samples: samples.unknown(ANY),
        ),
    ),
    Check(
        "Rows of the update without a gradient",
        f"over 90 % in the last {LAST} steps",
        "There is next to nothing to learn from.",
        _level((r"(icpo/)?batch/zero_advantage",), lambda value: value > 0.9),
    ),
    Check(
        "On-policy tokens whose gradient the clip stops",
        f"over 20 % in the last {LAST} steps",
        "The policy moves further in a step than the loss is made for.",
        _level(
            (r"(icpo/)?update/on/clip_fraction", "actor/pg_clipfrac"), lambda value: value > 0.2
        ),
    ),
    Check(
        "Expert rollouts accepted",
        f"under 10 % in the last {LAST} steps",
        "Demonstrations do not help here, and this is all but plain training.",
        _level((r"(icpo/)?expert/accepted",), lambda value: value < 0.1),
    ),
    Check(
        "Accepted rollouts are right",
        "one that is not",
        "Eq. 9 forbids it.",
        _accepted,
    ),
    Check(
        "Expert prompts have demonstrations",
        "one that has none",
        "These were not asked. A longer prompt.max_tokens would keep them.",
        _bare,
    ),
    Check(
        "Versions",
        "not recorded",
        "What it ran with can only be remembered.",
        _versions,
    ),
)


##### Of all runs together


def across(groups: Sequence[Condition], runs: Sequence[Run]) -> Iterator[Finding]:
    """What is to be known before runs are compared.

    Args:
        groups: runs of training, by condition.
        runs: all of them, evaluations too.
    """
    few = [group.name for group in groups if len(group.runs) < SEEDS]
    if few and sum(len(group.runs) for group in groups) > 1:
        bound = element("span", f"Fewer than {SEEDS} runs", class_="bound")
        words = f" of {'; '.join(few)}: runs of one method differ from seed to seed."
        yield Finding(LOOK, "", [bound, words])
    for kind in dict.fromkeys(run.record.kind for run in runs):
        told = [deciding(run) for run in runs if run.record.kind == kind and run.settings]
        keys = [key for key in differing(told) if not key.startswith(COMPARED)]
        if keys:
            words = "Not only what is compared differs between the runs, but also: "
            yield Finding(LOOK, "", [words, element("code", ", ".join(keys)), "."])
    told = [_texts(run) for run in runs if run.versions]
    # Programs do not all write down the same.
    versions = [key for key in differing(told) if all(key in one for one in told)]
    if versions:
        words = "Runs were not made with the same "
        yield Finding(LOOK, "", [words, element("code", ", ".join(versions)), "."])


#: Runs of a condition from which a spread can be seen.
SEEDS = 3

#: Beginnings of keys under which runs may differ on purpose: methods, and what is evaluated.
COMPARED = ("algorithm.", "icpo.", "settings.engine.", "identity.")


def _texts(run: Run) -> dict[str, str]:
    """Versions; an evaluation also writes down what it evaluated, which differs on purpose."""
    return {
        key: setting.text for key, setting in run.versions.items() if not key.startswith("model.")
    }


def _place(words: str) -> Child:
    return element("span", words, class_="place")


def _say(value: Number, form: Format) -> Child:
    return value.shown(form)
