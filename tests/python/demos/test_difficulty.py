"""Difficulty from counts of right answers."""

from __future__ import annotations

import pytest

from icpo.demos import DIFFICULTIES, difficulty_of
from icpo.errors import DataError


def test_the_papers_three_samples():
    assert [difficulty_of(right) for right in range(4)] == ["hard", "medium", "medium", "easy"]


@pytest.mark.parametrize("samples", [1, 2, 3, 8])
def test_only_all_or_none_are_extremes(samples):
    found = [difficulty_of(right, samples) for right in range(samples + 1)]
    assert (found[0], found[-1]) == ("hard", "easy")
    assert set(found[1:-1]) <= {"medium"}
    # More right answers never make a question harder.
    assert found == sorted(found, key=DIFFICULTIES.index, reverse=True)


@pytest.mark.parametrize(
    ("right", "samples", "message"),
    [
        (0, 0, "samples: expected at least 1, got 0"),
        (4, 3, "right: expected 0 to samples = 3, got 4"),
        (-1, 3, "right: expected 0 to samples = 3, got -1"),
    ],
)
def test_impossible_counts(right, samples, message):
    with pytest.raises(DataError, match=message):
        difficulty_of(right, samples)
