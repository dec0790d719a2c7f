"""Arrays of a batch against a construction token by token."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rollout_cases import VOCABULARY, tokens

from icpo.mixing import Batch, Padded, pad

PAD = 3  # also a token id that occurs in texts


def random_batch(rng: np.random.Generator, rows: int, longest: int) -> Batch:
    """Rows of 1 to `longest` prompt tokens and 0 to `longest` completion tokens."""
    completions = tuple(tokens(rng, int(rng.integers(longest + 1))) for _ in range(rows))
    return Batch(
        prompts=tuple(tokens(rng, int(rng.integers(1, longest + 1))) for _ in range(rows)),
        sampled_prompts=tuple(tokens(rng, int(rng.integers(1, 3 * longest))) for _ in range(rows)),
        completions=completions,
        behavior_logp=tuple(rng.normal(size=len(t)).astype(np.float32) for t in completions),
        old_logp=tuple(rng.normal(size=len(t)).astype(np.float32) for t in completions),
        rewards=rng.normal(size=rows),
        shaped_rewards=rng.normal(size=rows),
        advantage=rng.normal(size=rows),
        expert_mask=rng.random(rows) < 0.5,
        accepted=rng.random(rows) < 0.5,
        group=np.arange(rows) // 2,
    )


def by_hand(batch: Batch) -> dict[str, list]:
    """The same arrays as lists, one cell after the other."""
    P = max(len(prompt) for prompt in batch.prompts)
    T = max(len(completion) for completion in batch.completions)
    out: dict[str, list] = {field.name: [] for field in dataclasses.fields(Padded)}
    for row in range(len(batch)):
        prompt, completion = batch.prompts[row].tolist(), batch.completions[row].tolist()
        before, after = P - len(prompt), T - len(completion)
        length = len(prompt) + len(completion)
        out["input_ids"].append([PAD] * before + prompt + completion + [PAD] * after)
        out["attention_mask"].append([False] * before + [True] * length + [False] * after)
        out["position_ids"].append([0] * before + list(range(length)) + [length - 1] * after)
        out["responses"].append(completion + [PAD] * after)
        out["loss_mask"].append([True] * len(completion) + [False] * after)
        out["old_logp"].append(batch.old_logp[row].tolist() + [0.0] * after)
        out["behavior_logp"].append(batch.behavior_logp[row].tolist() + [0.0] * after)
        out["advantage"].append(np.float32(batch.advantage[row]))
        out["expert_mask"].append(batch.expert_mask[row])
    return out


@pytest.mark.parametrize("seed", range(30))
def test_padded_arrays(seed):
    rng = np.random.default_rng(seed)
    batch = random_batch(rng, int(rng.integers(1, 9)), int(rng.choice([1, 2, 7, 20])))
    for one in (batch, batch.as_sampled()):
        padded, wanted = pad(one, PAD), by_hand(one)
        for name, values in wanted.items():
            np.testing.assert_array_equal(getattr(padded, name), np.array(values), err_msg=name)


def test_dtypes():
    padded = pad(random_batch(np.random.default_rng(0), 4, 5), PAD)
    for names, dtype in (
        (("input_ids", "position_ids", "responses"), np.int64),
        (("attention_mask", "loss_mask", "expert_mask"), np.bool_),
        (("advantage", "old_logp", "behavior_logp"), np.float32),
    ):
        for name in names:
            array = getattr(padded, name)
            assert array.dtype == dtype, name
            assert array.flags.c_contiguous, name  # or torch can not share its memory


def test_the_demonstrations_are_gone():
    """Ids, mask and positions do not depend on the prompt that was sampled from."""
    rng = np.random.default_rng(1)
    batch = random_batch(rng, 6, 8)
    other = dataclasses.replace(
        batch, sampled_prompts=tuple(tokens(rng, VOCABULARY) for _ in range(6))
    )
    for name in ("input_ids", "attention_mask", "position_ids"):
        np.testing.assert_array_equal(
            getattr(pad(batch, PAD), name), getattr(pad(other, PAD), name)
        )


def test_nothing_to_pad():
    padded = pad(random_batch(np.random.default_rng(0), 2, 4).rows([]), PAD)
    assert padded.input_ids.shape == padded.loss_mask.shape == (0, 0)
    assert padded.advantage.shape == (0,)


def test_completions_without_tokens():
    batch = random_batch(np.random.default_rng(0), 2, 4)
    empty = dataclasses.replace(
        batch,
        completions=(batch.completions[0][:0],) * 2,
        old_logp=(batch.old_logp[0][:0],) * 2,
        behavior_logp=(batch.old_logp[0][:0],) * 2,
    )
    padded = pad(empty, PAD)
    assert padded.responses.shape == (2, 0)
    assert padded.input_ids.shape[1] == max(len(prompt) for prompt in batch.prompts)
