"""verl's FSDP engine, with log-probabilities and entropies from one read of the logits.

verl divides the logits by the temperature (a second tensor of their size), reads the quotient once
for log-probabilities and again for entropies. What this engine does not do, it leaves to verl.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils
from verl.utils.dataset.dataset_utils import DatasetPadMode
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from icpo.ops import logp_entropy
from icpo.ops.tensors import LOGIT_DTYPES

__all__ = ["STRATEGIES", "VENDOR", "IcpoEngine", "unknown_flags"]

#: Under which name verl's registry has the engine; it is taken where VERL_ENGINE_VENDOR says so.
VENDOR = "icpo"

#: Values of ``actor.strategy`` that lead to the engine that this one extends.
STRATEGIES = ("fsdp", "fsdp2")

#: What a micro-batch may ask of verl's engine, and what makes this one leave the answer to verl.
#: (With fused kernels the model gives log-probabilities itself: see `icpo.verl.linear`.)
_UNDERSTOOD = {"use_remove_padding", "pad_mode", "calculate_entropy"}
_LEFT_TO_VERL = {
    "use_fused_kernels",
    "calculate_sum_pi_squared",
    "distillation_use_topk",
    "distillation_only",
}

#: The least temperature of the operators. verl's is less; under either, all of p is one token's.
_LEAST_TEMPERATURE = 1e-6


@EngineRegistry.register(
    model_type="language_model", backend=list(STRATEGIES), device="cuda", vendor=VENDOR
)
class IcpoEngine(FSDPEngineWithLMHead):  # type: ignore[misc]  # verl is not typed
    """verl's engine with icpo's operators."""

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: Any, logits_processor_func: Any
    ) -> dict[str, Tensor]:
        """As verl's, in float32. Where gradients are asked for, they overwrite the logits."""
        if not _covers(output, micro_batch):
            theirs: dict[str, Tensor] = super().prepare_model_outputs(
                output, output_args, micro_batch, logits_processor_func
            )
            return theirs
        offsets = micro_batch["input_ids"].offsets()
        if _flag(micro_batch, "use_remove_padding", True):
            tokens = _packed(self, output.logits, output_args)
        else:
            tokens = _padded(output.logits, output_args, offsets.diff())
        # Checks would wait for the device; without them, what is wrong shows as NaN, as in verl.
        logp, entropy = logp_entropy(
            tokens.logits,
            tokens.ids,
            tokens.temperature.clamp(min=_LEAST_TEMPERATURE),
            check=False,
            overwrite_logits=True,
        )
        found = {"log_probs": logp}
        if _flag(micro_batch, "calculate_entropy", False):
            found["entropy"] = entropy
        return {
            name: torch.nested.nested_tensor_from_jagged(tokens.in_order(values), offsets)
            for name, values in found.items()
        }


class _Tokens(NamedTuple):
    """The tokens of a micro-batch as the model has them, padding among them."""

    logits: Tensor  # (..., V)
    ids: Tensor  # (...)
    temperature: Tensor  # (...)
    #: From one value for each of them to one for each token of the micro-batch, in order.
    in_order: Callable[[Tensor], Tensor]


def _packed(engine: Any, logits: Tensor, output_args: dict[str, Any]) -> _Tokens:
    """Tokens end to end; with sequence parallelism, this rank's share of them."""
    return _Tokens(
        logits.squeeze(0),
        output_args["input_ids_rmpad_rolled"],
        output_args["temperature_rmpad"],
        lambda values: engine._gather_and_unpad_packed(values, output_args["pad_size"]),
    )


def _padded(logits: Tensor, output_args: dict[str, Any], lengths: Tensor) -> _Tokens:
    """Rows of one length, filled up on the right. Logits stay where they are, unlike in verl."""
    rows, longest = logits.shape[:2]
    taken = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (B, T)
    next_ids = output_args["input_ids_rmpad_rolled"]  # (N,)
    ids = next_ids.new_zeros((rows, longest)).masked_scatter(taken, next_ids)
    temperature = output_args["temperature"][:, None].expand(rows, longest)
    return _Tokens(logits, ids, temperature, lambda values: values[taken])


def _covers(output: Any, micro_batch: Any) -> bool:
    if any(_flag(micro_batch, name, False) for name in _LEFT_TO_VERL):
        return False
    if _flag(micro_batch, "pad_mode", DatasetPadMode.NO_PADDING) != DatasetPadMode.NO_PADDING:
        return False
    # A DTensor has a vocabulary in pieces, which verl puts together first.
    return not isinstance(output.logits, DTensor) and output.logits.dtype in LOGIT_DTYPES


def _flag(micro_batch: Any, name: str, default: Any) -> Any:
    return tensordict_utils.get_non_tensor_data(data=micro_batch, key=name, default=default)


def unknown_flags() -> set[str]:
    """What the installed verl's engine lets a micro-batch ask for and this one knows nothing of."""
    source = inspect.getsource(FSDPEngineWithLMHead.prepare_model_outputs)
    return set(re.findall(r'key="(\w+)"', source)) - _UNDERSTOOD - _LEFT_TO_VERL
