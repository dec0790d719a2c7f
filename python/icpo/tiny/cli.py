"""The subcommand ``icpo pretrain-tiny``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["MODEL", "add_parser"]

#: Where the model goes. The data go into the folder ``data`` beside it.
MODEL = Path("runs/tiny/model")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand. Torch is imported when it runs."""
    pretrain = commands.add_parser(
        "pretrain-tiny",
        help="make the model and the data of the tiny task",
        description="Pretrains the model of the tiny task on one core, in about two minutes, and "
        "writes the task's data files. A model that is there already is reused.",
    )
    add = pretrain.add_argument
    add(
        "--out",
        metavar="DIR",
        type=Path,
        default=MODEL,
        help=f"folder of the model; the data go into the folder data beside it (default: {MODEL})",
    )
    add("--seed", metavar="N", type=int, default=0, help="of weights and corpus (default: 0)")
    add("--steps", metavar="N", type=int, help="batches to learn from (default: the recipe's)")
    add(
        "--right-habit",
        metavar="SHARE",
        type=float,
        help="plain documents that work by the topic's own rule, among those that work; the rarer, "
        "the more demonstrations help (default: 0.002)",
    )
    add("--force", action="store_true", help="pretrain even if the model is there")
    pretrain.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Makes the model, writes the data, and says what the model can do."""
    from icpo.tiny.corpus import Mixture
    from icpo.tiny.data import write_data
    from icpo.tiny.folder import pretrain_tiny
    from icpo.tiny.pretrain import Recipe

    mixture = {} if options.right_habit is None else {"right_habit": options.right_habit}
    steps = {} if options.steps is None else {"steps": options.steps}
    recipe = Recipe(seed=options.seed, mixture=Mixture(**mixture), **steps)
    model = pretrain_tiny(options.out, recipe, force=options.force, report=_report)
    data = write_data(options.out.parent / "data")
    print(f"model      {model.path}")
    print(f"data       {', '.join(map(str, data))}")
    print(f"zero-shot  {model.accuracy.zero_shot:.1%} of the test problems right")
    print(f"one-shot   {model.accuracy.one_shot:.1%}, after a demonstration of the same topic")
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
