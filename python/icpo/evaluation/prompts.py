"""What is asked: every question under every condition, as prompts and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from icpo.demos import DemoPool, DemoSampler, PromptBuilder, load_pool
from icpo.evaluation.benchmarks import Question, Quiz
from icpo.evaluation.settings import DemoSettings, EvalSettings
from icpo.generation.text import Message, TextRequest, seed_of
from icpo.types import Demo

__all__ = [
    "Asked",
    "Condition",
    "Prompt",
    "conditions",
    "load_demos",
    "prompts",
    "requests",
    "said",
]

#: Tokens of a prompt; None: nobody here knows.
CountTokens = Callable[["str | tuple[Message, ...]"], "int | None"]


@dataclass(frozen=True)
class Condition:
    """How a benchmark is asked."""

    #: Demonstrations in the prompt.
    shots: int
    seed: int


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question under a condition."""

    question: Question
    text: str
    chat: bool
    #: Ids of the demonstrations shown.
    demos: tuple[str, ...]
    #: How many had to be left out, for the limit.
    dropped: int

    @property
    def said(self) -> str | tuple[Message, ...]:
        """As an engine takes it."""
        return said(self.text, self.chat)


def said(text: str, chat: bool) -> str | tuple[Message, ...]:
    """A text, or what a user says."""
    return (Message("user", text),) if chat else text


@dataclass(frozen=True, eq=False)
class Asked:
    """A response to be had, and where it belongs."""

    quiz: Quiz
    condition: Condition
    prompt: Prompt
    #: Its number among the samples of the problem, from 0.
    sample: int

    @property
    def key(self) -> tuple[str, int, int, str, int]:
        """Unique in an evaluation."""
        name = self.quiz.benchmark.name
        problem = self.prompt.question.problem.id
        return name, self.condition.shots, self.condition.seed, problem, self.sample

    def request(self, settings: EvalSettings) -> TextRequest:
        """As an engine takes it.

        The seed does not depend on the condition's demonstrations: two policies, or two prompts,
        share their luck as far as they say the same.
        """
        name, _, seed, problem, sample = self.key
        return TextRequest(
            self.prompt.said,
            settings.sampling,
            seed_of(seed, name, problem, sample),
            settings.stop,
        )


def conditions(settings: EvalSettings) -> list[Condition]:
    """All, in the order in which they are asked."""
    return [
        Condition(shots, seed) for shots in settings.shots for seed in settings.seeds_for(shots)
    ]


def load_demos(settings: DemoSettings) -> DemoPool:
    """The demonstrations of a source.

    Raises:
        DataError: a row can not be read, or there are none.
    """
    return load_pool([settings.source], key=DemoSettings.key).pool


def prompts(
    quiz: Quiz,
    condition: Condition,
    settings: EvalSettings,
    pool: DemoPool | None,
    count: CountTokens,
) -> list[Prompt]:
    """A prompt for each question of a benchmark."""
    # None may be shown its own question, with its options in another order.
    problems = [question.as_stored for question in quiz.questions]
    shown: Sequence[tuple[Demo, ...]] = [()] * len(problems)
    if condition.shots and pool is not None and settings.demos is not None:
        chosen = settings.demos
        sampler = DemoSampler(
            pool, chosen.strategy, k=condition.shots, m=chosen.m, seed=condition.seed
        )
        sampler.check(problems)
        shown = sampler.draw(problems)
    build = builder(settings, count)
    return [
        _prompt(question, demos, build)
        for question, demos in zip(quiz.questions, shown, strict=True)
    ]


def builder(settings: EvalSettings, count: CountTokens) -> PromptBuilder:
    """What keeps prompts within the limit."""

    def tokens(text: str, chat: bool) -> list[int]:
        # It is asked how many there are; the engine encodes the text again.
        found = count(said(text, chat))
        return [0] * (0 if found is None else found)

    return PromptBuilder(settings.template, tokens, settings.prompt_tokens)


def _prompt(question: Question, demos: Sequence[Demo], build: PromptBuilder) -> Prompt:
    prompt = build.expert(question.problem, demos)
    text = build.template.render(question.problem.question, prompt.demos)
    ids = tuple(demo.id for demo in prompt.demos)
    return Prompt(question, text, build.template.chat, ids, prompt.dropped)


def requests(
    quizzes: Sequence[Quiz],
    settings: EvalSettings,
    pool: DemoPool | None,
    count: CountTokens,
) -> Iterator[Asked]:
    """Every response to be had, always in the same order."""
    for quiz in quizzes:
        for condition in conditions(settings):
            samples = settings.samples_of(quiz.benchmark.samples)
            for prompt in prompts(quiz, condition, settings, pool, count):
                for sample in range(samples):
                    yield Asked(quiz, condition, prompt, sample)
