"""The subcommand ``icpo report``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from icpo.report.html import CHARACTERS

__all__ = ["add_parser"]

EXAMPLES = """\
examples:
  icpo report runs/tiny/icpo
  icpo report runs/tiny/icpo runs/tiny/grpo -o compared.html
  icpo report runs/*-seed* --characters 20000

A run is a folder that `icpo train` or `icpo eval` has written, or one with verl's rollout dumps. It
may still be written to. The page needs no network, no script and no other file.

exit codes:
  0 written; 2 wrong arguments, or files that can not be read; 130 interrupted
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    report = commands.add_parser(
        "report",
        help="write a report of runs: one HTML file",
        usage="%(prog)s RUN... [-o FILE] [options]",
        description="Writes tables, figures, settings, versions and sample rollouts of runs into "
        "one HTML file, in which every number says where it comes from.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = report.add_argument
    add("runs", nargs="+", metavar="RUN", type=Path, help="folders of runs")
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("report.html"),
        help="where it goes (default: report.html)",
    )
    add(
        "--characters",
        metavar="N",
        type=_count,
        default=CHARACTERS,
        help="show so many of each response and prompt at most (default: %(default)s)",
    )
    report.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the report, whole or not at all."""
    from icpo.report.page import report

    text = report(options.runs, characters=options.characters)
    output: Path = options.output
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    print(output)
    print(f"{len(options.runs)} run(s), {len(text) / 1e6:.1f} MB", file=sys.stderr)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 3:
        raise argparse.ArgumentTypeError(f"expected a number from 3, got {text!r}")
    return int(text)
