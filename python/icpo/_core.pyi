from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

from icpo.objective.config import LossConfig

__all__ = [
    "AGGREGATIONS",
    "BASELINES",
    "CUDA_BLOCK_TOKENS",
    "CUDA_STATUSES",
    "KLS",
    "LOSS_SUMS",
    "OFF_RATIOS",
    "PROFILES",
    "ROLLOUT_SUMS",
    "STDS",
    "Checker",
    "CudaStream",
    "ParsedAnswer",
    "TensorView",
    "TokenWeights",
    "__version__",
    "bonus_gamma",
    "checker_defaults",
    "cuda_compile",
    "cuda_configure",
    "cuda_info",
    "cuda_plan",
    "cuda_prepare",
    "cuda_seal",
    "cuda_units",
    "edit_distances",
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

# tokens (N,) and offsets (n + 1,) int64. All n(n - 1)/2 pairs, or first × (n - first).
def edit_distances(
    tokens: TensorView,
    offsets: TensorView,
    first: int | None,
    progress: Callable[[int, int], object] | None,
    *,
    out: TensorView,
) -> None: ...

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

# The rest needs no CUDA to import, and a driver to do anything. A build without the feature `cuda`
# lacks it. Views are of memory on the device, which Rust never reads.

# policy_loss writes a row of partial sums for each so many tokens, and one at least.
CUDA_BLOCK_TOKENS: int
# What a status byte says is wrong: argument and expectation, by code; code 0 is nothing.
CUDA_STATUSES: list[tuple[str, str]]

# weights (N,) float64, old_logp and advantage (N,), behavior_logp and ref_logp (N,) or None, all
# float32 or float64; expert (N,) bool or None.
_DeviceBatch: TypeAlias = Mapping[str, TensorView | None]
# log2(e)/τ, or float64 with one a row.
_Scales: TypeAlias = float | TensorView

@final
class CudaStream:
    """A stream of a device, as torch numbers both. Nothing here allocates or waits."""

    def __new__(cls, device: int, stream: int) -> CudaStream: ...
    def row_states(
        self,
        logits: TensorView,  # (N, V) or (B, T, V) float32, bfloat16 or float16
        ids: TensorView,  # (N,) int64, of the whole vocabulary
        scales: _Scales,
        states: TensorView,  # (N, 5) float64, written
        first_id: int = 0,
        weights: TensorView | None = None,  # (N,) float64; rows of weight 0 are not read
    ) -> None: ...
    def finish_rows(
        self,
        states: TensorView,  # (N, 5) or (shards, N, 5) float64
        ids: TensorView,
        scales: _Scales,
        vocabulary: int,  # of all shards
        *,
        logp: TensorView | None = None,  # (N,) float32, written; so are the others
        entropy: TensorView | None = None,  # (N,) float32
        rank: TensorView | None = None,  # (N,) int64
        saved: TensorView | None = None,  # (N, 4) float64
        status: TensorView | None = None,  # (N,) uint8
    ) -> None: ...
    def row_gradients(
        self,
        saved: TensorView,  # (N, 4) float64
        d_logp: TensorView,  # (N,) float64
        d_entropy: TensorView,  # (N,) float64
        scales: _Scales,
        coefficients: TensorView,  # (N, 4) float32, written
    ) -> None: ...
    def gradient(
        self,
        logits: TensorView,
        dlogits: TensorView,  # as logits, written; may be the logits
        ids: TensorView,
        coefficients: TensorView,
        scales: _Scales,
        *,
        status: TensorView | None = None,  # (N,) uint8; rows that are not 0 are left alone
        first_id: int = 0,
    ) -> None: ...
    def policy_loss(
        self,
        batch: _DeviceBatch,
        logp: TensorView,  # (N,) float32 or float64
        config: LossConfig,
        *,
        entropy: TensorView | None = None,  # (N,) float32 or float64
        d_logp: TensorView | None = None,  # (N,) float32 or float64, written
        d_entropy: TensorView | None = None,
        row_status: TensorView | None = None,  # (N,) uint8, of finish_rows
        status: TensorView | None = None,  # (N,) uint8, written
        partials: TensorView,  # (blocks, 26) float64, written; see CUDA_BLOCK_TOKENS
    ) -> None: ...
    def add_sums(
        self,
        partials: TensorView,
        sums: TensorView,  # (26,) float64, written
        *,
        row_counts: TensorView | None = None,  # (2,) float64
        loss: TensorView | None = None,  # () float32 or float64, written
        accumulate: bool = False,
    ) -> None: ...
    def fused(
        self,
        batch: _DeviceBatch,
        logits: TensorView,
        dlogits: TensorView,
        ids: TensorView,
        scales: _Scales,
        config: LossConfig,
        *,
        logp: TensorView,  # (N,) float64, written
        entropy: TensorView,  # (N,) float64, written
        status: TensorView,  # (N,) uint8, written
        leave_unsound: bool,
        plan: Mapping[str, int] | None = None,  # as of cuda_plan, which is asked otherwise
    ) -> None: ...
    def fused_obstacle(self, logits: TensorView, dlogits: TensorView) -> str | None: ...
    def group_advantages(
        self,
        rewards: TensorView,  # (N,) float64
        groups: TensorView,  # (N,) int64
        advantages: TensorView,  # (N,) float64, written
        *,
        expert: TensorView | None = None,  # (N,) bool
        keep: TensorView | None = None,  # (N,) bool
        status: TensorView | None = None,  # (N,) uint8, written
        unbiased: bool,
        on_policy: bool,
        eps: float,
    ) -> None: ...
    def scale(self, values: TensorView, factor: TensorView) -> None: ...

def cuda_info() -> dict[str, Any]: ...
def cuda_configure(
    image_dirs: Sequence[str],
    cache_dir: str | None = None,
    nvrtc: Sequence[str] | None = None,
) -> None: ...
def cuda_plan(device: int | str, vocabulary: int, dtype: str) -> dict[str, int] | str: ...
def cuda_prepare(device: int, vocabulary: int, dtype: str) -> dict[str, Any]: ...
def cuda_units(
    arch: str, vocabulary: int | None = None, dtype: str | None = None
) -> list[tuple[str, str, list[str], dict[str, str]]]: ...
def cuda_compile(
    main: str,
    sources: dict[str, str],
    options: Sequence[str],
    nvrtc: Sequence[str] | None = None,
) -> tuple[bytes, str]: ...
def cuda_seal(image: bytes, toolkit: tuple[int, int]) -> bytes: ...
