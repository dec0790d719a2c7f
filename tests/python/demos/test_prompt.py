"""Prompts: the exact text of each template, and the limit on tokens."""

from __future__ import annotations

import numpy as np
import pytest

from icpo.demos import (
    TEMPLATES,
    DemoPool,
    PromptBuilder,
    Template,
    check_pool,
    tokenizer_encoder,
)
from icpo.errors import ConfigError, DataError
from icpo.types import Demo, Problem

PROBLEM = Problem("p", "What is 2 + 3?", "5")
DEMOS = [
    Demo("a", "What is 1 + 1?", "1 + 1 = 2, so \\boxed{2}"),
    Demo("b", "What is 2 * 3?", "Twice three\nis \\boxed{6}."),
]

PAPER_BARE = (
    "Question: What is 2 + 3? Let's think step by step and output the final answer within \\boxed{}"
    "\nAnswer:"
)
PAPER_WITH_TWO = (
    "Question: What is 1 + 1? Let's think step by step and output the final answer within \\boxed{}"
    "\nAnswer: 1 + 1 = 2, so \\boxed{2}\n\n\n"
    "Question: What is 2 * 3? Let's think step by step and output the final answer within \\boxed{}"
    "\nAnswer: Twice three\nis \\boxed{6}.\n\n\n"
) + PAPER_BARE


@pytest.mark.parametrize("name", ["paper", "paper-chat"])
def test_the_papers_form(name):
    template = TEMPLATES[name]
    assert template.render(PROBLEM.question, []) == PAPER_BARE
    assert template.render(PROBLEM.question, DEMOS) == PAPER_WITH_TWO
    assert template.chat == (name == "paper-chat")


def test_the_question_as_it_is():
    template = TEMPLATES["as-is"]
    message = " Please reason step by step.\n\nWhat is {question}?\n\n"
    assert template.render(message, []) == message
    before = PAPER_WITH_TWO.removesuffix(PAPER_BARE)
    assert template.render(message, DEMOS) == before + message
    assert template.chat


def test_the_plain_form():
    assert TEMPLATES["qa"].render(PROBLEM.question, DEMOS[:1]) == (
        "Question: What is 1 + 1?\nAnswer: 1 + 1 = 2, so \\boxed{2}\n\n"
        "Question: What is 2 + 3?\nAnswer:"
    )
    assert not TEMPLATES["qa"].chat


def test_names():
    for name, template in TEMPLATES.items():
        assert template.name == name
        assert Template.of(name) is template


def test_texts_are_put_in_once_and_as_they_are():
    template = Template(
        "braces", demo="{{question}} \\{solution} {}", separator=" | ", question="{x} {question}"
    )
    demo = Demo("a", "{solution} \\1 \\g<0> %s {0}", "{question} \\boxed{\\frac{1}{2}}")
    assert template.render("{question} {solution} $x$ \\n", [demo]) == (
        "{{solution} \\1 \\g<0> %s {0}} \\{question} \\boxed{\\frac{1}{2}} {} | "
        "{x} {question} {solution} $x$ \\n"
    )


def test_a_place_may_come_twice():
    template = Template("twice", "{question}{question}{solution}", ";", "{question}?{question}")
    assert template.render("x", [Demo("a", "q", "s")]) == "qqs;x?x"


FORM = {"demo": "{question} {solution}", "separator": "\n", "question": "{question}"}


def test_a_template_of_ones_own():
    assert Template.of(FORM) == Template("custom", *FORM.values(), chat=False)
    assert Template.of({**FORM, "chat": True}).chat


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {**FORM, "answer": "x"},
            "expected the keys demo, separator, question, chat, got 'answer'",
        ),
        ({**FORM, "name": "x"}, "got 'name'"),
        ({"demo": FORM["demo"]}, "template 'custom': missing: separator, question"),
        ({}, "missing: demo, separator, question"),
        ({**FORM, "chat": "yes"}, "chat: expected true or false, got 'yes'"),
        ({**FORM, "separator": None}, "separator: expected a text, got None"),
        (
            {**FORM, "demo": "{solution}"},
            r"demo: expected \{question\} and \{solution\} in it, got \{solution\} in",
        ),
        ({**FORM, "demo": "{question}"}, r"demo: .*, got \{question\} in '\{question\}'"),
        ({**FORM, "question": "{questions}"}, r"question: expected \{question\} in it, got no pl"),
        ({**FORM, "question": "{question} {solution}"}, r"got \{question\} and \{solution\} in"),
        ({**FORM, "separator": "{question}"}, r"separator: expected no place in it, got"),
    ],
)
def test_bad_templates(mapping, message):
    with pytest.raises(ConfigError, match=message):
        Template.of(mapping)


def test_an_unknown_template():
    with pytest.raises(
        ConfigError, match="expected paper, paper-chat, as-is, qa or a mapping, got 'papr'"
    ):
        Template.of("papr")


def words(text: str, chat: bool) -> list[int]:
    """A token a word, and one more for a chat."""
    return [len(word) for word in text.split()] + [0] * chat


def sentence(rng: np.random.Generator, count: int) -> str:
    return " ".join("x" * int(length) for length in rng.integers(1, 9, size=count))


@pytest.mark.parametrize("chat", [False, True])
def test_the_limit_against_brute_force(chat):
    template = Template("words", "Q {question} A {solution}", " ; ", "Q {question} A", chat=chat)
    rng = np.random.default_rng(14)
    seen = set()
    for _ in range(400):
        limit = int(rng.integers(12, 60))
        builder = PromptBuilder(template, words, limit)
        asked = int(rng.integers(1, 9))
        problem = Problem("p", sentence(rng, asked), "1")
        sizes = rng.integers(1, 16, size=(int(rng.integers(1, 6)), 2)).tolist()
        demos = [
            Demo(f"d{number}", sentence(rng, question), sentence(rng, solution))
            for number, (question, solution) in enumerate(sizes)
        ]
        # Of the prompts with the first 0, 1, 2, ... demonstrations, the longest that fits.
        lengths = [
            asked + 2 + chat + sum(question + solution + 3 for question, solution in sizes[:shown])
            for shown in range(len(sizes) + 1)
        ]
        fits = max(shown for shown, length in enumerate(lengths) if length <= limit)
        prompt = builder.expert(problem, demos)
        assert prompt.demos == tuple(demos[:fits])
        assert prompt.dropped == len(demos) - fits
        assert len(prompt.tokens) == lengths[fits] <= limit
        expected = words(template.render(problem.question, demos[:fits]), chat)
        assert prompt.tokens.tolist() == expected
        assert prompt.tokens.dtype == np.int64
        assert builder.length(problem, demos) == lengths[-1]
        if fits == 0:
            assert prompt.tokens.tolist() == builder.plain(problem).tolist()
        seen.add((fits == 0, prompt.dropped == 0))
    assert seen == {(False, True), (False, False), (True, False)}


def test_the_limit_is_met_exactly():
    plain = Template("words", "Q {question} A {solution}", " ; ", "Q {question} A")
    problem, demo = Problem("p", "x x x", "1"), Demo("d", "x", "x x")
    assert len(PromptBuilder(plain, words, 5).plain(problem)) == 5
    assert PromptBuilder(plain, words, 11).expert(problem, [demo]).demos == (demo,)
    assert PromptBuilder(plain, words, 10).expert(problem, [demo]).demos == ()


def test_a_question_beyond_the_limit():
    builder = PromptBuilder(TEMPLATES["qa"], words, 5)
    long = Problem("p7", "x x x x", "1")
    message = "problem 'p7': its prompt has 6 tokens without .*, expected at most max_tokens = 5"
    with pytest.raises(DataError, match=message):
        builder.plain(long)
    with pytest.raises(DataError, match=message):
        builder.expert(long, DEMOS)


def test_a_limit_of_nothing():
    with pytest.raises(ConfigError, match="max_tokens: expected at least 1, got 0"):
        PromptBuilder(TEMPLATES["qa"], words, 0)


def test_a_text_that_the_tokenizer_refuses():
    def strict(text: str, chat: bool) -> list[int]:
        if "3" in text:
            raise Exception("Missing [UNK] token from the vocabulary")  # as tokenizers says it
        return [0]

    builder = PromptBuilder(TEMPLATES["qa"], strict, 9)
    with pytest.raises(DataError, match=r"^problem 'p': its prompt has no tokens: Missing \[UNK"):
        builder.plain(PROBLEM)
    other = Problem("q", "1 + 1?", "2")
    assert builder.plain(other).tolist() == [0]
    with pytest.raises(DataError, match=r"^problem 'q': its prompt with demonstrations \['c'\] "):
        builder.expert(other, [Demo("c", "3?", "3")])


def test_the_text_is_encoded_as_a_whole():
    # This encoder joins digits, so a demonstration's end and the question's start are one token.
    def numbers(text: str, chat: bool) -> list[int]:
        return [int(number) for number in text.split()]

    template = Template("joined", "{question} {solution}", "", "{question}")
    prompt = PromptBuilder(template, numbers, 9).expert(
        Problem("p", "34 5", "1"), [Demo("a", "0", "12")]
    )
    assert prompt.tokens.tolist() == [0, 1234, 5]


def pool_of(*sizes: int) -> DemoPool:
    """Demonstrations whose solutions have so many words."""
    return DemoPool([Demo(f"d{size}", "x", " ".join("x" * size)) for size in sizes])


QUESTIONS = [
    Problem("p0", "x x x x x", "1"),
    Problem("p1", "x x", "1"),
    Problem("p2", "x x x", "1"),
]


def test_a_pool_that_fits_is_left_alone():
    builder = PromptBuilder(TEMPLATES["qa"], words, 20)
    pool = pool_of(3, 13)  # 3 + 13 words, and 4 of the shortest question
    for overlong in ("error", "drop"):
        checked, dropped = check_pool(pool, builder, QUESTIONS, overlong)
        assert (checked, dropped) == (pool, 0)


def test_demonstrations_that_fit_no_question():
    builder = PromptBuilder(TEMPLATES["qa"], words, 20)
    message = (
        "demonstration 'd14': with the shortest question .* has 21 tokens, expected at most .* 20"
    )
    with pytest.raises(DataError, match=f"{message}$"):
        check_pool(pool_of(3, 14), builder, QUESTIONS)
    with pytest.raises(DataError, match=f"{message}; 1 more are too long"):
        check_pool(pool_of(14, 3, 15), builder, QUESTIONS)
    checked, dropped = check_pool(pool_of(14, 3, 15, 2), builder, QUESTIONS, "drop")
    assert ([demo.id for demo in checked], dropped) == (["d3", "d2"], 2)


def test_a_pool_of_which_nothing_fits():
    builder = PromptBuilder(TEMPLATES["qa"], words, 20)
    message = "all 2 demonstrations are too long: .* shortest prompt has 22 tokens, .* 20"
    with pytest.raises(DataError, match=message):
        check_pool(pool_of(16, 15), builder, QUESTIONS, "drop")


def test_check_pool_refuses_questions_beyond_the_limit():
    with pytest.raises(DataError, match="problem 'p0': its prompt has 7 tokens"):
        check_pool(pool_of(1), PromptBuilder(TEMPLATES["qa"], words, 6), QUESTIONS)


def test_check_pool_refuses_bad_arguments():
    builder = PromptBuilder(TEMPLATES["qa"], words, 20)
    with pytest.raises(ConfigError, match="overlong: expected error or drop, got 'cut'"):
        check_pool(pool_of(1), builder, QUESTIONS, "cut")
    with pytest.raises(DataError, match="problems: expected at least one, got none"):
        check_pool(pool_of(1), builder, [])


VOCABULARY = ["<s>", "</s>", "[UNK]", "two", "and", "three", ":", "user", "bot"]


@pytest.fixture(params=["beginning and end", "neither"])
def tokenizer(request):
    """A fast tokenizer whose post-processor does, or does not, add special tokens."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(
        models.WordLevel({word: id for id, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if request.param == "beginning and end":
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="[UNK]"
    )
    fast.begins = [0] if request.param == "beginning and end" else []
    return fast


def test_a_real_tokenizer_without_chat(tokenizer):
    encode = tokenizer_encoder(tokenizer)
    assert encode("two and three", False) == [*tokenizer.begins, 3, 4, 5]
    # An end that the text itself spells out stays.
    assert encode("two </s>", False) == [*tokenizer.begins, 3, 1]


def test_a_real_tokenizer_with_chat(tokenizer):
    encode = tokenizer_encoder(tokenizer)
    with pytest.raises(ConfigError, match="the tokenizer has no chat template"):
        encode("two", True)
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ '<s>' + turn['role'] + ':' + turn['content'] + '</s>' }}"
        "{% endfor %}{% if add_generation_prompt %}bot:{% endif %}"
    )
    assert encode("two and", True) == [0, 7, 6, 3, 4, 1, 8, 6]
    builder = PromptBuilder(Template.of({**FORM, "chat": True}), encode, 20)
    prompt = builder.expert(Problem("p", "three", "1"), [Demo("a", "two", "and")])
    assert prompt.tokens.tolist() == [0, 7, 6, 3, 4, 5, 1, 8, 6]
