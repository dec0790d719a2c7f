"""Which prompts are computed together."""

from __future__ import annotations

import numpy as np
import pytest

from icpo.generation.batches import batches, parts


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 40])
@pytest.mark.parametrize("size", [1, 2, 6, 100])
def test_batches_hold_every_row_once_and_are_even(count, size):
    rng = np.random.default_rng(count)
    prompts = [rng.integers(0, 2, rng.integers(1, 4)) for _ in range(count)]
    made = batches(prompts, size)
    assert sorted(row for rows in made for row in rows) == list(range(count))
    assert len(made) == -(-count // size)
    if made:
        assert max(map(len, made)) <= size and max(map(len, made)) - min(map(len, made)) <= 1
    texts = [tuple(prompts[row].tolist()) for rows in made for row in rows]
    lengths = [len(text) for text in texts]
    assert lengths == sorted(lengths, reverse=True)
    # Equal ones are adjacent: each text begins once.
    begins = [text for text, before in zip(texts, [None, *texts], strict=False) if text != before]
    assert len(begins) == len(set(begins))


@pytest.mark.parametrize("tokens", [1, 3, 4, 8, 1000])
def test_parts_hold_every_prompt_once_with_its_copies(tokens):
    rng = np.random.default_rng(tokens)
    prompts = [rng.integers(0, 2, rng.integers(1, 4)) for _ in range(30)]
    [order] = batches(prompts, 30)
    ordered = [prompts[row] for row in order]
    made = list(parts(ordered, tokens))
    again = [
        prompt.tolist()
        for different, copies in made
        for prompt, count in zip(different, copies, strict=True)
        for _ in range(count)
    ]
    assert again == [prompt.tolist() for prompt in ordered]
    for different, _ in made:
        assert len({prompt.tobytes() for prompt in different}) == len(different)
        assert len(different) == 1 or len(different) * max(map(len, different)) <= tokens
    # No two neighbours would have fitted together.
    for different, _ in made[:-1]:
        assert len(different[0]) * (len(different) + 1) > tokens


def test_the_integer_type_of_a_prompt_does_not_matter():
    prompts = [np.array([1, 2], dtype=np.int32), np.array([1, 2])]
    [(different, copies)] = parts(prompts, 100)
    assert len(different) == 1 and copies == [2]
