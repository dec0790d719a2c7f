"""What a batch says of each token is what a model in float64 says of one text alone."""

from __future__ import annotations

import copy
import math

import analysis_cases as cases
import numpy as np
import pytest
import torch

from icpo import ConfigError, DataError
from icpo.analysis.perplexity import Likelihood, likelihood, perplexity, summary
from icpo.analysis.replay import Continuation, replay


def continuations(seed: int, lengths) -> list[Continuation]:
    rng = np.random.default_rng(seed)
    some = lambda n: rng.integers(3, len(cases.WORDS), size=n)  # noqa: E731
    return [
        Continuation(some(before), some(after), f"text {number}")
        for number, (before, after) in enumerate(lengths)
    ]


LENGTHS = [(1, 1), (5, 20), (2, 7), (9, 0), (3, 7), (1, 40), (20, 2), (5, 20)]


def naive(model, text: Continuation):
    """Token by token: log-softmax in float64, and a count of greater logits."""
    ids = [*text.prompt.tolist(), *text.tokens.tolist()]
    logits = copy.deepcopy(model).double()(torch.tensor([ids])).logits[0]
    said = []
    for place in range(len(text.prompt), len(ids)):
        row = logits[place - 1].tolist()
        top = max(row)
        total = math.fsum(math.exp(value - top) for value in row)
        chances = [math.exp(value - top) / total for value in row]
        here = row[ids[place]]
        said.append(
            (
                math.log(chances[ids[place]]),
                -math.fsum(p * math.log(p) for p in chances),
                1 + sum(value > here for value in row),
            )
        )
    return said


@pytest.mark.parametrize("micro_tokens", [1, 70, 10_000])
def test_is_what_each_text_alone_gives_in_double_precision(micro_tokens):
    model, texts = cases.model(), continuations(0, LENGTHS)
    told = []
    found = replay(
        model, texts, micro_tokens=micro_tokens, progress=lambda *done: told.append(done)
    )
    assert len(found) == len(texts) and told[-1][1] == len(texts)
    for text, one in zip(texts, found, strict=True):
        expected = naive(model, text)
        assert len(one.logp) == len(one.entropy) == len(one.rank) == len(expected)
        for place, (logp, entropy, rank) in enumerate(expected):
            assert one.logp[place] == pytest.approx(logp, abs=2e-5)
            assert one.entropy[place] == pytest.approx(entropy, abs=2e-5)
            assert one.rank[place] == rank


def test_perplexity_is_that_of_double_precision():
    texts = [text for text in continuations(1, LENGTHS) if len(text.tokens)]
    models = {"a": cases.model(), "b": cases.model()}
    found = perplexity(
        texts, {name: list(map(likelihood, replay(of, texts))) for name, of in models.items()}
    )
    assert len(found) == 2 * len(texts)
    for row in found:
        logps = [logp for logp, _, _ in naive(models[row["model"]], texts[row["text"]])]
        assert row["perplexity"] == pytest.approx(math.exp(-sum(logps) / len(logps)), rel=1e-4)
    first, second = summary(found)
    logs = {
        name: [math.log(row["perplexity"]) for row in found if row["model"] == name]
        for name in models
    }
    below = sum(b < a for a, b in zip(logs["a"], logs["b"], strict=True)) / len(texts)
    assert second["below_first"] == pytest.approx(below)
    assert first["below_first"] is None
    tokens = [len(text.tokens) for text in texts]
    pooled = sum(log * n for log, n in zip(logs["a"], tokens, strict=True)) / sum(tokens)
    assert first["perplexity"] == pytest.approx(math.exp(pooled))
    assert first["median"] == pytest.approx(math.exp(np.median(logs["a"])))


def test_texts_without_a_token_have_no_perplexity():
    assert math.isnan(Likelihood(0.0, 0).perplexity)
    text = Continuation(np.array([3]), np.array([], np.int64), "empty")
    assert perplexity([text], {"a": [Likelihood(0.0, 0)]}) == []


def test_an_impossible_text_has_infinite_perplexity():
    assert Likelihood(-1e6, 2).perplexity == math.inf


def test_what_the_model_can_not_read_is_named():
    model = cases.model()
    with pytest.raises(ConfigError, match="text 0: expected at most 64 tokens, which is what"):
        replay(model, continuations(0, [(30, 35)]))
    with pytest.raises(DataError, match="text 0: expected a prompt before the text, got none"):
        replay(model, continuations(0, [(0, 3)]))
    with pytest.raises(ConfigError, match="micro_tokens: expected at least 1, got 0"):
        replay(model, [], micro_tokens=0)
