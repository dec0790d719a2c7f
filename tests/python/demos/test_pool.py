"""The pool: what it refuses, how it is looked up, and how it is told from another."""

from __future__ import annotations

import dataclasses

import pytest

from icpo.demos import DemoPool
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
