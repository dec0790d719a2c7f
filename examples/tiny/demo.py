"""ICPO against GRPO on the tiny task, from pretraining to a table and a picture.

A small transformer learns, from a corpus, to go on by the rule that the worked exercises before it
follow: in-context learning. Asked without any, its habit is to add up, which is wrong for seven of
eight topics. Then it is trained by reinforcement, with checked answers as rewards. GRPO has to
stumble over a right answer before it can reinforce one. ICPO samples one more rollout a prompt with
a worked exercise of the same topic in front, keeps it if it is right, and trains on it as if the
plain prompt had led there.

    python examples/tiny/demo.py
    python examples/tiny/demo.py --quick
    python examples/tiny/demo.py --right-habit 0.02          # right habits are less rare
    python examples/tiny/demo.py --methods grpo icpo icpo:reference --seeds 0 1 2 3 4 5

Interrupted, it continues where it was, by the same command.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from methods import BASELINE, Method
from runs import FailedError, Job, train_all
from screen import Screen, clock

import report
from icpo.errors import ConfigError, IcpoError
from icpo.tiny.corpus import Mixture
from icpo.tiny.data import FILES, write_data

#: What a quick demonstration has less of.
FULL = {"seeds": [0, 1, 2, 3, 4, 5], "steps": 100, "pretrain_steps": None, "out": Path("runs/demo")}
QUICK = {"seeds": [0], "steps": 60, "pretrain_steps": 3000, "out": Path("runs/demo-quick")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration and returns its exit code."""
    options = _options(arguments)
    try:
        screen = Screen(options.out / "demo.log")
    except OSError as error:
        print(f"demo: out: {error}", file=sys.stderr)
        return 2
    before = signal.signal(signal.SIGTERM, _terminated)  # no run outlives its demonstration
    try:
        _demonstrate(options, screen)
    except KeyboardInterrupt:
        screen.say("Interrupted. The same command continues.")
        return 130
    except FailedError as error:
        screen.say(str(error))
        return 1
    except (IcpoError, OSError) as error:
        screen.say(f"demo: {error}")
        return 2
    finally:
        screen.close()
        signal.signal(signal.SIGTERM, before)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="ICPO against GRPO on the tiny task: pretrains, trains, compares.",
        epilog="A method is a composition of icpo.algorithms and perhaps changes of it: icpo, "
        "icpo:reference (a preset of the loss), icpo:lam=0.1,n_off=2 (fields of loss, plan and "
        "bonus), icpo:optim.lr=1e-3 (any other setting).",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one seed, fewer steps, less pretraining")
    add("--methods", nargs="+", default=[BASELINE, "icpo"], metavar="METHOD", help="what to train")
    add("--seeds", nargs="+", type=int, metavar="N", help="of the runs (default: 0 1 2 3 4 5)")
    add("--steps", type=int, metavar="N", help="of each run (default: 100)")
    add("--lr", type=float, metavar="RATE", help="learning rate (default: the example's)")
    add(
        "--right-habit",
        type=float,
        metavar="SHARE",
        help="plain documents of the corpus that work by the topic's own rule, among those that "
        f"work (default: {Mixture().right_habit})",
    )
    add("--pretrain-steps", type=int, metavar="N", help="batches (default: the recipe's)")
    add("--model", type=Path, metavar="DIR", help="train this model, and pretrain none")
    add("--tiny", type=Path, metavar="DIR", default=Path("runs/tiny"), help="models and data")
    add("--out", type=Path, metavar="DIR", help="runs and report (default: runs/demo)")
    add("--jobs", type=int, metavar="N", help="runs at once (default: as many as cores)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of all runs, as icpo train takes it",
    )
    options = parser.parse_args(arguments)
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.jobs is None:
        options.jobs = os.cpu_count() or 1
    return options


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _demonstrate(options: argparse.Namespace, screen: Screen) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "matplotlib draws the report, and is not installed: pip install icpo-rs[plots]"
        )
    jobs = _jobs(options)
    _pretrain(options, screen)
    names = " and ".join(options.methods) if len(options.methods) < 3 else "all methods"
    screen.say(
        f"Training with {names}: {len(jobs)} runs of {options.steps} steps, {options.jobs} at once"
    )
    for job in jobs:
        reason = job.keep_or_clear()
        if reason is not None:
            screen.say(f"  {reason}")
    _note(options)
    train_all(jobs, options.jobs, screen)
    screen.say()
    screen.say(report.write(options.out))
    screen.say(f"Picture: {options.out / report.PICTURE}    ({clock(screen.elapsed)} in all)")


def _jobs(options: argparse.Namespace) -> list[Job]:
    """All runs, with their settings checked; seed by seed, so that early results compare."""
    for name in ("seeds", "methods"):
        values = getattr(options, name)
        if len(set(values)) < len(values):
            raise ConfigError(f"{name}: expected each once, got {' '.join(map(str, values))}")
    if options.jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, got {options.jobs}")
    train, test, demos = (options.tiny / "data" / name for name in FILES)
    settings = [
        f"model.path={_model(options)}",
        f"data.train={train}",
        f"data.test={test}",
        f"demos.path={demos}",
        f"steps={options.steps}",
        "checkpoint={every: 10, keep: 1}",
        "log={tensorboard: false, samples_every: 20}",
        *([] if options.lr is None else [f"optim.lr={options.lr}"]),
        *options.set,
    ]
    methods = [Method.of(name) for name in options.methods]
    return [
        Job.of(method, seed, options.out, settings) for seed in options.seeds for method in methods
    ]


def _model(options: argparse.Namespace) -> Path:
    """Its folder: that of `icpo pretrain-tiny` for the usual recipe, another for each other one."""
    if options.model is not None:
        return Path(options.model)
    parts = ["model"]
    if options.pretrain_steps is not None:
        parts.append(f"{options.pretrain_steps}-steps")
    if options.right_habit is not None:
        parts.append(f"right-habit-{options.right_habit}")
    return Path(options.tiny) / "-".join(parts)


def _pretrain(options: argparse.Namespace, screen: Screen) -> None:
    write_data(options.tiny / "data")
    if options.model is not None:
        return
    screen.say("Pretraining the model; later demonstrations reuse it")
    from icpo.tiny.folder import pretrain_tiny
    from icpo.tiny.pretrain import Recipe

    recipe = Recipe()
    if options.pretrain_steps is not None:
        recipe = dataclasses.replace(recipe, steps=options.pretrain_steps)
    if options.right_habit is not None:
        mixture = dataclasses.replace(recipe.mixture, right_habit=options.right_habit)
        recipe = dataclasses.replace(recipe, mixture=mixture)
    model = pretrain_tiny(_model(options), recipe, report=lambda line: screen.say(f"  {line}"))
    one_shot = model.accuracy.one_shot
    screen.say(
        f"  zero-shot {100 * model.accuracy.zero_shot:.0f} % of test problems right, "
        f"one-shot {100 * one_shot:.0f} %"
    )
    if one_shot < 0.9:
        screen.say(
            f"  One-shot accuracy is {100 * one_shot:.0f} % only: the model has not learnt to go "
            "by examples, so demonstrations help it little. Raise --pretrain-steps."
        )


def _note(options: argparse.Namespace) -> None:
    """Leaves word for the report of what was compared."""
    right_habit = Mixture().right_habit if options.right_habit is None else options.right_habit
    note = {
        "methods": options.methods,
        "seeds": options.seeds,
        "right_habit": None if options.model is not None else right_habit,
    }
    (options.out / report.NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
