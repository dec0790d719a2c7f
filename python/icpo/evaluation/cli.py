"""The subcommands ``icpo eval`` and ``icpo compare``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icpo.evaluation.engine_options import add_engine_options, engine_given

__all__ = ["add_parser"]

EVAL_EXAMPLES = """\
examples:
  icpo eval math500 amc23 --model Qwen/Qwen3-1.7B --out runs/eval
  icpo eval math500=math500.jsonl mine=test.csv,answer=gold --model runs/a/model
  icpo eval aime24 aime25 --server http://localhost:8000/v1 --model my-model --concurrency 64
  icpo eval math500 --model Qwen/Qwen3-1.7B --shots 0 1 --demos train.jsonl --seeds 0 1 2 3 4
  icpo eval --resume --out runs/eval

Benchmarks are aime24, aime25, amc23 (32 samples a problem), math500, minerva, olympiadbench, arc_c,
gpqa_diamond, mmlu_pro (one sample; options shuffled, the right one follows); NAME=SOURCE takes a
file or a data set of the Hugging Face hub instead: SOURCE[,split=..][,question=COLUMN]...

The folder (--out) gets settings.json, versions.json, journal.jsonl (a line a response, at once),
results.json and table.md. What was stopped, in whatever way, goes on with --resume and ends with
the same table. Rows that can not be read are reported and skipped.

exit codes:
  0 done; 2 wrong arguments, settings or files, or no answer from the model; 130 interrupted
"""

COMPARE_EXAMPLES = """\
examples:
  icpo compare runs/eval-grpo runs/eval-icpo
  icpo compare runs/eval runs/eval --shots 0 1
  icpo compare runs/eval-grpo runs/eval-icpo --json comparison.json

Problems are compared that both have asked in the same words. p is that of the sign-flip permutation
test; for single answers McNemar's exact test stands beside it.

exit codes:
  0 compared; 2 wrong arguments, or nothing that can be compared
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both subcommands."""
    _add_eval(commands)
    _add_compare(commands)


def _add_eval(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "eval",
        help="ask a model benchmark questions",
        usage="%(prog)s BENCHMARK... [options]",
        description="Asks a model the questions of benchmarks, and tells how many it gets right.",
        epilog=EVAL_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("benchmarks", nargs="*", metavar="BENCHMARK", help="NAME or NAME=SOURCE")
    add("--out", metavar="DIR", type=Path, default=Path("runs/eval"), help="default: runs/eval")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="continue what is in the folder")
    how.add_argument("--fresh", action="store_true", help="start anew, and overwrite it")

    add_engine_options(parser.add_argument_group("what answers"))

    asked = parser.add_argument_group("what is asked")
    add = asked.add_argument
    add("--samples", type=int, metavar="N", help="a problem (default: the benchmark's)")
    add("--limit", type=int, metavar="N", help="only the first N problems of each benchmark")
    add("--shots", type=int, nargs="+", metavar="K", help="numbers of demonstrations (default: 0)")
    add("--demos", metavar="SOURCE", help="where demonstrations come from")
    add("--strategy", metavar="NAME", help="how they are chosen (default: random)")
    add("--demo-m", type=int, metavar="M", help="size of the part that the strategy takes")
    add(
        "--seeds",
        type=int,
        nargs="+",
        metavar="SEED",
        help="of samples and demonstrations (default: 0; with demonstrations 0 1 2 3 4)",
    )
    options = asked.add_mutually_exclusive_group()
    options.add_argument(
        "--option-seed", type=int, metavar="SEED", help="of the order of options (default: 0)"
    )
    options.add_argument("--no-shuffle", action="store_true", help="leave options as they are")
    add(
        "--template",
        metavar="FORM",
        help="of prompts: a name (default: paper), or JSON with demo, separator, question, chat",
    )
    add("--prompt-tokens", type=int, metavar="N", help="limit on a prompt (default: 4096)")

    sampling = parser.add_argument_group("how it answers")
    add = sampling.add_argument
    add("--max-tokens", type=int, metavar="N", help="limit on a response (default: 8192)")
    add("--temperature", type=float, metavar="T", help="default: 0.6; 0 is greedy")
    add("--top-p", type=float, metavar="P", help="default: 1")
    add("--top-k", type=int, metavar="K", help="default: 0, all tokens")
    add(
        "--repetition-penalty",
        type=float,
        metavar="P",
        help="of tokens that occurred before (default: 1, none)",
    )
    add("--stop", action="append", metavar="TEXT", help="ends a response; may be repeated")
    add("--profile", metavar="NAME", help="the checker's conventions (default: strict)")
    parser.set_defaults(run=_eval)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare two evaluations, problem by problem",
        description="Compares two evaluations on the problems that both have asked.",
        epilog=COMPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("first", metavar="A", type=Path, help="folder of an evaluation")
    add("second", metavar="B", type=Path, help="another; differences are B - A")
    add(
        "--shots",
        type=int,
        nargs=2,
        metavar=("OF_A", "OF_B"),
        help="numbers of demonstrations to compare (default: each with the same)",
    )
    add("--json", metavar="FILE", type=Path, help="write the comparison here, too")
    parser.set_defaults(run=_compare)


def _eval(options: argparse.Namespace) -> int:
    from icpo.errors import ConfigError
    from icpo.evaluation.run import evaluate, holds_evaluation, stored
    from icpo.evaluation.settings import EvalSettings

    given = _given(options)
    if options.resume and not options.benchmarks and holds_evaluation(options.out):
        # The folder knows what was asked; what is said here changes how.
        settings = _changed(stored(options.out).to_dict(), given)
    elif not options.benchmarks:
        raise ConfigError("benchmarks: expected at least one, got none")
    else:
        settings = {**given, "benchmarks": options.benchmarks}
    settings["out"] = options.out
    try:
        summary = evaluate(EvalSettings.build(settings), resume=options.resume, fresh=options.fresh)
    except KeyboardInterrupt:
        print("icpo eval: interrupted; --resume continues", file=sys.stderr)
        return 130
    print(summary.table, end="")
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the arguments change."""
    from icpo.demos.form import spelled

    demos = {"source": options.demos, "strategy": options.strategy, "m": options.demo_m}
    given = {
        "engine": engine_given(options),
        "demos": demos,
        "template": None if options.template is None else spelled(options.template),
        "max_new_tokens": options.max_tokens,
        **{
            name: getattr(options, name)
            for name in (
                "samples",
                "limit",
                "shots",
                "seeds",
                "option_seed",
                "prompt_tokens",
                "temperature",
                "top_p",
                "top_k",
                "repetition_penalty",
                "stop",
                "profile",
            )
        },
    }
    found = _without_none(given)
    if options.no_shuffle:
        found["option_seed"] = None
    return found


#: Settings that have settings in them.
_SECTIONS = ("engine", "demos")


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    nested = {
        name: _without_none(value) if isinstance(value, dict) and name in _SECTIONS else value
        for name, value in values.items()
    }
    return {name: value for name, value in nested.items() if value is not None and value != {}}


def _changed(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    found = dict(settings)
    for name, value in given.items():
        inner = found.get(name)
        if name in _SECTIONS and inner is not None:
            value = {**inner, **value}
        found[name] = value
    return found


def _compare(options: argparse.Namespace) -> int:
    from icpo.evaluation.compare import Side, compare, comparison_table

    shots: Sequence[int | None] = options.shots or (None, None)
    found = compare(Side(options.first, shots[0]), Side(options.second, shots[1]))
    if options.json is not None:
        options.json.write_text(
            json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    print(comparison_table(found), end="")
    return 0
