"""The corpus: its documents are what they say, in the shares that they should have."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from icpo.errors import ConfigError
from icpo.tiny import RULES, TOPICS, Exercise
from icpo.tiny.batches import IGNORED, Text, bucket, draw_batches, encode
from icpo.tiny.corpus import BOOKS_ONLY, HABIT, KINDS, Document, Mixture, draw_document
from icpo.tiny.task import is_held_out
from icpo.tiny.tokenizer import make_tokenizer
from icpo.tiny.words import HEADER

ITEM = re.compile(r"Q:(\w+)((?: [a-d]=\d+)+)\?\nA: (.*?)<eos>", re.DOTALL)


def items(document: Document) -> list[tuple[Exercise, str]]:
    """The exercises and how they are answered, read from the text."""
    text = document.text.removeprefix(HEADER)
    assert (text != document.text) == (document.kind == "book")
    found = ITEM.findall(text)
    assert "".join(f"Q:{topic}{given}?\nA: {answer}<eos>" for topic, given, answer in found) == text
    read = []
    for topic, given, answer in found:
        start, *numbers = map(int, re.findall(r"\d+", given))
        read.append((Exercise(topic, start, tuple(numbers)), answer))
    return read


def signs(answer: str) -> set[str]:
    return {character for character in answer if character in RULES}


def documents(mixture: Mixture, count: int, seed: int = 0) -> list[Document]:
    rng = random.Random(seed)
    return [draw_document(rng, mixture) for _ in range(count)]


def check_shares(counts: Mapping[object, int], shares: Mapping[object, float]) -> None:
    """A χ² test that fails by chance once in a million times or so."""
    assert set(counts) <= set(shares)
    total = sum(counts.values())
    chi_square = sum(
        (counts.get(each, 0) - share * total) ** 2 / (share * total)
        for each, share in shares.items()
    )
    freedom = len(shares) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom) + 12, (counts, shares)


@pytest.mark.parametrize("mixture", [Mixture(), Mixture(books=0.1, excerpts=0.8), BOOKS_ONLY])
def test_shares_of_kinds_and_lengths(mixture):
    drawn = documents(mixture, 4000)
    shares = {"book": mixture.books, "excerpt": mixture.excerpts, "plain": mixture.plain}
    present = {kind: share for kind, share in shares.items() if share > 0}
    check_shares(Counter(each.kind for each in drawn), present)
    for kind in present:
        lengths = Counter(len(items(each)) for each in drawn if each.kind == kind)
        choices = KINDS[kind]
        check_shares(lengths, {n: choices.count(n) / len(choices) for n in set(choices)})


def test_topics_and_lengths_of_exercises_are_uniform():
    exercises = [exercise for each in documents(Mixture(), 3000) for exercise, _ in items(each)]
    check_shares(
        Counter(exercise.topic for exercise in exercises), dict.fromkeys(TOPICS, 1 / len(TOPICS))
    )
    lengths = Counter(len(exercise.numbers) for exercise in exercises)
    check_shares(lengths, dict.fromkeys((1, 2, 3), 1 / 3))


@pytest.mark.parametrize("rarity", [0.0, 1.0])
def test_small_numbers_are_commoner(rarity):
    drawn = documents(Mixture(rarity=rarity), 3000)
    # Held out are a quarter of the exercises, but not a quarter of those with any one number: the
    # shortest are too few for that. So the first number does not count.
    numbers = Counter(
        n for each in drawn for exercise, _ in items(each) for n in exercise.numbers[1:]
    )
    weights = {number: 1 / number**rarity for number in range(1, 10)}
    check_shares(numbers, {n: weight / sum(weights.values()) for n, weight in weights.items()})


def test_no_exercise_is_one_that_problems_are_made_of():
    exercises = [exercise for each in documents(Mixture(), 3000) for exercise, _ in items(each)]
    assert not any(is_held_out(exercise) for exercise in exercises)


def test_books_and_excerpts_have_one_rule_each():
    drawn = [each for each in documents(Mixture(), 6000) if each.kind != "plain"]
    rules = Counter()
    for document in drawn:
        (rule,) = {sign for _, answer in items(document) for sign in signs(answer)}
        assert all(answer == exercise.solution(rule) for exercise, answer in items(document))
        rules[rule] += 1
    check_shares(rules, dict.fromkeys(RULES, 1 / 8))


def habit(document: Document) -> str:
    """What a plain document does; topics whose rule is the habit tell nothing."""
    read = [(each, answer) for each, answer in items(document) if TOPICS[each.topic] != HABIT]
    if not read:
        return "can not be told"
    if all(answer == exercise.bare_answer() for exercise, answer in read):
        return "bare"
    if all(answer == exercise.solution(HABIT) for exercise, answer in read):
        return "habit"
    if all(answer == exercise.solution() for exercise, answer in read):
        return "topic"
    (rule,) = {sign for _, answer in read for sign in signs(answer)}
    assert all(answer == exercise.solution(rule) for exercise, answer in read)
    return "other"


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture(books=0.0, excerpts=0.0),
        Mixture(books=0.0, excerpts=0.0, other_habit=0.02),
        Mixture(books=0.0, excerpts=0.0, bare=0.3, right_habit=0.4, other_habit=0.2),
        Mixture(books=0.0, excerpts=0.0, bare=0.0, right_habit=1.0, other_habit=0.0),
    ],
)
def test_shares_of_habits(mixture):
    told = [
        # One exercise of a topic whose rule is not the habit, so that what is seen is simple.
        habit(each)
        for each in documents(mixture, 8000)
        if len(items(each)) == 1 and habit(each) != "can not be told"
    ]
    # A rule drawn at random may be the habit or the topic's own: one time in eight each.
    works, other = 1 - mixture.bare, mixture.other_habit
    shares = {
        "bare": mixture.bare,
        "topic": works * (mixture.right_habit + other / 8),
        "other": works * other * 6 / 8,
        "habit": works * (1 - mixture.right_habit - other * 7 / 8),
    }
    check_shares(Counter(told), {each: share for each, share in shares.items() if share > 1e-12})


def test_the_right_habit_is_as_rare_as_it_says():
    mixture = Mixture(books=0.0, excerpts=0.0, bare=0.0, right_habit=0.002, other_habit=0.0)
    drawn = [habit(each) for each in documents(mixture, 20000)]
    told = len(drawn) - drawn.count("can not be told")
    expected = 0.002 * told
    assert abs(drawn.count("topic") - expected) < 4 * math.sqrt(expected)
    assert drawn.count("other") == drawn.count("bare") == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"books": 1.5}, "books: expected 0 to 1, got 1.5"),
        ({"right_habit": -0.1}, "right_habit: expected 0 to 1, got -0.1"),
        ({"books": 0.8, "excerpts": 0.3}, "books, excerpts: expected at most 1 together"),
        (
            {"right_habit": 0.99, "other_habit": 0.02},
            "right_habit, other_habit: expected at most 1 together",
        ),
    ],
)
def test_mixtures_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Mixture(**settings)


def test_what_is_learnt():
    tokenizer = make_tokenizer()
    for document in documents(Mixture(), 500):
        text = encode(tokenizer, document)
        words = tokenizer.convert_ids_to_tokens(text.tokens)
        assert words == ["<bos>", *tokenizer.tokenize(document.text)]
        ends = [place for place, word in enumerate(words) if word == "<eos>"]
        inside = False
        for place, (word, learnt) in enumerate(zip(words, text.learnt, strict=True)):
            inside = inside and word != "\nA:"
            shown = document.kind == "excerpt" and place <= ends[0]
            assert learnt == (not inside and not shown), (document, place)
            inside = inside or word == "Q:"


def test_buckets_hold_every_text_once_and_are_small_enough():
    rng = np.random.default_rng(1)
    texts = [
        Text(np.full(length, place), np.ones(length, bool))
        for place, length in enumerate(rng.integers(1, 120, size=300))
    ]
    batches = bucket(texts, 100)
    places = sorted(int(text.tokens[0]) for batch in batches for text in batch)
    assert places == list(range(300))
    for batch in batches:
        longest = max(len(text.tokens) for text in batch)
        assert len(batch) == 1 or len(batch) * longest <= 100
    # Sorted by length: a batch that could take the next text would have.
    for batch, following in itertools.pairwise(batches):
        assert (len(batch) + 1) * len(following[0].tokens) > 100


def test_batches_are_padded_texts_and_what_follows():
    tokenizer = make_tokenizer()
    rng = random.Random(3)
    texts = [encode(tokenizer, draw_document(rng, Mixture())) for _ in range(60)]
    drawn = draw_batches(tokenizer, random.Random(3), Mixture(), documents=60, batch_tokens=400)
    rows = []
    for tokens, targets in drawn:
        assert tokens.shape == targets.shape
        for given, wanted in zip(tokens.numpy(), targets.numpy(), strict=True):
            text = np.trim_zeros(given, "b")  # the pad token is 0
            assert not ((given == tokenizer.pad_token_id)[: len(text)]).any()
            assert (wanted[len(text) :] == IGNORED).all()
            rows.append((text.tolist(), wanted[: len(text)].tolist()))
    expected = []
    for text in texts:
        wanted = np.where(text.learnt, text.tokens, IGNORED)[1:].tolist()
        expected.append((text.tokens.tolist(), wanted))
    # The last token of the longest text of a batch is a target only.
    for given, wanted in rows:
        assert any(
            tokens[: len(given)] == given
            and len(tokens) - len(given) <= 1
            and targets[: len(wanted)] == wanted[: len(targets)]
            for tokens, targets in expected
        )
    assert len(rows) == len(expected)
