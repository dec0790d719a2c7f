"""Sampling in this process from a transformers model; rows leave the batch as they finish."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icpo.errors import ConfigError, DataError, DTypeError, ShapeError, TokenIdError
from icpo.generation.batches import batches, parts
from icpo.generation.cache import RowCache, Vacancies
from icpo.generation.engine import Completion, Sampling
from icpo.generation.padding import left_padded, mask_for
from icpo.generation.penalty import seen_in
from icpo.generation.sampling import choose, uniforms
from icpo.generation.transcript import Transcript
from icpo.types import Tokens

__all__ = ["TorchEngine"]

#: Spare tokens that the cache starts with. It doubles what it has when that is used up: by then
#: most rows have left, so not every row pays for a limit that few reach.
_FIRST_ROOM = 128

#: Tokens between two looks at what was sampled, by device. Each look waits for the device.
_TOKENS_A_LOOK = {"cpu": 1}
_TOKENS_A_LOOK_ELSEWHERE = 16

#: Rows are dropped once no more than this share of them is running.
_WORTH_DROPPING = 0.95


class TorchEngine:
    """Continues prompts with a transformers causal language model, on its device, in its dtype.

    Prompts of similar length are batched; equal prompts are read once and their keys and values
    copied; finished rows leave the batch.

    A completion depends on its prompt and seed alone, up to rounding: matrix products of other
    shapes round differently, by about 1e-7 of a logit in float32 and 1e-2 in bfloat16. So if a
    prompt is computed among other neighbours, its log-probabilities may differ in the last digits,
    and a token whose uniform number falls that close to a boundary may be another. The same call
    on the same machine and threads gives the same bits, if the model's forward pass does.
    """

    def __init__(
        self,
        model: nn.Module,  # a transformers model
        *,
        end_ids: Sequence[int],
        pad_id: int = 0,
        batch: int = 256,
        prefill_tokens: int = 16384,
        autocast: torch.dtype | None = None,
    ) -> None:
        """An engine for this model, whose weights may change between calls.

        Args:
            model: any whose layers all have attention and whose forward takes `position_ids`,
                `past_key_values` and `logits_to_keep`; with adapters of peft or without.
            end_ids: tokens that end a completion.
            pad_id: any token of the vocabulary; it fills rows and is never attended to.
            batch: rows computed at once.
            prefill_tokens: prompt tokens in a forward pass, padding included; a longer prompt has
                one of its own.
            autocast: what ``torch.autocast`` computes in, for a model that is trained so.
        """
        if batch < 1:
            raise ConfigError(f"batch: expected at least 1, got {batch}")
        if prefill_tokens < 1:
            raise ConfigError(f"prefill_tokens: expected at least 1, got {prefill_tokens}")
        # Any: its attributes are those of transformers' models, which a peft model hands on.
        self._model = cast(Any, model)
        self._config: Any = self._model.config.get_text_config()
        self._vocabulary = int(self._model.get_input_embeddings().weight.shape[0])
        for name, ids in {"end_ids": end_ids, "pad_id": [pad_id]}.items():
            for token in ids:
                if not 0 <= token < self._vocabulary:
                    raise TokenIdError(
                        f"{name}: expected ids from 0 to {self._vocabulary - 1}, got {token}"
                    )
        self._end_ids: NDArray[np.int64] = np.array(list(end_ids), dtype=np.int64)
        self._pad_id, self._batch, self._prefill_tokens = pad_id, batch, prefill_tokens
        self._autocast = autocast

    def generate(
        self,
        prompts: Sequence[Tokens],  # (B,) of (P_i,)
        sampling: Sampling,
        seeds: Sequence[int],  # (B,)
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """A completion of each prompt, in their order.

        Raises:
            ShapeError: a prompt is empty or no vector, or there are more or fewer seeds.
            DTypeError: a prompt is not made of integers.
            TokenIdError: an id outside the vocabulary.
            DataError: a prompt with its completion could exceed the model's positions.
            ConfigError: a seed is no unsigned 64-bit number.
            NonFiniteError: the model's logits are NaN or infinite.
        """
        self._check(prompts, sampling, seeds)
        completions: dict[int, Completion] = {}
        # Around everything: the weights are cast once.
        autocast = torch.autocast(
            self._device.type, dtype=self._autocast, enabled=self._autocast is not None
        )
        with torch.no_grad(), autocast, _evaluating(self._model):
            for rows in batches(prompts, self._batch):
                for finished in self._continue(rows, prompts, sampling, seeds):
                    completions |= finished
                    if progress is not None:
                        progress(len(completions))
        return [completions[row] for row in range(len(prompts))]

    def _continue(
        self,
        rows: Sequence[int],
        prompts: Sequence[Tokens],
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> Iterator[dict[int, Completion]]:
        """Continues these prompts together; completions by prompt, as they finish."""
        limit = sampling.max_new_tokens
        transcript = Transcript(rows, limit, self._end_ids)
        mine = [prompts[row] for row in rows]
        batch, logits = self._read(mine, limit)
        device = logits.device
        penalty = sampling.repetition_penalty != 1
        seen = seen_in(mine, logits.shape[-1], device) if penalty else None
        uniform = torch.from_numpy(uniforms([seeds[row] for row in rows], limit)).to(device)
        look = _TOKENS_A_LOOK.get(device.type, _TOKENS_A_LOOK_ELSEWHERE)
        unread: list[tuple[Tensor, Tensor]] = []
        for step in range(limit):
            token, logp = choose(logits, uniform[:, step], sampling, seen)
            if seen is not None:
                seen.scatter_(1, token[:, None], True)
            unread.append((token, logp))
            if len(unread) == look or step + 1 == limit:
                tokens, logps = (torch.stack(part, dim=1) for part in zip(*unread, strict=True))
                unread.clear()
                if finished := transcript.add(tokens.cpu().numpy(), logps.cpu().numpy()):
                    yield finished
                if transcript.running == 0:
                    return
                if transcript.running <= _WORTH_DROPPING * transcript.slots:
                    vacancies = transcript.drop(device)
                    batch.close(vacancies)
                    token, uniform = vacancies.close(token), vacancies.close(uniform)
                    seen = None if seen is None else vacancies.close(seen)
            logits = self._append(batch, token, limit - 1 - step)

    def _read(self, prompts: Sequence[Tokens], limit: int) -> tuple[_Batch, Tensor]:
        """Reads the prompts of a batch, equal ones adjacent; also the logits of what follows."""
        width = max(map(len, prompts))
        cache: RowCache | None = None
        logits: list[Tensor] = []
        start = 0
        for unique, copies in parts(prompts, self._prefill_tokens):
            part = left_padded(unique, self._pad_id, self._device)
            length = part.ids.shape[1]
            read = RowCache(self._config.num_hidden_layers)
            mask = self._mask(part.padding, range(length), length)
            answer = self._forward(part.ids, part.positions, mask, read)
            origin = torch.from_numpy(np.repeat(np.arange(len(unique)), copies)).to(self._device)
            if cache is None:
                cache = read.blank(len(prompts), width, width + min(limit, _FIRST_ROOM))
            cache.place(read, slice(start, start + len(origin)), origin)
            start += len(origin)
            logits.append(answer[origin])
        assert cache is not None  # a batch has prompts
        padding = torch.tensor([width - len(prompt) for prompt in prompts], device=self._device)
        end = width + limit
        batch = _Batch(cache, padding, self._mask(padding, range(end - 1, end), end))
        return batch, torch.cat(logits)

    def _append(self, batch: _Batch, token: Tensor, left: int) -> Tensor:
        """Adds a token to each row, of at most `left` more; the logits of the next."""
        cache, length = batch.cache, batch.cache.length
        if length == cache.capacity:
            cache.reserve(length + min(length, left))
        mask = None if batch.mask is None else batch.mask[..., : length + 1]
        return self._forward(token[:, None], (length - batch.padding)[:, None], mask, cache)

    def _mask(self, padding: Tensor, queries: range, keys: int) -> Tensor | None:
        """None without padding: then transformers takes faster ways."""
        if not padding.any():
            return None
        return mask_for(self._config)(padding, queries, keys, self._dtype)

    def _forward(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: RowCache
    ) -> Tensor:
        """The logits that follow the last token of each row, (B, V)."""
        answer = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = answer.logits[:, -1]
        return logits

    @property
    def _embedding(self) -> Tensor:
        weight: Tensor = self._model.get_input_embeddings().weight
        return weight

    @property
    def _device(self) -> torch.device:
        return self._embedding.device

    @property
    def _dtype(self) -> torch.dtype:
        return self._embedding.dtype

    def _check(self, prompts: Sequence[Tokens], sampling: Sampling, seeds: Sequence[int]) -> None:
        if len(seeds) != len(prompts):
            raise ShapeError(f"seeds: expected {len(prompts)}, one a prompt, got {len(seeds)}")
        for index, seed in enumerate(map(operator.index, seeds)):
            if not 0 <= seed < 2**64:
                raise ConfigError(f"seeds[{index}]: expected 0 to 2**64 - 1, got {seed}")
        positions = getattr(self._config, "max_position_embeddings", None)
        for index, prompt in enumerate(prompts):
            self._check_prompt(f"prompts[{index}]", prompt)
            if positions is not None and len(prompt) + sampling.max_new_tokens > positions:
                raise DataError(
                    f"prompts[{index}]: expected at most {positions} tokens, the model's positions,"
                    f" got {len(prompt)} and {sampling.max_new_tokens} new ones"
                )

    def _check_prompt(self, name: str, prompt: Tokens) -> None:
        if prompt.ndim != 1 or len(prompt) == 0:
            raise ShapeError(f"{name}: expected (P,) with P from 1, got {prompt.shape}")
        if not np.issubdtype(prompt.dtype, np.integer):
            raise DTypeError(f"{name}: expected integers, got {prompt.dtype}")
        least, greatest = int(prompt.min()), int(prompt.max())
        if least < 0 or greatest >= self._vocabulary:
            wrong = least if least < 0 else greatest
            raise TokenIdError(
                f"{name}: expected ids from 0 to {self._vocabulary - 1}, got {wrong}"
            )


@dataclass
class _Batch:
    """The rows that are being continued, on the device."""

    cache: RowCache
    #: In front of each row.
    padding: Tensor  # (B,)
    #: Of one query and all keys that there may ever be.
    mask: Tensor | None  # (B, ..., keys)

    def close(self, vacancies: Vacancies) -> None:
        """Keeps the rows that stay."""
        self.cache.close(vacancies)
        self.padding = vacancies.close(self.padding)
        if self.mask is not None:
            self.mask = vacancies.close(self.mask)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout; afterwards each module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
