"""What verl's engine is to train on, and how: each case with the loss that it should have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from engine_jobs import Row

from icpo import LossConfig

__all__ = ["CASES", "LAYOUTS", "MODES", "UNTOUCHED", "VANILLA", "Case"]

#: What presets mean for expert tokens.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"off_ratio": "behavior", "lam": 0.01, "off_clip": True},
    "reference": {"off_ratio": "policy", "lam": 0.1, "off_clip": False},
    "luffy": {"off_ratio": "policy", "lam": 0.1, "off_clip": False},
    "grpo": {"off_ratio": "none", "off_clip": True},
    "dr_grpo": {"off_ratio": "none", "off_clip": True},
}

#: verl's ways to aggregate, with the settings that belong to them.
MODES: dict[str, dict[str, Any]] = {
    "token-mean": {},
    "token-sum": {},
    "seq-mean-token-sum": {},
    "seq-mean-token-mean": {},
    # Without the factor verl divides by the longest response of the micro-batch.
    "seq-mean-token-sum-norm": {"loss_scale_factor": 11},
}

#: verl's names of the estimators that it shares with us.
DIVERGENCES = {"low_var_kl": "k3", "k3": "k3", "kl": "k1", "k1": "k1", "mse": "k2", "k2": "k2"}


def loss(preset: str = "paper", **changes: Any) -> LossConfig:
    """With the clips that verl has unless told otherwise."""
    clips = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0}
    return LossConfig(**{**PRESETS[preset], **clips, **changes})


#: All that verl may add to the loss, in its settings and ours.
TERMS = {"use_kl_loss": True, "kl_loss_coef": 0.1, "entropy_coeff": 0.02}
WITH_TERMS = {"kl": "k3", "kl_coef": 0.1, "entropy_coef": 0.02}


@dataclass
class Case:
    """A job, and the loss that it should have."""

    #: A letter for each row: expert or on-policy.
    rows: str
    config: LossConfig = field(default_factory=loss)
    #: Fields of the job.
    job: dict[str, Any] = field(default_factory=dict)
    #: What becomes of the rows first.
    change: Callable[[list[Row]], None] = lambda rows: None
    #: Of the rows; None: the place among all cases.
    seed: int | None = None
    ranks: tuple[int, ...] = (1,)


MIXED, RESERVE = "oeooeeoo", "eoooeoo"

Named = Iterator[tuple[str, Case]]


def presets() -> Named:
    for preset in PRESETS:
        for mode, setting in MODES.items():
            actor = {"loss_agg_mode": mode, **setting}
            yield (
                f"{preset}, {mode}",
                Case(MIXED, loss(preset), {"icpo": {"preset": preset}, "actor": actor}),
            )


def settings() -> Named:
    for name, icpo, config in [
        ("lam", {"lam": 0.3}, loss(lam=0.3)),
        ("no clip off policy", {"off_clip": False}, loss(off_clip=False)),
        ("lam, reference", {"preset": "reference", "lam": 0.4}, loss("reference", lam=0.4)),
        (
            "clip off policy, reference",
            {"preset": "reference", "off_clip": True},
            loss("reference", off_clip=True),
        ),
        ("ratio of the policy", {"off_ratio": "policy"}, loss("reference")),
        ("ratio of the behavior", {"preset": "luffy", "off_ratio": "behavior"}, loss()),
    ]:
        yield f"setting: {name}", Case(MIXED, config, {"icpo": icpo})
    clips = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.28, "clip_ratio_c": 1.25}
    config = loss(clip_low=0.1, clip_high=0.28, dual_clip=1.25)
    yield "setting: verl's clips", Case(MIXED, config, {"actor": clips})


def divergences() -> Named:
    for verl_kind, kind in DIVERGENCES.items():
        mode = "seq-mean-token-mean" if kind == "k3" else "token-mean"
        yield (
            f"terms: {verl_kind}",
            Case(
                MIXED,
                loss(**{**WITH_TERMS, "kl": kind}),
                {
                    "actor": {**TERMS, "kl_loss_type": verl_kind, "loss_agg_mode": mode},
                    "temperature": 0.7,
                },
            ),
        )


##### Batches


def on_policy(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.expert]


def experts(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.expert]


def make_negative(rows: list[Row]) -> None:
    for row in experts(rows):
        row.advantage = -abs(row.advantage)


def make_positive(rows: list[Row]) -> None:
    for row in experts(rows):
        row.advantage = abs(row.advantage)


def make_unlike(rows: list[Row]) -> None:
    """Behaviours that found each token e^15 to e^40 times as likely, or as unlikely."""
    for row in experts(rows):
        count = len(row.rollout_logp)
        signs = (-1.0) ** torch.arange(count)
        row.rollout_logp = row.rollout_logp + torch.linspace(15, 40, count) * signs


def batches() -> Named:
    for preset in ("paper", "reference", "grpo"):
        job, config = {"icpo": {"preset": preset}}, loss(preset)
        yield f"batch: negative, {preset}", Case(MIXED, config, job, make_negative)
        yield f"batch: positive, {preset}", Case(MIXED, config, job, make_positive)
        # Not shaped, a ratio of e^20 is all that is left of the loss: nobody could train on that.
        if preset != "grpo":
            yield f"batch: unlike, {preset}", Case(MIXED, config, job, make_unlike)
        yield f"batch: experts only, {preset}", Case("eeee", config, job)
    yield "batch: one expert row", Case("e", job={"micro_batch": 1})
    yield "batch: a row a rank", Case("eo", job={"micro_batch": 1}, ranks=(1, 2))


def reserve() -> Named:
    """Groups of four that lack rows. verl fills up with clones of the first, expert row or not."""
    for preset in ("paper", "reference", "grpo"):
        for mode in ("token-mean", "seq-mean-token-sum"):
            for rows in (RESERVE, RESERVE[::-1]):
                for size, padding in ((7, 1), (5, 3)):
                    yield (
                        f"reserve: {rows[:size]} + {padding}, {preset}, {mode}",
                        Case(
                            rows[:size],
                            loss(preset),
                            {
                                "icpo": {"preset": preset},
                                "padding": padding,
                                "actor": {"loss_agg_mode": mode},
                            },
                            ranks=(1, 2) if (preset, padding) == ("paper", 1) else (1,),
                        ),
                    )


##### Solutions that are imitated


def make_given(rows: list[Row]) -> None:
    """Stored solutions: no sampler has probabilities of them, and they have no advantage."""
    for row in experts(rows):
        row.rollout_logp = torch.zeros_like(row.rollout_logp)
        row.advantage = 0.0


def make_begun(rows: list[Row]) -> None:
    """Of the first half of a solution's tokens every third is trained on."""
    for row in experts(rows):
        row.rollout_logp = row.old_logp.clone()
        half = torch.arange(len(row.mask)) < len(row.mask) // 2
        row.mask = row.mask & (~half | (torch.arange(len(row.mask)) % 3 == 0))


def imitation() -> Named:
    """The likelihood term: of solutions beside groups, of nothing else, and beside an advantage."""
    sft = {"icpo": {"preset": "grpo", "sft_coef": 1.0}}
    config = loss("grpo", sft_coef=1.0)
    for mode in ("token-mean", "seq-mean-token-mean"):
        job = {**sft, "actor": {"loss_agg_mode": mode}}
        yield f"imitation: beside, {mode}", Case("oooeoooe", config, job, make_given)
    yield (
        "imitation: alone",
        Case("eeeeee", config, {**sft, "padding": 2}, make_given, ranks=(1, 2)),
    )
    yield (
        "imitation: with an advantage",
        Case(
            MIXED,
            loss("luffy", sft_coef=0.3, **WITH_TERMS),
            {"icpo": {"preset": "luffy", "sft_coef": 0.3}, "actor": TERMS},
        ),
    )
    mode = {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": 12}
    yield (
        "imitation: begun",
        Case(MIXED, loss("dr_grpo"), {"icpo": {"preset": "dr_grpo"}, "actor": mode}, make_begun),
    )


##### The same rows in other layouts

LAYOUTS: dict[str, dict[str, Any]] = {
    "one micro-batch": {"micro_batch": 8},
    "micro-batches of 4": {"micro_batch": 4},
    "micro-batches of 2": {},
    "micro-batches of 1": {"micro_batch": 1},
    "dynamic, 30 tokens": {"tokens": 30},
    "dynamic, 64 tokens": {"tokens": 64},
    "dynamic, 1000 tokens": {"tokens": 1000},
    "padded": {"worker": "padded"},
    "padded, one micro-batch": {"worker": "padded", "micro_batch": 8},
    "padded, dynamic": {"worker": "padded", "tokens": 40},
    "icpo's kernels": {"worker": "kernels"},
    "icpo's kernels, dynamic": {"worker": "kernels", "tokens": 40},
}


def layouts() -> Named:
    actor = {**TERMS, "loss_agg_mode": "seq-mean-token-sum"}
    for name, layout in LAYOUTS.items():
        one_rank = "worker" in layout or layout.get("micro_batch") == 8
        yield (
            f"layout: {name}",
            Case(
                MIXED,
                loss(**WITH_TERMS),
                {"actor": actor, **layout},
                seed=1000,
                ranks=(1,) if one_rank else (1, 2),
            ),
        )


##### Several updates, several ranks


def updates() -> Named:
    for name, job, ranks in [
        ("mini-batches", {"mini_batch": 4}, (1, 2)),
        ("epochs", {"epochs": 3}, (1, 2)),
        ("both", {"mini_batch": 4, "epochs": 2}, (1, 2)),
        ("both, dynamic", {"mini_batch": 6, "epochs": 2, "tokens": 40}, (1, 2)),
        ("padded", {"mini_batch": 4, "epochs": 2, "worker": "padded"}, (1,)),
        ("LoRA", {"mini_batch": 6, "micro_batch": 3, "epochs": 2, "worker": "lora"}, (1, 2)),
    ]:
        yield f"updates: {name}", Case("oeooeeooooee", job=job, ranks=ranks)
    yield (
        "updates: experts, then none of them, then padding",
        Case("eeeeoooooee", job={"mini_batch": 4, "padding": 1}, ranks=(1, 2)),
    )
    yield "ranks: experts on one", Case("eeeeoooo", ranks=(1, 2))
    yield "ranks: padding on one", Case("eooe", job={"padding": 4}, ranks=(1, 2))


##### What must not matter


def other_old_logp(rows: list[Row]) -> None:
    for place, row in enumerate(experts(rows)):
        row.old_logp = torch.full_like(row.old_logp, (-0.1, -50.0, -4.0)[place % 3])


def other_rollout_logp(rows: list[Row]) -> None:
    for place, row in enumerate(on_policy(rows)):
        row.rollout_logp = torch.full_like(row.rollout_logp, (-0.1, -50.0, torch.nan)[place % 3])


#: Changes of rows that neither loss nor gradients may feel.
UNTOUCHED: dict[str, Callable[[list[Row]], None]] = {
    "old log-probabilities of expert rows": other_old_logp,
    "rollout log-probabilities of on-policy rows": other_rollout_logp,
}


def untouched() -> Named:
    for preset in ("paper", "reference", "grpo"):
        for name, change in {"nothing": lambda rows: None, **UNTOUCHED}.items():
            job = {"icpo": {"preset": preset}}
            yield f"other: {name}, {preset}", Case(MIXED, loss(preset), job, change, seed=2000)


#: Batches without expert rows.
VANILLA: dict[str, dict[str, Any]] = {
    "plain": {},
    "padding": {"padding": 4},
    "padded": {"worker": "padded", "actor": {"loss_agg_mode": "seq-mean-token-mean"}},
    "terms": {"actor": TERMS},
    "updates": {"mini_batch": 4, "epochs": 2},
    "bf16": {"worker": "bf16"},
}


def vanilla() -> Named:
    for name, job in VANILLA.items():
        for whose, icpo in {"icpo": {}, "verl": None}.items():
            yield (
                f"vanilla: {name}, {whose}",
                Case(
                    "oooooooo",
                    loss(**WITH_TERMS) if name == "terms" else loss(),
                    {**job, "icpo": icpo},
                    seed=3000,
                    ranks=(1,) if "worker" in job else (1, 2),
                ),
            )


def bf16() -> Named:
    """Ours, and verl's own loss of the same rows."""
    for preset in ("paper", "reference"):
        job = {"icpo": {"preset": preset}, "worker": "bf16"}
        yield f"bf16: {preset}", Case(MIXED, loss(preset), job, seed=4000)
    yield "bf16: verl", Case(MIXED, job={"icpo": None, "worker": "bf16"}, seed=4000)


CASES: dict[str, Case] = {
    name: case
    for make in (
        presets,
        settings,
        divergences,
        batches,
        reserve,
        imitation,
        layouts,
        updates,
        untouched,
        vanilla,
        bf16,
    )
    for name, case in make()
}
for _place, _case in enumerate(CASES.values()):
    if _case.seed is None:
        _case.seed = _place
