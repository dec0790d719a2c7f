"""Kernels loaded beforehand, and what is said of them."""

from __future__ import annotations

import pytest

import icpo
from icpo import machine


def test_everything_that_a_vocabulary_needs_is_loaded(standin):
    for number, fast in ((0, True), (1, False)):
        loaded = icpo.prepare(f"cuda:{number}", 1024, "bfloat16")
        assert isinstance(loaded["plan"], dict) == fast
        before = standin.calls("cuModuleLoadData")
        again = icpo.prepare(number, 1024, "bfloat16")
        assert standin.calls("cuModuleLoadData") == before
        assert again["units"].keys() == loaded["units"].keys()
        device = machine.info(1024)["cuda"]["devices"][number]
        assert set(loaded["units"]) <= set(device["units"])
        assert isinstance(device["fast_path"], dict) == fast


def test_a_vocabulary_that_the_fast_path_does_not_take(standin):
    loaded = icpo.prepare(0, 1023, "bfloat16")
    assert "2046 bytes" in loaded["plan"]
    assert "fast path: no: " in machine.describe(machine.info(1023))


def test_devices_that_are_not_there(standin):
    with pytest.raises(icpo.DeviceError):
        icpo.prepare("cuda:99", 1024, "bfloat16")
