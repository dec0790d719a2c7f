"""Every choice that the loss offers, and the named combinations of them."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icpo import _core
from icpo.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["PRESETS", "LossConfig"]

#: What a preset changes with respect to the defaults of `LossConfig`, which are the paper's.
PRESETS: dict[str, dict[str, Any]] = {
    # Eq. 10 with Table 8: true ratio, shaped, clipped.
    "paper": {},
    # The authors' code: the policy's own probability as ratio, no clip on it; dual clip on policy,
    # and the divergence from the reference that their scripts ask for.
    "reference": {"off_ratio": "policy", "dual_clip": 3.0, "kl": "k3", "kl_coef": 0.001},
    # LUFFY: as before, without any clip and without division by the standard deviation.
    "luffy": {
        "off_ratio": "policy",
        "clip_low": math.inf,
        "clip_high": math.inf,
        "advantage_std": "none",
    },
    # verl's GRPO. Expert rollouts, if any, enter by eq. 7: their true ratio, not shaped.
    "grpo": {"off_ratio": "none", "dual_clip": 3.0},
    # Dr. GRPO: no standard deviation, and a constant instead of the length.
    "dr_grpo": {
        "off_ratio": "none",
        "dual_clip": 3.0,
        "aggregation": "seq-mean-token-sum-norm",
        "advantage_std": "none",
    },
}

#: λ and the clip on expert ratios that go with each form of the ratio.
_BY_OFF_RATIO: dict[str, tuple[float, bool]] = {
    "behavior": (0.01, True),
    "policy": (0.1, False),
    "none": (0.01, True),  # λ is not used
}

_NUMBERS = ("lam", "clip_low", "clip_high", "kl_coef", "entropy_coef", "sft_coef")
_OPTIONAL_NUMBERS = ("dual_clip", "log_ratio_clamp", "norm_constant")


@dataclass(frozen=True)
class LossConfig:
    """The loss. The defaults are the main paper's (eq. 10, Table 8).

    >>> LossConfig.preset("reference").lam
    0.1
    >>> LossConfig.preset("paper", clip_high=0.28, aggregation="seq-mean-token-mean").clip_high
    0.28
    """

    #: Ratio of expert tokens: ``behavior`` = π(·|x)/πold(·|x_exp), shaped (the paper); ``policy`` =
    #: π(·|x), shaped (the authors' code, LUFFY); ``none`` = as ``behavior``, not shaped (eq. 7).
    off_ratio: str = "behavior"
    #: λ of the shaping f(x) = x/(x + λ). Default: 0.01, or 0.1 for ``policy``.
    lam: float = None  # type: ignore[assignment]  # a float once constructed
    #: Whether the clip applies to expert ratios too. Default: yes, except for ``policy``.
    off_clip: bool = None  # type: ignore[assignment]  # a bool once constructed
    #: Ratios are clipped below 1 - clip_low ...
    clip_low: float = 0.2
    #: ... and above 1 + clip_high. Infinite: never.
    clip_high: float = 0.2
    #: c of the dual clip, for negative advantages; None: no such clip.
    dual_clip: float | None = None
    #: Estimator of the divergence from a reference policy: ``none``, ``k1``, ``k2`` or ``k3``.
    kl: str = "none"
    #: Its coefficient.
    kl_coef: float = 0.0
    #: Coefficient of the entropy bonus.
    entropy_coef: float = 0.0
    #: Coefficient of the negative log-likelihood of expert tokens.
    sft_coef: float = 0.0
    #: ``token-mean``, ``seq-mean-token-sum``, ``seq-mean-token-mean`` or
    #: ``seq-mean-token-sum-norm``, as in verl.
    aggregation: str = "token-mean"
    #: The constant of ``seq-mean-token-sum-norm``; None: the padded length.
    norm_constant: float | None = None
    #: Logarithms of ratios are clamped to ± this; None: not at all.
    log_ratio_clamp: float | None = 20.0
    #: Divisor of advantages: ``unbiased`` or ``none``. Read by `advantages`.
    advantage_std: str = "unbiased"
    #: Rollouts that advantages are relative to: ``mixed`` or ``on_policy``. Read by `advantages`.
    advantage_baseline: str = "mixed"
    #: All of the above as text: how a configuration travels through a torch operator.
    spec: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Fills in what follows from the ratio, and checks everything."""
        put = functools.partial(object.__setattr__, self)
        if self.kl is None:
            put("kl", "none")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                expected = " or ".join(repr(choice) for choice in known)
                raise ConfigError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
        lam, off_clip = _BY_OFF_RATIO[self.off_ratio]
        if self.lam is None:
            put("lam", lam)
        if self.off_clip is None:
            put("off_clip", off_clip)
        if not isinstance(self.off_clip, bool):
            raise ConfigError(f"off_clip: expected True or False, got {self.off_clip!r}")
        for name in _NUMBERS + _OPTIONAL_NUMBERS:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL_NUMBERS:
                continue
            try:
                put(name, float(value))
            except (TypeError, ValueError):
                raise ConfigError(f"{name}: expected a number, got {value!r}") from None
        _core.validate_config(self)
        if self.kl == "none" and self.kl_coef != 0.0:
            warnings.warn(
                f"kl_coef={self.kl_coef} has no effect while kl='none'", UserWarning, stacklevel=3
            )
        put("spec", json.dumps({name: getattr(self, name) for name in _FIELDS}))

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> LossConfig:
        """A named combination: ``paper``, ``reference``, ``luffy``, ``grpo`` or ``dr_grpo``.

        What is overridden is overridden after the preset; λ and ``off_clip`` follow ``off_ratio``
        unless given.

        Raises:
            ConfigError: if there is no such preset or no such field.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
        for override in overrides:
            if override not in _FIELDS:
                raise ConfigError(f"{override}: expected one of {', '.join(_FIELDS)} as field")
        return cls(**{**PRESETS[name], **overrides})

    def replace(self, **overrides: Any) -> LossConfig:
        """The same with some fields changed."""
        changed = {name: getattr(self, name) for name in _FIELDS}
        for override in overrides:
            if override not in _FIELDS:
                raise ConfigError(f"{override}: expected one of {', '.join(_FIELDS)} as field")
        return type(self)(**{**changed, **overrides})

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def from_spec(spec: str) -> LossConfig:
        """The configuration that `spec` describes."""
        return LossConfig(**json.loads(spec))

    def advantages(
        self,
        rewards: ArrayLike,  # (B,)
        group_ids: ArrayLike,  # (B,)
        *,
        expert_mask: ArrayLike | None = None,  # (B,) bool
        keep_mask: ArrayLike | None = None,  # (B,) bool
        eps: float = 1e-6,
    ) -> NDArray[np.floating]:
        """`icpo.objective.group_advantages` with the conventions of this configuration."""
        from icpo.objective.advantage import group_advantages

        return group_advantages(
            rewards,
            group_ids,
            std=self.advantage_std,
            baseline=self.advantage_baseline,
            expert_mask=expert_mask,
            keep_mask=keep_mask,
            eps=eps,
        )


_FIELDS = tuple(field.name for field in dataclasses.fields(LossConfig) if field.init)
_CHOICES = {
    "off_ratio": _core.OFF_RATIOS,
    "kl": _core.KLS,
    "aggregation": _core.AGGREGATIONS,
    "advantage_std": _core.STDS,
    "advantage_baseline": _core.BASELINES,
}
