"""The subcommand ``icpo analyze``, with one of its own for each analysis."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from icpo.errors import ConfigError

if TYPE_CHECKING:
    from icpo.analysis.replay import Continuation, Replayed
    from icpo.analysis.tidy import Row

__all__ = ["add_parser"]

EXAMPLES = """\
examples:
  icpo analyze curves grpo=runs/grpo-0 grpo=runs/grpo-1 icpo=runs/icpo-0 icpo=runs/icpo-1
  icpo analyze curves runs/verl --metrics runs/verl/logs.jsonl --figure actor/grad_norm
  icpo analyze non-pass runs/grpo runs/icpo
  icpo analyze lengths runs/icpo
  icpo analyze lengths demos=demos.jsonl test=test.parquet --tokenizer Qwen/Qwen3-1.7B
  icpo analyze diversity runs/eval
  icpo analyze flips cold=runs/eval-t06 warm=runs/eval-t12 shown=runs/eval-shots
  icpo analyze rank-shift runs/eval-grpo runs/eval-icpo --base Qwen/Qwen3-1.7B
  icpo analyze perplexity test.jsonl --models grpo=runs/grpo/model icpo=runs/icpo/model

A RUN is the folder of icpo train, of icpo eval, or of verl with its rollout dumps in it
(trainer.rollout_data_dir). LABEL=RUN names it; runs of one label are seeds of the same thing. Each
analysis writes NAME.csv, one observation a row, NAME.png and NAME.svg into the folder --out, and
prints a summary.

exit codes:
  0 done; 2 wrong arguments or files, or nothing to look at; 130 interrupted
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand. What it needs is imported when it runs."""
    analyze = commands.add_parser(
        "analyze",
        help="measure what runs have left behind",
        description="Measures runs: tables as CSV, figures as PNG and SVG.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = analyze.add_subparsers(dest="analysis", required=True, metavar="ANALYSIS")
    _add_curves(kinds)
    _add_non_pass(kinds)
    _add_lengths(kinds)
    _add_diversity(kinds)
    _add_flips(kinds)
    _add_rank_shift(kinds)
    _add_perplexity(kinds)


_Kinds: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add(
    kinds: _Kinds,
    name: str,
    help: str,
    run: Callable[[argparse.Namespace], int],
    source: str = "RUN",
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        name, help=help, usage=f"%(prog)s {source}... [options]", description=f"{help}."
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar=source, help=f"[LABEL=]{source}")
    add(
        "--out",
        "-o",
        type=Path,
        default=Path("analysis"),
        metavar="DIR",
        help="default: analysis",
    )
    add("--no-figures", action="store_true", help="write the table only")
    parser.set_defaults(run=run)
    return parser


def _with_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        type=_steps,
        metavar="FIRST:LAST",
        help="of training, to look at; one may be left out (default: all)",
    )


def _with_tokenizer(parser: argparse.ArgumentParser, otherwise: str) -> None:
    parser.add_argument(
        "--tokenizer",
        metavar="MODEL",
        help=f"a model whose tokens are counted, or words, or characters (default: {otherwise})",
    )


def _with_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dtype", choices=["float32", "bfloat16"], default="float32", help="default: float32")
    add("--device", default="auto", help="default: the first GPU if there is one, else the CPU")
    add(
        "--micro-tokens",
        type=int,
        default=4096,
        metavar="N",
        help="of a forward pass, with padding (default: 4096)",
    )
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="what verl was trained on: its dumps lack the special tokens of prompts",
    )


def _steps(text: str) -> range:
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected FIRST:LAST, got {text!r}")
    first, last = found.groups()
    return range(int(first or 0), int(last) + 1 if last else sys.maxsize)


##### Figures of training


def _add_curves(kinds: _Kinds) -> None:
    parser = _add(kinds, "curves", "figures over the steps of training", _curves)
    add = parser.add_argument
    add(
        "--figure",
        action="append",
        metavar="NAME",
        help="accuracy, reward, entropy, accepted (these four if nothing is said), expert-reward, "
        "ratio, guidance, length, or a regular expression for names in the metrics file; may be "
        "repeated",
    )
    add("--window", type=int, default=1, metavar="N", help="draw running means of N steps")
    add("--metrics", type=Path, metavar="FILE", help="of a verl run, if it lies elsewhere")


def _curves(options: argparse.Namespace) -> int:
    from icpo.analysis import curves
    from icpo.analysis.sources import open_named

    if options.window < 1:
        raise ConfigError(f"window: expected at least 1, got {options.window}")
    runs = open_named(options.sources, options.metrics)
    rows: list[Row] = []
    if options.figure:
        rows = curves.curves(runs, options.figure)
    else:
        usual = ("accuracy", "reward", "entropy", "accepted")
        # A run without expert rollouts has no accepted share, one without a test no accuracy.
        rows = curves.curves(runs, [name for name in usual if curves.is_known(runs, name)])
    _write(
        options,
        "curves",
        rows,
        curves.summary(rows),
        lambda stem: curves.draw_curves(rows, runs, stem, options.window),
    )
    return 0


def _add_non_pass(kinds: _Kinds) -> None:
    help = "training prompts without a right policy rollout, over the steps"
    parser = _add(kinds, "non-pass", help, _non_pass)
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE", help="of a verl run, if it lies elsewhere"
    )


def _non_pass(options: argparse.Namespace) -> int:
    from icpo.analysis import non_pass
    from icpo.analysis.sources import open_named

    runs = open_named(options.sources, options.metrics)
    rows = non_pass.non_pass(runs)
    summary = non_pass.summary(rows)
    _write(
        options, "non_pass", rows, summary, lambda stem: non_pass.draw_non_pass(rows, runs, stem)
    )
    return 0


##### Texts


def _add_lengths(kinds: _Kinds) -> None:
    help = "lengths of responses, or of the questions and solutions of data files"
    parser = _add(kinds, "lengths", help, _lengths, "RUN_OR_FILE")
    _with_tokenizer(parser, "the counts that runs have noted; files need one")
    parser.add_argument("--bins", type=int, default=40, metavar="N", help="default: 40")
    _with_steps(parser)


def _lengths(options: argparse.Namespace) -> int:
    from icpo.analysis import lengths
    from icpo.analysis.sources import open_named, split_label
    from icpo.analysis.words import SPLITTERS, encoder

    if options.bins < 1:
        raise ConfigError(f"bins: expected at least 1, got {options.bins}")
    encode = None if options.tokenizer is None else encoder(options.tokenizer)
    files = [text for text in options.sources if split_label(text)[1].is_file()]
    runs = open_named([text for text in options.sources if text not in files])
    found = lengths.lengths_of_runs(runs, encode, options.steps)
    for text in files:
        if encode is None:
            raise ConfigError(f"tokenizer: expected one, to count the tokens of {text}")
        found |= lengths.lengths_of_file(*split_label(text), encode)
    rows = lengths.histogram(found, options.bins)
    unit = options.tokenizer if options.tokenizer in SPLITTERS else "tokens"
    _write(
        options,
        "lengths",
        rows,
        lengths.summary(found),
        lambda stem: lengths.draw_lengths(rows, unit, stem),
    )
    return 0


def _add_diversity(kinds: _Kinds) -> None:
    help = "edit distances between the responses to each problem"
    parser = _add(kinds, "diversity", help, _diversity)
    _with_tokenizer(parser, "that of the model in the runs' settings")
    _with_steps(parser)


def _diversity(options: argparse.Namespace) -> int:
    from icpo.analysis import diversity
    from icpo.analysis.sources import open_named
    from icpo.analysis.words import encoder, model_of

    runs = open_named(options.sources)
    encode = encoder(options.tokenizer or model_of(runs, "tokenizer"))
    with _Progress("groups") as progress:
        rows = diversity.diversity(runs, encode, options.steps, progress)
    summary = diversity.summary(rows)
    _write(options, "diversity", rows, summary, lambda stem: diversity.draw_diversity(rows, stem))
    return 0


def _add_flips(kinds: _Kinds) -> None:
    help = "wrong answers that another condition turns right, and how far responses move"
    parser = _add(kinds, "flips", help, _flips)
    parser.add_argument(
        "--base", metavar="CONDITION", help="what to compare with (default: the first)"
    )
    _with_tokenizer(parser, "that of the model in the runs' settings")
    _with_steps(parser)


def _flips(options: argparse.Namespace) -> int:
    from icpo.analysis import flips
    from icpo.analysis.sources import open_named
    from icpo.analysis.words import encoder, model_of

    runs = open_named(options.sources)
    encode = encoder(options.tokenizer or model_of(runs, "tokenizer"))
    with _Progress("problems") as progress:
        rows = flips.flips(runs, encode, options.base, options.steps, progress)
    _write(options, "flips", rows, flips.summary(rows), lambda stem: flips.draw_flips(rows, stem))
    return 0


##### Models


def _add_rank_shift(kinds: _Kinds) -> None:
    help = "rank of each token under the model that training began with"
    parser = _add(kinds, "rank-shift", help, _rank_shift)
    parser.add_argument("--base", metavar="MODEL", required=True, help="folder or name on the hub")
    parser.add_argument("--bins", type=int, default=100, metavar="N", help="default: 100")
    _with_steps(parser)
    _with_models(parser)


def _rank_shift(options: argparse.Namespace) -> int:
    from icpo.analysis.sources import open_named

    runs = open_named(options.sources)
    _need_torch()
    from icpo.analysis import rank_shift

    model, tokenizer = _load(options, options.base)
    texts = _trajectories(options, runs, tokenizer)
    replayed = _replayed(options, model, [one.text for one in texts], "base model")
    ranks: dict[str, list[Any]] = {}
    for one, found in zip(texts, replayed, strict=True):
        ranks.setdefault(one.condition, []).append(found.rank)
    shifts = {name: rank_shift.rank_shift(those, options.bins) for name, those in ranks.items()}
    short = sum(len(found.rank) < options.bins for found in replayed)
    if 2 * short > len(replayed):
        print(
            f"{short} of {len(replayed)} responses have fewer tokens than there are bins, so that "
            "bins lack tokens: try less with --bins",
            file=sys.stderr,
        )
    _write(
        options,
        "rank_shift",
        rank_shift.rows(shifts),
        rank_shift.summary(shifts),
        lambda stem: rank_shift.draw_rank_shift(shifts, stem),
    )
    return 0


def _add_perplexity(kinds: _Kinds) -> None:
    help = "perplexity of each text under several models"
    parser = _add(kinds, "perplexity", help, _perplexity, "FILE_OR_RUN")
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        required=True,
        metavar="[LABEL=]MODEL",
        help="folders or names on the hub; the others are set against the first",
    )
    add(
        "--template",
        default="paper",
        metavar="NAME",
        help="prompt before the solutions of a file: a name, or JSON (default: paper)",
    )
    _with_steps(parser)
    _with_models(parser)


def _perplexity(options: argparse.Namespace) -> int:
    from icpo.analysis.sources import open_named, split_label

    models = dict(map(split_label, options.models))
    if len(models) < 2 or len(models) < len(options.models):
        raise ConfigError(
            "models: expected two or more with different names (LABEL=MODEL), got "
            f"{', '.join(options.models)}"
        )
    files = [text for text in options.sources if split_label(text)[1].is_file()]
    runs = open_named([text for text in options.sources if text not in files])
    _need_torch()
    from icpo.analysis import perplexity
    from icpo.demos import Template
    from icpo.demos.form import spelled

    template = Template.of(spelled(options.template))
    likelihoods = {}
    texts: list[Continuation] = []
    for label, path in models.items():
        model, tokenizer = _load(options, str(path))
        texts = [one.text for one in _trajectories(options, runs, tokenizer)] if runs else []
        for text in files:
            texts += perplexity.solutions_of_file(split_label(text)[1], template, tokenizer)
        replayed = _replayed(options, model, texts, label)
        likelihoods[label] = [perplexity.likelihood(one) for one in replayed]
        del model
    rows = perplexity.perplexity(texts, likelihoods)
    _write(
        options,
        "perplexity",
        rows,
        perplexity.summary(rows),
        lambda stem: perplexity.draw_perplexity(rows, stem),
    )
    return 0


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is needed, and is not installed: pip install icpo-rs[torch]"
        ) from None


def _load(options: argparse.Namespace, path: str) -> tuple[Any, Any]:
    from icpo.trainer.config import ModelConfig
    from icpo.trainer.model import load_model

    model, tokenizer = load_model(ModelConfig(path, dtype=options.dtype, device=options.device))
    return model.eval(), tokenizer


def _trajectories(options: argparse.Namespace, runs: Sequence[Any], tokenizer: Any) -> list[Any]:
    from icpo.analysis.trajectories import prompts_of_verl, trajectories

    prompts = None
    if options.prompts is not None:
        prompts = prompts_of_verl(options.prompts, tokenizer)
    found = trajectories(runs, tokenizer, options.steps, prompts)
    differing = sum(one.as_sampled is False for one in found)
    if differing:
        print(
            f"{differing} of {len(found)} responses have another number of tokens than when they "
            "were sampled",
            file=sys.stderr,
        )
    return found


def _replayed(
    options: argparse.Namespace, model: Any, texts: Sequence[Continuation], name: str
) -> list[Replayed]:
    from icpo.analysis.replay import replay
    from icpo.trainer.config import ModelConfig
    from icpo.trainer.model import autocast_dtype

    heat = autocast_dtype(ModelConfig("-", dtype=options.dtype))
    with _Progress(f"texts, {name}") as progress:
        return replay(
            model, texts, micro_tokens=options.micro_tokens, autocast=heat, progress=progress
        )


##### What is written


def _write(
    options: argparse.Namespace,
    name: str,
    rows: Sequence[Row],
    summary: Sequence[Row],
    draw: Callable[[Path], Iterable[Path]],
) -> None:
    from icpo.analysis.tidy import shown, write_csv

    written = [write_csv(options.out / f"{name}.csv", rows)]
    if not options.no_figures:
        written += draw(options.out / name)
    print(shown(summary))
    print(f"\n{', '.join(map(str, written))}")


class _Progress:
    """A line on stderr, written over in a terminal; elsewhere there is none."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._shown = 0.0
        self._is_begun = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._shown > 0.1 or done == total):
            self._shown, self._is_begun = now, True
            print(f"\r{done:,}/{total:,} {self._unit}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_begun:
            print(file=sys.stderr)
