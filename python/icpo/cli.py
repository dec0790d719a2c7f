"""The command ``icpo``: one subcommand a verb, and no logic."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from icpo import __version__, _core, machine
from icpo.analysis.cli import add_parser as add_analysis
from icpo.data.cli import add_parser as add_data
from icpo.errors import ConfigError, IcpoError
from icpo.evaluation.cli import add_parser as add_evaluation
from icpo.report.cli import add_parser as add_report
from icpo.test_time.cli import add_parser as add_solve
from icpo.tiny.cli import add_parser as add_pretrain_tiny

__all__ = ["main"]

#: What each convention does; for a switch, what it does when it is on.
CONVENTIONS = {
    "float_rounding": "decimal places to which decimals are compared",
    "numeric_precision": "digits to which irrational numbers are compared, with numeric-shortcut",
    "work": "limit on the work of one comparison, in units of its own",
    "strict_variables": "variables matter by name: x + 1 is not y + 1",
    "allow_set_relation_comp": "1 < x < 2 answers (1, 2)",
    "numeric_shortcut": "numbers that differ by less than 10^-15 are the same",
    "percent_as_number": "9 answers 9%%",
    "sets_are_not_tuples": "{1, 2} is not (1, 2)",
    "duplicates_count": "2 does not answer 2, 2",
    "reject_false_equations": "x = 1 = 2 answers nothing, not 2",
    "same_solutions": "2x = 8 answers x = 4",
    "numeric_equations_alike": "equations without variables are all the same",
    "free_chains": "a < b < c answers c > b > a",
    "words_have_values": "'no solution' is the empty set, 'forty-two' is 42",
    "extra_percent_sign": "17.5%% answers 17.5",
    "answer_after_thinking": "what follows </think> is read, if an answer is there",
    "solution_golds": "a gold answer that is a whole solution stands for its box or #### part",
    "prose_verbatim": "a gold answer in prose is given by the same words at the end",
    "bound_names": "f(t) = t^2 answers f(x) = x^2",
    "lenient": "4.5e33, 10\\,000, x² and the like are read as people read them",
    "proper_mixed_numbers": "2(3) is a product, 2 1/3 a mixed number",
    "keep_bases": "4210_7 is not 4210_8",
    "imaginary_i": "i is the imaginary unit",
    "degrees": "sin 30° is 1/2",
    "ratios": "1:2:3 is a ratio, not two divisions",
}

EXAMPLES = """\
examples:
  icpo verify rollouts.jsonl
  icpo verify rollouts.parquet --gold reward_model.ground_truth --response responses
  icpo verify scored.csv --against math_verify_score --examples 20 --output verdicts.jsonl

The file has a column of gold answers and one of responses; either may hold lists. Usual names are
found, and a dot looks into objects. A row is correct only if its outcome is `equal`; `unknown`
says that no answer was found (response, gold), that it can not be read (syntax, too_large), or
that the comparison was given up (undecided, budget, undefined).

exit codes:
  0 checked; 1 no row could be read or, with --fail-on-unreadable, not all; 2 wrong arguments or
  files; 130 interrupted
"""


TRAIN_EXAMPLES = """\
examples:
  icpo train examples/tiny/icpo.yaml
  icpo train config.yaml --preset grpo optim.lr=2e-6 out=runs/grpo
  icpo train config.yaml demos.k=2 model.lora.rank=16 'algorithm.loss={preset: reference}'
  icpo train config.yaml --dry-run
  icpo train config.yaml --resume

A file has sections (model, data, demos, algorithm, optim and so on); --dry-run prints all of them
with their values, docs/training.md explains them. key=value changes one setting; the value is YAML,
and the last one wins. Relative paths are relative to the current directory.

The run's folder (out) gets config.yaml, metrics.jsonl (a line a step), timings.jsonl, samples.jsonl
and checkpoints/, each of which is a model folder too. A run that was stopped, in whatever way, goes
on exactly where its last checkpoint was written.

exit codes:
  0 trained; 2 wrong arguments, settings, data or checkpoints, or a loss that is not finite; 130
  interrupted
"""

INFO_EXAMPLES = """\
examples:
  icpo info
  icpo info --vocab 151936 --dtype bfloat16
  icpo info --json
"""

#: A setting on the command line, as opposed to a file.
_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse takes no positional arguments behind options: `train a.yaml --resume steps=9`.
    if options.command == "train" and not any(word.startswith("-") for word in rest):
        options.words += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return int(options.run(options))
    except (IcpoError, ImportError) as error:
        return _failed(options.command, str(error))
    except BrokenPipeError:  # who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _failed(options.command, f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        hint = "; --resume continues from the last checkpoint" if options.command == "train" else ""
        _failed(options.command, f"interrupted{hint}")
        return 130


def _failed(command: str, message: str) -> int:
    print(f"icpo {command}: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="icpo", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_verify(commands)
    _add_train(commands)
    _add_info(commands)
    add_pretrain_tiny(commands)
    add_evaluation(commands)
    add_solve(commands)
    add_data(commands)
    add_report(commands)
    add_analysis(commands)
    return parser


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="check the responses of a file against gold answers",
        usage="%(prog)s FILE [options]",
        description="Checks responses against gold answers, and counts the verdicts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = verify.add_argument
    add("file", metavar="FILE", type=Path, help=".jsonl, .csv, .tsv, also .gz; or .parquet")
    add(
        "--gold", metavar="COLUMN", help="gold answers (default: answer, ground_truth and the like)"
    )
    add(
        "--response",
        metavar="COLUMN",
        help="responses (default: response, completion and the like)",
    )
    add("--against", metavar="COLUMN", help="another checker's verdicts, to compare with")
    add("--examples", type=_count, default=5, metavar="N", help="disagreements shown of each kind")
    add("--output", type=Path, metavar="FILE", help="write the verdicts here, a JSON line a row")
    add("--threads", type=int, metavar="N", help="use at most so many; no result depends on it")
    add(
        "--fail-on-unreadable",
        action="store_true",
        help="exit with 1 if a row could not be read; otherwise such rows are only reported",
    )
    add(
        "--profile",
        choices=_core.PROFILES,
        default=_core.PROFILES[0],
        help=f"whose conventions (default: {_core.PROFILES[0]})",
    )
    profiles = {profile: _core.checker_defaults(profile) for profile in _core.PROFILES}
    settings = verify.add_argument_group(
        "single conventions",
        "--NAME switches one on, --no-NAME off; in brackets the profiles that have it on",
    )
    for name, value in profiles[_core.PROFILES[0]].items():
        option, explained = "--" + name.replace("_", "-"), CONVENTIONS[name]
        if isinstance(value, bool):
            on = [profile for profile, defaults in profiles.items() if defaults[name]]
            explained += f" [{', '.join(on)}]"
            settings.add_argument(option, action="store_true", default=None, help=explained)
            hidden = option.replace("--", "--no-", 1)
            settings.add_argument(hidden, action="store_false", dest=name, help=argparse.SUPPRESS)
        else:
            explained += f" [{value}]"
            settings.add_argument(option, type=int, metavar="N", help=explained)
    verify.set_defaults(run=_verify)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train",
        help="train a model",
        usage="%(prog)s [FILE.yaml] [key=value ...] [options]",
        description="Trains a model by reinforcement: samples, checks, mixes, updates.",
        epilog=TRAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = train.add_argument
    add(
        "words", nargs="*", metavar="FILE.yaml, key=value", help="the settings, and changes of them"
    )
    add("--preset", metavar="NAME", help="stands for algorithm.name=NAME")
    how = train.add_mutually_exclusive_group()
    how.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the folder from its last checkpoint",
    )
    how.add_argument(
        "--fresh", action="store_true", help="start anew, and overwrite the run in the folder"
    )
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="check settings, data and model, print all settings, and stop",
    )
    train.set_defaults(run=_train)


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = commands.add_parser(
        "info",
        help="what this machine offers: threads, GPUs, kernels",
        description="Tells which devices and kernels there are, and what is missing.",
        epilog=INFO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = about.add_argument
    add(
        "--vocab",
        type=_count,
        metavar="N",
        help="say whether the fast path takes rows of N logits, and where its kernels come from",
    )
    add(
        "--dtype",
        choices=["bfloat16", "float16", "float32"],
        default="bfloat16",
        help="of the logits (default: bfloat16)",
    )
    add("--json", action="store_true", help="print it as JSON")
    about.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    about = machine.info(options.vocab, options.dtype)
    print(json.dumps(about, indent=2) if options.json else machine.describe(about))
    return 0


def _train(options: argparse.Namespace) -> int:
    try:
        from icpo.trainer import TrainConfig, train
        from icpo.trainer.dry_run import dry_run
        from icpo.trainer.record import holds_run
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is needed, and is not installed: pip install icpo-rs[torch]"
        ) from None

    files = [word for word in options.words if not _SETTING.match(word)]
    settings = [word for word in options.words if _SETTING.match(word)]
    if len(files) > 1:
        raise ConfigError(f"expected one file, and settings as key=value, got {' '.join(files)}")
    config = TrainConfig.load(Path(files[0]) if files else None, settings, options.preset)
    if options.dry_run:
        dry_run(config)
        print(config.to_yaml(), end="")
        return 0
    if holds_run(config.out) and not (options.resume or options.fresh):
        raise ConfigError(
            f"out: {config.out} holds a run already: --resume continues it, --fresh starts anew "
            "and overwrites it, out=FOLDER leaves it alone"
        )
    summary = train(config, resume=options.resume)
    print(summary.checkpoint)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)


def _verify(options: argparse.Namespace) -> int:
    from icpo.reward import Checker, files

    names = _core.checker_defaults(options.profile)
    given = {name: getattr(options, name) for name in names}
    flags = {name: value for name, value in given.items() if value is not None}
    with files.Progress() as progress:
        summary = files.verify_file(
            options.file,
            Checker(options.profile, **flags),
            gold=options.gold,
            response=options.response,
            against=options.against,
            output=options.output,
            examples=options.examples,
            threads=options.threads,
            progress=progress.show,
        )
    print(summary.table(), flush=True)
    none_read = bool(summary.rows) and not summary.samples
    return int(none_read or (options.fail_on_unreadable and bool(summary.unreadable)))


if __name__ == "__main__":
    sys.exit(main())
