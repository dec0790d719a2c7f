"""The command ``icpo``: one subcommand a verb, and no logic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from icpo import __version__, _core
from icpo.errors import IcpoError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (IcpoError, ImportError, OSError) as error:
        print(f"icpo {options.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="icpo", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_verify(commands)
    return parser


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="check the responses of a file against gold answers",
        description="Checks responses against gold answers, and counts the verdicts.",
    )
    add = verify.add_argument
    add("file", type=Path, help=".jsonl, .csv, .tsv (or these with .gz) or .parquet")
    add("--gold", metavar="COLUMN", help="column of gold answers; usual names are found")
    add("--response", metavar="COLUMN", help="column of responses, each a text or a list of texts")
    add("--against", metavar="COLUMN", help="column of another checker's verdicts, to compare with")
    add("--examples", type=int, default=5, metavar="N", help="disagreements shown of either kind")
    add("--output", type=Path, metavar="FILE", help="JSON lines with a verdict for each row")
    add(
        "--threads", type=int, metavar="N", help="at most so many; the result does not depend on it"
    )
    add(
        "--fail-on-unreadable",
        action="store_true",
        help="exit with 1 if a row could not be read; otherwise such rows are only reported",
    )
    add("--profile", choices=_core.PROFILES, default=_core.PROFILES[0], help="whose conventions")
    settings = verify.add_argument_group("single conventions; the profile's unless given")
    for name, value in _core.checker_defaults(_core.PROFILES[0]).items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            settings.add_argument(option, action=argparse.BooleanOptionalAction, dest=name)
        else:
            settings.add_argument(option, type=int, metavar="N", dest=name)
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from icpo.reward import Checker, files

    names = _core.checker_defaults(options.profile)
    given = {name: getattr(options, name) for name in names}
    flags = {name: value for name, value in given.items() if value is not None}
    summary = files.verify_file(
        options.file,
        Checker(options.profile, **flags),
        gold=options.gold,
        response=options.response,
        against=options.against,
        output=options.output,
        examples=options.examples,
        threads=options.threads,
        progress=files.show_progress,
    )
    files.end_progress()
    print(summary.table())
    return int(options.fail_on_unreadable and bool(summary.unreadable))


if __name__ == "__main__":
    sys.exit(main())
