"""The demonstration's report: a table, what the numbers allow to say, and a picture.

python examples/tiny/report.py runs/demo
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import figure
import numpy as np
from methods import BASELINE, Method
from paired import Comparison, compare, mean_and_error
from results import LAST, TARGET, Result

from icpo.errors import IcpoError

__all__ = ["NOTE", "PICTURE", "TEXT", "write"]

#: In the folder of the demonstration.
NOTE, PICTURE, TEXT = "demo.json", "report.png", "report.txt"

#: Characters of a line of prose.
WIDTH = 96

#: p below which a difference is called significant.
LEVEL = 0.05

#: Where the right habit is known: of a model that was pretrained here.
RARE = (
    ": only {:.2g} % of the documents in pretraining that calculate step by step, with no examples "
    "before, went by the topic's own rule (--right-habit)"
)

#: The method's name, and its results in order of seeds.
Results = dict[str, list[Result]]

#: Figures of one run that are compared between methods.
COMPARED: dict[str, Callable[[Result], float]] = {
    "area under the curve": lambda run: run.area,
    "accuracy after": lambda run: run.final,
}


def write(out: Path) -> str:
    """Writes the picture and the text into the folder of a demonstration; returns the text.

    Raises:
        DataError: if a run is missing or not finished.
    """
    note = json.loads((out / NOTE).read_text(encoding="utf-8"))
    results = {
        name: [Result.read(out / f"{Method.of(name).folder}-seed{seed}") for seed in note["seeds"]]
        for name in note["methods"]
    }
    parts = [_before(results), _table(results), _by_seed(results), _comparison(results)]
    text = "\n\n".join([*filter(None, parts), _caveat(note["right_habit"])])
    (out / TEXT).write_text(text + "\n", encoding="utf-8")
    figure.draw(results, out / PICTURE)
    return text


##### What the numbers are


def _before(results: Results) -> str:
    runs = [run for those in results.values() for run in those]
    k = runs[0].samples

    def mean(name: str) -> str:
        return _percent(np.mean([run.before(name) for run in runs]))

    return _wrapped(
        f"Before training, {mean(f'eval/avg@{k}')} of answers to test problems are right, greedy "
        f"{mean('eval/greedy')}. After one worked exercise of the same topic (one-shot) it is "
        f"{mean(f'eval_demos/avg@{k}')}, greedy {mean('eval_demos/greedy')}. "
        f"{mean('probe/non_pass')} of training problems are non-pass: none of {k} samples is right."
    )


def _table(results: Results) -> str:
    heads = [
        "",
        "zero-shot\nafter",
        "greedy\nafter",
        f"steps to {100 * TARGET:.0f} %\nmedian (range)",
        "area under\nthe curve",
        "non-pass\nsolved",
        "entropy",
        "seconds",
        "checking,\nmixing, loss",
    ]
    lines = []
    for name, runs in results.items():
        solved = [run.after("probe/non_pass_solved") for run in runs]
        lines.append(
            [
                name,
                _spread([run.final for run in runs]),
                _spread([run.after("eval/greedy") for run in runs]),
                _steps(runs),
                _spread([run.area for run in runs]),
                "-" if any(map(math.isnan, solved)) else _spread(solved),
                f"{np.mean([run.entropy for run in runs]):.3f}",
                f"{np.mean([run.spent for run in runs]):.0f}",
                _percent(np.mean([run.own_share for run in runs])),
            ]
        )
    seeds = len(next(iter(results.values())))
    many = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed"
    explained = _wrapped(
        "Zero-shot: sampled at temperature 1. Area under the curve: zero-shot accuracy, mean over "
        f"the steps. Entropy: nats a token, mean of the last {LAST} steps. Seconds: of one "
        "process, evaluation included. Last column: share of training time that is this package's "
        "own code, not the model's."
    )
    return f"After {_longest(results)} steps ({many}):\n\n{_aligned(heads, lines)}\n\n{explained}"


def _steps(runs: Sequence[Result]) -> str:
    """Runs that did not get there count as later than all steps."""
    reached = sorted(run.reached for run in runs)
    words = [_step(value, runs[0].steps) for value in (np.median(reached), reached[0], reached[-1])]
    return words[0] if words[1] == words[2] else f"{words[0]} ({words[1]} to {words[2]})"


def _step(value: float, steps: int) -> str:
    return f"{value:.0f}" if math.isfinite(value) else f">{steps}"


def _by_seed(results: Results) -> str:
    if len(next(iter(results.values()))) == 1:
        return ""
    seeds = [run.seed for run in next(iter(results.values()))]
    heads = ["", *(f"seed {seed}" for seed in seeds)]
    lines = [
        [name, *(f"{_percent(run.final)}, {_step(run.reached, run.steps)}" for run in runs)]
        for name, runs in results.items()
    ]
    return f"Each seed: zero-shot after, steps to {100 * TARGET:.0f} %\n\n{_aligned(heads, lines)}"


##### What they allow to say


def _comparison(results: Results) -> str:
    others = [name for name in results if name != BASELINE]
    if BASELINE not in results or not others:
        return ""
    seeds = len(results[BASELINE])
    if seeds == 1:
        return _wrapped(
            "One seed: the difference may be chance. Runs of one method differ a lot from "
            "seed to seed; --seeds 0 1 2 3 4 5 shows by how much."
        )
    compared = {
        (name, figure_name): compare(
            [value(run) for run in results[name]], [value(run) for run in results[BASELINE]]
        )
        for figure_name, value in COMPARED.items()
        for name in others
    }
    heads = [f"minus {BASELINE}", "", "points", "higher in", "p, t-test", "p, sign flips"]
    lines = [
        [
            name,
            figure_name,
            f"{100 * one.mean:+.1f} ± {100 * one.error:.1f}",
            f"{sum(difference > 0 for difference in one.differences)} of {seeds}",
            "-" if math.isnan(one.student) else _chance(one.student),
            _chance(one.sign_flip),
        ]
        for (name, figure_name), one in compared.items()
    ]
    return (
        f"Compared seed by seed, two-sided:\n\n{_aligned(heads, lines, texts=2)}\n\n"
        f"{_verdict(compared, seeds)}"
    )


def _verdict(compared: dict[tuple[str, str], Comparison], seeds: int) -> str:
    """Which differences are significant, in words."""
    tests = (
        "The t-test assumes normal differences, but runs either succeed or get stuck. The "
        "sign-flip test assumes nothing of the kind, and decides here."
    )
    least = next(iter(compared.values())).least
    if least > LEVEL:
        return _wrapped(
            f"{tests} Of {seeds} seeds its p is {_chance(least)} at best: nothing here is "
            "significant, whatever it looks like. Of 6 it can be."
        )
    lines = [_wrapped(tests)]
    for (name, figure_name), one in compared.items():
        direction = "higher" if one.mean > 0 else "lower"
        if one.sign_flip <= LEVEL:
            found = f"is significantly {direction} (p {_chance(one.sign_flip)})"
        else:
            found = f"does not differ significantly (p {_chance(one.sign_flip)})"
        lines.append(f"- {name}: {figure_name} {found}.")
    lines.append(
        _wrapped(
            f"{len(compared)} differences are tested, and p is not corrected for that: of those "
            "that do not exist, one in 20 is called significant by chance."
        )
    )
    return "\n".join(lines)


def _caveat(right_habit: float | None) -> str:
    rare = "" if right_habit is None else RARE.format(100 * right_habit)
    return _wrapped(
        f"The right habit was made rare on purpose{rare}. This shows a mechanism at work, not how "
        "much it matters elsewhere: a policy that finds right answers by itself needs no "
        "demonstrations."
    )


##### Texts


def _spread(values: Sequence[float]) -> str:
    mean, error = mean_and_error([100 * value for value in values])
    return f"{mean:.1f} %" if math.isnan(error) else f"{mean:.1f} ± {error:.1f} %"


def _percent(share: float | np.floating[Any]) -> str:
    return f"{100 * share:.1f} %"


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _longest(results: Results) -> int:
    return max(run.steps for runs in results.values() for run in runs)


def _aligned(heads: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Columns; heads may have two lines; the first `texts` columns are left-aligned."""
    tops = [head.split("\n") for head in heads]
    depth = max(map(len, tops))
    titles = [[""] * (depth - len(top)) + top for top in tops]
    table = [*(list(row) for row in zip(*titles, strict=True)), *map(list, lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "   ".join(
            f"{cell:<{width}}" if place < texts else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def main() -> int:
    """Writes the report of a finished demonstration again."""
    parser = argparse.ArgumentParser(description="Write the demonstration's report again.")
    parser.add_argument("out", type=Path, help="folder of the demonstration")
    out = parser.parse_args().out
    try:
        print(write(out))
    except (IcpoError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"Picture: {out / PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
