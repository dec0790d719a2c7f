"""What is asked: prompts with and without demonstrations, token for token."""

from __future__ import annotations

import json

import pytest

from byte_model import tokenizer
from icpo import DataError
from icpo.demos import DemoSampler, PromptBuilder, tokenizer_encoder
from icpo.evaluation.benchmarks import benchmark, load
from icpo.evaluation.prompts import Condition, conditions, load_demos, prompts, requests
from icpo.evaluation.settings import DemoSettings, EvalSettings
from icpo.generation.local_engine import prompt_encoder
from icpo.generation.text import Message
from icpo.reward import Checker

DEMOS = [
    {"problem": "What is $1+1$?", "solution": r"It is $\boxed{2}$.", "subject": "sums"},
    {"problem": "What is $2+1$?", "solution": r"Add: $\boxed{3}$.", "subject": "sums"},
    {"problem": "What is $2\\cdot 3$?", "solution": r"So $\boxed{6}$.", "subject": "products"},
    {"problem": "Say 5", "solution": r"\boxed{5}", "subject": "other"},
]
QUESTIONS = [{"question": f"Q{i}?", "answer": str(i), "subject": "sums"} for i in range(3)]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def place(tmp_path):
    lines(tmp_path / "q.jsonl", QUESTIONS)
    lines(tmp_path / "d.jsonl", DEMOS)
    return tmp_path


def settings(place, **changes) -> EvalSettings:
    return EvalSettings.build(
        {
            "benchmarks": [f"mine={place / 'q.jsonl'}"],
            "out": place / "out",
            "demos": {"source": str(place / "d.jsonl")},
            **changes,
        }
    )


def made(chosen, shots, seed, count=lambda prompt: None):
    quiz = load(benchmark(chosen.benchmarks[0]), Checker(), option_seed=None)
    pool = load_demos(chosen.demos)
    return prompts(quiz, Condition(shots, seed), chosen, pool, count)


def test_the_papers_form_written_out(place):
    lines(place / "d.jsonl", DEMOS[:1])
    (prompt, *_) = made(settings(place), 1, 0)
    assert prompt.text == (
        "Question: What is $1+1$? Let's think step by step and output the final answer within "
        "\\boxed{}\n"
        "Answer: It is $\\boxed{2}$.\n"
        "\n"
        "\n"
        "Question: Q0? Let's think step by step and output the final answer within \\boxed{}\n"
        "Answer:"
    )
    assert prompt.said == prompt.text and prompt.demos == ("1",)
    (bare, *_) = made(settings(place), 0, 0)
    assert bare.text == (
        "Question: Q0? Let's think step by step and output the final answer within \\boxed{}\n"
        "Answer:"
    )


@pytest.mark.parametrize("template", ["paper", "paper-chat", "qa"])
@pytest.mark.parametrize("shots", [0, 1, 3])
def test_prompts_have_the_tokens_that_training_would_give_them(place, template, shots):
    words = tokenizer()
    chosen = settings(place, template=template)
    pool = load_demos(chosen.demos)
    quiz = load(benchmark(chosen.benchmarks[0]), Checker(), option_seed=None)
    problems = [question.problem for question in quiz.questions]
    builder = PromptBuilder(chosen.template, tokenizer_encoder(words), 4096)
    encode = prompt_encoder(words)
    texts = set()
    for seed in range(4):
        drawn = [()] * 3
        if shots:
            drawn = DemoSampler(pool, "random", k=shots, seed=seed).draw(problems)
        found = made(chosen, shots, seed, lambda prompt: len(encode(prompt)))
        for prompt, problem, demos in zip(found, problems, drawn, strict=True):
            expected = builder.expert(problem, demos)
            assert list(encode(prompt.said)) == expected.tokens.tolist()
            assert prompt.demos == tuple(demo.id for demo in demos)
            texts.add(prompt.text)
    assert len(texts) == 3 if shots == 0 else len(texts) > 6


def test_nobody_is_shown_the_own_question_with_its_options_in_another_order(place):
    rows = [
        {"id": f"q{i}", "question": f"Which {i}?\n\nA) a{i}\nB) b{i}\nC) c{i}", "answer": "B"}
        for i in range(6)
    ]
    lines(place / "options.jsonl", rows)
    lines(place / "d.jsonl", [{**row, "solution": "\\boxed{B}"} for row in rows])
    chosen = settings(place, benchmarks=[f"arc_c={place / 'options.jsonl'}"])
    quiz = load(benchmark(chosen.benchmarks[0]), Checker(), option_seed=0)
    assert any(one.problem.question != one.as_stored.question for one in quiz.questions)
    for seed in range(5):
        pool = load_demos(chosen.demos)
        for prompt in prompts(quiz, Condition(5, seed), chosen, pool, lambda prompt: None):
            own = prompt.question.problem.id
            assert sorted(prompt.demos) == sorted({row["id"] for row in rows} - {own})


def test_a_chat_is_what_a_user_says(place):
    (prompt, *_) = made(settings(place, template="paper-chat"), 1, 0)
    assert prompt.said == (Message("user", prompt.text),)
    ids = prompt_encoder(tokenizer())(prompt.said)
    assert tokenizer().decode(ids) == f"<|user|>{prompt.text}<|end|><|assistant|>"
    several = (Message("system", "Be brief."), Message("user", "Hi"))
    assert tokenizer().decode(prompt_encoder(tokenizer())(several)) == (
        "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
    )


def test_demonstrations_beyond_the_limit_are_dropped_the_question_never(place):
    def length(prompt):
        return len(prompt.split())

    whole = made(settings(place), 3, 1, length)
    least = min(length(prompt.text) for prompt in whole)
    found = made(settings(place, prompt_tokens=least - 1), 3, 1, length)
    for long, short in zip(whole, found, strict=True):
        assert short.dropped >= 1 and short.demos == long.demos[: 3 - short.dropped]
        assert short.text.endswith(long.text.rpartition("Question:")[2])
    with pytest.raises(DataError, match="its prompt has 15 tokens without any demonstration"):
        made(settings(place, prompt_tokens=14), 3, 1, length)


def test_strategies_are_those_of_training(place):
    chosen = settings(place, demos={"source": str(place / "d.jsonl"), "strategy": "subject"})
    for seed in range(5):
        assert all(prompt.demos[0] in ("1", "2") for prompt in made(chosen, 1, seed))


def test_conditions_and_their_seeds(place):
    assert conditions(settings(place, shots=[0, 1])) == [
        Condition(0, 0), *(Condition(1, seed) for seed in range(5)),
    ]  # fmt: skip
    assert conditions(settings(place, shots=[0, 2], seeds=[7, 8])) == [
        Condition(0, 7), Condition(0, 8), Condition(2, 7), Condition(2, 8),
    ]  # fmt: skip


def test_every_response_has_a_key_and_a_seed_of_its_own(place):
    chosen = settings(place, shots=[0, 1], seeds=[0, 1], samples=3, stop=["\n\n"])
    quiz = load(benchmark(chosen.benchmarks[0]), Checker(), option_seed=None)
    pool = load_demos(chosen.demos)
    asked = list(requests([quiz], chosen, pool, lambda prompt: None))
    assert len(asked) == len({one.key for one in asked}) == 2 * 2 * 3 * 3
    seeds = [one.request(chosen).seed for one in asked]
    # Conditions that differ in their demonstrations alone share their luck.
    assert seeds[:18] == seeds[18:] and len(set(seeds)) == 18
    assert asked[0].request(chosen).stop == ("\n\n",)
    # The same whatever else is asked.
    fewer = settings(place, samples=2)
    again = list(requests([quiz], fewer, None, lambda prompt: None))
    assert [one.request(fewer).seed for one in again] == [seeds[i] for i in (0, 1, 3, 4, 6, 7)]


def test_broken_demonstrations_stop(place):
    lines(place / "d.jsonl", [*DEMOS, {"problem": "no solution", "solution": ""}])
    with pytest.raises(DataError, match=r"d\.jsonl: line 5: demos\.solution: expected a worked"):
        load_demos(DemoSettings(str(place / "d.jsonl")))
