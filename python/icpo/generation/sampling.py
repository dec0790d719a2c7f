"""From logits to a token: penalty, temperature, top-k, top-p, and one uniform number a token.

The uniform number is a hash of the prompt's seed and the token's position (splitmix64: a counter
goes in, 64 mixed bits come out). No generator has a state that neighbours could move on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icpo.generation.engine import Sampling
from icpo.generation.penalty import penalised

__all__ = ["choose", "kept", "uniforms"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: visits every 64-bit number

#: Logits taken at once: what is made of them (probabilities, sums in float64) is several times
#: their size, which for a large vocabulary would fill a GPU.
_LOGITS_AT_ONCE = 1 << 25


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finisher of splitmix64: each bit of the input turns about half of the output's."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed


def uniforms(seeds: Sequence[int], count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) for the first `count` tokens of each seed, (B, count).

    >>> uniforms([7], 3).round(3).tolist() == uniforms([5, 7], 4)[1:, :3].round(3).tolist()
    True
    """
    # Mixed first: else seeds one golden ratio apart would share a sequence, shifted by a token.
    keys = _mixed(np.array(seeds, dtype=np.uint64) * _GOLDEN)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    # 52 bits, not 53: (1 - 2**-52) times a sum is below that sum after rounding, too.
    bits = _mixed(keys[:, None] + steps) >> np.uint64(12)
    numbers: NDArray[np.float64] = bits.astype(np.float64) * 2.0**-52
    return numbers


def kept(probability: Tensor, sampling: Sampling) -> Tensor:
    """Which tokens top-k, and top-p of what it leaves, allow, (B, V).

    Among equally likely tokens those with the lower id come first.
    """
    ordered, order = probability.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        ordered[:, sampling.top_k :] = 0
    allowed = ordered > 0
    if sampling.top_p < 1:
        cumulative = ordered.cumsum(-1, dtype=torch.float64)
        # A token stays if those before it do not reach top_p.
        allowed &= cumulative - ordered < sampling.top_p * cumulative[:, -1:]
    return torch.empty_like(allowed).scatter_(-1, order, allowed)


def _drawn(weight: Tensor, uniform: Tensor) -> Tensor:
    """The token at whose weight `uniform` points, all weights laid end to end, (B,)."""
    # In float64, as the sum over a large vocabulary would swallow rare tokens in float32.
    ends = weight.cumsum(-1, dtype=torch.float64)
    # The first end beyond the point: never a token of weight 0.
    found = torch.searchsorted(ends, uniform[:, None] * ends[:, -1:], right=True)[:, 0]
    # Only NaN points past the last token; the caller sees it in the log-probability.
    return found.clamp_(max=weight.shape[-1] - 1)


def _tempered(scores: Tensor, sampling: Sampling) -> Tensor:
    return scores if sampling.temperature in (0, 1) else scores / sampling.temperature


def choose(
    logits: Tensor, uniform: Tensor, sampling: Sampling, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A token of each row, and its log-probability without penalty, top-k and top-p: (B,) and (B,).

    Args:
        logits: (B, V) in any floating dtype; the arithmetic is float32.
        uniform: (B,) float64 in [0, 1); not read at temperature 0.
        sampling: its `max_new_tokens` is not read.
        seen: (B, V) tokens that the repetition penalty falls on; None: there is no penalty.

    Rows with NaN, +inf, or nothing but -inf have the log-probability NaN.
    """
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    if len(logits) > rows:
        tokens, logps = zip(
            *(
                choose(
                    logits[part],
                    uniform[part],
                    sampling,
                    None if seen is None else seen[part],
                )
                for part in (slice(at, at + rows) for at in range(0, len(logits), rows))
            ),
            strict=True,
        )
        return torch.cat(tokens), torch.cat(logps)

    scores = logits.float()
    logp = _tempered(scores, sampling).log_softmax(-1)
    drawn = logp
    if seen is not None:
        scores = penalised(scores, seen, sampling.repetition_penalty)
        drawn = _tempered(scores, sampling).log_softmax(-1)
    if sampling.greedy:
        token = drawn.argmax(-1)
    else:
        weight = drawn.exp()
        if sampling.top_k or sampling.top_p < 1:
            weight = weight * kept(weight, sampling)
        token = _drawn(weight, uniform)
    return token, logp.gather(-1, token[:, None])[:, 0]
