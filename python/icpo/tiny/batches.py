"""From documents to batches: which tokens are learnt, and which texts share a batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from icpo.tiny.corpus import Document, Mixture, draw_document
from icpo.types import Tokens

__all__ = ["IGNORED", "Text", "bucket", "draw_batches", "encode"]

#: Target of a token that is not learnt.
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Text:
    """A document as tokens."""

    tokens: Tokens  # (L,)
    #: Whether each token is to be predicted.
    learnt: NDArray[np.bool_]  # (L,)


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> Text:
    """The tokens of a document.

    What stands in a question is not learnt, since it can not be foreseen; nor is the first exercise
    of an excerpt, which shows the author's rule.
    """
    ids = tokenizer.backend_tokenizer.encode(document.text).ids
    tokens: Tokens = np.asarray(ids, dtype=np.int64)
    question, answer = tokenizer.convert_tokens_to_ids(["Q:", "\nA:"])
    begins, ends = tokens == question, tokens == answer
    learnt = (np.cumsum(begins) == np.cumsum(ends)) | begins
    if document.kind == "excerpt":
        learnt[: np.argmax(tokens == tokenizer.eos_token_id) + 1] = False
    return Text(tokens, learnt)


def bucket(texts: Sequence[Text], batch_tokens: int) -> list[list[Text]]:
    """Batches of texts of like length, each of at most so many tokens, padding counted in.

    A text that is longer has a batch of its own.
    """
    batches: list[list[Text]] = []
    for text in sorted(texts, key=lambda text: len(text.tokens)):
        # This one would be the longest of the last batch, to which the others are padded.
        if not batches or (len(batches[-1]) + 1) * len(text.tokens) > batch_tokens:
            batches.append([])
        batches[-1].append(text)
    return batches


def draw_batches(
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    mixture: Mixture,
    *,
    documents: int,
    batch_tokens: int,
) -> list[tuple[Tensor, Tensor]]:
    """Batches of random documents in random order: tokens and their targets, both (B, T)."""
    texts = [encode(tokenizer, draw_document(rng, mixture)) for _ in range(documents)]
    grouped = bucket(texts, batch_tokens)
    rng.shuffle(grouped)
    return [_pad(batch, tokenizer.pad_token_id) for batch in grouped]


def _pad(batch: Sequence[Text], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(text.tokens) for text in batch)
    tokens = np.full((len(batch), longest), pad, dtype=np.int64)
    targets = np.full((len(batch), longest), IGNORED, dtype=np.int64)
    for row, text in enumerate(batch):
        length = len(text.tokens)
        tokens[row, :length] = text.tokens
        targets[row, :length] = np.where(text.learnt, text.tokens, IGNORED)
    return torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets[:, 1:])
