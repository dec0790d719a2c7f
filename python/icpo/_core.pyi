from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

from icpo.objective.config import LossConfig

__all__ = [
    "AGGREGATIONS",
    "BASELINES",
    "KLS",
    "LOSS_SUMS",
    "OFF_RATIOS",
    "PROFILES",
    "ROLLOUT_SUMS",
    "STDS",
    "Checker",
    "ParsedAnswer",
    "TensorView",
    "TokenWeights",
    "__version__",
    "bonus_gamma",
    "checker_defaults",
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
PROFILES: list[str]

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

# Outcome, reason, rule, extracted, gold, response.
_Verdict: TypeAlias = tuple[str, str | None, str, str | None, str | None, str | None]
# Kind, what else it says, places of the children.
_Node: TypeAlias = tuple[str, str, list[int]]

@final
class ParsedAnswer:
    def __new__(cls, nodes: Sequence[_Node], complex: bool = False) -> ParsedAnswer: ...
    @property
    def complex(self) -> bool: ...
    def nodes(self) -> list[_Node]: ...
    def srepr(self) -> str: ...
    def to_sympy(self) -> Any: ...
    def _sympy_(self) -> Any: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Checker:
    def __new__(cls, given: dict[str, Any]) -> Checker: ...
    def check(self, gold: str, response: str) -> _Verdict: ...
    def score(
        self,
        responses: Sequence[str],
        golds: Sequence[Sequence[str]],
        *,
        threads: int | None = None,
        out: TensorView,
    ) -> None: ...
    def check_many(
        self,
        responses: Sequence[str],
        golds: Sequence[Sequence[str]],
        *,
        threads: int | None = None,
    ) -> list[_Verdict]: ...
    def parse(self, text: str) -> tuple[list[ParsedAnswer | str], str | None, str | None]: ...
    def parse_gold(self, text: str) -> tuple[list[ParsedAnswer | str], str | None, str | None]: ...
    def compare(
        self, gold: Sequence[ParsedAnswer | str], response: Sequence[ParsedAnswer | str]
    ) -> _Verdict: ...
    def equivalent(self, a: str, b: str) -> _Verdict: ...
    def cluster(self, texts: Sequence[str]) -> list[int]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def checker_defaults(profile: str) -> dict[str, Any]: ...
