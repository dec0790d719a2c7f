"""The engine against plain forward passes: log-probabilities, tokens, and what they depend on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from models import (
    END_IDS,
    MODELS,
    PAD_ID,
    VOCABULARY,
    llama,
    next_logits,
    qwen3_tied,
    random_prompts,
    training_logp,
)

from icpo.errors import ConfigError, DataError, DTypeError, NonFiniteError, ShapeError, TokenIdError
from icpo.generation import Sampling, torch_engine
from icpo.generation.sampling import choose, uniforms
from icpo.generation.torch_engine import TorchEngine

LENGTHS = [1, 9, 4, 9, 17, 2, 30, 1]


def engine_of(model, **options) -> TorchEngine:
    return TorchEngine(model, **{"end_ids": END_IDS, "pad_id": PAD_ID, **options})


def prompts_with_copies(seed: int = 0) -> list[np.ndarray]:
    """Prompts of many lengths, some of them several times, not side by side."""
    different = random_prompts(np.random.default_rng(seed), LENGTHS)
    return different + different[::2] + different[::3]


COUNT = len(prompts_with_copies())


@pytest.fixture(params=MODELS, ids=str)
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def rows_seen(monkeypatch):
    """Rows and tokens of each forward pass."""
    shapes = []
    forward = TorchEngine._forward

    def watched(self, ids, *others):
        shapes.append(tuple(ids.shape))
        return forward(self, ids, *others)

    monkeypatch.setattr(TorchEngine, "_forward", watched)
    return shapes


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_log_probabilities_are_those_of_a_training_forward(model, temperature, rows_seen):
    prompts = prompts_with_copies()
    sampling = Sampling(24, temperature=temperature)
    completions = engine_of(model).generate(prompts, sampling, range(len(prompts)))
    for prompt, completion in zip(prompts, completions, strict=True):
        exact = training_logp(model, prompt, completion, temperature)
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)
        assert completion.logp.dtype == np.float32 and completion.tokens.dtype == np.int64
    # Else this would not have tried padded rows that move when others leave.
    decoding = [rows for rows, tokens in rows_seen if tokens == 1]
    assert len(set(decoding)) > 3


def test_log_probabilities_are_those_of_a_right_padded_training_batch(model):
    prompts = prompts_with_copies(1)
    completions = engine_of(model).generate(prompts, Sampling(16), range(len(prompts)))
    whole = [np.concatenate([p, c.tokens]) for p, c in zip(prompts, completions, strict=True)]
    width = max(map(len, whole))
    ids = torch.tensor([[*row, *[PAD_ID] * (width - len(row))] for row in whole])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in whole])
    with torch.no_grad():
        logp = model(input_ids=ids, attention_mask=mask).logits[:, :-1].double().log_softmax(-1)
    chosen = logp.gather(-1, ids[:, 1:, None])[..., 0].numpy()
    for row, prompt, completion in zip(chosen, prompts, completions, strict=True):
        exact = row[len(prompt) - 1 :][: len(completion.tokens)]
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(14, temperature=0),
        Sampling(14),
        Sampling(14, temperature=0.6, top_p=0.9),
        Sampling(14, temperature=1.4, top_k=5),
    ],
    ids=str,
)
def test_tokens_are_those_of_a_loop_without_cache(model, sampling):
    prompts = prompts_with_copies(2)
    seeds = list(range(100, 100 + len(prompts)))
    completions = engine_of(model).generate(prompts, sampling, seeds)
    for prompt, seed, completion in zip(prompts, seeds, completions, strict=True):
        text, tokens = prompt, []
        uniform = torch.from_numpy(uniforms([seed], sampling.max_new_tokens))
        while len(tokens) < sampling.max_new_tokens and (not tokens or tokens[-1] not in END_IDS):
            logits = next_logits(model, text)[None]
            token, _ = choose(logits, uniform[:, len(tokens)], sampling)
            tokens.append(token.item())
            text = np.append(text, token.item())
        assert completion.tokens.tolist() == tokens
        assert completion.finished == (tokens[-1] in END_IDS)


def test_ends_and_limits_both_occur(model):
    """And nothing follows an end, whichever of the two it is."""
    prompts = prompts_with_copies(3)
    found: set[tuple[bool, int]] = set()
    for limit in (1, 2, 19):
        for completion in engine_of(model).generate(prompts, Sampling(limit), range(COUNT)):
            ends = np.isin(completion.tokens, END_IDS)
            assert not ends[:-1].any()
            assert completion.finished == ends[-1]
            assert completion.finished or len(completion.tokens) == limit
            assert len(completion.logp) == len(completion.tokens) > 0
            found.add((completion.finished, int(completion.tokens[-1]) if ends[-1] else limit))
    assert found >= {(True, 2), (True, 5), (False, 1), (False, 2), (False, 19)}


def test_without_end_tokens_every_completion_reaches_the_limit():
    engine = engine_of(llama(), end_ids=())
    completions = engine.generate(prompts_with_copies(), Sampling(9), range(COUNT))
    assert {(len(c.tokens), c.finished) for c in completions} == {(9, False)}


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        np.testing.assert_allclose(one.logp, other.logp, atol=1e-5)
        assert one.finished == other.finished


def test_neighbours_do_not_matter(model):
    prompts, sampling = prompts_with_copies(4), Sampling(16, temperature=0.9, top_p=0.95)
    seeds = [int(seed) for seed in np.random.default_rng(0).integers(0, 2**63, COUNT)]
    together = engine_of(model).generate(prompts, sampling, seeds)

    alone = [
        engine_of(model).generate([prompt], sampling, [seed])[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert_same(alone, together)

    for options in ({"batch": 2}, {"batch": 5}, {"batch": 1000}, {"prefill_tokens": 40}):
        assert_same(engine_of(model, **options).generate(prompts, sampling, seeds), together)

    order = np.random.default_rng(1).permutation(COUNT)
    shuffled = engine_of(model).generate(
        [prompts[row] for row in order], sampling, [seeds[row] for row in order]
    )
    assert_same(shuffled, [together[row] for row in order])

    longer = random_prompts(np.random.default_rng(2), [60, 90])
    amid = engine_of(model).generate([longer[0], *prompts, longer[1]], sampling, [1, *seeds, 2])
    assert_same(amid[1:-1], together)


@pytest.mark.parametrize(
    ("look", "room", "worth"), [(1, 1, 1.0), (3, 4, 1.0), (16, 1, 0.5), (1000, 4, 1.0), (1, 4, 0.0)]
)
def test_housekeeping_does_not_matter(monkeypatch, look, room, worth):
    """How often tokens are looked at, how the cache grows, when rows are dropped."""
    model, prompts = qwen3_tied(), prompts_with_copies(5)
    usual = engine_of(model).generate(prompts, Sampling(25), range(len(prompts)))
    monkeypatch.setattr(torch_engine, "_TOKENS_A_LOOK", {"cpu": look})
    monkeypatch.setattr(torch_engine, "_FIRST_ROOM", room)
    monkeypatch.setattr(torch_engine, "_WORTH_DROPPING", worth)
    assert_same(engine_of(model).generate(prompts, Sampling(25), range(len(prompts))), usual)


def test_the_same_call_gives_the_same_bits(model):
    prompts = prompts_with_copies(6)
    first, second = (
        engine_of(model).generate(prompts, Sampling(20), range(len(prompts))) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert one.tokens.tobytes() == other.tokens.tobytes()
        assert one.logp.tobytes() == other.logp.tobytes()


def test_seeds_alone_tell_equal_prompts_apart():
    prompt = random_prompts(np.random.default_rng(7), [6])[0]
    completions = engine_of(qwen3_tied()).generate([prompt] * 4, Sampling(20), [8, 9, 8, 9])
    texts = [completion.tokens.tolist() for completion in completions]
    assert texts[:2] == texts[2:] and texts[0] != texts[1]


def test_frequencies_over_seeds_are_the_model_s():
    """Of the first token, and of the second after the most frequent first."""
    model, draws = llama(), 6000
    prompt = random_prompts(np.random.default_rng(8), [5])[0]
    engine = engine_of(model, end_ids=(), batch=2000)
    pairs = np.stack(
        [c.tokens for c in engine.generate([prompt] * draws, Sampling(2), range(draws))]
    )
    first = Counter(pairs[:, 0].tolist()).most_common(1)[0][0]
    for tokens, before in (
        (pairs[:, 0], prompt),
        (pairs[pairs[:, 0] == first, 1], np.append(prompt, first)),
    ):
        expected = next_logits(model, before).double().softmax(-1).numpy() * len(tokens)
        counts = np.bincount(tokens, minlength=VOCABULARY)
        frequent = expected >= 10
        assert frequent.sum() > 3 and len(tokens) > 500
        statistic = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum()
        assert statistic < frequent.sum() + 5 * np.sqrt(2 * frequent.sum())


def test_equal_prompts_are_read_once(rows_seen):
    different = random_prompts(np.random.default_rng(9), [7, 7, 3])
    prompts = [different[row] for row in (0, 1, 2) * 5]
    engine_of(llama(), end_ids=()).generate(prompts, Sampling(4), range(15))
    assert rows_seen == [(3, 7), (15, 1), (15, 1), (15, 1)]


def test_batches_are_even_and_rows_leave(rows_seen):
    prompts = random_prompts(np.random.default_rng(10), [4] * 10)
    engine_of(qwen3_tied(), batch=6).generate(prompts, Sampling(40), range(10))
    reads = [rows for rows, tokens in rows_seen if tokens > 1]
    decoding = [rows for rows, tokens in rows_seen if tokens == 1]
    assert reads == [5, 5]
    assert min(decoding) == 1 and max(decoding) <= 5


def test_progress_counts_up_to_all():
    counts: list[int] = []
    prompts = prompts_with_copies()
    engine = engine_of(qwen3_tied(), batch=8)
    engine.generate(prompts, Sampling(20), range(len(prompts)), progress=counts.append)
    assert counts == sorted(set(counts)) and counts[-1] == len(prompts) and len(counts) > 3


def test_no_prompts():
    assert engine_of(llama()).generate([], Sampling(3), []) == []


def test_training_mode_is_left_and_restored():
    """Dropout would change the log-probabilities; a part frozen in evaluation mode stays so."""
    model = qwen3_tied(attention_dropout=0.9).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    prompts = prompts_with_copies()
    completions = engine_of(model).generate(prompts, Sampling(10), range(len(prompts)))
    assert [module.training for module in model.modules()] == modes
    model.eval()
    for prompt, completion in zip(prompts, completions, strict=True):
        exact = training_logp(model, prompt, completion)
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)


def test_training_goes_on_after_generating():
    model = qwen3_tied().train()
    model.gradient_checkpointing_enable()
    engine_of(model).generate(prompts_with_copies(), Sampling(5), range(COUNT))
    ids = torch.arange(10)[None]
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_changed_weights_are_seen():
    model, prompts = llama(), prompts_with_copies()
    engine = engine_of(model)
    engine.generate(prompts, Sampling(6), range(COUNT))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    for prompt, completion in zip(
        prompts, engine.generate(prompts, Sampling(6), range(COUNT)), strict=True
    ):
        exact = training_logp(model, prompt, completion)
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)


def test_adapters_of_peft():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(qwen3_tied(), config).eval()
    prompts = prompts_with_copies()
    completions = engine_of(model).generate(prompts, Sampling(10), range(COUNT))
    differ = False
    for prompt, completion in zip(prompts, completions, strict=True):
        exact = training_logp(model, prompt, completion)
        np.testing.assert_allclose(completion.logp, exact, atol=1e-4)
        with model.disable_adapter():
            plain = training_logp(model, prompt, completion)
        differ |= bool(np.abs(plain - exact).max() > 1e-2)
    assert differ


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(autocast):
    """Log-probabilities as near to a training forward's as rounding lets a batch come."""
    model = qwen3_tied()
    if not autocast:
        model = model.to(torch.bfloat16)
    engine = engine_of(model, autocast=torch.bfloat16 if autocast else None)
    prompts = prompts_with_copies()
    completions = engine.generate(prompts, Sampling(12), range(COUNT))
    differences = []
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            exact = training_logp(model, prompt, completion)
        differences.append(np.abs(completion.logp - exact))
    assert 0 < np.concatenate(differences).mean() < 0.03
    assert np.concatenate(differences).max() < 0.4


@pytest.mark.parametrize("look", [1, 16])
def test_nan_logits_name_prompt_and_position(monkeypatch, look):
    """A token whose embedding is NaN spoils what follows it."""
    monkeypatch.setattr(torch_engine, "_TOKENS_A_LOOK", {"cpu": look})
    model = llama()
    prompts = random_prompts(np.random.default_rng(11), [3, 8, 5])
    engine = engine_of(model, end_ids=())
    completions = engine.generate(prompts, Sampling(12), [1, 2, 3])
    tokens = completions[1].tokens.tolist()
    poison = next(t for t in tokens[2:] if t not in [*tokens[:2], *np.concatenate(prompts)])
    before = tokens.index(poison) + 1
    with torch.no_grad():
        model.get_input_embeddings().weight[poison] = float("nan")
    with pytest.raises(NonFiniteError, match=rf"prompts\[0\] and {before} new tokens"):
        engine.generate([prompts[1]], Sampling(before + 1), [2])
    # Others that come later, or not at all, are not blamed.
    assert all(poison not in completions[row].tokens[:before] for row in (0, 2))
    with pytest.raises(NonFiniteError, match=rf"prompts\[1\] and {before} new tokens"):
        engine.generate(prompts, Sampling(before + 1), [1, 2, 3])
    assert len(engine.generate(prompts, Sampling(before), [1, 2, 3])[1].tokens) == before
    with pytest.raises(NonFiniteError, match=r"prompts\[1\] and 0 new tokens: .* got .*nan"):
        engine.generate([prompts[1], np.array([poison])], Sampling(1), [2, 2])


def test_what_follows_an_end_is_not_looked_at(monkeypatch):
    """On a GPU rows go on for some tokens after they have finished."""
    monkeypatch.setattr(torch_engine, "_TOKENS_A_LOOK", {"cpu": 16})
    model = llama()
    prompts = [p for p in prompts_with_copies() if not np.isin(p, END_IDS).any()]
    usual = engine_of(model).generate(prompts, Sampling(16), range(len(prompts)))
    assert any(c.finished and len(c.tokens) < 10 for c in usual)
    with torch.no_grad():
        model.get_input_embeddings().weight[list(END_IDS)] = float("nan")
    assert_same(engine_of(model).generate(prompts, Sampling(16), range(len(prompts))), usual)


GOOD = np.array([3, 4])


@pytest.mark.parametrize(
    ("error", "message", "prompts", "seeds", "limit"),
    [
        (ShapeError, r"seeds: expected 2, one a prompt, got 1", [GOOD, GOOD], [1], 4),
        (ShapeError, r"prompts\[1\]: .* got \(0,\)", [GOOD, GOOD[:0]], [1, 2], 4),
        (ShapeError, r"prompts\[0\]: .* got \(1, 2\)", [GOOD[None]], [1], 4),
        (DTypeError, r"prompts\[0\]: expected integers, got float64", [GOOD / 1], [1], 4),
        (TokenIdError, r"prompts\[1\]: .* 0 to 22, got 23", [GOOD, np.array([23])], [1, 2], 4),
        (TokenIdError, r"prompts\[0\]: .* 0 to 22, got -1", [np.array([3, -1])], [1], 4),
        (DataError, r"prompts\[0\]: expected at most 128 .* got 2 and 127 new", [GOOD], [1], 127),
        (ConfigError, r"seeds\[1\]: .* got -1", [GOOD, GOOD], [1, -1], 4),
        (ConfigError, r"seeds\[0\]: .* got 18446744073709551616", [GOOD], [2**64], 4),
    ],
)
def test_bad_calls(error, message, prompts, seeds, limit):
    with pytest.raises(error, match=message):
        engine_of(llama()).generate(prompts, Sampling(limit), seeds)


def test_the_greatest_position_can_be_reached():
    engine = engine_of(llama(), end_ids=())
    assert len(engine.generate([GOOD], Sampling(126), [2**64 - 1])[0].tokens) == 126


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ConfigError, "batch: expected at least 1, got 0", {"batch": 0}),
        (ConfigError, "prefill_tokens: expected at least 1, got 0", {"prefill_tokens": 0}),
        (TokenIdError, "end_ids: expected ids from 0 to 22, got 23", {"end_ids": [2, 23]}),
        (TokenIdError, "pad_id: expected ids from 0 to 22, got -1", {"pad_id": -1}),
    ],
)
def test_bad_engines(error, message, options):
    with pytest.raises(error, match=message):
        engine_of(llama(), **options)
