"""The subcommands ``icpo data prepare`` and ``icpo data passes``."""

from __future__ import annotations

import argparse
from pathlib import Path

from icpo import _core
from icpo.data.paper import INSTRUCTION, KNOWN, PAPER
from icpo.errors import ConfigError

__all__ = ["add_parser"]

PREPARE_EXAMPLES = """\
examples:
  icpo data prepare --tokenizer Qwen/Qwen3-1.7B     # the paper's data, to runs/data
  icpo data prepare --train mine.jsonl --validation test.jsonl --demos worked.parquet
  icpo data prepare --train a.csv,question=text,answer=meta.gold --against bench.jsonl
  icpo data prepare --train openai/gsm8k --against openai/gsm8k,split=test math500 amc23

A SOURCE is a file (.jsonl, .csv, .tsv, these also .gz, or .parquet) or the name of a data set on
the Hugging Face hub, perhaps followed by ,NAME=VALUE: split, config and revision of a data set;
schema; and columns for question, answer, solution, subject, difficulty, length and id, in which a
dot looks into objects and lists. Rows as in MATH, GSM8K, MathInstruct, OpenR1 or verl are
recognised. Benchmarks, written as for icpo eval (NAME or NAME=SOURCE), are sources too. Without any
source it is the paper's data.

The folder gets train.parquet, validation.parquet and demos.parquet as verl and this package read
them, report.json, and left_out.jsonl: source, line and reason of all that is left out. docs/data.md
says what is compared, and how.

exit codes:
  0 written; 2 wrong arguments, files or data, and nothing is written; 130 interrupted
"""


PASSES_EXAMPLES = """\
examples:
  icpo data passes runs/data/demos.parquet --model Qwen/Qwen3-1.7B
  icpo data passes problems.jsonl --model runs/tiny/model --template qa --max-tokens 64
  icpo data passes runs/data/train.parquet --server http://localhost:8000/v1 --concurrency 64

Each question is asked so many times. The file is written again, as FILE.passes.SUFFIX, with passes
(right answers), samples, difficulty (easy: all right, hard: none, else medium) and response_length
(mean tokens) in each row; in rows of verl's form they stand in extra_info. The strategies
difficulty, hard, length and short read them.

Answers are kept in a journal beside the output: a run that was stopped, in whatever way, goes on
when it is started again with the same settings.

exit codes:
  0 written; 2 wrong arguments, files or data, or no answer from the model; 130 interrupted
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
    _add_passes(parts)


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


def _add_passes(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    passes = parts.add_parser(
        "passes",
        help="measure how often a model answers each question right",
        usage="%(prog)s FILE --model NAME [options]",
        description="Asks each question of a file several times, and writes down how often the "
        "answer was right.",
        epilog=PASSES_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = passes.add_argument
    add("file", metavar="FILE", type=Path, help=".jsonl, .csv, .tsv, also .gz; or .parquet")
    add("--output", type=Path, metavar="FILE", help="default: FILE.passes.SUFFIX")
    add(
        "--columns",
        metavar="PART=COLUMN",
        nargs="+",
        default=[],
        help="where question and answer are, if the schema is not known",
    )
    asked = passes.add_argument_group("how it is asked")
    add = asked.add_argument
    add("--samples", type=_count, default=3, metavar="N", help="answers a question (default: 3)")
    add("--seed", type=_natural, default=0, metavar="N", help="of all answers (default: 0)")
    add(
        "--template",
        metavar="NAME",
        help="form of the prompts, or its fields as JSON (default: verl's messages as they are; "
        "other rows: paper)",
    )
    add("--max-tokens", type=_count, default=8192, metavar="N", help="of an answer (default: 8192)")
    add("--temperature", type=float, default=1.0, metavar="T", help="default: 1")
    add("--top-p", type=float, default=1.0, metavar="P", help="default: 1")
    add("--top-k", type=_natural, default=0, metavar="K", help="default: 0, all tokens")
    add(
        "--profile",
        choices=_core.PROFILES,
        default=_core.PROFILES[0],
        help=f"conventions of the checker (default: {_core.PROFILES[0]})",
    )
    model = passes.add_argument_group("what answers")
    add = model.add_argument
    add("--model", metavar="NAME", help="folder, name on the hub, or the server's name for it")
    where = model.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="ask a server that speaks OpenAI's protocol")
    where.add_argument("--vllm", action="store_true", help="run the model with vLLM")
    add("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="default: bfloat16")
    add("--device", default="auto", help="default: auto")
    add("--batch", type=_count, metavar="N", help="computed at once (default: 64; vLLM: 1024)")
    add("--concurrency", type=_count, default=32, metavar="N", help="of a server (default: 32)")
    passes.set_defaults(run=run_passes)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def run_prepare(options: argparse.Namespace) -> int:
    """Prepares data, and prints the report."""
    from icpo.data.duplicates import NEAR, WORDS
    from icpo.data.prepare import LEFT_OUT, Preparation, prepare
    from icpo.data.sources import Source
    from icpo.evaluation.benchmarks import BENCHMARKS
    from icpo.reward import Checker

    benchmarks = {name: benchmark.source for name, benchmark in BENCHMARKS.items()}
    known = {**KNOWN, **{source.path: source for source in benchmarks.values()}}

    def read(text: str) -> Source:
        # NAME or NAME=SOURCE, as `icpo eval` takes them.
        name, equals, elsewhere = text.partition("=")
        if name in benchmarks:
            return Source.read(elsewhere, known) if equals else benchmarks[name]
        return Source.read(text, known)

    given = {
        name: tuple(map(read, getattr(options, name)))
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


def run_passes(options: argparse.Namespace) -> int:
    """Measures, and prints what the questions came to."""
    from icpo.data.passes import Passes, measure
    from icpo.data.sources import Source
    from icpo.demos import TEMPLATES, Template
    from icpo.demos.form import spelled
    from icpo.evaluation.engines import open_engine
    from icpo.evaluation.settings import EngineSettings
    from icpo.generation import Sampling
    from icpo.reward import Checker

    # As a source is written, so that columns are named in one way only.
    source = Source.read(",".join([str(options.file), *options.columns]))
    template: Template | None = TEMPLATES["paper"]
    if options.template is not None:
        template = Template.of(spelled(options.template))
    elif source.recognised().name == "verl":
        template = None
    kind = "server" if options.server else "vllm" if options.vllm else "transformers"
    if options.model is None and kind != "server":
        raise ConfigError("--model: expected a folder or a name on the hub, but it is not set")
    settings = EngineSettings(
        kind=kind,
        model=options.model,
        dtype=options.dtype,
        device=options.device,
        batch=options.batch,
        url=options.server,
        concurrency=options.concurrency,
    )
    output = options.output or _beside(options.file)
    found = measure(
        source,
        output,
        Passes(
            template,
            Sampling(options.max_tokens, options.temperature, options.top_p, options.top_k),
            options.samples,
            options.seed,
            Checker(options.profile),
        ),
        lambda chat: open_engine(settings, chat=chat),
        {"kind": kind, "model": options.model, "dtype": options.dtype, "url": options.server},
    )
    print(found)
    print(f"written to {output}")
    return 0


def _beside(file: Path) -> Path:
    """FILE.passes.SUFFIX: the place of the output."""
    suffixes = "".join(file.suffixes[-2:] if file.suffix.lower() == ".gz" else file.suffixes[-1:])
    return file.with_name(f"{file.name.removesuffix(suffixes)}.passes{suffixes}")
