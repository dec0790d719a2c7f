"""The tiny model's tokenizer: what goes in comes out."""

from __future__ import annotations

import random

import pytest
from transformers import AutoTokenizer

from icpo.demos import PromptBuilder, tokenizer_encoder
from icpo.tiny import split
from icpo.tiny.corpus import Mixture, draw_document
from icpo.tiny.tokenizer import make_tokenizer
from icpo.tiny.words import BOS, EOS, PAD, TEMPLATE, WORDS
from icpo.types import Demo, Problem


@pytest.fixture(scope="module", params=["made", "loaded"])
def tokenizer(request, tmp_path_factory):
    made = make_tokenizer()
    if request.param == "made":
        return made
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_words(tokenizer):
    assert len(set(WORDS)) == len(WORDS) == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(range(len(WORDS))) == list(WORDS)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (PAD, BOS, EOS)
    assert tokenizer.chat_template is None


def test_documents_return_as_they_were(tokenizer):
    rng = random.Random(1)
    for _ in range(1000):
        text = draw_document(rng, Mixture()).text
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids) == BOS + text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text.replace(EOS, "")


def test_tokens_return_as_they_were(tokenizer):
    # Whatever a policy writes: no two tokens run into another one.
    rng = random.Random(2)
    for _ in range(1000):
        ids = [rng.randrange(len(WORDS)) for _ in range(rng.randint(1, 30))]
        assert tokenizer(tokenizer.decode(ids), add_special_tokens=False).input_ids == ids


def test_only_the_start_is_added(tokenizer):
    ids = tokenizer_encoder(tokenizer)("Q:shop a=02 b=4?\nA:", False)
    assert ids == [
        tokenizer.bos_token_id,
        *tokenizer.convert_tokens_to_ids(["Q:", "shop", " a=", "0", "2", " b=", "4", "?", "\nA:"]),
    ]


def test_a_prompt_with_demonstrations_is_a_text_of_the_corpus(tokenizer):
    first, second, asked = split(0).demos[:3]
    demos = [Demo(str(i), each.question, each.solution()) for i, each in enumerate((first, second))]
    builder = PromptBuilder(TEMPLATE, tokenizer_encoder(tokenizer), 512)
    prompt = builder.expert(Problem("p", asked.question, asked.answer), demos).tokens
    text = (
        f"Q:{first.question}?\nA: {first.solution()}{EOS}"
        f"Q:{second.question}?\nA: {second.solution()}{EOS}"
        f"Q:{asked.question}?\nA:"
    )
    assert tokenizer.decode(prompt) == BOS + text


@pytest.mark.parametrize("text", ["Question: 1 + 1", "shop a=1 x=2", "shop  a=1"])
def test_other_text_is_refused(tokenizer, text):
    with pytest.raises(Exception, match="WordLevel"):
        tokenizer(text)
