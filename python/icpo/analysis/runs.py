"""The records of a run: its settings, the figures of its steps, and what was sampled.

Three kinds of folders are read: those of `icpo train`, those of verl (rollout dumps, with this
package's columns or without, and a metrics file), and those of `icpo eval`. All give the same
`Response`s, each of which says in which line of which file it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from icpo.errors import ConfigError, DataError
from icpo.tables import Row, UnreadableRow

__all__ = ["KINDS", "Response", "RunRecord", "open_run", "problem_name"]

#: Kinds of runs.
KINDS = ("trainer", "verl", "eval")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Response:
    """One sampled response, and where it is written down. None: the file does not say."""

    file: Path
    #: In that file, from 1.
    line: int
    #: Of training; None: outside of training.
    step: int | None
    #: The problem's id, the same at every step; see `problem_name` for files without ids.
    problem: str
    #: x, the prompt without demonstrations, as the file has it.
    prompt: str | None
    #: x_exp, the prompt with demonstrations that an expert rollout was sampled from.
    expert_prompt: str | None
    text: str
    #: The gold answer, or several of which any will do.
    gold: str | tuple[str, ...] | None
    #: R, before any bonus.
    reward: float
    #: ``equal``, ``not_equal`` or ``unknown``.
    outcome: str | None
    #: Whether it is off-policy: sampled with demonstrations, or from a stored solution.
    expert: bool
    #: Whether an expert rollout passed eq. 8 and 9; None for others.
    accepted: bool | None
    #: Whether it is a row of the update.
    trained: bool | None
    #: Ids of the demonstrations in its prompt.
    demos: tuple[str, ...]
    #: Length in tokens.
    tokens: int | None
    #: Whether it ended by itself, not at the length limit.
    finished: bool | None
    #: How many demonstrations it was asked with, those that the prompt limit cost included.
    shots: int = 0
    #: Of an evaluation: the benchmark.
    benchmark: str | None = None
    #: How many of its tokens, the first ones, were given: they are from a stored solution.
    given: int | None = None

    @property
    def right(self) -> bool:
        """Whether it gives the gold answer: by the verdict, or else by a reward of at least 1."""
        return self.outcome == "equal" if self.outcome is not None else self.reward >= 1

    @property
    def place(self) -> str:
        """``samples.jsonl:12``, to find it again."""
        return f"{self.file.name}:{self.line}"


@dataclass(frozen=True)
class RunRecord:
    """What a folder says about a run. Responses are read when they are asked for."""

    folder: Path
    #: Of the folder.
    name: str
    #: One of `KINDS`.
    kind: str
    #: Its settings, nested, as its file has them; empty if there is none.
    config: Mapping[str, Any]
    #: Where `config` stands; None: nowhere.
    config_file: Path | None
    #: Of the packages it ran with; empty if they were not written down.
    versions: Mapping[str, Any]
    #: Figures by name, of each step in order, with ``step``. What had no value is None.
    metrics: Sequence[Mapping[str, Any]]
    #: Where `metrics` stands: the n-th of them, from 0, in line n + 1.
    metrics_file: Path | None
    #: Where responses stand, in order.
    response_files: tuple[Path, ...]

    def responses(self) -> Iterator[Response]:
        """What was sampled, in the order of the files.

        Raises:
            DataError: naming file and line of what can not be read.
        """
        return _READERS[self.kind](self.response_files)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps at which a figure has a value, and the values."""
        told = [(row["step"], row[name]) for row in self.metrics if row.get(name) is not None]
        return [step for step, _ in told], [float(value) for _, value in told]


def open_run(path: str | Path, metrics: str | Path | None = None) -> RunRecord:
    """Finds out what a folder holds, and reads settings and figures.

    Args:
        path: a run's folder; or a folder of verl's dumps, ``1.jsonl`` and so on, or one that has
            such a folder in it.
        metrics: the file that verl's ``trainer.logger=file`` has written. Without it, that is
            ``metrics.jsonl`` in `path` or beside it.

    Raises:
        ConfigError: if there is no run.
        DataError: if a file of it can not be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"run: expected the folder of a run, got {folder}")
    if (folder / "journal.jsonl").is_file():
        return _record(folder, "eval", (folder / "journal.jsonl",), None)
    if (folder / "samples.jsonl").is_file():
        return _record(folder, "trainer", (folder / "samples.jsonl",), folder / "metrics.jsonl")
    dumps = next((found for found in map(_dumps, _with_children(folder)) if found), ())
    if not dumps:
        raise ConfigError(
            f"run: {folder}: expected samples.jsonl of a training run, journal.jsonl of an "
            "evaluation, or verl's dumps (1.jsonl and so on, here or in one folder below)"
        )
    if metrics is not None and not Path(metrics).is_file():
        raise ConfigError(f"metrics: expected a file, got {metrics}")
    beside = [folder / "metrics.jsonl", dumps[0].parent.parent / "metrics.jsonl"]
    found = next((file for file in beside if file.is_file()), None)
    return _record(folder, "verl", dumps, found if metrics is None else Path(metrics))


def problem_name(prompt: str) -> str:
    """What a problem is called whose file has no id for it: a digest of its prompt."""
    return "prompt-" + hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12]


##### Folders


#: Where settings stand; the third is Hydra's.
_CONFIGS = (
    "config.yaml",
    "settings.json",
    ".hydra/config.yaml",
    "hydra/.hydra/config.yaml",
)


def _record(
    folder: Path, kind: str, responses: tuple[Path, ...], metrics: Path | None
) -> RunRecord:
    config_file = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    versions_file = folder / "versions.json"
    metrics = metrics if metrics is not None and metrics.is_file() else None
    return RunRecord(
        folder=folder,
        name=folder.resolve().name,
        kind=kind,
        config={} if config_file is None else _mapping(config_file),
        config_file=config_file,
        versions=_mapping(versions_file) if versions_file.is_file() else {},
        metrics=() if metrics is None else tuple(_metrics(metrics)),
        metrics_file=metrics,
        response_files=responses,
    )


def _with_children(folder: Path) -> Iterator[Path]:
    yield folder
    yield from sorted(child for child in folder.iterdir() if child.is_dir())


def _dumps(folder: Path) -> tuple[Path, ...]:
    """verl's dumps in a folder, by step."""
    found = [file for file in folder.glob("*.jsonl") if file.stem.isdecimal()]
    return tuple(sorted(found, key=lambda file: int(file.stem)))


def _mapping(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".yaml":
        try:
            from icpo.trainer import yaml_file

            values: Any = yaml_file.read(file).values
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{error.name} is needed to read {file}, and is not installed: "
                "pip install icpo-rs[torch]"
            ) from None
        except ConfigError as error:
            raise DataError(str(error)) from None
    else:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: can not be read: {error}") from None
    if not isinstance(values, Mapping):
        raise DataError(f"{file}: expected names with values, got {values!r:.80}")
    return values


##### Lines


def _metrics(file: Path) -> Iterator[Mapping[str, Any]]:
    for row in _lines(file):
        # verl's logger has the figures one level down.
        figures = row.values.get("data", row.values)
        yield {**figures, "step": _typed(row, "step", int)}


def _lines(file: Path) -> Iterator[Row]:
    """The objects in a file of JSON lines.

    What stands behind the last line break was being written when the run was killed, or is being
    written: it is no row yet.
    """
    try:
        with file.open("rb") as lines:
            for index, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    return
                yield Row(file, index, _object(file, index, line))
    except OSError as error:
        raise DataError(f"{file}: can not be read: {error.strerror or error}") from None


def _object(file: Path, index: int, line: bytes) -> dict[str, Any]:
    try:
        # Half a surrogate pair, which a model may well produce, stands there as it is.
        content = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: line {index + 1}: no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: line {index + 1}: expected an object, got {content!r:.80}")
    return content


def _typed(row: Row, column: str, kind: type[_T]) -> _T:
    value = _maybe(row, column, kind)
    if value is None:
        there = ", ".join(row.values)
        raise row.error(f"expected {_WORDS[kind]} in column {column!r}; the row has {there}")
    return value


_WORDS: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def _maybe(row: Row, column: str, kind: type[_T]) -> _T | None:
    """A value of a type; None if it is missing or null."""
    value: Any = row.values.get(column)
    if value is None:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise row.error(f"expected {_WORDS[kind]} in column {column!r}, got {value!r:.80}")
    return value


def _gold(row: Row, column: str) -> str | tuple[str, ...] | None:
    if row.values.get(column) is None:
        return None
    try:
        return row.answer(column, column)
    except UnreadableRow as error:
        raise row.error(error) from None


def _demos(row: Row) -> tuple[str, ...]:
    value = row.values.get("demos")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise row.error(f"expected a list in column 'demos', got {value!r:.80}")
    return tuple(map(str, value))


##### Readers, by kind


def _trainer(files: Sequence[Path]) -> Iterator[Response]:
    for file in files:
        # A group's policy rollouts come before its expert ones, and have the bare prompt.
        bare: tuple[int, str, str] | None = None
        for row in _lines(file):
            step, problem = _typed(row, "step", int), _typed(row, "problem", str)
            prompt, expert = _typed(row, "prompt", str), _typed(row, "expert", bool)
            if not expert:
                bare = step, problem, prompt
            *asked, plain = bare or (None, None, "")
            known = asked == [step, problem]
            yield Response(
                file=file,
                line=row.index + 1,
                step=step,
                problem=problem,
                prompt=plain if known else None,
                # Of a stored solution nothing else was asked.
                expert_prompt=prompt if expert and (not known or prompt != plain) else None,
                text=_typed(row, "response", str),
                gold=_gold(row, "answer"),
                reward=_typed(row, "reward", float),
                outcome=_typed(row, "outcome", str),
                expert=expert,
                accepted=_maybe(row, "accepted", bool),
                trained=_maybe(row, "trained", bool),
                demos=_demos(row),
                tokens=_maybe(row, "tokens", int),
                finished=_maybe(row, "finished", bool),
                shots=len(_demos(row)),
                given=_maybe(row, "given", int),
            )


def _verl(files: Sequence[Path]) -> Iterator[Response]:
    for file in files:
        for row in _lines(file):
            prompt = _typed(row, "input", str)
            expert = bool(_maybe(row, "expert", bool))
            # With this package's columns the score may have the bonus of eq. 12 in it.
            reward = _maybe(row, "reward", float)
            yield Response(
                file=file,
                line=row.index + 1,
                step=_typed(row, "step", int),
                problem=problem_name(prompt),
                prompt=prompt,
                expert_prompt=_maybe(row, "expert_prompt", str),
                text=_typed(row, "output", str),
                gold=_gold(row, "gts"),
                reward=_typed(row, "score", float) if reward is None else reward,
                outcome=_maybe(row, "verdict", str),
                expert=expert,
                accepted=_maybe(row, "accepted", bool) if expert else None,
                # Without this package's columns every row is one of the update.
                trained=_maybe(row, "trained", bool) is not False,
                demos=_demos(row),
                tokens=None,
                finished=None,
                shots=len(_demos(row)),
            )


def _eval(files: Sequence[Path]) -> Iterator[Response]:
    for file in files:
        # Problems by the prompt without demonstrations, where they were asked so, too. Lines stand
        # in the order in which responses came.
        bare = {
            _typed(row, "problem", str): _typed(row, "prompt", str)
            for row in _lines(file)
            if not _demos(row)
        }
        for row in _lines(file):
            problem, prompt = _typed(row, "problem", str), _typed(row, "prompt", str)
            demos = _demos(row)
            yield Response(
                file=file,
                line=row.index + 1,
                step=None,
                problem=problem,
                prompt=bare.get(problem),
                expert_prompt=prompt if demos else None,
                text=_typed(row, "text", str),
                gold=_gold(row, "gold"),
                reward=_typed(row, "reward", float),
                outcome=_typed(row, "outcome", str),
                expert=bool(demos),
                accepted=None,
                trained=None,
                demos=demos,
                tokens=_maybe(row, "tokens", int),
                finished=_maybe(row, "finished", bool),
                shots=_typed(row, "shots", int),
                benchmark=_typed(row, "benchmark", str),
            )


_READERS: dict[str, Callable[[Sequence[Path]], Iterator[Response]]] = {
    "trainer": _trainer,
    "verl": _verl,
    "eval": _eval,
}
