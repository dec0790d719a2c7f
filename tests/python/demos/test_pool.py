"""The pool: what it refuses, how it is looked up, and how it is told from another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from icpo.demos import DemoPool
from icpo.demos.similarity import likeness
from icpo.errors import DataError
from icpo.types import Demo

DEMOS = [
    Demo("a", "1 + 1?", "2", "sums"),
    Demo("b", "2 + 1?", "3", "sums"),
    Demo("c", "2 * 3?", "6", "products"),
    Demo("d", "1 + 1?", "It is 2.", None),
]


def test_it_is_a_sequence_in_the_given_order():
    pool = DemoPool(iter(DEMOS))
    assert len(pool) == 4
    assert list(pool) == DEMOS
    assert (pool[0], pool[-1], pool[1:3]) == (DEMOS[0], DEMOS[3], tuple(DEMOS[1:3]))
    assert DEMOS[2] in pool


def test_subjects():
    pool = DemoPool(DEMOS)
    found = {subject: list(demos) for subject, demos in pool.by_subject.items()}
    assert found == {"sums": DEMOS[:2], "products": [DEMOS[2]]}


def test_groups_of_ones_own():
    pool = DemoPool(DEMOS)
    groups = pool.grouped(_shortness)
    assert {short: list(demos) for short, demos in groups.items()} == {
        True: DEMOS[:3],
        False: [DEMOS[3]],
    }
    assert pool.grouped(_shortness) is groups


def test_what_is_made_of_a_pool_is_made_once():
    calls = []

    def count(pool: DemoPool) -> int:
        calls.append(pool)
        return len(pool)

    pool = DemoPool(DEMOS)
    assert (pool.once(count), pool.once(count), pool.once(len)) == (4, 4, 4)
    assert calls == [pool]
    assert DemoPool(DEMOS[:2]).once(count) == 2


def _shortness(demo: Demo) -> bool:
    return len(demo.solution) < 3


@pytest.mark.parametrize("question", ["1 + 1?", " 1  +\n1? "])
def test_the_same_question_up_to_white_space(question):
    assert DemoPool(DEMOS).asking(question) == (DEMOS[0], DEMOS[3])


@pytest.mark.parametrize("question", ["1 + 1", "1+1?", "1 + 11?", ""])
def test_other_questions(question):
    assert DemoPool(DEMOS).asking(question) == ()


def test_a_joined_pool_is_as_one_made_at_once():
    rng = np.random.default_rng(0)
    for _ in range(40):
        demos = [
            Demo(f"d{n}", f"find {rng.integers(6)} now", "s", str(rng.choice(["a", "b", "c"])))
            for n in range(int(rng.integers(3, 20)))
        ]
        first, second = sorted(rng.integers(1, len(demos), size=2).tolist())
        base = DemoPool(demos[:first])
        base.grouped(_subject), base.asking("find 0 now"), likeness(base, "find 0")
        joined = base.joined(demos[first:second]).joined(iter(demos[second:]))
        whole = DemoPool(demos)
        assert list(joined) == demos
        assert joined.fingerprint == whole.fingerprint
        for groups in (lambda pool: pool.grouped(_subject), lambda pool: pool.by_subject):
            found, expected = groups(joined), groups(whole)
            assert list(found) == list(expected)
            assert [list(pool) for pool in found.values()] == [*map(list, expected.values())]
        for n in range(7):
            question = f"find  {n} now"
            assert joined.asking(question) == whole.asking(question)
            assert likeness(joined, question).tolist() == likeness(whole, question).tolist()
        assert len(base) == first


def _subject(demo: Demo) -> str | None:
    return demo.subject


def test_pools_are_joined_with_others_only():
    pool = DemoPool(DEMOS)
    assert pool.joined([]) is pool
    larger = pool.joined([Demo("e", "x", "y")])
    for again in (Demo("b", "x", "y"), Demo("e", "x", "y")):
        with pytest.raises(DataError, match=f"expected unique ids, got '{again.id}' in both"):
            larger.joined([again])
    with pytest.raises(DataError, match="demonstration 'f' has an empty question"):
        pool.joined([Demo("f", " ", "y")])


def test_empty():
    with pytest.raises(DataError, match="expected at least one demonstration, got none"):
        DemoPool([])


def test_repeated_ids():
    with pytest.raises(DataError, match="got 'b' for demonstrations 2 and 5 of the pool"):
        DemoPool([*DEMOS, Demo("b", "x", "y")])


@pytest.mark.parametrize("field", ["question", "solution"])
def test_blank_texts(field):
    blank = dataclasses.replace(DEMOS[1], **{field: " \n"})
    with pytest.raises(DataError, match=f"demonstration 'b' has an empty {field}"):
        DemoPool([DEMOS[0], blank])


def test_the_fingerprint_tells_pools_apart():
    changed = [
        DEMOS[:3],
        [*DEMOS, Demo("e", "x", "y")],
        DEMOS[::-1],
        *(
            [dataclasses.replace(DEMOS[0], **{field.name: "other"}), *DEMOS[1:]]
            for field in dataclasses.fields(Demo)
        ),
        # The same characters, cut elsewhere.
        [Demo("a", "1 + 1?2", "sums", ""), *DEMOS[1:]],
        [dataclasses.replace(DEMOS[0], subject=None), *DEMOS[1:]],
    ]
    prints = [DemoPool(demos).fingerprint for demos in [DEMOS, *changed]]
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_is_the_same_in_every_process():
    # Written down once: a checkpoint of today must be recognised tomorrow.
    assert DemoPool(DEMOS).fingerprint.startswith("8e69ce0f1416e558")
    assert DemoPool(list(DEMOS)).fingerprint == DemoPool(DEMOS).fingerprint
    # What a demonstration does not have does not count, so fields can be added to `Demo`.
    sorted_by = dataclasses.replace(DEMOS[0], difficulty="hard", length=7)
    assert DemoPool([sorted_by, *DEMOS[1:]]).fingerprint.startswith("1aeab37a08f13e30")
