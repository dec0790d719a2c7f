"""The operators as torch sees them: schemas, fake kernels, autograd, compilation, honesty."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cases import Case, random_case, relative_norm
from icpo import LossConfig, ops

ICPO = torch.ops.icpo


def case_with_everything(packed: bool = False) -> Case:
    """A batch in which every optional argument is used."""
    case = random_case(5)
    torch.manual_seed(0)
    shape, vocabulary = (3, 4), 70
    return Case(
        torch.randn(*shape, vocabulary),
        torch.randint(vocabulary, shape),
        0.7,
        old_logp=torch.randn(shape) - 4,
        advantage=torch.randn(3),
        loss_mask=torch.tensor([[True, True, False, True]] * 3),
        expert_mask=torch.tensor([True, False, False]),
        behavior_logp=torch.randn(shape) - 4,
        ref_logp=torch.randn(shape) - 4,
        config=case.config.replace(
            off_ratio="behavior",
            kl="k3",
            kl_coef=0.1,
            entropy_coef=0.1,
            sft_coef=0.1,
            norm_constant=9.0,
        ),
    )


def shared(case: Case, cu_seqlens: Any = None) -> tuple[Any, ...]:
    return (
        case.old_logp,
        case.advantage,
        case.loss_mask,
        case.expert_mask,
        case.behavior_logp,
        case.ref_logp,
        cu_seqlens,
    )


def samples() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """One call of each operator, by name."""
    case = case_with_everything()
    spec = case.config.spec
    logits = case.logits
    heat = torch.rand(case.ids.shape) + 0.5
    logp, entropy = (tensor.detach() for tensor in ops.logp_entropy(logits, case.ids))
    saved = ICPO.logp_entropy(logits, case.ids, 0.7, None, True)[3]
    gradients = (
        torch.randn(case.ids.shape, dtype=torch.float64),
        torch.zeros(case.ids.shape).double(),
    )
    hidden, weight = torch.randn(3, 4, 8), torch.randn(70, 8)
    rows = ICPO.linear_logp_entropy(hidden, weight, case.ids, 0.7, None, True, 5)[2]

    def needs(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone().requires_grad_(True)

    return {
        "logp_entropy": (ICPO.logp_entropy, (needs(logits), case.ids, 0.7, None, True)),
        "logp_entropy, bf16, temperatures": (
            ICPO.logp_entropy,
            (needs(logits.bfloat16()), case.ids, 1.0, heat, True),
        ),
        "logp_entropy_backward": (
            ICPO.logp_entropy_backward,
            (logits, case.ids, 0.7, None, saved, *gradients),
        ),
        "logp_entropy_backward_": (
            ICPO.logp_entropy_backward_,
            (logits.clone(), case.ids, 0.7, None, saved, *gradients),
        ),
        "linear_logp_entropy": (
            ICPO.linear_logp_entropy,
            (needs(hidden), needs(weight), case.ids, 1.0, heat, True, 5),
        ),
        "linear_logp_entropy, one gradient": (
            ICPO.linear_logp_entropy,
            (hidden, needs(weight), case.ids, 0.7, None, True, 4096),
        ),
        "linear_logp_entropy_backward": (
            ICPO.linear_logp_entropy_backward,
            (hidden, weight, case.ids, 0.7, None, 5, rows, *gradients, True, False),
        ),
        "policy_loss": (
            ICPO.policy_loss,
            (needs(logp), *shared(case), needs(entropy), spec, None, True),
        ),
        "policy_loss, packed": (
            ICPO.policy_loss,
            (
                needs(logp.flatten()),
                *(t.flatten() if t.shape == logp.shape else t for t in shared(case)[:-1]),
                torch.tensor([0, 4, 8, 12]),
                None,
                case.config.replace(entropy_coef=0.0).spec,
                3.0,
                False,
            ),
        ),
        "fused_policy_loss": (
            ICPO.fused_policy_loss,
            (needs(logits), case.ids, *shared(case), 0.7, None, spec, None, True),
        ),
        "fused_policy_loss_": (
            ICPO.fused_policy_loss_,
            (logits.clone(), case.ids, *shared(case), 0.7, None, spec, None, True),
        ),
        "linear_policy_loss": (
            ICPO.linear_policy_loss,
            (
                needs(hidden),
                needs(weight),
                case.ids,
                *shared(case),
                0.7,
                heat,
                spec,
                None,
                True,
                5,
                True,
                True,
            ),
        ),
        "linear_policy_loss, one gradient": (
            ICPO.linear_policy_loss,
            (
                needs(hidden),
                weight,
                case.ids,
                *shared(case),
                0.7,
                None,
                spec,
                None,
                True,
                4096,
                True,
                False,
            ),
        ),
        "group_advantages": (
            ICPO.group_advantages,
            (
                torch.randn(6),
                torch.tensor([0, 1, 0, 1, 1, 0]),
                torch.tensor([True, False] * 3),
                None,
                "unbiased",
                "mixed",
                1e-6,
                True,
            ),
        ),
        "vocab_state": (ICPO.vocab_state, (logits, case.ids, 0.7, None, 30)),
        "vocab_state_backward": (
            ICPO.vocab_state_backward,
            (logits, case.ids, 0.7, heat, 30, saved, *gradients),
        ),
        "scale_": (ICPO.scale_, (torch.randn(5), torch.tensor(2.0))),
    }


@pytest.mark.parametrize("name", samples())
def test_opcheck(name):
    operator, arguments = samples()[name]
    torch.library.opcheck(operator, arguments)


def test_every_operator_is_checked():
    covered = {operator._qualified_op_name for operator, _ in samples().values()}
    ours = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("icpo::")}
    assert {name.split(".")[0] for name in ours} == covered


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_compiled_training_step(dynamic, inplace):
    case = case_with_everything()
    weight = torch.randn(70, 8)

    def step(hidden):
        logits = hidden @ weight.T
        logp, entropy = ops.logp_entropy(logits, case.ids, 0.7)
        first, _ = ops.policy_loss(logp, entropy=entropy, **case.shared())
        second, metrics = ops.fused_policy_loss(
            logits * 1.0, case.ids, temperature=0.7, inplace=inplace, **case.shared()
        )
        third, _ = ops.linear_policy_loss(hidden, weight, case.ids, chunk=5, **case.shared())
        return first + 2 * second + third, metrics

    results = []
    for function in (step, torch.compile(step, fullgraph=True, dynamic=dynamic)):
        torch.manual_seed(1)
        hidden = torch.randn(3, 4, 8, requires_grad=True)
        loss, metrics = function(hidden)
        loss.backward()
        results.append((loss.item(), hidden.grad, metrics["off/ratio"]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert relative_norm(results[1][1], results[0][1]) < 1e-5
    assert results[0][2] == pytest.approx(results[1][2], rel=1e-5)


def test_compiled_code_checks_shapes_and_values():
    compiled = torch.compile(lambda x, i: ops.logp_entropy(x, i)[0].sum(), fullgraph=True)
    with pytest.raises(Exception, match="ids: expected shape"):
        compiled(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(Exception, match="expected a number or -inf, got NaN"):
        compiled(torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.long))


def test_differentiating_a_gradient_fails_loudly():
    case = case_with_everything()
    leaf = case.logits.clone().requires_grad_(True)
    logp, _ = ops.logp_entropy(leaf, case.ids)
    (gradient,) = torch.autograd.grad(logp.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), leaf)


def test_inference_mode_and_no_grad():
    case = case_with_everything()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            for inplace in (False, True):
                loss, _ = ops.fused_policy_loss(
                    case.logits.clone(), case.ids, inplace=inplace, **case.shared()
                )
                assert not loss.requires_grad


def test_default_dtype_and_device_do_not_matter():
    case = case_with_everything()
    expected, _ = ops.fused_policy_loss(case.logits, case.ids, **case.shared())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            loss, metrics = ops.fused_policy_loss(case.logits, case.ids, **case.shared())
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(loss, expected) and metrics.sums.device.type == "cpu"


def test_metrics_survive_pickling():
    import pickle

    case = case_with_everything()
    _, metrics = ops.fused_policy_loss(case.logits, case.ids, **case.shared())
    copy = pickle.loads(pickle.dumps(metrics))
    assert dict(copy) == dict(metrics)
    config = pickle.loads(pickle.dumps(case.config))
    assert config == case.config and isinstance(config, LossConfig)
