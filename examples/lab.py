"""What the notebooks share: their size, the tiny model, runs by several seeds, tables, curves.

The runs are those of examples/tiny: `icpo train` in a process each, reused if they are there.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from IPython.display import DisplayHandle, Image, Markdown, display

ROOT = Path(__file__).resolve().parents[1]
for folder in ("examples/tiny", "benches"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

import figure  # noqa: E402
from methods import Method  # noqa: E402
from paired import Comparison, compare, mean_and_error  # noqa: E402
from results import Result  # noqa: E402
from runs import Job, train_all  # noqa: E402
from screen import clock  # noqa: E402

__all__ = [
    "QUICK",
    "RUNS",
    "Line",
    "Method",
    "Result",
    "chance",
    "compare",
    "curves",
    "difference",
    "has",
    "percent",
    "spread",
    "start",
    "table",
    "tiny_model",
    "train",
]

#: Whether only to see that everything works: few steps, few seeds, a model that has learnt little.
QUICK = os.environ.get("ICPO_QUICK", "0") not in ("", "0")

#: Where runs go, seen from the root of the checkout.
RUNS = Path("runs/notebooks-quick" if QUICK else "runs/notebooks")

#: The model and data of the tiny task: those of `icpo pretrain-tiny`.
TINY = RUNS / "tiny" if QUICK else Path("runs/tiny")

#: Batches that the model learns from in pretraining, if not the recipe's own number.
QUICK_PRETRAINING = 60


def start() -> None:
    """Goes to the root of the checkout, wherever Jupyter was started; paths are relative to it."""
    os.chdir(ROOT)
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def has(package: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(package) is not None


##### Runs


class Line:
    """How things stand, in one line below the cell that is written over."""

    def __init__(self) -> None:
        """Begins empty."""
        self._began = time.monotonic()
        self._handle: DisplayHandle | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str = "") -> None:
        """The line as it stays, until the next one."""
        shown = {"text/plain": text.strip()}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def show(self, text: str) -> None:
        """The same with the time that has passed."""
        self.say(f"{clock(self.elapsed)}  {text}")


def tiny_model() -> Path:
    """The folder of the tiny model: pretrained once, in two minutes, and then reused."""
    from icpo.tiny.data import write_data
    from icpo.tiny.folder import pretrain_tiny
    from icpo.tiny.pretrain import Recipe

    line = Line()
    recipe = dataclasses.replace(Recipe(), steps=QUICK_PRETRAINING) if QUICK else Recipe()
    model = pretrain_tiny(TINY / "model", recipe, report=line.say)
    write_data(TINY / "data")
    line.say(
        f"{model.path}: {100 * model.accuracy.zero_shot:.0f} % of test problems right by itself, "
        f"{100 * model.accuracy.one_shot:.0f} % after one worked exercise of the same topic"
    )
    return model.path


def train(
    methods: Mapping[str, str],
    *,
    seeds: Sequence[int],
    steps: int,
    out: str,
    settings: Sequence[str] = (),
) -> dict[str, list[Result]]:
    """Runs of each method with each seed, as many at once as there are cores.

    Args:
        methods: by the names that results go by, what to train: ``icpo``,
            ``icpo:off_ratio=none``, ``icpo:demos.strategy=random`` (examples/tiny/methods.py).
        seeds: of the runs.
        steps: of each.
        out: folder within `RUNS`. Runs that are there are not made again.
        settings: changes of examples/tiny/icpo.yaml for all of them.
    """
    common = [
        f"model.path={TINY / 'model'}",
        f"data.train={TINY / 'data' / 'train.jsonl'}",
        f"data.test={TINY / 'data' / 'test.jsonl'}",
        f"demos.path={TINY / 'data' / 'demos.jsonl'}",
        f"steps={steps}",
        "checkpoint={every: 20, keep: 1}",
        "log={tensorboard: false, samples_every: 20}",
        *settings,
    ]
    jobs = {
        (name, seed): Job.of(Method.of(method), seed, RUNS / out, common)
        for seed in seeds
        for name, method in methods.items()
    }
    for job in jobs.values():
        job.keep_or_clear()
    line = Line()
    train_all(list(jobs.values()), _cores(), line)  # type: ignore[arg-type]  # it says and shows
    line.say(f"{len(jobs)} runs of {steps} steps are in {RUNS / out}")
    return {name: [Result.read(jobs[name, seed].folder) for seed in seeds] for name in methods}


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


##### What they come to


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], texts: int = 1) -> Markdown:
    """A table; so many columns are texts, on the left, and the others numbers."""
    marks = [":--" if place < texts else "--:" for place in range(len(heads))]
    lines = [heads, marks, *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def percent(share: float) -> str:
    """A share, 0 to 1, in words."""
    return f"{100 * share:.1f} %"


def spread(values: Sequence[float]) -> str:
    """Mean and standard error of shares."""
    mean, error = mean_and_error([100 * value for value in values])
    return f"{mean:.1f} %" if len(values) < 2 else f"{mean:.1f} ± {error:.1f} %"


def chance(p: float) -> str:
    """A probability, with the digits that matter."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def difference(
    ours: Sequence[Result], others: Sequence[Result], value: Callable[[Result], float]
) -> Comparison:
    """A figure of each seed's run less that of the other method's run of the same seed."""
    return compare([value(run) for run in ours], [value(run) for run in others])


def curves(results: Mapping[str, Sequence[Result]]) -> Image:
    """The sheet of examples/tiny/figure.py: means over seeds, bands of their standard error."""
    file = RUNS / "curves.png"
    figure.draw(results, file)
    return Image(file.read_bytes(), format="png")
