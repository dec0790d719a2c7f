"""The tokenizer of the tiny model: one token for each word of its corpus.

A Hugging Face fast tokenizer, saved in the model folder. Decoding puts the tokens together again
without spaces, so text returns exactly as it was.
"""

from __future__ import annotations

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from icpo.tiny.words import BOS, EOS, PAD, WORDS

__all__ = ["make_tokenizer"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer.

    Encoding puts the start token in front and no end token behind. Text that is not made of these
    words can not be encoded: the tokenizer raises instead of guessing.
    """
    # Longest first, or " a=" would be read as something that ends in "=".
    longest_first = sorted(WORDS, key=len, reverse=True)
    words = Regex("|".join(re.escape(word) for word in longest_first))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, WORDS.index(BOS))]
    )
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in (PAD, BOS, EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
