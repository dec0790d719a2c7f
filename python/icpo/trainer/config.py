"""Every setting of a run, documented once, and where it comes from.

A configuration is a tree of frozen dataclasses, `TrainConfig` at the top; a YAML file has the same
tree. Making one checks it: types, ranges, and settings that contradict each other. Relative paths
are relative to the current directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from icpo import _core
from icpo.algorithms import ALGORITHMS, Algorithm, algorithm
from icpo.algorithms.composition import PARTS
from icpo.demos import STRATEGIES, TEMPLATES, Online
from icpo.demos.form import TemplateSetting
from icpo.errors import CheckpointError, ConfigError
from icpo.generation import Sampling
from icpo.mixing import Plan
from icpo.objective.config import LossConfig
from icpo.reward import Checker
from icpo.schema import Form, Range, Section, expected, refuse_unknown
from icpo.trainer import yaml_file
from icpo.trainer.schedule import SCHEDULES

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "DemosConfig",
    "EvalConfig",
    "GenerationConfig",
    "LogConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimConfig",
    "PromptConfig",
    "TrainConfig",
]

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Fraction = Annotated[float, Range(least=0, below=1)]
Share = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class LoraConfig(Section, key="model.lora"):
    """Low-rank adapters: only these are trained. Needs peft."""

    #: Rank of the adapters.
    rank: Count = 16
    #: They are scaled by alpha / rank.
    alpha: Positive = 32.0
    #: The layers that get one: a list of names, a regular expression for whole names, or
    #: ``all-linear`` for all linear ones but the head.
    targets: str | tuple[str, ...] = "all-linear"


@dataclass(frozen=True)
class ModelConfig(Section, key="model"):
    """The policy."""

    #: A folder in the transformers format, or a name on the Hugging Face hub.
    path: str
    #: What the forward pass computes in. Parameters, gradients and optimizer state are float32 in
    #: any case: an update of 1e-6 of a parameter is less than bfloat16 can tell apart, and would be
    #: lost.
    dtype: Literal["float32", "bfloat16"] = "float32"
    #: ``auto``: the first GPU if there is one, else the CPU; or a device as torch names it.
    device: str = "auto"
    #: Implementation of attention, as transformers names it.
    attention: str = "sdpa"
    #: Whether to compute activations again in the backward pass, instead of keeping them.
    gradient_checkpointing: bool = False
    #: Train adapters only; null: train all parameters.
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        """A path may begin with ``~``, as those of files may."""
        super().__post_init__()
        object.__setattr__(self, "path", os.path.expanduser(self.path))


@dataclass(frozen=True)
class DataConfig(Section, key="data"):
    """The problems.

    Files are .jsonl, .csv, .tsv (these also .gz) or .parquet. Columns that are null are where the
    schema of the file has them, see `icpo.data.schemas`. A dot in the name of a column looks into
    an object or, with a number, into a list: ``prompt.0.content``.
    """

    #: File of the problems to train on.
    train: Path
    #: File of the problems to evaluate on; null: there is no evaluation.
    test: Path | None = None
    #: Column of the questions.
    question: str | None = None
    #: Column of the gold answers; it may hold lists, of which any answer will do.
    answer: str | None = None
    #: Column of the subjects.
    subject: str | None = None
    #: Column of the ids; without any, rows are numbered from 1.
    id: str | None = None
    #: Column of solutions by somebody else, a text or a list of texts; read from the training file
    #: by algorithms that imitate or continue them, and for `length` if there is none.
    solution: str | None = None
    #: Column of the difficulties, for demonstrations of the same: ``easy``, ``medium`` or ``hard``.
    difficulty: str | None = None
    #: Column of the lengths of responses, for demonstrations of the same half; where there are
    #: none, characters of the stored solutions count.
    length: str | None = None
    #: If a solution has more tokens than ``generation.max_new_tokens``: ``error`` stops, ``drop``
    #: leaves its problem out.
    overlong: Literal["error", "drop"] = "error"
    #: Only the first so many problems of the training file; null: all.
    limit: Count | None = None


@dataclass(frozen=True)
class OnlineConfig(Section, key="demos.online"):
    """Solved training prompts that join the demonstrations, with a response of the policy's own."""

    #: So many of them at most, the newest; 0: none.
    size: Natural = 0
    #: The share of a prompt's on-policy rollouts that must be right; 0: one of them.
    share: Annotated[float, Range(least=0, most=1)] = 1.0


@dataclass(frozen=True)
class DemosConfig(Section, key="demos"):
    """The demonstrations: a pool, and which of it are shown.

    Columns that are null are where the schema of the file has them, see `icpo.data.schemas`.
    """

    #: File of the demonstrations, in a format as in `DataConfig`; or the name of a data set on the
    #: Hugging Face hub, as ``openai/gsm8k,config=main``.
    path: Path
    #: Column of the questions.
    question: str | None = None
    #: Column of the worked solutions.
    solution: str | None = None
    #: Column of the subjects.
    subject: str | None = None
    #: Column of the ids; without any, rows are numbered from 1.
    id: str | None = None
    #: Column of the difficulties: ``easy``, ``medium`` or ``hard``.
    difficulty: str | None = None
    #: Column of the lengths of the solutions; where there are none, characters count.
    length: str | None = None
    #: How they are chosen: a name in `icpo.demos.STRATEGIES`.
    strategy: str = "random"
    #: How many a prompt shows.
    k: Count = 1
    #: Size of the part that ``random-m`` and ``batch-m`` choose among; null: the strategy's own.
    m: Count | None = None
    online: OnlineConfig = field(default_factory=OnlineConfig)
    #: If a demonstration exceeds the prompt limit with any question: ``error`` stops, ``drop``
    #: leaves it out of the pool.
    overlong: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        """Checks the strategy."""
        super().__post_init__()
        if self.strategy not in STRATEGIES:
            raise ConfigError(
                f"demos.strategy: expected one of {', '.join(STRATEGIES)}, got {self.strategy!r}"
            )
        if self.m is not None and STRATEGIES[self.strategy].m is None:
            raise ConfigError(f"demos.m: strategy {self.strategy!r} has none, got {self.m}")
        if self.online.size and not STRATEGIES[self.strategy].grows:
            raise ConfigError(
                f"demos.online.size: expected 0, since strategy {self.strategy!r} keeps to the "
                f"same demonstrations for the whole run, got {self.online.size}"
            )

    @property
    def rule(self) -> Online | None:
        """Which solved prompts join; None: none do."""
        return Online(self.online.size, self.online.share) if self.online.size else None

    @property
    def sorts(self) -> tuple[str, ...]:
        """The fields of a problem that decide what it is shown."""
        return STRATEGIES[self.strategy].reads


@dataclass(frozen=True)
class PromptConfig(Section, key="prompt"):
    """From a question, and perhaps demonstrations, to a prompt."""

    #: A name in `icpo.demos.TEMPLATES`, or a mapping with the fields of `icpo.demos.Template`.
    template: TemplateSetting = TEMPLATES["paper"]
    #: Limit on a prompt. Demonstrations that exceed it are left out, the last ones first.
    max_tokens: Count = 4096


@dataclass(frozen=True)
class GenerationConfig(Section, key="generation"):
    """Sampling of the rollouts that are trained on."""

    #: A rollout is cut off after so many tokens.
    max_new_tokens: Count = 8192
    #: Divides the logits, also those of the loss.
    temperature: Positive = 1.0
    #: Sample from the fewest tokens whose probabilities add up to this; 1: from all.
    top_p: Share = 1.0
    #: Sample from so many of the most likely tokens; 0: from all.
    top_k: Natural = 0
    #: Rollouts computed at once. No result depends on it, but memory does.
    batch: Count = 256

    @property
    def sampling(self) -> Sampling:
        """As an engine takes it."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_p, self.top_k)


_PLAN = tuple(each.name for each in dataclasses.fields(Plan))
_LOSS = tuple(each.name for each in dataclasses.fields(LossConfig) if each.init)


@contextlib.contextmanager
def _below(key: str) -> Iterator[None]:
    """Errors of parts that know only their own names get the key of the section."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from None


def _read_algorithm(key: str, value: Any) -> Algorithm:
    """A preset by its name, with changes."""
    known = ("name", *_PLAN, *PARTS, "loss")
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: expected a section with {', '.join(known)}, got {value!r}")
    refuse_unknown(key, value, known)
    name = value.get("name", "icpo")
    if name not in ALGORITHMS:
        raise ConfigError(f"{key}.name: expected one of {', '.join(ALGORITHMS)}, got {name!r}")
    found = algorithm(name)
    changes: dict[str, Any] = {each: value[each] for each in _PLAN if each in value}
    for part in (*PARTS, "loss"):
        change = value.get(part)
        if change is None and (part in PARTS or part not in value):
            continue
        fields = ("preset", *_LOSS) if part == "loss" else _names(PARTS[part])
        if not isinstance(change, Mapping):
            raise ConfigError(f"{key}.{part}: expected a section, got {change!r}")
        refuse_unknown(f"{key}.{part}", change, fields)
        with _below(f"{key}.{part}"):
            changes[part] = found.part(part, change)
    left_out: dict[str, Any] = {part: None for part in PARTS if value.get(part, ...) is None}
    with _below(key):  # all at once: one part may make sense with another only
        return dataclasses.replace(found, **left_out).replace(**changes)


def _write_algorithm(chosen: Algorithm) -> dict[str, Any]:
    return {
        "name": chosen.name,
        **vars(chosen.plan),
        **{
            part: None if getattr(chosen, part) is None else dict(vars(getattr(chosen, part)))
            for part in PARTS
        },
        "loss": {name: getattr(chosen.loss, name) for name in _LOSS},
    }


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(kind))


def _read_checker(key: str, value: Any) -> Checker:
    """A profile, with changes of single conventions."""
    if isinstance(value, str):
        value = {"profile": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: expected a profile or a section, got {value!r}")
    refuse_unknown(key, value, ("profile", *_core.checker_defaults(_core.PROFILES[0])))
    with _below(key):
        return Checker(**value)


def _write_checker(checker: Checker) -> dict[str, Any]:
    return {"profile": checker.profile, **checker.settings}


@dataclass(frozen=True)
class OptimConfig(Section, key="optim"):
    """AdamW, and its learning rate over the steps."""

    #: Learning rate, after the warm-up.
    lr: Positive = 1e-6
    #: Decay of the running means of gradients and of their squares.
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    #: Decoupled weight decay; of matrices only, not of biases and norms.
    weight_decay: NotNegative = 0.0
    #: Gradients are scaled down to this norm; null: never.
    grad_clip: Positive | None = 1.0
    #: Steps in which the learning rate rises to `lr`.
    warmup: Natural = 0
    #: What it does then: a name in `icpo.trainer.schedule.SCHEDULES`.
    schedule: str = "constant"

    def __post_init__(self) -> None:
        """Checks the schedule."""
        super().__post_init__()
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"optim.schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )


@dataclass(frozen=True)
class EvalConfig(Section, key="eval"):
    """Evaluation on the test file. Training does not depend on any of it."""

    #: Every so many steps, and after the last; null: never.
    every: Count | None = 10
    #: Samples of each problem, for avg@k and pass@k; 0: greedy only.
    k: Natural = 8
    #: As in `GenerationConfig`, for these samples.
    temperature: Positive = 1.0
    #: Likewise.
    top_p: Share = 1.0
    #: Likewise.
    top_k: Natural = 0
    #: Whether to evaluate the most likely completion too.
    greedy: bool = True
    #: Only the first so many problems of the test file; null: all.
    limit: Count | None = None
    #: Whether to evaluate before the first step too.
    at_start: bool = True
    #: Whether to evaluate with demonstrations too, if there are any: before and after training.
    with_demos: bool = True
    #: So many training problems are asked before and after training as well: those that no sample
    #: solves before are non-pass, and how many of them are solved after is recorded.
    probe: Natural = 0

    def sampling(self, max_new_tokens: int) -> Sampling:
        """As an engine takes it."""
        return Sampling(max_new_tokens, self.temperature, self.top_p, self.top_k)


@dataclass(frozen=True)
class CheckpointConfig(Section, key="checkpoint"):
    """What a run can be resumed from."""

    #: Every so many steps, and after the last; null: after the last only.
    every: Count | None = 20
    #: How many to keep, the newest ones.
    keep: Count = 2


@dataclass(frozen=True)
class LogConfig(Section, key="log"):
    """What is written beside metrics.jsonl."""

    #: TensorBoard's files; ``auto``: if it is installed.
    tensorboard: Literal["auto", True, False] = "auto"
    #: Project on Weights & Biases; null: none.
    wandb: str | None = None
    #: Write rollouts to samples.jsonl every so many steps; null: never.
    samples_every: Count | None = 10
    #: Of so many prompts each time.
    samples: Count = 4


@dataclass(frozen=True)
class TrainConfig(Section):
    """A run.

    >>> config = TrainConfig.build({"model": {"path": "m"}, "data": {"train": "t.jsonl"},
    ...     "algorithm": {"name": "grpo"}, "eval": {"every": None}, "optim": {"lr": 1e-5}})
    >>> config.optim.lr, config.algorithm.plan.n_off
    (1e-05, 0)
    """

    model: ModelConfig
    data: DataConfig
    #: Null: there are none, so no expert rollouts either.
    demos: DemosConfig | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    #: In a file: ``name``, of a preset in `icpo.algorithms.ALGORITHMS`, and what to change of it:
    #: the fields of `icpo.mixing.Plan`; ``bonus``, ``lessons`` and ``prefix``: null or fields of
    #: `Bonus`, `Lessons` and `Prefix` there; ``loss``: fields of `icpo.LossConfig` and perhaps a
    #: ``preset`` of it.
    algorithm: Annotated[Algorithm, Form(_read_algorithm, _write_algorithm)] = field(
        default_factory=lambda: algorithm("icpo")
    )
    #: In a file: a profile, or ``profile`` and single conventions, as `icpo.reward.Checker` takes
    #: them.
    reward: Annotated[Checker, Form(_read_checker, _write_checker)] = field(default_factory=Checker)
    optim: OptimConfig = field(default_factory=OptimConfig)
    #: T, steps of the run.
    steps: Count = 400
    #: Prompts a step.
    batch: Count = 128
    #: Prompts an optimizer step. The old policy stays that from the beginning of the step.
    mini_batch: Count = 64
    #: Tokens a forward pass, padding included; a single rollout may have more.
    micro_tokens: Count = 16384
    #: Old log-probs of the rollouts: computed by the training engine, or taken from the sampler.
    old_logp: Literal["recompute", "sampler"] = "recompute"
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    #: All randomness of the run follows from it.
    seed: Annotated[int, Range(least=0, below=2**63)] = 0
    #: Of torch and of the checker; null: as many as there are cores.
    threads: Count | None = None
    #: The run's folder.
    out: Path = Path("runs/icpo")

    def __post_init__(self) -> None:
        """Checks every setting, then those that depend on each other."""
        super().__post_init__()
        if self.batch % self.mini_batch:
            raise ConfigError(
                f"mini_batch: expected a divisor of batch = {self.batch}, got {self.mini_batch}"
            )
        chosen = self.algorithm
        if self.demos is None and (chosen.plan.shows_demos or chosen.problems == "demos"):
            use = "shows demonstrations" if chosen.plan.shows_demos else "is trained on these"
            raise ConfigError(
                f"demos: expected {expected(DemosConfig)}, because algorithm {chosen.name!r} "
                f"{use}, but it is not set"
            )
        if self.eval.every is not None and self.data.test is None:
            raise ConfigError(
                "data.test: expected a path, because eval.every is set, but it is not set; "
                "eval.every=null switches evaluation off"
            )
        if self.eval.every is not None and self.eval.k == 0 and not self.eval.greedy:
            raise ConfigError("eval.k: expected at least 1, because eval.greedy is off, got 0")
        if self.eval.probe and self.eval.k == 0:
            raise ConfigError("eval.k: expected at least 1, because eval.probe is set, got 0")
        loss = self.algorithm.loss
        if loss.aggregation == "seq-mean-token-sum-norm" and loss.norm_constant is None:
            # As in verl. Micro-batches are padded to lengths of their own, so theirs will not do.
            constant = loss.replace(norm_constant=float(self.generation.max_new_tokens))
            object.__setattr__(self, "algorithm", self.algorithm.replace(loss=constant))
        if self.optim.warmup > self.steps:
            raise ConfigError(
                f"optim.warmup: expected at most steps = {self.steps}, got {self.optim.warmup}"
            )

    @classmethod
    def load(
        cls, path: Path | None, overrides: Sequence[str] = (), preset: str | None = None
    ) -> TrainConfig:
        """The configuration in a YAML file, with changes.

        Args:
            path: the file; None: there is none, everything comes from `overrides`.
            overrides: ``key=value``, the key with dots, the value as YAML; later ones win.
            preset: stands for ``algorithm.name=preset``, before `overrides`.

        Raises:
            ConfigError: naming file and line, or the command line, and the key.
        """
        document = (
            yaml_file.Document(yaml_file.COMMAND_LINE) if path is None else yaml_file.read(path)
        )
        if preset is not None:
            document.set(("algorithm", "name"), preset, yaml_file.COMMAND_LINE)
        for override in overrides:
            document.override(override)
        try:
            return cls.build(document.values)
        except ConfigError as error:
            raise document.located(error) from None

    def to_yaml(self) -> str:
        """Every setting, as `load` reads it."""
        return yaml_file.dump(self.to_dict())

    def fingerprint(self) -> dict[str, Any]:
        """What must not change when the run is resumed: each such setting by its dotted key.

        Free are those of `_FREE`: they change what is written, how much memory is needed and at
        most the rounding. `steps` may change only if nothing but the end depends on it, and
        ``model.path`` only if checkpoints hold all that is needed of the model. Files are known by
        their contents, not by their paths; the trainer compares these itself.
        """
        settings = {
            key: value
            for key, value in _flat(self.to_dict())
            if not any(key == free or key.startswith(f"{free}.") for free in _FREE)
        }
        bonus = self.algorithm.bonus
        lessons = self.algorithm.lessons
        if (
            self.optim.schedule == "constant"
            and (bonus is None or bonus.schedule == "exp")
            and (lessons is None or lessons.when != "first")
            and self.algorithm.prefix is None
        ):
            del settings["steps"]
        if self.model.lora is not None or self.algorithm.loss.kl != "none":
            settings["model.path"] = self.model.path
        return settings

    def check_fingerprint(self, saved: Mapping[str, Any], where: Path) -> None:
        """Refuses to resume a run that was another one.

        Args:
            saved: its fingerprint, perhaps after a trip through JSON.
            where: what the fingerprint was saved in.

        Raises:
            CheckpointError: naming every setting that differs, with both values.
        """
        now = self.fingerprint()
        changed = [
            f"{key} was {saved.get(key, 'not there')!r}, is {now.get(key, 'not there')!r}"
            for key in sorted({*saved, *now})
            if saved.get(key, ...) != now.get(key, ...)
        ]
        if changed:
            raise CheckpointError(
                f"{where}: expected the settings of the run that is resumed, but "
                f"{'; '.join(changed)}. Restore them, or start anew in another folder"
            )


#: Settings that a resumed run may change.
_FREE = (
    "model.path",
    "model.device",
    "model.attention",
    "model.gradient_checkpointing",
    "data.train",
    "data.test",
    "demos.path",
    "generation.batch",
    "micro_tokens",
    *(f"eval.{each.name}" for each in dataclasses.fields(EvalConfig) if each.name != "probe"),
    "checkpoint",
    "log",
    "threads",
    "out",
)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted key."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
