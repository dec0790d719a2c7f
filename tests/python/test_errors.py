"""Every mistake ends in an exception that names the argument, what fits, and what came."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
import torch

import icpo
from icpo import LossConfig, objective, ops

SHAPE, V = (2, 3), 5


def arguments(**changes):
    """A good call of `fused_policy_loss`, with changes."""
    good = {
        "logits": torch.zeros(*SHAPE, V),
        "ids": torch.zeros(SHAPE, dtype=torch.long),
        "old_logp": torch.zeros(SHAPE),
        "advantage": torch.zeros(2),
        "loss_mask": torch.ones(SHAPE, dtype=torch.bool),
        "expert_mask": torch.zeros(2, dtype=torch.bool),
        "config": LossConfig(),
    }
    return {**good, **changes}


def with_value(tensor, place, value):
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


EXPERTS = torch.tensor([False, True])
ONES = torch.ones(SHAPE, dtype=torch.bool)
MISTAKES = {
    # shapes
    "logits of one axis": ({"logits": torch.zeros(5)}, icpo.ShapeError, "logits: expected shape"),
    "no vocabulary": (
        {"logits": torch.zeros(2, 3, 0)},
        icpo.ShapeError,
        "logits: expected a vocabulary",
    ),
    "ids of another shape": (
        {"ids": torch.zeros(2, 4, dtype=torch.long)},
        icpo.ShapeError,
        r"ids: expected shape \(2, 3\).*got \(2, 4\)",
    ),
    "old_logp transposed": (
        {"old_logp": torch.zeros(3, 2)},
        icpo.ShapeError,
        r"old_logp: expected shape \(2, 3\), got \(3, 2\)",
    ),
    "advantage a column": (
        {"advantage": torch.zeros(3)},
        icpo.ShapeError,
        "advantage: expected shape",
    ),
    "mask of rows": (
        {"loss_mask": torch.ones(2, dtype=torch.bool)},
        icpo.ShapeError,
        "loss_mask: expected shape",
    ),
    "expert mask too long": (
        {"expert_mask": torch.zeros(5, dtype=torch.bool)},
        icpo.ShapeError,
        "expert_mask: expected shape",
    ),
    "offsets for a padded batch": (
        {"cu_seqlens": torch.tensor([0, 6])},
        icpo.ShapeError,
        "cu_seqlens: expected None",
    ),
    "a column of temperatures": (
        {"temperature": torch.ones(3)},
        icpo.ShapeError,
        "temperature: expected a number or shape",
    ),
    # dtypes
    "double logits": (
        {"logits": torch.zeros(*SHAPE, V).double()},
        icpo.DTypeError,
        "logits: expected dtype float32.*float64.*reference",
    ),
    "integer logits": (
        {"logits": torch.zeros(*SHAPE, V).long()},
        icpo.DTypeError,
        "logits: expected dtype",
    ),
    "float ids": (
        {"ids": torch.zeros(SHAPE)},
        icpo.DTypeError,
        "ids: expected an integer tensor, got torch.float32",
    ),
    "boolean ids": ({"ids": ONES}, icpo.DTypeError, "ids: expected an integer tensor"),
    "integer old_logp": (
        {"old_logp": torch.zeros(SHAPE).long()},
        icpo.DTypeError,
        "old_logp: expected a floating-point",
    ),
    "a list": (
        {"old_logp": [[0.0] * 3] * 2},
        icpo.DTypeError,
        "old_logp: expected a tensor, got list",
    ),
    "an array": (
        {"logits": np.zeros((2, 3, 5), np.float32)},
        icpo.DTypeError,
        "logits: expected a tensor, got ndarray",
    ),
    "offsets of floats": (
        {"cu_seqlens": torch.tensor([0.0])},
        icpo.DTypeError,
        "cu_seqlens: expected int32",
    ),
    "old_logp with a gradient": (
        {"old_logp": torch.zeros(SHAPE, requires_grad=True)},
        icpo.DTypeError,
        "old_logp: expected a tensor without gradient",
    ),
    "a learned temperature": (
        {"temperature": torch.ones(SHAPE, requires_grad=True)},
        icpo.DTypeError,
        "temperature: expected a tensor without",
    ),
    # devices
    "meta logits": (
        {"logits": torch.zeros(*SHAPE, V, device="meta")},
        icpo.DeviceError,
        "logits: expected a tensor on one of cpu.*got one on meta",
    ),
    "meta advantage": (
        {"advantage": torch.zeros(2, device="meta")},
        icpo.DeviceError,
        "advantage: expected a tensor on cpu, where logits is, got one on meta",
    ),
    # layouts
    "vocabulary not contiguous": (
        {"logits": torch.zeros(2, V, 3).transpose(1, 2)},
        icpo.ShapeError,
        "contiguous last axis.*got strides",
    ),
    # values
    "an id too great": (
        {"ids": with_value(torch.zeros(SHAPE).long(), (1, 2), V)},
        icpo.TokenIdError,
        r"ids\[row 1, token 2\]: expected a token id in 0..5, got 5",
    ),
    "a negative id": (
        {"ids": with_value(torch.zeros(SHAPE).long(), (0, 1), -1)},
        icpo.TokenIdError,
        "got -1",
    ),
    "NaN in logits": (
        {"logits": with_value(torch.zeros(*SHAPE, V), (1, 0, 3), math.nan)},
        icpo.NonFiniteError,
        r"logits\[row 1, token 0, 3\]: expected a number or -inf, got NaN",
    ),
    "+inf in logits": (
        {"logits": with_value(torch.zeros(*SHAPE, V), (0, 2, 1), math.inf)},
        icpo.NonFiniteError,
        r"logits\[row 0, token 2, 1\].*got inf",
    ),
    "only -inf in a row": (
        {"logits": with_value(torch.zeros(*SHAPE, V), (0, 1), -math.inf)},
        icpo.NonFiniteError,
        "at least one token with a logit above -inf",
    ),
    "the token is ruled out": (
        {"logits": with_value(torch.zeros(*SHAPE, V), (0, 1, 0), -math.inf)},
        icpo.NonFiniteError,
        "a finite logit for the token that ids selects",
    ),
    "NaN in old_logp": (
        {"old_logp": with_value(torch.zeros(SHAPE), (0, 2), math.nan)},
        icpo.NonFiniteError,
        r"old_logp\[row 0, token 2\].*got NaN",
    ),
    "-inf in old_logp": (
        {"old_logp": with_value(torch.zeros(SHAPE), (0, 2), -math.inf)},
        icpo.NonFiniteError,
        "old_logp.*got -inf",
    ),
    "NaN advantage": (
        {"advantage": torch.tensor([0.0, math.nan])},
        icpo.NonFiniteError,
        r"advantage\[row 1, token 0\]",
    ),
    "NaN in behavior_logp": (
        {"expert_mask": EXPERTS, "behavior_logp": torch.full(SHAPE, math.nan)},
        icpo.NonFiniteError,
        r"behavior_logp\[row 1, token 0\]",
    ),
    "NaN in ref_logp": (
        {"ref_logp": torch.full(SHAPE, math.nan), "config": LossConfig(kl="k1")},
        icpo.NonFiniteError,
        r"ref_logp\[row 0, token 0\]",
    ),
    "a mask of weights": (
        {"loss_mask": torch.full(SHAPE, 0.5)},
        icpo.NonFiniteError,
        r"loss_mask\[0, 0\]: expected True or False.*got 0.5",
    ),
    "a NaN mask": (
        {"loss_mask": torch.full(SHAPE, math.nan)},
        icpo.NonFiniteError,
        "loss_mask.*got nan",
    ),
    # settings
    "temperature 0": (
        {"temperature": 0.0},
        icpo.ConfigError,
        "temperature: expected a number from 1e-6 to 1e6, got 0",
    ),
    "temperature NaN": (
        {"temperature": torch.full(SHAPE, math.nan)},
        icpo.ConfigError,
        "temperature.*got NaN at token 0",
    ),
    "denominator 0": (
        {"denominator": 0.0},
        icpo.ConfigError,
        "denominator: expected a finite number > 0, got 0",
    ),
    # what is missing
    "no behaviour policy": (
        {"expert_mask": EXPERTS},
        icpo.MissingArgumentError,
        "behavior_logp: .*the first is row 1, token 0",
    ),
    "no reference policy": ({"config": LossConfig(kl="k3")}, icpo.MissingArgumentError, "ref_logp"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("inplace", [False, True])
def test_mistake(mistake, inplace):
    changes, expected, message = MISTAKES[mistake]
    call = arguments(**changes)
    before = call["logits"].clone() if isinstance(call["logits"], torch.Tensor) else None
    with pytest.raises(expected, match=message) as caught:
        ops.fused_policy_loss(**call, inplace=inplace)
    assert isinstance(caught.value, icpo.IcpoError)
    if before is not None and before.device.type == "cpu" and "logits" not in message:
        # Nothing is lost: what can be checked is checked before the logits are touched.
        assert torch.equal(call["logits"], before)


def test_every_class_is_raised_by_some_mistake():
    raised = {expected for _, expected, _ in MISTAKES.values()}
    tree = {
        cls
        for cls in vars(icpo).values()
        if isinstance(cls, type) and issubclass(cls, icpo.IcpoError)
    }
    # Files, checkpoints and drivers are not the operators': other tests make those mistakes.
    others = {icpo.DataError, icpo.CheckpointError, icpo.CudaError}
    assert tree - raised - others == {icpo.IcpoError, icpo.InternalError}


PACKED = {
    "no offsets": (None, icpo.MissingArgumentError, "cu_seqlens: ids of shape"),
    "offsets from 1": ([1, 6], icpo.ShapeError, "first offset"),
    "offsets that end early": ([0, 5], icpo.ShapeError, r"last offset Some\(5\)|the 6 tokens"),
    "offsets that go back": ([0, 4, 2, 6], icpo.ShapeError, "4 before 2"),
    "negative offsets": ([0, -1, 6], icpo.ShapeError, "negative"),
    "nothing": ([], icpo.ShapeError, "cu_seqlens: expected shape"),
}


@pytest.mark.parametrize("mistake", PACKED)
def test_packed_mistake(mistake):
    offsets, expected, message = PACKED[mistake]
    offsets = None if offsets is None else torch.tensor(offsets, dtype=torch.int32)
    rows = 2 if offsets is None else max(len(offsets) - 1, 0)
    with pytest.raises(expected, match=message):
        ops.fused_policy_loss(
            torch.zeros(6, V),
            torch.zeros(6, dtype=torch.long),
            torch.zeros(6),
            torch.zeros(rows),
            None,
            None,
            config=LossConfig(),
            cu_seqlens=offsets,
        )


def test_rows_and_tokens_that_can_not_be_told_apart():
    # Three rows of 0, 1 and 2 tokens: three values may be one a row or one a token.
    call = {
        "logits": torch.zeros(3, V),
        "ids": torch.zeros(3, dtype=torch.long),
        "old_logp": torch.zeros(3),
        "loss_mask": None,
        "expert_mask": None,
        "config": LossConfig(),
    }
    with pytest.raises(icpo.ShapeError, match="clearly one a row or one a token"):
        ops.fused_policy_loss(
            **call, advantage=torch.zeros(3), cu_seqlens=torch.tensor([0, 0, 1, 3])
        )
    ops.fused_policy_loss(**call, advantage=torch.zeros(3), cu_seqlens=torch.tensor([0, 1, 2, 3]))


def test_constant_norm_needs_a_constant_when_packed():
    config = LossConfig(aggregation="seq-mean-token-sum-norm")
    with pytest.raises(icpo.MissingArgumentError, match="norm_constant"):
        ops.policy_loss(
            torch.zeros(3),
            torch.zeros(3),
            torch.zeros(2),
            None,
            None,
            config=config,
            cu_seqlens=torch.tensor([0, 1, 3]),
        )


def test_overwriting_overlapping_rows_is_refused():
    logits = torch.zeros(1, 3, V).expand(2, 3, V)
    with pytest.raises(
        (icpo.ShapeError, RuntimeError), match=r"overlapping|single memory location"
    ):
        ops.fused_policy_loss(**arguments(logits=logits), inplace=True)


def test_linear_mistakes():
    good = arguments()
    del good["logits"]
    hidden, weight = torch.zeros(*SHAPE, 4), torch.zeros(V, 4)
    for changes, expected, message in [
        ({"weight": torch.zeros(4, V)}, icpo.ShapeError, r"weight: expected shape \(V, 4\)"),
        ({"hidden": torch.zeros(2, 4, 4)}, icpo.ShapeError, "hidden: expected shape"),
        ({"weight": weight.bfloat16()}, icpo.DTypeError, "one dtype of float32"),
        ({"chunk": 0}, icpo.ConfigError, "chunk: expected"),
        (
            {"hidden": torch.full((*SHAPE, 4), torch.nan)},
            icpo.NonFiniteError,
            r"logits\[row 0, token 0, 0\]",
        ),
    ]:
        with pytest.raises(expected, match=message):
            ops.linear_policy_loss(**{"hidden": hidden, "weight": weight, **good, **changes})


def test_unchecked_values_pass_through_as_nan():
    logits = with_value(torch.zeros(2, V), (0, 2), math.nan).requires_grad_(True)
    ids = torch.zeros(2, dtype=torch.long)
    logp, entropy = ops.logp_entropy(logits, ids, check=False)
    (logp + entropy).sum().backward()
    assert torch.isnan(logp[0]) and torch.isnan(entropy[0]) and torch.isnan(logits.grad[0]).all()
    assert torch.isfinite(logp[1]) and torch.isfinite(logits.grad[1]).all()
    ruled_out = with_value(torch.zeros(1, V), (0, 0), -math.inf)
    assert ops.logp_entropy(ruled_out, ids[:1], check=False)[0].item() == -math.inf
    loss, _ = ops.policy_loss(
        torch.full((1, 1), math.nan),
        torch.zeros(1, 1),
        torch.ones(1),
        None,
        None,
        config=LossConfig(),
        check=False,
    )
    assert torch.isnan(loss)


def test_numpy_names_the_same_mistakes():
    zeros = np.zeros(SHAPE, np.float32)
    good = {
        "logits": np.zeros((*SHAPE, V), np.float32),
        "ids": np.zeros(SHAPE, int),
        "old_logp": zeros,
        "advantage": np.zeros(2),
    }
    for changes, expected, message in [
        ({"logits": np.zeros((*SHAPE, V))}, icpo.DTypeError, "logits: expected dtype float32"),
        (
            {"logits": np.zeros((2, 3, 10), np.float32)[..., ::2]},
            icpo.ShapeError,
            "contiguous last axis",
        ),
        ({"logits": np.zeros((*SHAPE, V), np.float32)[::-1]}, icpo.ShapeError, "backwards"),
        (
            {"logits": np.zeros((*SHAPE, V), ">f4")},
            icpo.DTypeError,
            "native byte order.*got dtype >f4",
        ),
        (
            {"logits": np.zeros((*SHAPE, V), [("x", np.float32), ("y", "u1")])["x"]},
            icpo.DTypeError,
            "whole elements",
        ),
        ({"ids": zeros}, icpo.DTypeError, "ids: expected integers"),
        ({"ids": np.full(SHAPE, V)}, icpo.TokenIdError, "got 5"),
        ({"old_logp": zeros.T}, icpo.ShapeError, "old_logp: expected shape"),
        ({"old_logp": ["a"]}, icpo.DTypeError, "old_logp"),
        ({"advantage": np.zeros(4)}, icpo.ShapeError, "advantage: expected shape"),
        ({"loss_mask": np.full(SHAPE, 2)}, icpo.NonFiniteError, r"loss_mask\[0, 0\].*got 2"),
        ({"temperature": -1.0}, icpo.ConfigError, "temperature"),
    ]:
        with pytest.raises(expected, match=message):
            objective.fused_policy_loss(**{**good, **changes})
    frozen = good["logits"]
    frozen.flags.writeable = False
    with pytest.raises(icpo.ShapeError, match="memory that may be written"):
        objective.fused_policy_loss(**good, inplace=True)
    objective.fused_policy_loss(**good)


def test_exceptions_are_standard_ones_too_and_pickle():
    pairs = [
        (icpo.ShapeError, ValueError),
        (icpo.DTypeError, TypeError),
        (icpo.DeviceError, RuntimeError),
        (icpo.NonFiniteError, ValueError),
        (icpo.TokenIdError, IndexError),
        (icpo.ConfigError, ValueError),
        (icpo.MissingArgumentError, TypeError),
        (icpo.DataError, ValueError),
        (icpo.CheckpointError, RuntimeError),
        (icpo.InternalError, RuntimeError),
    ]
    for ours, standard in pairs:
        assert issubclass(ours, standard) and issubclass(ours, icpo.IcpoError)
        copy = pickle.loads(pickle.dumps(ours("text")))
        assert type(copy) is ours and str(copy) == "text"


def test_messages_speak_of_the_caller_not_of_rust():
    for changes, _, _ in MISTAKES.values():
        with pytest.raises(icpo.IcpoError) as caught:
            ops.fused_policy_loss(**arguments(**changes))
        assert not re.search(r"Some\(|panicked|\.rs:", str(caught.value))
