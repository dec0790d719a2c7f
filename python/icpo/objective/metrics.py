"""Diagnostics that add up.

A mean over micro-batches or ranks is wrong unless it is weighted, so what travels is sums: add
them, and divide when somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from icpo import _core

__all__ = ["LossMetrics", "RolloutMetrics"]

#: Name of a figure -> what is added up, and what that is divided by (nothing: a total).
Figures = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]

M = TypeVar("M", bound="_Metrics")


@dataclass(frozen=True)
class _Metrics:
    """Named sums, with the figures that follow from them."""

    #: (K,) float64: a numpy array or a tensor, in the order of `NAMES`.
    sums: Any

    NAMES: ClassVar[list[str]]
    FIGURES: ClassVar[Figures]

    def __add__(self: M, other: M) -> M:
        """The metrics of both batches together."""
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(self.sums + other.sums)

    def __radd__(self: M, other: int) -> M:
        """Lets ``sum(...)`` work, which starts from 0."""
        return self if other == 0 else NotImplemented

    def keys(self) -> Iterator[str]:
        """Names of the figures."""
        return iter(self.FIGURES)

    def __iter__(self) -> Iterator[str]:
        """Names of the figures."""
        return iter(self.FIGURES)

    def __getitem__(self, name: str) -> float:
        """One figure."""
        return self.as_dict()[name]

    def total(self, name: str) -> float:
        """One of the sums."""
        return float(self.sums[self.NAMES.index(name)])

    def as_dict(self) -> dict[str, float]:
        """All figures. A mean over nothing is NaN; the keys are always the same."""
        sums = dict(zip(self.NAMES, self.sums.tolist(), strict=True))
        figures = {}
        for name, (above, below) in self.FIGURES.items():
            numerator = sum(sums[part] for part in above)
            denominator = sum(sums[part] for part in below) if below else 1.0
            figures[name] = numerator / denominator if denominator else float("nan")
        return figures


def _side(side: str) -> Figures:
    """The figures that policy tokens (``on``) and expert tokens (``off``) have in common."""
    tokens = (f"{side}_tokens",)
    return {
        f"{side}/tokens": (tokens, ()),
        f"{side}/rows": ((f"{side}_rows",), ()),
        f"{side}/response_length": (tokens, (f"{side}_rows",)),
        f"{side}/clip_fraction": ((f"{side}_clipped",), tokens),
        f"{side}/ratio": ((f"{side}_ratio",), tokens),
        f"{side}/advantage": ((f"{side}_advantage",), tokens),
        f"{side}/entropy": ((f"{side}_entropy",), (f"{side}_entropy_tokens",)),
    }


class LossMetrics(_Metrics):
    """What a loss saw: ratios, clips, divergences and entropies, on and off policy.

    ``dict(metrics)`` gives all figures, ``a + b`` the metrics of two batches together. The terms
    of the loss (``loss/...``) and counts are totals: they add up over micro-batches that share a
    ``denominator``, and over steps they are sums. Everything else is a mean. `NAMES` lists the sums
    behind the figures, `total` gives one.
    """

    NAMES = _core.LOSS_SUMS
    FIGURES: ClassVar[Figures] = {
        "loss/policy": (("loss_policy",), ()),
        "loss/kl": (("loss_kl",), ()),
        "loss/entropy": (("loss_entropy",), ()),
        "loss/sft": (("loss_sft",), ()),
        "entropy": (
            ("on_entropy", "off_entropy"),
            ("on_entropy_tokens", "off_entropy_tokens"),
        ),
        "ref_kl": (("ref_kl",), ("ref_kl_tokens",)),
        **_side("on"),
        # ℓ_old - ℓ, the usual estimate of the divergence from the sampler.
        "on/kl": (("on_kl",), ("on_tokens",)),
        "on/dual_clip_fraction": (("on_dual_clipped",), ("on_tokens",)),
        **_side("off"),
        "off/kl": (("off_kl",), ("off_kl_tokens",)),
        # f(r̂), and f(1 - f): the weight that the gradient of an expert token gets.
        "off/shaped_ratio": (("off_shaped",), ("off_tokens",)),
        "off/gradient_weight": (("off_slope",), ("off_tokens",)),
    }


class RolloutMetrics(_Metrics):
    """What a batch of rollouts looked like before training on it."""

    NAMES = _core.ROLLOUT_SUMS
    FIGURES: ClassVar[Figures] = {
        "prompts": (("prompts",), ()),
        **{f"prompts/{kind}": ((kind,), ()) for kind in ("non_pass", "some_pass", "all_pass")},
        **{
            f"prompts/{kind}_refined": ((f"{kind}_refined",), (kind,))
            for kind in ("non_pass", "some_pass", "all_pass")
        },
        "expert/accepted": (("accepted",), ("off_rollouts",)),
        "expert/demos": (("demos",), ("off_rollouts",)),
        "on/reward": (("on_reward",), ("on_rollouts",)),
        "off/reward": (("off_reward",), ("off_rollouts",)),
        "on/response_length": (("on_length",), ("on_rollouts",)),
        "off/response_length": (("off_length",), ("off_rollouts",)),
    }
