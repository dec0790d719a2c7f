"""Pretraining: the same recipe gives the same bits, and what it gives is a model."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from icpo.errors import ConfigError
from icpo.generation.torch_engine import TorchEngine
from icpo.tiny.corpus import Mixture
from icpo.tiny.evaluate import evaluate
from icpo.tiny.model import make_model
from icpo.tiny.pretrain import Recipe, pretrain
from icpo.tiny.tokenizer import make_tokenizer

#: Both stages of the corpus, several draws of documents.
SHORT = Recipe(steps=8, seed=3, drawn_at_once=30, batch_tokens=400, warmup=2)


def digest(model) -> str:
    weights = b"".join(weight.detach().numpy().tobytes() for weight in model.parameters())
    return hashlib.sha256(weights).hexdigest()


def test_same_recipe_same_bits_in_another_process():
    code = (
        "from test_tiny_pretrain import *\n"
        "torch.manual_seed(99)\n"
        "print(digest(pretrain(make_tokenizer(), SHORT)))"
    )
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    assert done.stdout.split() == [digest(pretrain(make_tokenizer(), SHORT))]


def test_seed_and_mixture_decide():
    tokenizer = make_tokenizer()
    recipes = [SHORT, replace(SHORT, seed=4), replace(SHORT, mixture=Mixture(bare=0.9))]
    assert len({digest(pretrain(tokenizer, recipe)) for recipe in recipes}) == 3


def test_random_weights_are_those_of_the_seed():
    tokenizer = make_tokenizer()
    assert digest(make_model(tokenizer, 1)) == digest(make_model(tokenizer, 1))
    assert digest(make_model(tokenizer, 1)) != digest(make_model(tokenizer, 2))


def test_what_is_global_stays_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pretrain(make_tokenizer(), SHORT)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_falls_from_that_of_a_uniform_guess():
    tokenizer = make_tokenizer()
    losses: list[tuple[int, float]] = []
    recipe = Recipe(steps=30, drawn_at_once=200, warmup=10)
    pretrain(tokenizer, recipe, lambda *each: losses.append(each))
    assert [step for step, _ in losses] == list(range(1, 31))
    assert losses[0][1] == pytest.approx(math.log(len(tokenizer)), abs=0.15)
    assert losses[-1][1] < losses[0][1] - 0.5


def test_padding_behind_a_text_changes_nothing():
    # Why pretraining needs no attention mask.
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, 0).eval()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, len(tokenizer), (2, 7), generator=generator)
    padded = torch.nn.functional.pad(tokens, (0, 5), value=tokenizer.pad_token_id)
    with torch.no_grad():
        torch.testing.assert_close(
            model(input_ids=padded).logits[:, :7], model(input_ids=tokens).logits
        )


def test_shape_of_the_model():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, 0)
    count = sum(weight.numel() for weight in model.parameters())
    layer = 4 * 64 * 64 + 3 * 64 * 128 + 2 * 64 + 2 * 32
    assert count == len(tokenizer) * 64 + 3 * layer + 64
    assert model.config.model_type == "qwen3"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_learning_rate():
    recipe = Recipe(steps=1000, warmup=50, learning_rate=1.0, last_rate=0.1)
    rates = np.array([recipe.rate(step) for step in range(1001)])
    np.testing.assert_allclose(rates[:50], np.arange(1, 51) / 50)
    np.testing.assert_allclose(rates[50:501], 1.0)
    np.testing.assert_allclose(rates[750], 0.55)
    np.testing.assert_allclose(rates[1000], 0.1)
    assert (np.diff(rates[500:]) <= 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected a number from 0, got -1"),
        ({"books_only": 1.5}, "books_only: expected 0 to 1, got 1.5"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"last_rate": 2.0}, "last_rate: expected 0 to 1, got 2.0"),
    ],
)
def test_recipes_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**settings)


@pytest.mark.slow
def test_the_recipe_makes_a_model_that_needs_a_demonstration():
    tokenizer = make_tokenizer()
    model = pretrain(tokenizer, Recipe())
    ids = {"end_ids": [tokenizer.eos_token_id], "pad_id": tokenizer.pad_token_id}
    accuracy = evaluate(TorchEngine(model, **ids), tokenizer)
    assert accuracy.one_shot >= 0.97
    # One topic of eight works by the habit.
    assert 0.03 <= accuracy.zero_shot <= 0.2
