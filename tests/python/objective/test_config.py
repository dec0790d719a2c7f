"""Configurations: presets, defaults that follow from others, errors."""

from __future__ import annotations

import dataclasses
import math

import pytest

import icpo
from icpo import LossConfig
from icpo.objective import PRESETS


def test_presets_are_what_the_methods_say():
    paper = LossConfig.preset("paper")
    assert paper == LossConfig()
    assert (paper.off_ratio, paper.lam, paper.off_clip) == ("behavior", 0.01, True)
    assert (paper.clip_low, paper.clip_high, paper.dual_clip) == (0.2, 0.2, None)
    assert (paper.kl, paper.kl_coef, paper.aggregation) == ("none", 0.0, "token-mean")
    code = LossConfig.preset("reference")
    assert (code.off_ratio, code.lam, code.off_clip, code.dual_clip) == ("policy", 0.1, False, 3.0)
    assert (code.kl, code.kl_coef) == ("k3", 0.001)
    luffy = LossConfig.preset("luffy")
    assert (luffy.off_ratio, luffy.lam, luffy.off_clip) == ("policy", 0.1, False)
    assert luffy.clip_low == luffy.clip_high == math.inf and luffy.advantage_std == "none"
    grpo = LossConfig.preset("grpo")
    assert (grpo.clip_low, grpo.clip_high, grpo.dual_clip, grpo.off_ratio) == (
        0.2,
        0.2,
        3.0,
        "none",
    )
    assert grpo.advantage_std == "unbiased"
    dr = LossConfig.preset("dr_grpo")
    assert (dr.aggregation, dr.advantage_std) == ("seq-mean-token-sum-norm", "none")
    assert set(PRESETS) == {"paper", "reference", "luffy", "grpo", "dr_grpo"}


def test_lambda_and_clip_follow_the_ratio_unless_given():
    assert LossConfig.preset("paper", off_ratio="policy").lam == 0.1
    assert LossConfig.preset("paper", off_ratio="policy").off_clip is False
    assert LossConfig.preset("reference", lam=0.5, off_clip=True).lam == 0.5
    config = LossConfig(off_ratio="policy").replace(clip_high=0.28)
    assert (config.clip_high, config.lam) == (0.28, 0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_text_form_is_faithful(name):
    config = LossConfig.preset(name, entropy_coef=0.1)
    assert LossConfig.from_spec(config.spec) == config


def test_mistakes():
    for build, message in [
        (lambda: LossConfig.preset("icpo"), "preset: expected one of paper, .*got 'icpo'"),
        (lambda: LossConfig.preset("paper", clip=0.2), "clip: expected one of off_ratio"),
        (lambda: LossConfig().replace(clip=0.2), "clip: expected one of"),
        (
            lambda: LossConfig(off_ratio="behaviour"),
            "off_ratio: expected 'behavior' or .*'behaviour'",
        ),
        (lambda: LossConfig(kl="k4"), "kl: expected"),
        (lambda: LossConfig(aggregation="mean"), "aggregation: expected 'token-mean'"),
        (lambda: LossConfig(lam=0.0), "lam: expected a finite number > 0, got 0"),
        (lambda: LossConfig(lam="x"), "lam: expected a number, got 'x'"),
        (lambda: LossConfig(off_clip=1), "off_clip: expected True or False, got 1"),
        (lambda: LossConfig(clip_low=-0.1), "clip_low"),
        (lambda: LossConfig(clip_high=math.nan), "clip_high"),
        (lambda: LossConfig(dual_clip=0.5), "dual_clip"),
        (lambda: LossConfig(log_ratio_clamp=100), "log_ratio_clamp"),
        (lambda: LossConfig(norm_constant=-1), "norm_constant"),
        (lambda: LossConfig(entropy_coef=math.inf), "entropy_coef"),
        (lambda: LossConfig(advantage_std="biased"), "advantage_std"),
        (lambda: LossConfig(advantage_baseline="x"), "advantage_baseline"),
    ]:
        with pytest.raises(icpo.ConfigError, match=message):
            build()


def test_a_coefficient_without_its_term_warns():
    with pytest.warns(UserWarning, match="kl_coef=0.1 has no effect while kl='none'"):
        LossConfig(kl_coef=0.1)
    assert LossConfig(kl=None).kl == "none"


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LossConfig().lam = 0.5
