"""``icpo.kernels``: whose log-probabilities and entropies verl's workers compute.

A rule decides, not a stopwatch, so that runs repeat bit by bit. What it decided, and how long both
take, is said once.
"""

from __future__ import annotations

import importlib
import inspect
import os
from dataclasses import dataclass
from typing import Any

import torch
from verl.utils.device import get_device_id, get_device_name
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from icpo.errors import ConfigError, IcpoError
from icpo.ops import logp_entropy
from icpo.ops.backend import BACKENDS
from icpo.verl import linear
from icpo.verl.engine import STRATEGIES, VENDOR, IcpoEngine, unknown_flags
from icpo.verl.measure import Measured, measure

__all__ = ["CHOICES", "Choice", "choose", "describe", "install", "require_agreement"]

CHOICES = ("auto", "on", "off")


@dataclass(frozen=True)
class Choice:
    """Whose operators run, and why."""

    #: The setting.
    wish: str
    ours: bool
    reason: str


def choose(wish: str, strategy: str) -> Choice:
    """What a value of ``icpo.kernels`` comes to in this process.

    Raises:
        ConfigError: if it is ``on``, and icpo's operators can not be had; or if it is none.
    """
    if wish not in CHOICES:
        raise ConfigError(f"icpo.kernels: expected one of {', '.join(CHOICES)}, got {wish!r}")
    if wish == "off":
        return Choice(wish, False, "icpo.kernels is off")
    reason = _obstacle(strategy)
    if reason is None:
        return Choice(wish, True, f"they run on {_device()} under {strategy}")
    if wish == "on":
        raise ConfigError(f"icpo.kernels: on, but icpo's operators can not be had: {reason}")
    return Choice(wish, False, reason)


def _obstacle(strategy: str) -> str | None:
    """Why icpo's operators can not take the place of verl's; None: they can."""
    if strategy not in STRATEGIES:
        return f"actor.strategy is {strategy}, and they are for {' and '.join(STRATEGIES)}"
    if get_device_name() not in BACKENDS:
        return f"the device is {get_device_name()}, and they run on {' and '.join(BACKENDS)}"
    found = EngineRegistry.get_engine_cls("language_model", strategy)
    if found not in (FSDPEngineWithLMHead, IcpoEngine):
        return f"verl takes {found.__name__} here, and they are for {FSDPEngineWithLMHead.__name__}"
    ours, theirs = (_parameters(each) for each in (IcpoEngine, FSDPEngineWithLMHead))
    if ours != theirs:
        return f"prepare_model_outputs takes {theirs} in this version of verl, not {ours}"
    if unknown := unknown_flags():
        names = ", ".join(sorted(unknown))
        return f"verl's engine knows what they do not in this version: {names}"
    for module, name, _ in linear.SITES:
        if not hasattr(importlib.import_module(module), name):
            return f"this version of verl has no {module}.{name}, which they replace"
    try:
        _try_out(_device())
    except IcpoError as error:
        return str(error)
    return None


def _parameters(engine_class: Any) -> str:
    return ", ".join(inspect.signature(engine_class.prepare_model_outputs).parameters)


def _device() -> torch.device:
    """The device of this process."""
    place = get_device_id()
    return torch.device(place if isinstance(place, str) else f"{get_device_name()}:{place}")


def _try_out(device: torch.device) -> None:
    """Runs the operator once, forward and backward: kernels may be missing, or not compile."""
    logits = torch.zeros(2, 8, device=device, requires_grad=True)
    ids = torch.zeros(2, dtype=torch.int64, device=device)
    logp, _ = logp_entropy(logits * 1, ids, check=False, overwrite_logits=True)
    torch.autograd.backward(logp.sum())


def install() -> None:
    """Makes verl take icpo's operators in this process, for engines that are made from now on."""
    os.environ["VERL_ENGINE_VENDOR"] = VENDOR
    linear.install()


def require_agreement(choice: Choice) -> None:
    """Makes sure that all ranks have chosen the same.

    Raises:
        ConfigError: naming the ranks that could not, and why.
    """
    choices: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(choices, choice)
    without = [rank for rank, each in enumerate(choices) if not each.ours]
    if 0 < len(without) < len(choices):
        raise ConfigError(
            f"icpo.kernels: ranks {without} can not have icpo's operators, others can; rank "
            f"{without[0]}: {choices[without[0]].reason}. Mend that, or set icpo.kernels=off"
        )


def describe(choice: Choice, engine: Any) -> str:
    """What was chosen and why, with what both took on this device, and a warning if need be."""
    owner = "icpo's" if choice.ours else "verl's own"
    said = (
        f"icpo.kernels={choice.wish}: {owner} log-probabilities and entropies, because "
        f"{choice.reason}."
    )
    if not choice.ours:
        return said
    try:
        found = measure(engine, _device())
    except (RuntimeError, ImportError) as error:
        return f"{said} Not measured: {type(error).__name__}: {error}"
    return f"{said} {_figures(found)}"


def _figures(found: Measured) -> str:
    times = f"{found.ours * 1e3:.3g} ms, verl's {found.theirs * 1e3:.3g} ms"
    figures = f"Forward and backward pass of {found.block}: icpo's {times}."
    if found.ours <= found.theirs:
        return figures
    return f"{figures}\nWARNING: icpo's are slower than verl's here; icpo.kernels=off has verl's."
