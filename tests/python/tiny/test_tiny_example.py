"""The example's configuration fits the model and the data that `icpo pretrain-tiny` makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from icpo.algorithms import ALGORITHMS, algorithm
from icpo.demos import DemoPool, DemoSampler, PromptBuilder, tokenizer_encoder
from icpo.tiny import split, write_data
from icpo.tiny.cli import MODEL
from icpo.tiny.data import FILES
from icpo.tiny.tokenizer import make_tokenizer
from icpo.tiny.words import BOS, EOS, TEMPLATE
from icpo.trainer.config import TrainConfig
from icpo.trainer.data import load_demos, load_problems

EXAMPLE = Path(__file__).parents[3] / "examples" / "tiny" / "icpo.yaml"


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return TrainConfig.load(EXAMPLE)


def test_paths_are_those_of_the_command(config):
    data = MODEL.parent / "data"
    assert Path(config.model.path) == MODEL
    assert [config.data.train, config.data.test, config.demos.path] == [
        data / name for name in FILES
    ]


def test_prompts_are_texts_of_the_corpus(config, tmp_path):
    _, test, demos = write_data(tmp_path)
    overrides = [f"demos.path={demos}", f"data.test={test}"]
    config = TrainConfig.load(EXAMPLE, overrides)
    problems = load_problems(config.data.test, config.data, config.reward)
    pool = load_demos(config.demos)
    assert isinstance(pool, DemoPool) and len(pool) == 256
    sampler = DemoSampler(pool, config.demos.strategy, k=config.demos.k, seed=1)
    sampler.check(problems)
    tokenizer = make_tokenizer()
    builder = PromptBuilder(
        config.prompt.template, tokenizer_encoder(tokenizer), config.prompt.max_tokens
    )
    for problem, (demo,) in zip(problems, sampler.draw(problems), strict=True):
        assert demo.subject == problem.subject
        prompt = builder.expert(problem, [demo])
        assert prompt.dropped == 0
        shown = TEMPLATE.demo.format(question=demo.question, solution=demo.solution)
        asked = TEMPLATE.question.format(question=problem.question)
        assert tokenizer.decode(prompt.tokens) == BOS + shown + asked


def test_right_answers_fit(config):
    tokenizer = make_tokenizer()
    lengths = [
        len(tokenizer(f" {exercise.solution()}{EOS}", add_special_tokens=False).input_ids)
        for exercise in split(0).train
    ]
    assert max(lengths) == 26 <= config.generation.max_new_tokens


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_one_override_away(name):
    found = TrainConfig.load(EXAMPLE, [f"algorithm.name={name}"]).algorithm
    # What a loss of constant lengths is divided by is a setting of the run.
    expected = algorithm(name, loss={"norm_constant": found.loss.norm_constant})
    assert found == expected
