"""From logits to tokens: frequencies against the exact distribution, filters by brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from icpo.generation import Sampling
from icpo.generation import sampling as module
from icpo.generation.sampling import choose, kept, uniforms


def distribution(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """What tokens are sampled with, by definition, one row, (V,)."""
    scaled = logits.astype(np.float64) / sampling.temperature
    weight = np.exp(scaled - scaled.max())
    probability = weight / weight.sum()
    order = sorted(range(len(logits)), key=lambda token: (-probability[token], token))
    if sampling.top_k:
        order = order[: sampling.top_k]
    total = sum(probability[token] for token in order)
    allowed, reached = [], 0.0
    for token in order:
        allowed.append(token)
        reached += probability[token] / total
        if sampling.top_p < 1 and reached >= sampling.top_p:
            break
    filtered = np.zeros(len(logits))
    filtered[allowed] = probability[allowed]
    return filtered / filtered.sum()


def chi_square_excess(counts: np.ndarray, probability: np.ndarray) -> float:
    """By how many standard deviations the statistic exceeds its mean; rare tokens pooled."""
    expected = probability * counts.sum()
    rare = expected < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    freedom = len(expected) - 1
    return float((((observed - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


SETTINGS = [
    Sampling(1, temperature=temperature, top_p=top_p, top_k=top_k)
    for temperature, (top_p, top_k) in itertools.product(
        (0.5, 1.0, 1.7), ((1.0, 0), (0.8, 0), (1.0, 7), (0.6, 9))
    )
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_frequencies(sampling):
    draws = 40_000
    logits = np.random.default_rng(3).normal(0, 0.4, 19).astype(np.float32)
    rows = torch.from_numpy(logits).expand(draws, -1)
    uniform = torch.from_numpy(uniforms(range(draws), 1)[:, 0])
    token, logp = choose(rows, uniform, sampling)
    counts = np.bincount(token.numpy(), minlength=19)
    exact = distribution(logits, sampling)
    assert (counts[exact == 0] == 0).all()
    assert chi_square_excess(counts, exact) < 5
    # The statistic would have noticed another temperature.
    other = distribution(logits, replace(sampling, temperature=sampling.temperature * 1.15))
    assert chi_square_excess(counts, other) > 10
    # The filters do not change what is reported.
    unfiltered = distribution(logits, Sampling(1, temperature=sampling.temperature))
    np.testing.assert_allclose(logp.numpy(), np.log(unfiltered[token.numpy()]), atol=2e-6)


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_filters_by_brute_force(sampling):
    rng = np.random.default_rng(4)
    for spread, vocabulary in itertools.product((0.01, 1.0, 8.0), (1, 2, 7, 31)):
        logits = rng.normal(0, spread, (16, vocabulary)).astype(np.float32)
        probability = (torch.from_numpy(logits) / sampling.temperature).softmax(-1)
        allowed = kept(probability, sampling).numpy()
        exact = np.stack([distribution(row, sampling) for row in logits])
        # Below that, float32 has no probability but 0.
        representable = probability.numpy() > 0
        assert (allowed == (exact > 0))[representable].all()
        assert (exact[~representable] < 1e-37).all() and not allowed[~representable].any()


def test_ties_go_to_the_lower_id():
    logits = torch.zeros(1, 6)
    assert kept(logits.softmax(-1), Sampling(1, top_k=2))[0].tolist() == [True] * 2 + [False] * 4
    assert kept(logits.softmax(-1), Sampling(1, top_p=0.4))[0].tolist() == [True] * 3 + [False] * 3
    assert choose(logits, torch.zeros(1), Sampling(1, temperature=0))[0].tolist() == [0]


def test_the_inverse_of_the_distribution_function():
    """Each uniform number picks the token in whose share of the unit interval it lies."""
    logits = torch.tensor([[1.0, -2.0, 0.5, 3.0]]).log_softmax(-1)
    ends = np.cumsum(logits.double().exp().numpy()[0])
    grid = (np.arange(4001) + 0.5) / 4001
    token, _ = choose(logits.expand(len(grid), -1), torch.from_numpy(grid), Sampling(1))
    assert (token.numpy() == np.searchsorted(ends, grid, side="right")).all()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-52])
@pytest.mark.parametrize("sampling", [Sampling(1), Sampling(1, top_k=2), Sampling(1, top_p=0.5)])
def test_no_token_of_probability_zero(uniform, sampling):
    """Not even at the ends of the interval, where the sum does not round to one."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        logits = rng.normal(0, 3, (1, 40)).astype(np.float32)
        logits[0, :5] = logits[0, -5:] = -np.inf
        token, logp = choose(
            torch.from_numpy(logits), torch.tensor([uniform], dtype=torch.float64), sampling
        )
        assert distribution(logits[0], sampling)[token.item()] > 0
        assert torch.isfinite(logp).all()


def test_greedy_takes_the_greatest_and_reports_it_at_temperature_one():
    logits = torch.randn(50, 11)
    token, logp = choose(logits, torch.zeros(50), Sampling(1, temperature=0))
    assert torch.equal(token, logits.argmax(-1))
    assert torch.allclose(logp, logits.log_softmax(-1).amax(-1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_float32(dtype):
    logits = torch.randn(64, 33).to(dtype)
    uniform = torch.rand(64, dtype=torch.float64)
    for sampling in SETTINGS:
        narrow, wide = (choose(given, uniform, sampling) for given in (logits, logits.float()))
        assert torch.equal(narrow[0], wide[0]) and torch.equal(narrow[1], wide[1])
        assert narrow[1].dtype == torch.float32


def test_a_large_batch_is_taken_in_pieces(monkeypatch):
    logits, uniform = torch.randn(37, 11), torch.rand(37, dtype=torch.float64)
    for sampling in SETTINGS:
        whole = choose(logits, uniform, sampling)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_LOGITS_AT_ONCE", 50)
            pieces = choose(logits, uniform, sampling)
        assert torch.equal(whole[0], pieces[0]) and torch.equal(whole[1], pieces[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "sampling", [Sampling(1), Sampling(1, temperature=0), Sampling(1, top_k=3)]
)
def test_bad_logits_show_in_the_log_probability_of_their_row_alone(bad, sampling):
    logits = torch.randn(3, 9)
    logits[1, 4] = bad
    token, logp = choose(logits, torch.full((3,), 0.5, dtype=torch.float64), sampling)
    assert torch.isfinite(logp).tolist() == [True, False, True]
    assert ((token >= 0) & (token < 9)).all()


def test_the_hash_is_splitmix64():
    """Its published first outputs for seed 1234567."""
    state = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert module._mixed(state).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def spelled_out(seed: int, position: int) -> float:
    """`uniforms` in Python's own integers."""

    def mixed(bits: int) -> int:
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % 2**64
        return bits ^ (bits >> 31)

    golden = 0x9E3779B97F4A7C15
    bits = mixed((mixed(seed * golden % 2**64) + (position + 1) * golden) % 2**64)
    return (bits >> 12) / 2**52


def test_uniform_numbers_by_seed_and_position():
    seeds = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15]
    table = uniforms(seeds, 5)
    assert table.tolist() == [[spelled_out(seed, t) for t in range(5)] for seed in seeds]
    assert uniforms(seeds[::-1], 3).tolist() == table[::-1, :3].tolist()
    assert uniforms([], 3).shape == (0, 3)


def test_uniform_numbers_are_uniform_and_independent_of_their_neighbours():
    table = uniforms(range(400), 400)
    assert table.min() >= 0 and table.max() < 1
    cells = (table * 8).astype(int)
    flat = np.full(64, 1 / 64)
    for first, second in (
        (cells[:-1], cells[1:]),  # the next seed
        (cells[:, :-1], cells[:, 1:]),  # the next position
        (cells[:-1, 1:], cells[1:, :-1]),  # a sequence shifted by one
    ):
        pairs = np.bincount((first * 8 + second).ravel(), minlength=64)
        assert abs(chi_square_excess(pairs, flat)) < 5
    # Seeds a golden ratio apart are successive states of one splitmix64 sequence.
    apart = uniforms([11, (11 + 0x9E3779B97F4A7C15) % 2**64], 50)
    assert not np.isin(apart[0], apart[1]).any()
