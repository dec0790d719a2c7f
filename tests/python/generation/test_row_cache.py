"""The cache against lists of rows, with memory that is NaN until written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from icpo.generation import cache as module
from icpo.generation.cache import RowCache, Vacancies
from icpo.generation.transcript import Transcript

HEADS, KEY_WIDTH, VALUE_WIDTH, LAYERS = 2, 3, 5, 2


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """What is read before it was written shows."""
    new_empty = torch.Tensor.new_empty

    def poisoned(self, *args, **kwargs):
        return new_empty(self, *args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


def states(rows: int, tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values for each layer."""
    return [
        (torch.randn(rows, HEADS, tokens, KEY_WIDTH), torch.randn(rows, HEADS, tokens, VALUE_WIDTH))
        for _ in range(LAYERS)
    ]


def update(cache: RowCache, new) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """As a model does it, layer by layer."""
    return [cache.update(keys, values, layer) for layer, (keys, values) in enumerate(new)]


def test_a_life_of_a_cache():
    """Prompts of two lengths are placed, tokens added, room made, rows dropped."""
    rng = np.random.default_rng(0)
    longer, shorter = RowCache(LAYERS), RowCache(LAYERS)
    read = {longer: states(2, 6), shorter: states(3, 4)}
    for cache, new in read.items():
        for given, returned in zip(new, update(cache, new), strict=True):
            assert torch.equal(given[0], returned[0]) and torch.equal(given[1], returned[1])
    origins = {longer: [0, 0, 1], shorter: [0, 1, 1, 1, 2]}
    cache = longer.blank(8, 6, 7)
    cache.place(longer, slice(0, 3), torch.tensor(origins[longer]))
    cache.place(shorter, slice(3, 8), torch.tensor(origins[shorter]))
    assert (cache.length, cache.capacity, cache.get_seq_length()) == (6, 7, 6)

    # By layer, keys and values apart: a list of rows, each (heads, length, width).
    expected = [
        tuple(
            [read[longer][layer][kind][row] for row in origins[longer]]
            + [
                torch.cat([torch.zeros(HEADS, 2, width), read[shorter][layer][kind][row]], dim=1)
                for row in origins[shorter]
            ]
            for kind, width in ((0, KEY_WIDTH), (1, VALUE_WIDTH))
        )
        for layer in range(LAYERS)
    ]
    transcript = Transcript(range(8), 100, np.array([9]))
    numbers = list(range(8))
    while len(numbers) > 1:
        if cache.length == cache.capacity:
            cache.reserve(cache.length + 2)
            assert cache.capacity == cache.length + 2
        new = states(len(numbers), 1)
        for layer, returned in enumerate(update(cache, new)):
            for kind in (0, 1):
                rows = expected[layer][kind]
                rows[:] = [
                    torch.cat([row, token], dim=1)
                    for row, token in zip(rows, new[layer][kind], strict=True)
                ]
                assert torch.equal(returned[kind], torch.stack(rows))
        leaving = rng.random(len(numbers)) < 0.2
        leaving[rng.integers(len(numbers))] = False
        tokens = np.where(leaving, 9, 1)[:, None]
        gone = transcript.add(tokens, np.full_like(tokens, -1, dtype=np.float32))
        assert set(gone) == {n for n, leaves in zip(numbers, leaving, strict=True) if leaves}
        vacancies = transcript.drop(torch.device("cpu"))
        cache.close(vacancies)
        before = numbers
        numbers = vacancies.close(torch.tensor(before)).tolist()
        assert set(numbers) == set(before) - set(gone)
        for kinds in expected:
            for rows in kinds:
                rows[:] = [rows[before.index(number)] for number in numbers]
        assert len(numbers) == transcript.slots == transcript.running == vacancies.left
    assert cache.length > 8


def test_rows_that_stay_are_moved_into_the_holes():
    vacancies = Vacancies(torch.tensor([0, 2]), torch.tensor([3, 5]), 3)
    assert vacancies.close(torch.tensor([10, 11, 12, 13, 14, 15])).tolist() == [13, 11, 15]
    untouched = torch.tensor([4, 5, 6])
    none = torch.tensor([], dtype=torch.int64)
    assert Vacancies(none, none, 2).close(untouched).tolist() == [4, 5]


@pytest.mark.parametrize("query", [3, torch.arange(5, 8)], ids=["transformers 5", "transformers 4"])
def test_mask_sizes_for_both_generations_of_transformers(query):
    layer = module._Layer()
    layer.update(torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2))
    assert layer.get_mask_sizes(query) == (8, 0)
