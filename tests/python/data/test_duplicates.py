"""Near questions against sets of n-grams made the slow way."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from icpo.data.duplicates import near, near_inside, same_question, words_of

WORDS = ["add", "the", "two", "3", "4.5", "of", "x,", "y.", "sum?", "+", "-"]


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+=]", text.casefold())
    if not words:
        return set()
    if len(words) < n:
        return {tuple(words)}
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:\.\d+)?|[-+=]", text))


def salted(text: str, n: int, same_numbers: bool) -> set:
    """N-grams that equal only those of questions with the same numbers, if that is asked."""
    return {(gram, tuple(numbers(text)) if same_numbers else ()) for gram in grams(text, n)}


def shares(ours, theirs, n, common, same_numbers):
    """Share of each pair of questions."""
    our = [salted(text, n, same_numbers) for text in ours]
    their = [salted(text, n, same_numbers) for text in theirs]
    dull = set()
    for side in (our, their):
        counts = Counter(gram for of_one in side for gram in of_one)
        dull |= {gram for gram, count in counts.items() if count > common}
    our, their = [one - dull for one in our], [one - dull for one in their]
    return {
        (i, j): len(a & b) / min(len(a), len(b))
        for i, a in enumerate(our)
        for j, b in enumerate(their)
        if a & b
    }


def texts(rng: random.Random, count: int, like: list[str] | None = None) -> list[str]:
    """Of few words, so that they share many n-grams; some are variants of others, or of `like`."""
    found: list[str] = []
    for _ in range(count):
        others = found + (like or [])
        if others and rng.random() < 0.6:
            words = rng.choice(others).split()
            for _ in range(rng.randint(0, 2)):
                if words:
                    words[rng.randrange(len(words))] = rng.choice(["add", "7", "$x$", "of"])
            if rng.random() < 0.3:
                words.insert(0, "So:")
        else:
            words = [rng.choice(WORDS) for _ in range(rng.randint(0, 14))]
        found.append(" ".join(words))
    return found


@pytest.mark.parametrize("same_numbers", [False, True])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_near_is_what_sets_of_words_say(n, same_numbers):
    rng = random.Random(n)
    hits = 0
    for trial in range(30):
        ours = texts(rng, rng.randint(1, 25))
        theirs = texts(rng, rng.randint(1, 25), ours)
        share, common = rng.choice([0.2, 0.5, 1.0]), rng.choice([2, 5, 50])
        expected: dict[int, tuple[int, float]] = {}
        table = shares(ours, theirs, n, common, same_numbers)
        for (i, j), value in sorted(table.items()):
            if value >= share and (i not in expected or value > expected[i][1]):
                expected[i] = (j, value)
        found = near(ours, theirs, words=n, share=share, common=common, same_numbers=same_numbers)
        pairs = {place: other for place, (other, _) in found.items()}
        assert pairs == {place: other for place, (other, _) in expected.items()}, trial
        for place, (_, value) in found.items():
            assert value == pytest.approx(expected[place][1])
        hits += len(found)
    assert hits > 60


def test_near_inside_keeps_the_first():
    rng = random.Random(5)
    hits = 0
    for _ in range(40):
        table = texts(rng, 30)
        share = rng.choice([0.3, 0.6, 1.0])
        likeness = shares(table, table, 3, 50, True)
        dropped: dict[int, int] = {}
        for i in range(len(table)):
            kept = [j for j in range(i) if j not in dropped and likeness.get((i, j), 0) >= share]
            if kept:
                dropped[i] = kept[0]
        found = near_inside(table, words=3, share=share)
        assert {place: other for place, (other, _) in found.items()} == dropped
        hits += len(dropped)
    assert hits > 100


def test_other_numbers_make_another_question_only_if_asked():
    long = "A train leaves the station at noon and drives {} miles in the afternoon until {}."
    one, other = long.format(120, "six"), long.format(80, "six")
    assert near([one], [other], words=3) == {0: (0, pytest.approx(11 / 14))}
    assert near([one], [other], words=3, same_numbers=True) == {}
    assert near([one], [long.format(120, "seven")], words=3, same_numbers=True)
    assert near_inside([one, other], words=3, share=0.5) == {}


def test_instructions_do_not_make_questions_alike():
    rng = random.Random(1)
    asked = [f"{rng.random()} {rng.random()} {rng.random()}" for _ in range(120)]
    said = "Let us think step by step and put the final answer into a box"
    told = [f"{each} {said}" for each in asked]
    assert near(told[:60], told[60:]) == {}
    assert near_inside(told) == {}
    # Five of them can not be told from questions.
    assert len(near_inside([text.split(" ", 3)[-1] for text in told[:5]])) == 4


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Find $x$.", "find  x.", True),
        ("Find \\(x\\).", "Find $x$.", True),
        ("\\dfrac{1}{2}", "\\frac{1}{2}", True),
        ("\\left( 1, 2 \\right)", "(1,2)", True),
        ("a\\,b \\! c", "abc", True),
        ("\\leftarrow x", "arrow x", False),
        ("Find x + 1.", "Find x - 1.", False),
        ("ﬁnd x", "find x", True),
        ("1 2", "12", True),
    ],
)
def test_the_same_question(a, b, same):
    assert (same_question(a) == same_question(b)) is same


def test_edges():
    assert near([], ["a b c"]) == near(["a b c"], []) == near([], []) == near_inside([]) == {}
    assert near(["$+$", ""], ["$-$", ""]) == {}
    assert near(["One two"], ["one, two!"]) == {0: (0, 1.0)}
    # A short question is a whole: that a long one has its words proves nothing.
    assert near(["what is the sum of one and two and three"], ["what is the sum"]) == {}
    assert words_of("3.5x² of AB−12") == ["3.5", "x", "2", "of", "ab", "-", "12"]
    # Of few words each counts, signs too.
    assert near(["What is 3 + 1?"], ["What is 3 - 1?"]) == {}
