from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

from icpo.objective.config import LossConfig

__all__ = [
    "AGGREGATIONS",
    "BASELINES",
    "KLS",
    "LOSS_SUMS",
    "OFF_RATIOS",
    "ROLLOUT_SUMS",
    "STDS",
    "TensorView",
    "TokenWeights",
    "__version__",
    "bonus_gamma",
    "fused_chunk",
    "fused_policy_loss",
    "group_advantages",
    "linear_policy_loss",
    "logp_entropy",
    "logp_entropy_backward",
    "num_threads",
    "policy_loss",
    "rollout_sums",
    "set_num_threads",
    "validate_config",
]

__version__: str
LOSS_SUMS: list[str]
ROLLOUT_SUMS: list[str]
OFF_RATIOS: list[str]
KLS: list[str]
AGGREGATIONS: list[str]
STDS: list[str]
BASELINES: list[str]

@final
class TensorView:
    def __new__(
        cls,
        address: int,
        shape: Sequence[int],
        strides: Sequence[int],
        dtype: str,
        writable: bool,
        owner: Any,
    ) -> TensorView: ...

@final
class TokenWeights:
    def __new__(
        cls,
        loss_mask: TensorView,
        expert_mask: TensorView | None,
        config: LossConfig,
        *,
        shape: tuple[int, int] | None = None,
        cu_seqlens: TensorView | None = None,
        denominator: float | None = None,
    ) -> TokenWeights: ...
    def row_sums(self) -> list[float]: ...

# weights, old_logp, advantage, behavior_logp and ref_logp by name, the last two perhaps None.
_Batch: TypeAlias = Mapping[str, TokenWeights | TensorView | None]

def set_num_threads(threads: int) -> None: ...
def num_threads() -> int: ...
def validate_config(config: LossConfig) -> None: ...
def logp_entropy(
    logits: TensorView,
    ids: TensorView,
    temperature: float | TensorView,
    check: bool,
    *,
    logp: TensorView,
    entropy: TensorView,
    rank: TensorView,
    saved: TensorView,
) -> None: ...
def logp_entropy_backward(
    logits: TensorView,
    ids: TensorView,
    temperature: float | TensorView,
    *,
    saved: TensorView,
    d_logp: TensorView,
    d_entropy: TensorView,
    dlogits: TensorView,
) -> None: ...
def policy_loss(
    batch: _Batch,
    logp: TensorView,
    config: LossConfig,
    check: bool,
    *,
    entropy: TensorView | None = None,
    d_logp: TensorView,
    d_entropy: TensorView,
) -> tuple[float, list[float]]: ...
def fused_policy_loss(
    batch: _Batch,
    logits: TensorView,
    ids: TensorView,
    temperature: float | TensorView,
    config: LossConfig,
    check: bool,
    *,
    in_place: bool = False,
    dlogits: TensorView | None = None,
    outputs: Mapping[str, TensorView],
) -> tuple[float, list[float]]: ...
def fused_chunk(
    batch: _Batch,
    logits: TensorView,
    first: int,
    ids: TensorView,
    temperature: float | TensorView,
    config: LossConfig,
    check: bool,
) -> tuple[float, list[float]]: ...
def linear_policy_loss(
    batch: _Batch,
    hidden: TensorView,
    weight: TensorView,
    ids: TensorView,
    temperature: float | TensorView,
    config: LossConfig,
    check: bool,
    chunk: int,
    *,
    d_hidden: TensorView,
    d_weight: TensorView,
) -> tuple[float, list[float]]: ...
def group_advantages(
    rewards: TensorView,
    group_ids: TensorView,
    expert_mask: TensorView,
    keep_mask: TensorView,
    *,
    std: str,
    baseline: str,
    eps: float,
    out: TensorView,
) -> None: ...
def bonus_gamma(step: float, schedule: str, horizon: float) -> float: ...
def rollout_sums(
    rewards: TensorView,
    group_ids: TensorView,
    expert_mask: TensorView,
    accepted: TensorView,
    *,
    lengths: TensorView | None = None,
    demos: TensorView | None = None,
    threshold: float,
) -> list[float]: ...
