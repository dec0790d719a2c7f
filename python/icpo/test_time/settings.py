"""Every setting of ``icpo solve``: what is asked, by which methods, of which model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icpo.errors import ConfigError
from icpo.evaluation.settings import EngineSettings, Natural
from icpo.schema import Section
from icpo.test_time.config import Count, SearchConfig
from icpo.test_time.methods import Chosen, choose

__all__ = ["SolveSettings"]


@dataclass(frozen=True)
class SolveSettings(Section):
    """What is solved."""

    #: Folder for all that is written.
    out: Path
    #: Names in `icpo.evaluation.benchmarks.BENCHMARKS`, or ``name=SOURCE`` for a file or data set.
    benchmarks: tuple[str, ...] = ()
    #: Questions whose answers nobody knows.
    questions: tuple[str, ...] = ()
    engine: EngineSettings = field(default_factory=EngineSettings)
    #: Names in `icpo.test_time.methods.METHODS`, or with changes: ``me_icpo:rounds=3,k=8``.
    methods: tuple[str, ...] = ("me_icpo", "sample")
    #: What all methods share.
    search: SearchConfig = field(default_factory=SearchConfig)
    #: Each solves everything once.
    seeds: tuple[Natural, ...] = (0,)
    #: Only the first so many problems of each benchmark; null: all.
    limit: Count | None = None
    #: Seed of the order of options; null: they stay as they are.
    option_seed: Natural | None = 0

    def __post_init__(self) -> None:
        """Checks what contradicts itself."""
        super().__post_init__()
        if not self.benchmarks and not self.questions:
            raise ConfigError("benchmarks: expected at least one, or a question, got none")
        for name in ("methods", "seeds"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise ConfigError(f"{name}: expected different ones, got {list(given)}")
        for method in self.chosen:
            if method.needs_gold and self.questions:
                raise ConfigError(
                    f"methods: {method.name} needs gold answers, and questions have none"
                )

    @property
    def chosen(self) -> tuple[Chosen, ...]:
        """The methods with their settings."""
        return tuple(choose(name, self.search) for name in self.methods)

    def identity(self) -> dict[str, Any]:
        """What makes responses what they are, up to rounding; methods and seeds may join later."""
        settings = self.to_dict()
        for name in ("out", "methods", "seeds"):
            del settings[name]
        return {**settings, "engine": self.engine.identity()}
