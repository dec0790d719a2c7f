"""The repetition penalty: against transformers' own, and a plain loop in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import (
    END_IDS,
    MODELS,
    PAD_ID,
    llama,
    next_logits,
    qwen3_tied,
    random_prompts,
    training_logp,
)
from test_token_choice import chi_square_excess, distribution
from transformers import RepetitionPenaltyLogitsProcessor

from icpo.errors import ConfigError
from icpo.generation import Sampling, torch_engine
from icpo.generation import sampling as choice
from icpo.generation.penalty import penalised, seen_in
from icpo.generation.sampling import choose, uniforms
from icpo.generation.torch_engine import TorchEngine

CPU = torch.device("cpu")
PENALTIES = (1.1, 0.6, 3.0)


def engine_of(model, **options) -> TorchEngine:
    return TorchEngine(model, **{"end_ids": END_IDS, "pad_id": PAD_ID, **options})


def prompts_with_copies(seed: int) -> list[np.ndarray]:
    """Of many lengths, some several times; the token that pads is in some of them."""
    different = random_prompts(np.random.default_rng(seed), [1, 9, 4, 9, 17, 2, 30])
    different[1][3] = PAD_ID
    return different + different[::2]


##### One token


@pytest.mark.parametrize("penalty", PENALTIES)
def test_scores_are_those_of_transformers(penalty):
    rng = np.random.default_rng(0)
    for width, vocabulary in ((1, 1), (1, 7), (12, 31), (90, 5)):
        prompts = list(rng.integers(0, vocabulary, (6, width)))
        scores = torch.from_numpy(rng.normal(0, 4, (6, vocabulary)))
        scores[0, 0], scores[1, 0] = 0.0, -torch.inf
        peer = RepetitionPenaltyLogitsProcessor(penalty)(
            torch.from_numpy(np.stack(prompts)), scores.clone()
        )
        mine = penalised(scores, seen_in(prompts, vocabulary, CPU), penalty)
        assert torch.equal(mine, peer)


def test_seen_is_what_each_prompt_holds_and_has_logits():
    prompts = [np.array([3, 3, 0]), np.array([5], dtype=np.int32), np.array([1, 9, 4])]
    seen = seen_in(prompts, 6, CPU)
    assert [row.nonzero()[:, 0].tolist() for row in seen] == [[0, 3], [5], [1, 4]]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(1, 0.7, 0.9, repetition_penalty=1.8), Sampling(1, 1.3, 1.0, 6, 0.5)],
    ids=str,
)
def test_frequencies(sampling):
    """Penalty first, then temperature and the filters; the log-probability knows neither."""
    draws, vocabulary = 40_000, 17
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, vocabulary)
    prompt = rng.integers(0, vocabulary, 9)
    changed = logits.copy()
    for token in set(prompt.tolist()):
        penalty = sampling.repetition_penalty
        changed[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    token, logp = choose(
        torch.from_numpy(logits).float().expand(draws, -1),
        torch.from_numpy(uniforms(range(draws), 1)[:, 0]),
        sampling,
        seen_in([prompt], vocabulary, CPU).expand(draws, -1),
    )
    counts = np.bincount(token.numpy(), minlength=vocabulary)
    exact = distribution(changed, sampling)
    assert (counts[exact == 0] == 0).all()
    assert chi_square_excess(counts, exact) < 5
    assert chi_square_excess(counts + 1e-9, distribution(logits, sampling) + 1e-9) > 10
    plain = distribution(logits, Sampling(1, sampling.temperature))
    np.testing.assert_allclose(logp.numpy(), np.log(plain[token.numpy()]), atol=2e-6)


def test_a_large_batch_is_taken_in_pieces(monkeypatch):
    rng = np.random.default_rng(2)
    logits, uniform = torch.randn(37, 11), torch.rand(37, dtype=torch.float64)
    seen = torch.from_numpy(rng.random((37, 11)) < 0.4)
    for temperature in (0.0, 0.8):
        sampling = Sampling(1, temperature, repetition_penalty=4.0)
        whole = choose(logits, uniform, sampling, seen)
        assert (whole[0] != choose(logits, uniform, sampling)[0]).any()
        with monkeypatch.context() as patch:
            patch.setattr(choice, "_LOGITS_AT_ONCE", 50)
            pieces = choose(logits, uniform, sampling, seen)
        assert torch.equal(whole[0], pieces[0]) and torch.equal(whole[1], pieces[1])


@pytest.mark.parametrize("bad", [0.0, -1.1, float("nan"), float("inf")])
def test_bad_penalties(bad):
    with pytest.raises(ConfigError, match=f"repetition_penalty: .* above 0, got {bad}"):
        Sampling(1, repetition_penalty=bad)


##### Whole completions


def plainly(model, prompt: np.ndarray, sampling: Sampling, seed: int) -> list[int]:
    """One row, a whole forward pass for each token, transformers' penalty, all in float64."""
    penalise = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
    uniform = uniforms([seed], sampling.max_new_tokens)[0]
    text, tokens = prompt, []
    while len(tokens) < sampling.max_new_tokens and (not tokens or tokens[-1] not in END_IDS):
        logits = next_logits(model, text).double()[None]
        logits = penalise(torch.from_numpy(text.astype(np.int64))[None], logits)[0].numpy()
        if sampling.greedy:
            token = int(logits.argmax())
        else:
            ends = np.cumsum(distribution(logits, sampling))
            token = int(np.searchsorted(ends, uniform[len(tokens)] * ends[-1], side="right"))
        tokens.append(token)
        text = np.append(text, token)
    return tokens


SETTINGS = [
    Sampling(14, temperature=0, repetition_penalty=1.3),
    Sampling(14, repetition_penalty=0.7),
    Sampling(14, temperature=0.6, top_p=0.9, repetition_penalty=1.1),
    Sampling(14, temperature=1.4, top_k=5, repetition_penalty=2.5),
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_tokens_are_those_of_a_plain_loop(name, sampling):
    model, prompts = MODELS[name](), prompts_with_copies(2)
    seeds = list(range(100, 100 + len(prompts)))
    completions = engine_of(model).generate(prompts, sampling, seeds)
    usual = engine_of(model).generate(prompts, replace(sampling, repetition_penalty=1.0), seeds)
    for prompt, seed, completion in zip(prompts, seeds, completions, strict=True):
        assert completion.tokens.tolist() == plainly(model, prompt, sampling, seed)
        exact = training_logp(model, prompt, completion, sampling.temperature or 1.0)
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)
    # Else the penalty would not have had anything to do.
    assert any(
        one.tokens.tolist() != other.tokens.tolist()
        for one, other in zip(completions, usual, strict=True)
    )


def test_greedy_completions_are_those_of_transformers():
    """Its `generate`, one prompt at a time: in a batch it would count padding as seen."""
    model = llama()
    sampling = Sampling(20, temperature=0, repetition_penalty=1.2)
    prompts = prompts_with_copies(3)
    completions = engine_of(model).generate(prompts, sampling, range(len(prompts)))
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.from_numpy(prompt)[None]
        peer = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=20,
            repetition_penalty=1.2,
            eos_token_id=list(END_IDS),
        )[0, len(prompt) :]
        assert completion.tokens.tolist() == peer.tolist()


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        np.testing.assert_allclose(one.logp, other.logp, atol=1e-5)


def test_neighbours_and_housekeeping_do_not_matter(monkeypatch):
    """Rows leave at every step, or rarely; equal prompts with other seeds see different tokens."""
    model, prompts = qwen3_tied(), prompts_with_copies(4)
    sampling = Sampling(25, temperature=0.9, repetition_penalty=1.7)
    seeds = [int(seed) for seed in np.random.default_rng(0).integers(0, 2**63, len(prompts))]
    together = engine_of(model).generate(prompts, sampling, seeds)
    assert len({len(completion.tokens) for completion in together}) > 4
    for prompt, seed, completion in zip(prompts, seeds, together, strict=True):
        assert_same(engine_of(model).generate([prompt], sampling, [seed]), [completion])
    for options in ({"batch": 2}, {"batch": 5}, {"prefill_tokens": 12}, {"pad_id": 7}):
        assert_same(engine_of(model, **options).generate(prompts, sampling, seeds), together)
    for look, room, worth in ((3, 4, 1.0), (16, 1, 0.5), (1000, 4, 1.0), (1, 4, 0.0)):
        monkeypatch.setattr(torch_engine, "_TOKENS_A_LOOK", {"cpu": look})
        monkeypatch.setattr(torch_engine, "_FIRST_ROOM", room)
        monkeypatch.setattr(torch_engine, "_WORTH_DROPPING", worth)
        assert_same(engine_of(model).generate(prompts, sampling, seeds), together)


def test_without_a_penalty_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(torch_engine, "seen_in", None)
    engine = engine_of(llama(), end_ids=())
    [completion] = engine.generate([np.array([1, 2])], Sampling(6), [0])
    assert len(completion.tokens) == 6
