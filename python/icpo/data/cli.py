"""The subcommand ``icpo data``: prepare."""

from __future__ import annotations

import argparse
from pathlib import Path

from icpo import _core
from icpo.data.paper import INSTRUCTION, KNOWN, PAPER

__all__ = ["add_parser"]

PREPARE_EXAMPLES = """\
examples:
  icpo data prepare --tokenizer Qwen/Qwen3-1.7B     # the paper's data, to runs/data
  icpo data prepare --train mine.jsonl --validation test.jsonl --demos worked.parquet
  icpo data prepare --train a.csv,question=text,answer=meta.gold --against bench.jsonl
  icpo data prepare --train openai/gsm8k,config=main --against openai/gsm8k,config=main,split=test

A SOURCE is a file (.jsonl, .csv, .tsv, these also .gz, or .parquet) or the name of a data set on
the Hugging Face hub, perhaps followed by ,NAME=VALUE: split, config and revision of a data set;
schema; and columns for question, answer, solution, subject, difficulty, length and id, in which a
dot looks into objects and lists. Rows as in MATH, GSM8K, MathInstruct, OpenR1 or verl are
recognised. Without any source it is the paper's data.

The folder gets train.parquet, validation.parquet and demos.parquet as verl and this package read
them, report.json, and left_out.jsonl: source, line and reason of all that is left out. docs/data.md
says what is compared, and how.

exit codes:
  0 written; 2 wrong arguments, files or data, and nothing is written; 130 interrupted
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand, which has subcommands."""
    data = commands.add_parser(
        "data",
        help="prepare data: training, validation, demonstrations",
        description="Prepares what is trained on, and measures it.",
    )
    parts = data.add_subparsers(dest="data_command", required=True)
    _add_prepare(parts)


def _add_prepare(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prepare = parts.add_parser(
        "prepare",
        help="filter data and write it in verl's form",
        usage="%(prog)s [--train SOURCE ...] [--validation SOURCE ...] [--demos SOURCE ...] [...]",
        description="Reads, filters and compares data; writes it in verl's form, with a report.",
        epilog=PREPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = prepare.add_argument
    add("--out", type=Path, default=Path("runs/data"), metavar="DIR", help="(default: runs/data)")
    for name, words in (
        ("train", "what is trained on"),
        ("validation", "what verl evaluates on while it trains"),
        ("demos", "worked examples"),
        ("against", "evaluation sets that are compared with, but not written"),
    ):
        add(f"--{name}", metavar="SOURCE", nargs="+", action="extend", default=[], help=words)
    texts = prepare.add_argument_group("prompts")
    texts.add_argument(
        "--instruction",
        default=INSTRUCTION,
        metavar="TEXT",
        help=f"behind each question (default: {INSTRUCTION})",
    )
    texts.add_argument("--system", default="", metavar="TEXT", help="what the system says first")
    limits = prepare.add_argument_group("lengths")
    limits.add_argument("--tokenizer", metavar="MODEL", help="a name on the hub or a folder")
    for name, words in (
        ("prompt", "tokens of a prompt (default: 4096, with --tokenizer)"),
        ("solution", "tokens of a stored solution"),
    ):
        limits.add_argument(f"--max-{name}", type=_count, metavar="N", help=words)
    for name, words in (
        ("question", "characters of a question"),
        ("solution", "characters of a stored solution"),
    ):
        limits.add_argument(f"--max-{name}-chars", type=_count, metavar="N", help=words)
    filters = prepare.add_argument_group("filters")
    filters.add_argument(
        "--profile",
        choices=_core.PROFILES,
        default=_core.PROFILES[0],
        help=f"conventions of the checker (default: {_core.PROFILES[0]})",
    )
    filters.add_argument(
        "--only-right-solutions",
        action="store_true",
        help="leave out stored solutions that the checker does not find right",
    )
    filters.add_argument(
        "--keep-shared",
        action="store_true",
        help="keep demonstrations that the training data asks too",
    )
    filters.add_argument(
        "--near",
        type=float,
        metavar="SHARE",
        help="of word n-grams from which on questions are nearly the same; 1: all (default: 0.6)",
    )
    filters.add_argument(
        "--words", type=_count, metavar="N", help="length of these n-grams (default: 8)"
    )
    filters.add_argument(
        "--limit", type=_count, metavar="N", help="only the first N rows of each source"
    )
    prepare.set_defaults(run=run_prepare)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def run_prepare(options: argparse.Namespace) -> int:
    """Prepares data, and prints the report."""
    from icpo.data.duplicates import NEAR, WORDS
    from icpo.data.prepare import LEFT_OUT, Preparation, prepare
    from icpo.data.sources import Source
    from icpo.reward import Checker

    given = {
        name: tuple(Source.read(text, KNOWN) for text in getattr(options, name))
        for name in ("train", "validation", "demos", "against")
    }
    if not any(given[name] for name in PAPER):
        given |= PAPER
    max_prompt = options.max_prompt
    if max_prompt is None and options.tokenizer is not None:
        max_prompt = 4096
    what = Preparation(
        **given,
        instruction=options.instruction,
        system=options.system,
        checker=Checker(options.profile),
        tokenizer=options.tokenizer,
        max_prompt=max_prompt,
        max_solution=options.max_solution,
        max_question_chars=options.max_question_chars,
        max_solution_chars=options.max_solution_chars,
        only_right=options.only_right_solutions,
        keep_shared=options.keep_shared,
        near=NEAR if options.near is None else options.near,
        words=options.words or WORDS,
        limit=options.limit,
    )
    report = prepare(what, options.out)
    print(report)
    print(f"written to {options.out}; what is left out, and why: {options.out / LEFT_OUT}")
    return 0
