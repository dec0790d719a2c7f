"""Every setting of ICPO in verl, documented once, and what follows from it.

Hydra reads ``config/icpo/on.yaml``, which has the same tree and the same defaults; what it composes
becomes `IcpoSettings`, which checks each value by itself. `icpo.verl.checks` compares them with
verl's own settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from icpo.demos import STRATEGIES, TEMPLATES, Online
from icpo.demos.form import TemplateSetting
from icpo.errors import ConfigError
from icpo.mixing import GROUPS, SOURCES, Bonus, Lessons, Plan, Prefix
from icpo.objective.config import PRESETS, LossConfig
from icpo.schema import Range, Section

__all__ = ["AdvantageSettings", "BonusSettings", "DemoSettings", "IcpoSettings"]

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]


@dataclass(frozen=True)
class BonusSettings(Section, key="icpo.bonus"):
    """The annealed bonus on the reward of accepted expert rollouts (eq. 12)."""

    #: α, the bonus at the first step; 0: none.
    alpha: NotNegative = 0.0
    #: How it fades: ``linear`` and ``cosine`` to 0 after the last step, ``exp`` by e each ``tau``
    #: steps.
    schedule: Literal["linear", "cosine", "exp"] = "linear"
    #: τ of ``exp``, in steps.
    tau: Positive | None = None


@dataclass(frozen=True)
class LessonSettings(Section, key="icpo.lessons"):
    """Steps that imitate stored solutions, in place of others."""

    #: ``first``: those at the beginning; ``hardest``: whenever a batch of prompts has been met that
    #: no rollout solved; null: none.
    when: Literal["first", "hardest"] | None = None
    #: Of ``first``: the share of the run's steps.
    share: Annotated[float, Range(above=0, below=1)] = 0.5


@dataclass(frozen=True)
class PrefixSettings(Section, key="icpo.prefix"):
    """Beginnings of stored solutions that the policy continues (``source`` ``prefix``)."""

    #: Greatest share of a solution that is given, at the first step.
    longest: Share = 0.95
    #: Least share that is given, and the greatest after the last step.
    shortest: Share = 0.05
    #: Share of a prefix that is trained on: the tokens of which the policy is least certain.
    entropy_share: Share = 0.2


@dataclass(frozen=True)
class AdvantageSettings(Section, key="icpo.advantages"):
    """Conventions of advantages (eq. 4 and 6)."""

    #: Divisor; null: the preset's.
    std: Literal["unbiased", "none"] | None = None
    #: Rollouts that they are relative to, all of the group or the on-policy ones; null: the
    #: preset's.
    baseline: Literal["mixed", "on_policy"] | None = None


@dataclass(frozen=True)
class ColumnSettings(Section, key="icpo.demonstrations.columns"):
    """Columns of the files with demonstrations. A dot looks into an object.

    Null: where the schema of the file has it, see `icpo.data.schemas`.
    """

    #: Ids; without any, rows are numbered from 1.
    id: str | None = None
    #: Questions.
    question: str | None = None
    #: Worked solutions.
    solution: str | None = None
    #: Subjects.
    subject: str | None = None
    #: Difficulties: ``easy``, ``medium`` or ``hard``.
    difficulty: str | None = None
    #: Lengths of the solutions, as numbers; where there are none, characters count.
    length: str | None = None


@dataclass(frozen=True)
class OnlineSettings(Section, key="icpo.demonstrations.online"):
    """Solved training prompts that join the demonstrations, with a response of the policy's own."""

    #: So many of them at most, the newest; 0: none.
    size: Natural = 0
    #: The share of a prompt's on-policy rollouts that must be right; 0: one of them.
    share: Annotated[float, Range(least=0, most=1)] = 1.0


@dataclass(frozen=True)
class DemoSettings(Section, key="icpo.demonstrations"):
    """The demonstrations: a pool, which of it a prompt shows, and in what form."""

    #: File with worked examples, or a list of files: .jsonl, .csv, .tsv (these also .gz) or
    #: .parquet; or names of data sets on the Hugging Face hub, as ``openai/gsm8k,config=main``.
    source: tuple[Path, ...] | None = None
    columns: ColumnSettings = field(default_factory=ColumnSettings)
    #: Rows that can not be read: ``error`` stops, ``skip`` leaves them out and counts them.
    bad_rows: Literal["error", "skip"] = "error"
    #: Demonstrations in a prompt; fewer, if the prompt would be too long.
    k: Count = 1
    #: How they are chosen: a name in `icpo.demos.STRATEGIES`.
    strategy: str = "random"
    #: Size of the part that ``random-m`` and ``batch-m`` choose among; null: the strategy's own.
    m: Count | None = None
    online: OnlineSettings = field(default_factory=OnlineSettings)
    #: Form of the expert prompt: a name in `icpo.demos.TEMPLATES`, or a mapping with the fields of
    #: `icpo.demos.Template`.
    template: TemplateSetting = TEMPLATES["as-is"]
    #: Of the choice of demonstrations.
    seed: Natural = 0
    #: Key in a data row's ``extra_info`` with the bare question: a demonstration that asks the same
    #: is never shown. Without it the user's message counts.
    question: str = "question"
    #: Key in a data row's ``extra_info`` with the subject.
    subject: str = "subject"
    #: Key in a data row's ``extra_info`` with the difficulty, for strategy ``difficulty``.
    difficulty: str = "difficulty"
    #: Key in a data row's ``extra_info`` with the length of a response, for strategy ``length``;
    #: where no row has one, characters of the stored solutions count (``icpo.solution``).
    length: str = "response_length"

    def __post_init__(self) -> None:
        """Checks the strategy. One file is as good as a list."""
        if isinstance(self.source, str):
            object.__setattr__(self, "source", (self.source,))
        super().__post_init__()
        if self.strategy not in STRATEGIES:
            raise ConfigError(
                f"icpo.demonstrations.strategy: expected one of {', '.join(STRATEGIES)}, "
                f"got {self.strategy!r}"
            )
        if self.m is not None and STRATEGIES[self.strategy].m is None:
            raise ConfigError(
                f"icpo.demonstrations.m: strategy {self.strategy!r} has none, got {self.m}"
            )
        if self.online.size and not STRATEGIES[self.strategy].grows:
            raise ConfigError(
                f"icpo.demonstrations.online.size: expected 0, since strategy {self.strategy!r} "
                "keeps to the same demonstrations for the whole run, got "
                f"{self.online.size}"
            )

    @property
    def rule(self) -> Online | None:
        """Which solved prompts join; None: none do."""
        return Online(self.online.size, self.online.share) if self.online.size else None


@dataclass(frozen=True)
class IcpoSettings(Section, key="icpo"):
    """All settings of ICPO. What verl has settings for is not here."""

    #: Combination of ``off_ratio``, ``lam``, ``off_clip`` and ``advantages``: a name in
    #: `icpo.objective.PRESETS`. Those given beside it have precedence.
    preset: str = "paper"
    #: What is trained on: ``train``, verl's training file; ``demos``, the demonstrations, which
    #: then have to be the training file.
    problems: Literal["train", "demos"] = "train"
    #: N_off, expert rollouts for each prompt; 0: plain GRPO.
    n_off: Natural = 1
    #: Where they come from: sampled with ``demonstrations``, ``stored`` solutions, or a ``prefix``
    #: of these that the policy continues.
    source: Literal["demonstrations", "stored", "prefix"] = "demonstrations"
    #: Key of stored solutions in a data row's ``extra_info``: a text or a list of texts.
    solution: str = "solution"
    #: How they join the group: ``replace``, ``reserve``, ``always``, ``beside`` or ``alone``.
    group: Literal["replace", "reserve", "always", "beside", "alone"] = "replace"
    #: Prompts that get them: ``all``, ``non_pass`` or ``some_pass``; the last two generate in two
    #: waves.
    target: Literal["all", "non_pass", "some_pass"] = "all"
    #: δ of eq. 8: an expert rollout is accepted from this reward on, if verified; an on-policy one
    #: counts as right from it on.
    delta: float = 1.0
    bonus: BonusSettings = field(default_factory=BonusSettings)
    #: Ratio of expert tokens: ``behavior``, ``policy`` or ``none``; null: the preset's.
    off_ratio: Literal["behavior", "policy", "none"] | None = None
    #: λ of the shaping x/(x + λ); null: 0.01, or 0.1 with ``off_ratio`` ``policy``.
    lam: Positive | None = None
    #: Whether the clip applies to expert ratios; null: yes, but for ``off_ratio`` ``policy``.
    off_clip: bool | None = None
    #: Coefficient of the likelihood term, -ln π of the tokens of expert rollouts.
    sft_coef: NotNegative = 0.0
    lessons: LessonSettings = field(default_factory=LessonSettings)
    prefix: PrefixSettings = field(default_factory=PrefixSettings)
    advantages: AdvantageSettings = field(default_factory=AdvantageSettings)
    demonstrations: DemoSettings = field(default_factory=DemoSettings)
    #: Limit of expert prompts in tokens; null: ``rollout.prompt_length``.
    max_prompt_tokens: Count | None = None
    #: Seconds after which an expert request is given up; null: never.
    expert_timeout: Positive | None = None
    #: Gives every training request a ``seed`` among its sampling parameters, so that runs repeat
    #: bit by bit where the rollout engine honours it.
    seed_requests: bool = False
    #: Of those seeds, and of which on-policy rollouts make room.
    seed: Natural = 0
    #: Fused log-probabilities and entropies: ``auto`` (if they can be had), ``on`` (or stop) or
    #: ``off``.
    kernels: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        """Checks what spans several settings."""
        super().__post_init__()
        if self.preset not in PRESETS:
            raise ConfigError(
                f"icpo.preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}"
            )
        if not self.demonstrations.source and (self.shows_demos or self.problems == "demos"):
            why = f"icpo.n_off = {self.n_off}" if self.shows_demos else "icpo.problems = demos"
            raise ConfigError(
                "icpo.demonstrations.source: expected a file with worked examples, or a list of "
                f"files, because {why}, got null"
            )
        if self.imitates and not self.sft_coef:
            raise ConfigError(
                "icpo.sft_coef: expected a number above 0, because solutions are to be imitated "
                f"(icpo.group={self.group}, icpo.lessons.when={self.lessons.when or 'null'}), got 0"
            )
        if self.lessons.when is not None and self.n_off:
            raise ConfigError(
                "icpo.n_off: expected 0, because icpo.lessons has steps that imitate, got "
                f"{self.n_off}"
            )
        with _below("icpo.prefix"):
            self.beginnings()
        self.loss()
        with _below("icpo.bonus"):
            Bonus(self.bonus.alpha, self.bonus.schedule, self.bonus.tau)

    @classmethod
    def of_workers(cls, config: Any) -> IcpoSettings:
        """The settings in verl's whole configuration, as workers get it."""
        from omegaconf import OmegaConf

        custom = OmegaConf.to_container(config.actor_rollout_ref.rollout.custom, resolve=True)
        return cls.build(custom["icpo"])

    def plan(self, n: int) -> Plan:
        """What is sampled for each prompt, with N = ``rollout.n``."""
        try:
            return Plan(n, self.n_off, self.group, self.target, self.delta, self.source)
        except ConfigError as error:
            # A plan's n is verl's.
            name = "actor_rollout_ref.rollout." if str(error).startswith("n:") else "icpo."
            raise ConfigError(f"{name}{error}") from None

    def loss(self, **of_verl: Any) -> LossConfig:
        """The preset with what is given beside it, and clips as verl has them."""
        given = {
            "off_ratio": self.off_ratio,
            "lam": self.lam,
            "off_clip": self.off_clip,
            "sft_coef": self.sft_coef,
            "advantage_std": self.advantages.std,
            "advantage_baseline": self.advantages.baseline,
        }
        # The divergence and the aggregation are verl's business.
        own = {"kl": "none", "kl_coef": 0.0, "aggregation": "token-mean", "dual_clip": None}
        chosen = {name: value for name, value in given.items() if value is not None}
        with _below("icpo"):
            return LossConfig.preset(self.preset, **{**own, **of_verl, **chosen})

    def annealed_bonus(self) -> Bonus | None:
        """The bonus; None: there is none."""
        if self.bonus.alpha == 0:
            return None
        return Bonus(self.bonus.alpha, self.bonus.schedule, self.bonus.tau)

    def beginnings(self) -> Prefix:
        """What is given of solutions that the policy continues."""
        return Prefix(self.prefix.longest, self.prefix.shortest, self.prefix.entropy_share)

    def imitation(self) -> Lessons | None:
        """Which steps imitate; None: none."""
        if self.lessons.when is None:
            return None
        return Lessons(self.lessons.when, self.lessons.share)

    @property
    def shows_demos(self) -> bool:
        """Whether any rollout is sampled from a prompt with demonstrations."""
        return self.n_off > 0 and SOURCES[self.source].demos

    @property
    def reads_solutions(self) -> bool:
        """Whether data rows have to come with stored solutions."""
        return self.lessons.when is not None or (self.n_off > 0 and SOURCES[self.source].solutions)

    @property
    def imitates(self) -> bool:
        """Whether there are expert rollouts that have no advantage, and are just imitated."""
        return self.lessons.when is not None or (self.n_off > 0 and not GROUPS[self.group].counts)

    @property
    def own_advantages(self) -> bool:
        """Whether advantages differ from those that verl's GRPO computes."""
        return self.bonus.alpha != 0 or self.loss().advantage_baseline != "mixed" or self.imitates


def clips_of(actor: Mapping[str, Any]) -> dict[str, Any]:
    """verl's clips of the policy ratio, as `LossConfig` names them."""
    low, high = actor.get("clip_ratio_low"), actor.get("clip_ratio_high")
    return {
        "clip_low": actor["clip_ratio"] if low is None else low,
        "clip_high": actor["clip_ratio"] if high is None else high,
        "dual_clip": actor.get("clip_ratio_c", 3.0),
    }


@contextlib.contextmanager
def _below(key: str) -> Iterator[None]:
    """Errors of parts that know only their own names get the key of the section."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from None
