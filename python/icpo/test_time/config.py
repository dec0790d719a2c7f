"""Every setting of a search for answers, documented once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from icpo import _core
from icpo.errors import ConfigError
from icpo.generation import Sampling
from icpo.reward import Checker
from icpo.schema import Range, Section
from icpo.test_time.forms import FORMS, FormSetting
from icpo.test_time.rewards import REWARDS
from icpo.test_time.select import SELECTIONS

__all__ = ["Count", "Natural", "SearchConfig"]

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Probability = Annotated[float, Range(least=0, most=1)]
Share = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class SearchConfig(Section, key="search"):
    """How answers are searched for. Defaults are those of ME-ICPO's authors."""

    #: Rounds, n: each adds one idea to the history. 0: the bare question is asked.
    rounds: Natural = 5
    #: Attempts of a round, k.
    k: Count = 16
    #: Answers sampled after each candidate, to measure its entropy, k_e.
    probes: Count = 16
    #: Answers sampled at the end, K.
    answers: Count = 16
    #: How the candidate is chosen: a name in `icpo.test_time.select.SELECTIONS`.
    select: str = "entropy"
    #: Where rewards come from: a name in `icpo.test_time.rewards.REWARDS`.
    reward: str = "majority"
    #: Chance that a round's candidate is drawn instead, all being equally likely.
    epsilon: Probability = 0.0
    #: Whether answers that can not be read add to the entropy, log2(k_e) times their share.
    invalid_penalty: bool = True
    #: Ideas that the history holds; over that, one is removed.
    history: Count = 5
    #: Whether an idea is a summary by the model; otherwise the attempt as it is.
    summarise: bool = True
    #: Limit on a summary.
    summary_tokens: Count = 160
    #: Of summaries: divides the logits.
    summary_temperature: NotNegative = 0.05
    #: Of Self-Refine: how often an answer is criticised and written again, at most.
    refinements: Natural = 4
    #: Divides the logits; 0 takes the most likely token each time.
    temperature: NotNegative = 0.6
    #: Sample from the fewest tokens whose probabilities add up to this; 1: from all.
    top_p: Share = 0.95
    #: Sample from so many of the most likely tokens; 0: from all.
    top_k: Natural = 0
    #: Makes tokens that have occurred less likely; 1: does nothing. Not every server takes it.
    repetition_penalty: Positive = 1.1
    #: A response is cut off after so many tokens.
    max_new_tokens: Count = 4096
    #: A response ends before the first of these texts.
    stop: tuple[str, ...] = ()
    #: Limit on a prompt. What exceeds it: of ideas the oldest are left out, of a response that is
    #: summarised its beginning.
    prompt_tokens: Count = 4096
    #: What prompts look like: a name in `icpo.test_time.forms.FORMS`, or a mapping with the fields
    #: of `icpo.test_time.forms.Form`.
    form: FormSetting = FORMS["chat"]
    #: Whose conventions the checker follows.
    profile: str = _core.PROFILES[0]

    def __post_init__(self) -> None:
        """Checks the names."""
        super().__post_init__()
        for name, table in (("select", SELECTIONS), ("reward", REWARDS)):
            if getattr(self, name) not in table:
                raise ConfigError(
                    f"{name}: expected one of {', '.join(table)}, got {getattr(self, name)!r}"
                )
        _ = self.checker  # refuses unknown profiles

    @property
    def checker(self) -> Checker:
        """What reads and compares answers."""
        return Checker(self.profile)

    @property
    def sampling(self) -> Sampling:
        """Of answers, as an engine takes it."""
        return Sampling(
            self.max_new_tokens,
            self.temperature,
            self.top_p,
            self.top_k,
            repetition_penalty=self.repetition_penalty,
        )

    @property
    def summary_sampling(self) -> Sampling:
        """Of summaries."""
        return Sampling(
            self.summary_tokens,
            self.summary_temperature,
            self.top_p,
            self.top_k,
            repetition_penalty=self.repetition_penalty,
        )
