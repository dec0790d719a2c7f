"""The tiny task's files: disjoint, balanced, reproducible, and right in the checker's eyes."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import fields

import pytest

from icpo.errors import ConfigError
from icpo.reward import Checker
from icpo.tiny import TOPICS, Sizes, split, write_data
from icpo.tiny.task import is_held_out

SMALL = Sizes(train=50, test=30, demos=20)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_disjoint_and_held_out_of_the_corpus(seed):
    splits = split(seed)
    everything = [*splits.train, *splits.test, *splits.demos]
    assert len({exercise.question for exercise in everything}) == len(everything) == 1480
    assert all(is_held_out(exercise) for exercise in everything)


def test_topics_and_lengths_have_equal_shares():
    splits = split(3)
    for name in ("train", "test", "demos"):
        counts = Counter((each.topic, len(each.numbers)) for each in getattr(splits, name))
        assert len(counts) == 8 * 3
        assert max(counts.values()) - min(counts.values()) <= 1


def test_seeds_decide():
    assert split(5, SMALL) == split(5, SMALL)
    assert set(split(5, SMALL).test) != set(split(6, SMALL).test)


def test_test_set_and_pool_do_not_depend_on_the_size_of_the_training_set():
    more = split(5, Sizes(train=200, test=30, demos=20))
    assert (more.test, more.demos) == (split(5, SMALL).test, split(5, SMALL).demos)


def test_rows(tmp_path):
    train, test, demos = (rows(path) for path in write_data(tmp_path / "new" / "data", 7, SMALL))
    splits = split(7, SMALL)
    for name, written, exercises in (
        ("train", train, splits.train),
        ("test", test, splits.test),
        ("demos", demos, splits.demos),
    ):
        assert [row["question"] for row in written] == [each.question for each in exercises]
        assert [row["answer"] for row in written] == [each.answer for each in exercises]
        assert [row["subject"] for row in written] == [each.topic for each in exercises]
        assert [row["id"] for row in written] == [f"{name}-{i}" for i in range(len(written))]
    for written, exercises in ((demos, splits.demos), (train, splits.train)):
        assert [row["solution"] for row in written] == [each.solution() for each in exercises]
    assert list(test[0]) == ["id", "question", "answer", "subject"]


def test_same_seed_same_bytes(tmp_path):
    first = [path.read_bytes() for path in write_data(tmp_path / "a", 7, SMALL)]
    again = [path.read_bytes() for path in write_data(tmp_path / "a", 7, SMALL)]
    other = [path.read_bytes() for path in write_data(tmp_path / "b", 8, SMALL)]
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_an_interrupted_write_leaves_the_old_files(tmp_path, monkeypatch):
    paths = write_data(tmp_path, 7, SMALL)
    before = [path.read_bytes() for path in paths]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_data(tmp_path, 8, SMALL)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.read_bytes() for path in paths] == before


def test_the_checker_is_right_about_every_answer():
    # Every answer as gold, once with and once without its leading zero, every answer in the box.
    checker = Checker("strict")
    numbers = [f"{value:02d}" for value in range(100)]
    for gold in [*numbers, *map(str, range(10))]:
        boxed = [f"a=52 b=|7=85 \\boxed{{{number}}}" for number in numbers]
        right = checker.score(boxed, gold)
        assert [number for number, score in zip(numbers, right, strict=True) if score] == [
            f"{int(gold):02d}"
        ]


def test_the_checker_is_right_about_worked_solutions():
    checker = Checker("strict")
    rng = random.Random(4)
    responses, golds, expected = [], [], []
    for exercise in split(9).train:
        sign = rng.choice(list(TOPICS.values()))
        responses.append(" " + exercise.solution(sign))
        golds.append(exercise.answer)
        expected.append(exercise.values(sign)[-1] == int(exercise.answer))
    assert 0.1 < sum(expected) / len(expected) < 0.3
    assert (checker.score(responses, golds) == expected).all()


@pytest.mark.parametrize("name", [field.name for field in fields(Sizes)])
def test_sizes_out_of_range(name):
    with pytest.raises(ConfigError, match=f"{name}: expected at least 1, got 0"):
        Sizes(**{name: 0})
    with pytest.raises(ConfigError, match="expected at most 4096 together"):
        Sizes(**{name: 4000})
