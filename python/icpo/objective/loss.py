"""The loss on numpy arrays: values and gradients, no torch needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo import _core
from icpo.errors import DTypeError, ShapeError
from icpo.objective.config import LossConfig
from icpo.objective.layout import BatchLayout
from icpo.objective.memory import as_array, as_bools, as_floats, as_integers, view
from icpo.objective.metrics import LossMetrics

__all__ = [
    "FusedLoss",
    "LinearLoss",
    "PolicyLoss",
    "TokenStats",
    "fused_policy_loss",
    "linear_policy_loss",
    "logp_entropy",
    "policy_loss",
    "token_rank",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class TokenStats:
    """What one pass over the logits finds, each of shape (B, T) or (N,)."""

    #: ln p of the selected token, float32.
    logp: Array
    #: -Σ p ln p in nats, float32.
    entropy: Array
    #: 1 + the number of tokens with a greater logit, int64 (eq. 13).
    rank: Array


@dataclass(frozen=True)
class PolicyLoss:
    """A loss of log-probabilities with its gradient."""

    loss: float
    #: ∂loss/∂logp, shape and dtype of ``logp``.
    d_logp: Array
    #: ∂loss/∂entropy, likewise.
    d_entropy: Array
    metrics: LossMetrics


@dataclass(frozen=True)
class FusedLoss:
    """A loss of logits with its gradient."""

    loss: float
    #: ∂loss/∂logits, shape and dtype of ``logits``; the very array where that was overwritten.
    dlogits: Array
    #: ln p of the selected token, float32; 0 where the mask leaves a token out.
    logp: Array
    #: -Σ p ln p in nats, float32; 0 where the mask leaves a token out.
    entropy: Array
    metrics: LossMetrics


@dataclass(frozen=True)
class LinearLoss:
    """A loss of hidden states with its gradients."""

    loss: float
    #: ∂loss/∂hidden, float32.
    d_hidden: Array
    #: ∂loss/∂weight, float32.
    d_weight: Array
    metrics: LossMetrics


def _logits(logits: Array) -> Array:
    array = as_array("logits", logits)
    if array.ndim not in (2, 3):
        raise ShapeError(f"logits: expected shape (N, V) or (B, T, V), got {array.shape}")
    if array.dtype.name not in ("float32", "float16", "bfloat16"):
        raise DTypeError(
            f"logits: expected dtype float32, bfloat16 or float16, got {array.dtype.name}"
        )
    return array


def _temperature(temperature: float | ArrayLike, shape: tuple[int, ...]) -> Any:
    """A number, or a view of one number a token (which the caller keeps alive)."""
    if np.ndim(temperature) == 0:
        return float(np.asarray(temperature, dtype=np.float64))
    values = as_floats("temperature", temperature, np.float64)
    if values.shape != shape:
        raise ShapeError(f"temperature: expected a number or shape {shape}, got {values.shape}")
    return view(values)


def logp_entropy(
    logits: Array,
    ids: ArrayLike,
    temperature: float | ArrayLike = 1.0,
    *,
    check: bool = True,
) -> TokenStats:
    """Log-probability, entropy and rank of selected tokens, in one pass over the logits.

    Args:
        logits: (N, V) or (B, T, V), float32, float16 or bfloat16 (of ml_dtypes).
        ids: (N,) or (B, T) the selected tokens.
        temperature: divides the logits; a number, or one for each token.
        check: whether NaN, +inf, rows of nothing but -inf, and selected tokens with a logit of
            -inf are errors (`NonFiniteError`), or give NaN and -inf.
    """
    logits = _logits(logits)
    tokens = as_integers("ids", ids)
    shape = logits.shape[:-1]
    if tokens.shape != shape:
        raise ShapeError(f"ids: expected shape {shape}, got {tokens.shape}")
    logp, entropy = np.empty(shape, np.float32), np.empty(shape, np.float32)
    rank = np.empty(shape, np.int64)
    _core.logp_entropy(
        view(logits),
        view(tokens),
        _temperature(temperature, shape),
        check,
        logp=view(logp),
        entropy=view(entropy),
        rank=view(rank),
        saved=view(np.empty((*shape, 4), np.float64)),
    )
    return TokenStats(logp, entropy, rank)


def token_rank(logits: Array, ids: ArrayLike, *, check: bool = True) -> Array:
    """1 + the number of tokens with a greater logit than the selected one (eq. 13)."""
    return logp_entropy(logits, ids, check=check).rank


def _batch(
    layout: BatchLayout,
    dtype: type[np.floating],
    old_logp: ArrayLike,
    advantage: ArrayLike,
    loss_mask: ArrayLike | None,
    expert_mask: ArrayLike | None,
    behavior_logp: ArrayLike | None,
    ref_logp: ArrayLike | None,
    cu_seqlens: ArrayLike | None,
    config: LossConfig,
    denominator: float | None,
) -> dict[str, Any]:
    """The arguments that all losses share, checked, as the core takes them."""
    arrays = {
        name: None if values is None else as_floats(name, values, dtype)
        for name, values in (
            ("old_logp", old_logp),
            ("advantage", advantage),
            ("behavior_logp", behavior_logp),
            ("ref_logp", ref_logp),
        )
    }
    mask = np.ones(layout.shape, bool) if loss_mask is None else as_bools("loss_mask", loss_mask)
    expert = None if expert_mask is None else as_bools("expert_mask", expert_mask)
    offsets = None if cu_seqlens is None else as_integers("cu_seqlens", cu_seqlens)
    shapes = {name: None if array is None else array.shape for name, array in arrays.items()}
    by_row = {
        "advantage": shapes.pop("advantage"),
        "expert_mask": None if expert is None else expert.shape,
    }
    layout.check_per_token({**shapes, "loss_mask": mask.shape})
    layout.check_per_token_or_row(by_row)
    weights = _core.TokenWeights(
        view(mask),
        None if expert is None else view(expert),
        config,
        shape=layout.padded_shape,
        cu_seqlens=None if offsets is None else view(offsets),
        denominator=denominator,
    )
    views = {name: None if array is None else view(array) for name, array in arrays.items()}
    return {"weights": weights, **views}


def _layout(argument: str, shape: tuple[int, ...], cu_seqlens: ArrayLike | None) -> BatchLayout:
    return BatchLayout.of(argument, shape, None if cu_seqlens is None else np.shape(cu_seqlens))


def policy_loss(
    logp: ArrayLike,
    old_logp: ArrayLike,
    advantage: ArrayLike,
    loss_mask: ArrayLike | None = None,
    expert_mask: ArrayLike | None = None,
    *,
    behavior_logp: ArrayLike | None = None,
    ref_logp: ArrayLike | None = None,
    entropy: ArrayLike | None = None,
    cu_seqlens: ArrayLike | None = None,
    config: LossConfig | None = None,
    denominator: float | None = None,
    check: bool = True,
) -> PolicyLoss:
    """The policy loss (eq. 10) of log-probabilities, with its gradient.

    Arguments are those of `icpo.ops.policy_loss`; the gradient comes with the result.
    """
    config = config or LossConfig()
    array = as_array("logp", logp)
    dtype = np.float64 if array.dtype == np.float64 else np.float32
    values = as_floats("logp", array, dtype)
    layout = _layout("logp", values.shape, cu_seqlens)
    batch = _batch(
        layout,
        dtype,
        old_logp,
        advantage,
        loss_mask,
        expert_mask,
        behavior_logp,
        ref_logp,
        cu_seqlens,
        config,
        denominator,
    )
    spread = None if entropy is None else as_floats("entropy", entropy, dtype)
    layout.check_per_token({"entropy": None if spread is None else spread.shape})
    d_logp, d_entropy = np.empty_like(values), np.empty_like(values)
    loss, sums = _core.policy_loss(
        batch,
        view(values),
        config,
        check,
        entropy=None if spread is None else view(spread),
        d_logp=view(d_logp),
        d_entropy=view(d_entropy),
    )
    return PolicyLoss(loss, d_logp, d_entropy, LossMetrics(np.array(sums)))


def fused_policy_loss(
    logits: Array,
    ids: ArrayLike,
    old_logp: ArrayLike,
    advantage: ArrayLike,
    loss_mask: ArrayLike | None = None,
    expert_mask: ArrayLike | None = None,
    *,
    temperature: float | ArrayLike = 1.0,
    behavior_logp: ArrayLike | None = None,
    ref_logp: ArrayLike | None = None,
    cu_seqlens: ArrayLike | None = None,
    config: LossConfig | None = None,
    denominator: float | None = None,
    inplace: bool = False,
    check: bool = True,
) -> FusedLoss:
    """The policy loss of logits, with their gradient in the same trip through memory.

    Arguments are those of `icpo.ops.fused_policy_loss`. With ``inplace`` the gradient overwrites
    ``logits``. If a logit turns out to be NaN or +inf only then, the row at fault is left as it
    was and others hold their gradient already; all other checks come first.
    """
    config = config or LossConfig()
    logits = _logits(logits)
    tokens = as_integers("ids", ids)
    shape = logits.shape[:-1]
    if tokens.shape != shape:
        raise ShapeError(f"ids: expected shape {shape}, got {tokens.shape}")
    layout = _layout("ids", shape, cu_seqlens)
    dtype = np.float64 if as_array("old_logp", old_logp).dtype == np.float64 else np.float32
    batch = _batch(
        layout,
        dtype,
        old_logp,
        advantage,
        loss_mask,
        expert_mask,
        behavior_logp,
        ref_logp,
        cu_seqlens,
        config,
        denominator,
    )
    dlogits = logits if inplace else np.empty(logits.shape, logits.dtype)
    logp, entropy = np.empty(shape, np.float32), np.empty(shape, np.float32)
    # Of use to a backward pass only.
    unused = [np.empty(size, np.float64) for size in ((*shape, 4), shape, shape)]
    loss, sums = _core.fused_policy_loss(
        batch,
        view(logits),
        view(tokens),
        _temperature(temperature, shape),
        config,
        check,
        in_place=inplace,
        dlogits=None if inplace else view(dlogits),
        outputs=dict(
            zip(
                ("logp", "entropy", "saved", "d_logp", "d_entropy"),
                map(view, (logp, entropy, *unused)),
                strict=True,
            )
        ),
    )
    return FusedLoss(loss, dlogits, logp, entropy, LossMetrics(np.array(sums)))


def linear_policy_loss(
    hidden: ArrayLike,
    weight: ArrayLike,
    ids: ArrayLike,
    old_logp: ArrayLike,
    advantage: ArrayLike,
    loss_mask: ArrayLike | None = None,
    expert_mask: ArrayLike | None = None,
    *,
    temperature: float | ArrayLike = 1.0,
    behavior_logp: ArrayLike | None = None,
    ref_logp: ArrayLike | None = None,
    cu_seqlens: ArrayLike | None = None,
    config: LossConfig | None = None,
    denominator: float | None = None,
    chunk: int = 4096,
    check: bool = True,
) -> LinearLoss:
    """The policy loss of logits ``hidden @ weight.T``, of which ``chunk`` rows exist at a time.

    Arguments are those of `icpo.ops.linear_policy_loss`, in float32.
    """
    config = config or LossConfig()
    states, head = as_floats("hidden", hidden, np.float32), as_floats("weight", weight, np.float32)
    tokens = as_integers("ids", ids)
    if states.ndim != tokens.ndim + 1 or states.shape[:-1] != tokens.shape:
        raise ShapeError(
            f"hidden: expected shape (*{tokens.shape}, H) to go with ids, got {states.shape}"
        )
    if head.ndim != 2 or head.shape[1] != states.shape[-1]:
        raise ShapeError(f"weight: expected shape (V, {states.shape[-1]}), got {head.shape}")
    if chunk < 1:
        raise ShapeError(f"chunk: expected a number of tokens > 0, got {chunk}")
    layout = _layout("ids", tokens.shape, cu_seqlens)
    dtype = np.float64 if as_array("old_logp", old_logp).dtype == np.float64 else np.float32
    batch = _batch(
        layout,
        dtype,
        old_logp,
        advantage,
        loss_mask,
        expert_mask,
        behavior_logp,
        ref_logp,
        cu_seqlens,
        config,
        denominator,
    )
    d_hidden, d_weight = np.empty_like(states), np.empty_like(head)
    loss, sums = _core.linear_policy_loss(
        batch,
        view(states.reshape(-1, states.shape[-1])),
        view(head),
        view(tokens),
        _temperature(temperature, tokens.shape),
        config,
        check,
        chunk,
        d_hidden=view(d_hidden),
        d_weight=view(d_weight),
    )
    return LinearLoss(loss, d_hidden, d_weight, LossMetrics(np.array(sums)))
