"""What the notebooks share: their size, the tiny model, runs by several seeds, tables, curves.

The runs are those of examples/tiny: `icpo train` in a process each, reused if they are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from IPython.display import DisplayHandle, Image, Markdown, display

from icpo.analysis.style import legend, line, look, shares, sheet
from icpo.cli import main
from icpo.tiny.data import Sizes

ROOT = Path(__file__).resolve().parents[1]
for folder in ("examples/tiny", "benches"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

from figure import ACCEPTED, ACCURACY, ENTROPY, NON_PASS, WEIGHT, Panel  # noqa: E402
from methods import Method  # noqa: E402
from paired import compare, mean_and_error  # noqa: E402
from results import Result  # noqa: E402
from runs import EXAMPLE, Job, train_all  # noqa: E402
from screen import clock  # noqa: E402

__all__ = [
    "ACCEPTED",
    "ACCURACY",
    "ENTROPY",
    "NON_PASS",
    "QUICK",
    "RUNS",
    "SIZES",
    "TINY",
    "WEIGHT",
    "Line",
    "Panel",
    "Result",
    "chance",
    "checkpoint",
    "compare",
    "curves",
    "has",
    "icpo",
    "percent",
    "picture",
    "small",
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

#: How much data there is; None: the task's own numbers.
SIZES = Sizes(train=16, test=8, demos=32) if QUICK else None

#: Batches that the model learns from in pretraining, if not the recipe's own number.
QUICK_PRETRAINING = 60

#: Of the runs that only are to show that everything works.
QUICK_SETTINGS = (
    "batch=4",
    "mini_batch=4",
    "generation.max_new_tokens=8",
    "eval={every: 1, k: 1, probe: 8}",
    "log={tensorboard: false, samples_every: 1}",
    "checkpoint.every=2",
)


def start() -> None:
    """Goes to the root of the checkout, wherever Jupyter was started; paths are relative to it."""
    os.chdir(ROOT)
    # transformers asks for bars of ipywidgets, which nothing here needs.
    warnings.filterwarnings("ignore", message="IProgress not found")
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def has(package: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(package) is not None


def icpo(*arguments: Any) -> str:
    """The command ``icpo`` in this process; returns what it prints.

    How far it is, on standard error, is not kept. Where it fails, the end of that is the error.
    """
    out, progress = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(progress):
        code = main([str(argument) for argument in arguments])
    if code != 0:
        raise RuntimeError(f"icpo {arguments[0]}: exit code {code}: {progress.getvalue()[-2000:]}")
    return out.getvalue()


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

    progress = Line()
    recipe = dataclasses.replace(Recipe(), steps=QUICK_PRETRAINING) if QUICK else Recipe()
    model = pretrain_tiny(TINY / "model", recipe, report=progress.say)
    write_data(TINY / "data", sizes=SIZES)
    progress.say(
        f"{model.path}: {100 * model.accuracy.zero_shot:.0f} % of test problems right by itself, "
        f"{100 * model.accuracy.one_shot:.0f} % after one worked exercise of the same topic"
    )
    return model.path


def train(
    methods: Mapping[str, str],
    *,
    seeds: Sequence[int],
    steps: int,
    out: str = "train",
    settings: Sequence[str] = (),
) -> dict[str, list[Result]]:
    """Runs of each method with each seed, as many at once as there are cores.

    Args:
        methods: by the names that results go by, what to train: ``icpo``,
            ``icpo:off_ratio=none``, ``icpo:demos.strategy=random`` (examples/tiny/methods.py).
        seeds: of the runs.
        steps: of each.
        out: folder within `RUNS`; another one for other `settings`. Runs that are there are not
            made again.
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
        *(QUICK_SETTINGS if QUICK else ()),
        *settings,
    ]
    jobs = {
        (name, seed): Job.of(Method.of(method), seed, RUNS / out, common)
        for seed in seeds
        for name, method in methods.items()
    }
    for job in jobs.values():
        job.keep_or_clear()
    progress = Line()
    if QUICK:
        for job in jobs.values():
            _train_here(job)
    train_all(list(jobs.values()), _cores(), progress)  # type: ignore[arg-type]  # says and shows
    progress.say(f"{len(jobs)} runs of {steps} steps are in {RUNS / out}")
    return {name: [Result.read(jobs[name, seed].folder) for seed in seeds] for name in methods}


def checkpoint(method: str, seed: int, steps: int, out: str = "train") -> Path:
    """The model that a run of `train` ended with."""
    return (
        RUNS / out / f"{Method.of(method).folder}-seed{seed}" / "checkpoints" / f"step-{steps:06}"
    )


def _train_here(job: Job) -> None:
    """Makes a run in this process: of a few steps, most would be spent on starting another."""
    if job.is_finished:
        return
    icpo("train", EXAMPLE, *job.settings, "--fresh")


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


def curves(results: Mapping[str, Sequence[Result]], *panels: Panel) -> Image:
    """Panels side by side: means over seeds, bands of their standard error, thin lines of seeds.

    Panels are those of examples/tiny/figure.py.
    """
    with sheet(width=4.8 * len(panels), height=3.9, columns=len(panels)) as (page, axes):
        for axis, panel in zip(np.atleast_1d(axes), panels, strict=True):
            axis.set_title(panel.title)
            axis.set_xlabel("step")
            for place, (name, runs) in enumerate(results.items()):
                steps, values = _common([panel.curve(run) for run in runs])
                if not steps.size:
                    continue
                error = values.std(0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else None
                line(axis, place, steps, values.mean(0), name, error=error)
                if panel.has_seeds:
                    colour = look(place).colour
                    axis.plot(steps, values.T, color=colour, linewidth=0.5, alpha=0.5)
            if panel.is_share:
                axis.set_ylim(-0.02, 1.02)
                shares(axis)
            else:
                axis.set_ylim(bottom=0)
        legend(np.atleast_1d(axes)[0], page)
        return picture(page)


def _common(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which all runs have a value, and the values, a row a run."""
    steps = curves[0][0]
    for other, _ in curves[1:]:
        steps = np.intersect1d(steps, other)
    return steps, np.stack([values[np.isin(at, steps)] for at, values in curves])


def small(file: Path | io.BytesIO) -> Image:
    """A picture with no more colours than lines and bands have, to be kept in a notebook."""
    data = io.BytesIO()
    with PIL.Image.open(file) as found:
        found.convert("RGB").quantize(128).save(data, format="png", optimize=True)
    return Image(data.getvalue(), format="png")


def picture(page: Any) -> Image:
    """A figure as what a notebook shows."""
    data = io.BytesIO()
    page.savefig(data, format="png", dpi=96, metadata={"Software": None})
    return small(data)
