"""Multiple choice: finding, shuffling and reading options."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from icpo import DataError
from icpo.evaluation.choices import LETTERS, Options
from icpo.reward import Checker

CHECKER = Checker()
SHARED = Path(__file__).parents[4] / "shared" / "benchmarks"

#: How a response may name the option with a label. Every one of these must be read.
WAYS = [
    "So it follows.\nANSWER: {}",
    "**Answer:** {}",
    "The answer is ({}).",
    "The answer is {}.",
    r"Hence \boxed{{{}}}.",
    r"Hence $\boxed{{\text{{{}}}}}$.",
    r"\boxed{{({})}}",
    "Answer: {}) as it says there",
    "The correct answer is option {}.",
    "ANSWER: A, no, wait.\nANSWER: {}",
    r"\boxed{{{}. some thing}}",
    r"\boxed{{\text{{({}) some thing}}}}",
    r"\boxed{{\textbf{{({})}}\ \text{{some thing}}}}",
    r"\boxed{{{}: some thing}}",
]


def question(texts, labels=LETTERS) -> str:
    lines = "\n".join(f"{label}) {text}" for label, text in zip(labels, texts, strict=False))
    return f"Which is it, A or B?\n\n{lines}\n"


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("count", [2, 4, 5, 10])
def test_a_right_answer_stays_right_in_every_order(ways, count):
    texts = [f"a thing of kind {name}" for name in "pqrstuvwxy"[:count]]
    for gold in range(count):
        options = Options.find(question(texts), LETTERS[gold])
        for seed in range(6):
            shuffled = options.shuffled(seed)
            assert sorted(shuffled.texts) == sorted(texts)
            # The right text stands behind the right label, in the question as it is asked.
            assert f"{shuffled.label}) {texts[gold]}\n" in shuffled.question
            assert shuffled.chosen(ways.format(shuffled.label), CHECKER) == shuffled.gold
            for place, label in enumerate(shuffled.labels):
                if place != shuffled.gold and "ANSWER: A" not in ways:
                    assert shuffled.chosen(ways.format(label), CHECKER) == place


def test_answers_by_text_follow_the_text():
    options = Options.find(question(["11", "10", "12", "a green leaf"]), "B")
    for order in itertools.permutations(range(4)):
        moved = options.ordered(order)
        assert moved.chosen(r"It is \boxed{10}", CHECKER) == moved.gold
        assert moved.texts[moved.chosen(r"\boxed{a green leaf}", CHECKER)] == "a green leaf"
        assert moved.chosen(r"\boxed{13}", CHECKER) is None
        # A box has the last word, and a decimal point follows no label.
        assert moved.chosen(r"The answer is (A). No: \boxed{D. 10}", CHECKER) == 3
    numbers = Options.find(question(["2", "1.5", "3"], "123"), "2")
    assert numbers.chosen(r"\boxed{1.5}", CHECKER) == 1
    # A text that two options have says nothing.
    twice = Options.find(question(["1/2", "0.5", "3"]), "A")
    assert twice.chosen(r"\boxed{0.5}", CHECKER) is None


def test_what_names_no_option_is_not_guessed():
    options = Options.find(question(["one", "two", "three", "four"]), "A")
    for text in (
        "",
        "A or B, who knows",
        "I do not know",
        r"\boxed{E}",
        "ANSWER: J",
        "A nice day",
        r"\boxed{(A, B)}",
        r"\boxed{Both.}",
    ):
        assert options.chosen(text, CHECKER) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [("{}) ", ""), ("({}) ", ""), ("{}. ", "\n"), ("{}: ", "\n\n"), (" {}) ", "")],
)
def test_forms_of_labels(before, after):
    lines = "\n".join(
        f"{before.format(label)}text {place}{after}" for place, label in enumerate("ABC")
    )
    options = Options.find(f"Q?\n{lines}", "C")
    assert options.texts == ("text 0", "text 1", "text 2") and options.gold == 2
    assert options.question == f"Q?\n{lines}"


def test_options_over_lines_and_lists_before_them():
    text = "Given\nA) one\nB) two\nwhich?\n\nA) first\nline\nB) second\n\nC) third\n"
    options = Options.find(text, "B")
    assert options.texts == ("first\nline", "second", "third") and options.question == text
    assert options.ordered([1, 0, 2]).question == (
        "Given\nA) one\nB) two\nwhich?\n\nA) second\nB) first\nline\n\nC) third\n"
    )


def test_numbers_as_labels():
    text = "Which?\n\n1) decrease\n2) increase\n3) stay\n"
    options = Options.find(text, "2").ordered([2, 0, 1])
    assert (options.label, options.texts) == ("3", ("stay", "decrease", "increase"))
    assert options.chosen(r"\boxed{3}", CHECKER) == options.gold == 2
    assert options.chosen("ANSWER: 1", CHECKER) == 0


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("No options here", "A"),
        ("Q?\nA) only one", "A"),
        ("Q?\nA) one\nB) two", "C"),
        ("Q?\nA) one\nC) two", "A"),
        ("Q?\nA) one\nB)   \nC) three", "A"),
        ("Q?\nA) one\nB) two", "AB"),
        ("Q?\nA) one\nB) two", ""),
    ],
)
def test_what_has_no_options(text, label):
    assert Options.find(text, label) is None


@pytest.mark.parametrize(
    "text",
    [
        "all of the above",
        "None of the above",
        "None of these",
        "both A and B",
        "A and C",
        "B, C and D only",
        "(A) or (B)",
        "neither option A nor B",
        "two of the other options",
    ],
)
def test_options_that_speak_of_others_keep_their_order(text):
    options = Options.find(question(["one", "two", "three", text]), "D")
    assert not options.movable
    assert all(options.shuffled(seed) == options for seed in range(5))


@pytest.mark.parametrize(
    "text",
    [
        "A glass bottle",
        "erosion of rocks",
        "vitamin C and D",
        "1, 2 and 4",
        "all of the water",
        "E = hf",
    ],
)
def test_others_are_moved(text):
    options = Options.find(question(["one", "two", "three", text]), "D")
    assert options.movable
    assert len({options.shuffled(seed).gold for seed in range(30)}) == 4


def test_options_of_a_column():
    options = Options.listed("Why?\n", [" because\nof it ", "why not"], 1)
    assert options.question == "Why?\n\nA) because of it\nB) why not" and options.label == "B"
    with pytest.raises(DataError, match="options: expected 2 to 10, got 1"):
        Options.listed("?", ["a"], 0)
    with pytest.raises(DataError, match="answer: expected one of 2 options, got number 3"):
        Options.listed("?", ["a", "b"], 2)
    with pytest.raises(DataError, match=r"order: expected each of 2 once, got \[0, 0\]"):
        options.ordered([0, 0])


@pytest.mark.parametrize("name", ["arc_c", "gpqa"])
def test_real_files(name):
    file = SHARED / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"no {file}")
    rows = [json.loads(line) for line in file.read_text().split("\n") if line]
    moved = 0
    for place, row in enumerate(rows):
        options = Options.find(row["question"], row["answer"])
        assert options is not None and options.question == row["question"]
        shuffled = options.shuffled(place)
        assert options.texts[options.gold] == shuffled.texts[shuffled.gold]
        assert shuffled.chosen(f"ANSWER: {shuffled.label}", CHECKER) == shuffled.gold
        moved += shuffled != options
    assert moved > 0.9 * len(rows)
