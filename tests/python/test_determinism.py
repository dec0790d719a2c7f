"""The same bits over runs, over numbers of threads, and after a fork."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
import torch

import icpo
from cases import random_case
from icpo import ops

SCRIPT = """
import hashlib, torch, icpo
from icpo import LossConfig, ops
torch.manual_seed(0)
shape, V = (4, 9), 5003
logits, ids = 3 * torch.randn(*shape, V), torch.randint(V, shape)
hidden, weight = torch.randn(*shape, 16), torch.randn(V, 16)
old, mask = torch.randn(shape) - 8, torch.rand(shape) < 0.8
config = LossConfig(off_ratio="policy", entropy_coef=0.01)
rest = (ids, old, torch.randn(4), mask, torch.rand(4) < 0.5)
digest = hashlib.sha256()
loss, metrics = ops.fused_policy_loss(logits, *rest, config=config, inplace=True)
for tensor in (loss, metrics.sums, logits): digest.update(tensor.numpy().tobytes())
from icpo import objective
result = objective.linear_policy_loss(hidden.numpy(), weight.numpy(), *rest, config=config, chunk=7)
for array in (result.d_hidden, result.d_weight): digest.update(array.tobytes())
print(icpo.num_threads(), digest.hexdigest())
"""


def test_processes_with_different_numbers_of_threads_agree():
    digests = set()
    for threads in (1, 2, 5, 2):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "RAYON_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        count, digest = done.stdout.split()
        assert int(count) == threads
        digests.add(digest)
    assert len(digests) == 1


def test_threads_can_be_changed_while_running():
    before = icpo.num_threads()
    outputs = []
    try:
        for threads in (1, 2, 3):
            icpo.set_num_threads(threads)
            assert icpo.num_threads() == threads
            case = random_case(8)
            logits = case.logits.clone().requires_grad_(True)
            loss, metrics = ops.fused_policy_loss(
                logits, case.ids, temperature=case.temperature, **case.shared()
            )
            loss.backward()
            outputs.append((loss.item(), metrics.sums, logits.grad))
    finally:
        icpo.set_num_threads(before)
    for other in outputs[1:]:
        assert other[0] == outputs[0][0]
        assert torch.equal(other[1], outputs[0][1]) and torch.equal(other[2], outputs[0][2])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    logits, ids = torch.randn(64, 999), torch.randint(999, (64,))
    icpo.set_num_threads(2)

    def digest() -> bytes:
        return hashlib.sha256(ops.logp_entropy(logits, ids)[0].numpy().tobytes()).digest()

    expected = digest()  # the parent's threads are running now
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, digest())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert result == expected
    icpo.set_num_threads(0)
