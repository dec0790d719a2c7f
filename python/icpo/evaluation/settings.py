"""Every setting of an evaluation, documented once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from icpo import _core
from icpo.demos import STRATEGIES, TEMPLATES
from icpo.demos.form import TemplateSetting
from icpo.errors import ConfigError
from icpo.generation import Sampling
from icpo.reward import Checker
from icpo.schema import Range, Section

__all__ = ["DemoSettings", "EngineSettings", "EvalSettings"]

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class EngineSettings(Section, key="engine"):
    """What answers."""

    #: A name in `icpo.evaluation.engines.ENGINES`.
    kind: str = "transformers"
    #: A folder in the transformers format or a name on the hub; the server's name for its model,
    #: null if it has only one.
    model: str | None = None
    #: What the weights are kept and computed in; not read by a server.
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    #: ``auto``: the first GPU if there is one, else the CPU. Only for ``transformers``.
    device: str = "auto"
    #: Responses computed at once, in process: what a killed run loses at most; null: 64, or 1024
    #: with vLLM, which keeps its own batch full as long as there are others to begin.
    batch: Count | None = None
    #: Of a server, up to the version: ``http://localhost:8000/v1``.
    url: str | None = None
    #: Requests that a server has to answer at once.
    concurrency: Count = 32
    #: Seconds without a sign of life from a server after which an attempt has failed.
    timeout: Positive = 600.0
    #: Attempts at a request.
    attempts: Count = 9
    #: Tokenizer with which prompts for a server are measured; null: `prompt_tokens` has no effect.
    tokenizer: str | None = None
    #: Which server it is, if a repetition penalty is asked for: a name in
    #: `icpo.generation.server_engine.DIALECTS`.
    dialect: str = "vllm"
    #: Environment variable with the server's key, if it is set.
    key_variable: str = "OPENAI_API_KEY"

    def identity(self) -> dict[str, Any]:
        """The settings without those that leave every response as it is, up to rounding."""
        running = ("device", "batch", "url", "concurrency", "timeout", "attempts", "key_variable")
        return {name: value for name, value in self.to_dict().items() if name not in running}


@dataclass(frozen=True)
class DemoSettings(Section, key="demos"):
    """Where demonstrations come from, and which are shown."""

    #: A file or a data set of the hub, as `icpo.data.sources.Source.read` takes it.
    source: str
    #: How they are chosen: a name in `icpo.demos.STRATEGIES`.
    strategy: str = "random"
    #: Size of the part that ``random-m`` and ``batch-m`` choose among; null: the strategy's own.
    m: Count | None = None

    def __post_init__(self) -> None:
        """Checks the strategy."""
        super().__post_init__()
        if self.strategy not in STRATEGIES:
            raise ConfigError(
                f"demos.strategy: expected one of {', '.join(STRATEGIES)}, got {self.strategy!r}"
            )


@dataclass(frozen=True)
class EvalSettings(Section):
    """An evaluation. Defaults are the paper's (appendix B.2), where it says something."""

    #: Names in `icpo.evaluation.benchmarks.BENCHMARKS`, or ``name=SOURCE`` for a file or data set.
    benchmarks: tuple[str, ...]
    #: Folder for all that is written.
    out: Path
    engine: EngineSettings = EngineSettings()
    #: Samples of each problem; null: the benchmark's own number, or 1 at temperature 0.
    samples: Count | None = None
    #: Only the first so many problems of each benchmark; null: all.
    limit: Count | None = None
    #: Numbers of demonstrations, each of which is a condition of its own.
    shots: tuple[Natural, ...] = (0,)
    #: Seeds of samples and demonstrations; null: 0 without demonstrations, 0 to 4 with.
    seeds: tuple[Natural, ...] | None = None
    #: Seed of the order of options; null: they stay as they are.
    option_seed: Natural | None = 0
    demos: DemoSettings | None = None
    #: A name in `icpo.demos.TEMPLATES`, or a mapping with the fields of `icpo.demos.Template`.
    template: TemplateSetting = TEMPLATES["paper"]
    #: Limit on a prompt. Demonstrations that exceed it are left out, the last ones first.
    prompt_tokens: Count = 4096
    #: A response is cut off after so many tokens.
    max_new_tokens: Count = 8192
    #: Divides the logits; 0 takes the most likely token each time.
    temperature: NotNegative = 0.6
    #: Sample from the fewest tokens whose probabilities add up to this; 1: from all.
    top_p: Share = 1.0
    #: Sample from so many of the most likely tokens; 0: from all.
    top_k: Natural = 0
    #: Makes tokens that occurred before, in prompt or response, less likely; 1: no penalty.
    repetition_penalty: Positive = 1.0
    #: A response ends before the first of these texts.
    stop: tuple[str, ...] = ()
    #: Whose conventions the checker follows.
    profile: str = _core.PROFILES[0]

    def __post_init__(self) -> None:
        """Checks what contradicts itself."""
        super().__post_init__()
        if not self.benchmarks:
            raise ConfigError("benchmarks: expected at least one, got none")
        for name in ("shots", "seeds"):
            given = getattr(self, name)
            if given is not None and (not given or len(set(given)) != len(given)):
                raise ConfigError(f"{name}: expected different numbers, got {list(given)}")
        if any(self.shots) and self.demos is None:
            raise ConfigError(
                f"demos: expected a source of demonstrations, since shots are {list(self.shots)}"
            )
        if self.temperature == 0 and (self.samples or 1) > 1:
            raise ConfigError(
                f"samples: expected 1, since at temperature 0 all are the same, got {self.samples}"
            )
        _ = self.checker  # refuses unknown profiles

    @property
    def checker(self) -> Checker:
        """What verifies the responses."""
        return Checker(self.profile)

    @property
    def sampling(self) -> Sampling:
        """As an engine takes it."""
        return Sampling(
            self.max_new_tokens,
            self.temperature,
            self.top_p,
            self.top_k,
            self.repetition_penalty,
        )

    def samples_of(self, usual: int) -> int:
        """Samples of each problem of a benchmark that has so many: greedy ones are all the same."""
        return self.samples or (1 if self.temperature == 0 else usual)

    def seeds_for(self, shots: int) -> tuple[int, ...]:
        """The seeds of a condition: the paper's five, if there are demonstrations to draw."""
        if self.seeds is not None:
            return self.seeds
        return (0, 1, 2, 3, 4) if shots else (0,)

    def identity(self) -> dict[str, Any]:
        """The settings without those that leave every response as it is, up to rounding."""
        settings = self.to_dict()
        del settings["out"]
        return {**settings, "engine": self.engine.identity()}


def digest(value: Any) -> str:
    """A name for plain values: the same for the same ones."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
