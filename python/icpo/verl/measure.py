"""How long icpo's log-probabilities and entropies take, and how long verl's.

The measurement is for people to read: nothing is chosen by it, since runs have to repeat.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils
from verl.utils.memory_utils import aggressive_empty_cache
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from icpo.verl import linear
from icpo.verl.engine import IcpoEngine

__all__ = ["Measured", "measure"]

#: Logits in the block, by kind of device: enough to keep it busy, and done in less than a second.
_LOGITS = {"cuda": 2**27, "cpu": 2**22}
_MOST_TOKENS = {"cuda": 8192, "cpu": 1024}

#: How often a block is measured; less, once that has taken so many seconds.
_REPEATS, _LONGEST = 3, 1.0

#: Forward and backward pass of a block.
Step = Callable[[], None]


@dataclass(frozen=True)
class Measured:
    """Seconds for the forward and backward pass of one block."""

    block: str
    ours: float
    theirs: float


def measure(engine: Any, device: torch.device) -> Measured:
    """Of a block with the vocabulary and the dtype of the engine's model, by engines of both."""
    text = engine.model_config.hf_config.get_text_config()
    kind = device.type
    tokens = min(_MOST_TOKENS[kind], max(2, _LOGITS[kind] // text.vocab_size))
    block = _Block(tokens, text.vocab_size, text.hidden_size, engine._autocast_dtype, device)
    fused = engine.model_config.use_fused_kernels
    theirs, ours = (_from_hidden if fused else _from_logits)(engine, block)
    what = f"from {block.width} hidden values each" if fused else "as they are"
    seconds = [_seconds(step, block) for step in (theirs, ours)]
    aggressive_empty_cache(force_sync=True)
    return Measured(f"{block}, {what}", ours=seconds[1], theirs=seconds[0])


@dataclass(frozen=True)
class _Block:
    tokens: int
    vocabulary: int
    width: int
    dtype: torch.dtype
    device: torch.device

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.tokens} tokens of {self.vocabulary} logits, {dtype}, on {self.device}"

    def random(self, *shape: int) -> Tensor:
        """Drawn from a generator of its own: the draws of the run stay what they were."""
        generator = torch.Generator(self.device).manual_seed(0)
        return torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)

    def ids(self) -> Tensor:
        """Any."""
        return torch.arange(self.tokens, device=self.device) % self.vocabulary


def _from_logits(engine: Any, block: _Block) -> tuple[Step, Step]:
    """What the two engines make of the output of a model."""
    alone = copy.copy(engine)
    alone.use_ulysses_sp = False  # the other ranks are not here
    sequence = torch.nested.as_nested_tensor([block.ids()], layout=torch.jagged)
    micro_batch = TensorDict({"input_ids": sequence, "position_ids": sequence}, batch_size=1)
    flags = {"use_remove_padding": alone.use_remove_padding, "use_fused_kernels": False}
    tensordict_utils.assign_non_tensor(
        micro_batch, temperature=1.0, calculate_entropy=True, **flags
    )
    _, arguments = alone.prepare_model_inputs(micro_batch)
    rows = arguments["input_ids_rmpad_rolled"].numel()
    logits = block.random(1, rows, block.vocabulary)
    anchor = torch.zeros((), device=block.device, requires_grad=True)

    def step_of(engine_class: Any) -> Step:
        def step() -> None:
            output = SimpleNamespace(logits=_AsComputed.apply(anchor, logits))
            with _autocast(alone, block.device):
                found = engine_class.prepare_model_outputs(
                    alone, output, arguments, micro_batch, None
                )
            _differentiate([values.values() for values in found.values()])

        return step

    return step_of(FSDPEngineWithLMHead), step_of(IcpoEngine)


def _from_hidden(engine: Any, block: _Block) -> tuple[Step, Step]:
    """What the two fused linear layers make of hidden states."""
    backend = engine.model_config.fused_kernel_options.get("impl_backend")
    hidden = block.random(1, block.tokens, block.width).requires_grad_(True)
    weight = block.random(block.vocabulary, block.width).requires_grad_(True)
    arguments = (hidden, weight, block.ids()[None], 1.0)

    def step_of(layer: Callable[..., tuple[Tensor, Tensor]]) -> Step:
        def step() -> None:
            with _autocast(engine, block.device):
                found = layer(*arguments)
            _differentiate(list(found))
            hidden.grad = weight.grad = None

        return step

    theirs, ours = linear.layers(backend)
    return step_of(theirs), step_of(ours)


class _AsComputed(torch.autograd.Function):
    """Logits as if a model had made them, for no time."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, logits: Tensor) -> Tensor:
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        return None, None


def _autocast(engine: Any, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """As verl's engine has it around the forward pass."""
    if engine._autocast_dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=engine._autocast_dtype)


def _differentiate(found: list[Tensor]) -> None:
    torch.autograd.backward([values.float().sum() for values in found])


def _seconds(step: Step, block: _Block) -> float:
    """The best of a few times, once everything is loaded and compiled."""
    step()
    found: list[float] = []
    while len(found) < _REPEATS and sum(found) < _LONGEST:
        _wait(block.device)
        start = time.perf_counter()
        step()
        _wait(block.device)
        found.append(time.perf_counter() - start)
    return min(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
