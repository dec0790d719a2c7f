"""The subcommand ``icpo solve``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icpo.evaluation.engine_options import add_engine_options, engine_given

__all__ = ["add_parser"]

EXAMPLES = """\
examples:
  icpo solve aime24 --model Qwen/Qwen2.5-Math-7B --vllm --out runs/solve
  icpo solve math=math.jsonl --server http://localhost:8000/v1 --limit 40 --rounds 3 --k 8
  icpo solve aime24 --model MODEL --methods me_icpo without_entropy without_reward sample
  icpo solve aime24 --model MODEL --methods me_icpo sample:answers=64 'me_icpo:rounds=2,k=8'
  icpo solve --question 'What is 17 * 23?' --model MODEL --out runs/question
  icpo solve --resume --out runs/solve
  icpo solve --replay --out runs/solve

Methods are me_icpo, its ablations without_entropy, without_reward, reward_only and oracle, and to
compare with self_refine and sample (whose maj@K is the majority vote); NAME:SETTING=VALUE,... is
one with other settings. All of them ask together: every round is one batch over all problems, and
what several ask alike is asked once.

Benchmarks are those of icpo eval, or NAME=SOURCE. The folder (--out) gets settings.json,
versions.json, journal.jsonl (a line a response, at once), results.json, table.md, trace.jsonl (what
was chosen, and why), timings.json, tokens.png and tokens.svg. What was stopped, in whatever way,
goes on with --resume, which may bring further methods and seeds. --replay recomputes everything
from the journal, without a model, and compares it with what is there.

exit codes:
  0 done; 1 a replay has come to something else; 2 wrong arguments, settings or files, or no answer
  from the model; 130 interrupted
"""

#: The figure's files, without their endings.
FIGURE = "tokens"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "solve",
        help="search for answers at inference (ME-ICPO)",
        usage="%(prog)s BENCHMARK... [options]",
        description="Answers questions by in-context policy optimization, beside simpler ways.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("benchmarks", nargs="*", metavar="BENCHMARK", help="NAME or NAME=SOURCE")
    add(
        "--question",
        dest="questions",
        action="append",
        metavar="TEXT",
        help="a question whose answer is not known; may be repeated",
    )
    add("--out", metavar="DIR", type=Path, default=Path("runs/solve"), help="default: runs/solve")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="continue what is in the folder")
    how.add_argument("--fresh", action="store_true", help="start anew, and overwrite it")
    how.add_argument(
        "--replay", action="store_true", help="recompute what is in the folder, and compare"
    )
    add_engine_options(parser.add_argument_group("what answers"))
    _add_asked(parser.add_argument_group("what is asked"))
    _add_search(parser.add_argument_group("how answers are searched for"))
    _add_sampling(parser.add_argument_group("how it answers"))
    parser.set_defaults(run=_solve)


def _add_asked(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--methods", nargs="+", metavar="METHOD", help="default: me_icpo sample")
    add("--seeds", type=int, nargs="+", metavar="SEED", help="each solves everything (default: 0)")
    add("--limit", type=int, metavar="N", help="only the first N problems of each benchmark")
    add(
        "--form",
        metavar="FORM",
        help="of prompts: chat (default), text for models that continue one, or JSON",
    )
    add("--prompt-tokens", type=int, metavar="N", help="limit on a prompt (default: 4096)")
    options = group.add_mutually_exclusive_group()
    options.add_argument(
        "--option-seed", type=int, metavar="SEED", help="of the order of options (default: 0)"
    )
    options.add_argument("--no-shuffle", action="store_true", help="leave options as they are")


def _add_search(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--rounds", type=int, metavar="N", help="each adds an idea to the history (default: 5)")
    add("--k", type=int, metavar="N", help="attempts of a round (default: 16)")
    add(
        "--probes",
        type=int,
        metavar="N",
        help="answers after a candidate, to measure its entropy (default: 16)",
    )
    add("--answers", type=int, metavar="K", help="answers in the end (default: 16)")
    add("--select", metavar="NAME", help="a candidate by entropy (default), reward or random")
    add("--reward", metavar="NAME", help="from the majority (default), the oracle, or none")
    add("--epsilon", type=float, metavar="P", help="chance of any candidate (default: 0)")
    add(
        "--no-penalty",
        dest="invalid_penalty",
        action="store_const",
        const=False,
        help="answers that can not be read do not add to the entropy",
    )
    add("--history", type=int, metavar="N", help="ideas kept (default: 5)")
    add(
        "--no-summaries",
        dest="summarise",
        action="store_const",
        const=False,
        help="ideas are attempts as they are",
    )
    add("--summary-tokens", type=int, metavar="N", help="limit on a summary (default: 160)")
    add("--summary-temperature", type=float, metavar="T", help="default: 0.05")
    add("--refinements", type=int, metavar="N", help="of self_refine, at most (default: 4)")


def _add_sampling(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--max-tokens",
        dest="max_new_tokens",
        type=int,
        metavar="N",
        help="limit on a response (default: 4096)",
    )
    add("--temperature", type=float, metavar="T", help="default: 0.6; 0 is greedy")
    add("--top-p", type=float, metavar="P", help="default: 0.95")
    add("--top-k", type=int, metavar="K", help="default: 0, all tokens")
    add(
        "--repetition-penalty",
        type=float,
        metavar="P",
        help="of tokens that occurred before (default: 1.1; 1 is none)",
    )
    add("--stop", action="append", metavar="TEXT", help="ends a response; may be repeated")
    add("--profile", metavar="NAME", help="the checker's conventions (default: strict)")


##### From arguments to settings

_SEARCH = (
    "rounds",
    "k",
    "probes",
    "answers",
    "select",
    "reward",
    "epsilon",
    "invalid_penalty",
    "history",
    "summarise",
    "summary_tokens",
    "summary_temperature",
    "refinements",
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "stop",
    "prompt_tokens",
    "profile",
)
_RUN = ("methods", "seeds", "limit", "option_seed")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the arguments change; those of the engine and of searches apart."""

    def named(names: tuple[str, ...]) -> dict[str, Any]:
        found = {name: getattr(options, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    search, run = named(_SEARCH), named(_RUN)
    if options.form is not None:
        search["form"] = _form(options.form)
    if options.no_shuffle:
        run["option_seed"] = None
    return {**run, "engine": engine_given(options), "search": search}


def _form(text: str) -> Any:
    """A name, or the fields as JSON."""
    from icpo.errors import ConfigError

    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--form: expected a name or JSON, got {text!r}: {error}") from None


def _changed(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    sections = {name: {**settings.get(name, {}), **given[name]} for name in ("engine", "search")}
    return {**settings, **given, **sections}


##### What is done


def _solve(options: argparse.Namespace) -> int:
    from icpo.errors import ConfigError
    from icpo.test_time.run import holds_search, solve, stored
    from icpo.test_time.settings import SolveSettings

    given = _given(options)
    asked = {"benchmarks": options.benchmarks, "questions": options.questions or []}
    anything = any(asked.values())
    if options.replay:
        if anything or given != {"engine": {}, "search": {}}:
            raise ConfigError("--replay: expected --out alone, since the folder knows the rest")
        return _replay(options.out)
    if options.resume and not anything and holds_search(options.out):
        # The folder knows what was asked; what is said here changes how.
        settings = _changed(stored(options.out).to_dict(), given)
    elif options.resume and not anything:
        raise ConfigError(f"out: expected the folder of a run to resume, got {options.out}")
    else:
        settings = {**given, **asked}
    settings["out"] = options.out
    try:
        summary = solve(SolveSettings.build(settings), resume=options.resume, fresh=options.fresh)
    except KeyboardInterrupt:
        print("icpo solve: interrupted; --resume continues", file=sys.stderr)
        return 130
    _draw(summary.results, options.out / FIGURE)
    print(summary.table, end="")
    print(_seconds(summary.timings), file=sys.stderr)
    return 0


def _seconds(timings: Sequence[Mapping[str, Any]]) -> str:
    """What a problem has waited for its answers, on average."""
    waited: dict[str, list[float]] = {}
    for row in timings:
        waited.setdefault(row["method"], []).append(row["seconds"])
    means = (f"{method} {sum(each) / len(each):.1f}" for method, each in waited.items())
    return f"seconds a problem, in step with the others: {', '.join(means)}"


def _draw(results: Mapping[str, Any], stem: Path) -> None:
    from icpo.test_time.plot import draw

    for kind in ("png", "svg"):  # of an earlier run
        stem.with_name(f"{stem.name}.{kind}").unlink(missing_ok=True)
    try:
        draw(results, stem)
    except ImportError as error:
        # Everything that it would show is in the table.
        print(f"icpo solve: no figure: {error}", file=sys.stderr)


def _replay(folder: Path) -> int:
    from icpo.test_time.run import replay

    found = replay(folder)
    print(found.summary.table, end="")
    for place in found.differing:
        print(
            f"icpo solve: {folder / place}: expected what the journal comes to, got something else",
            file=sys.stderr,
        )
    return 1 if found.differing else 0
