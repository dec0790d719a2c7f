"""The operators against plain torch and torch.compile, and against the memory they must move.

    python benches/objective.py [--tokens 512] [--vocabulary 151936] [--threads 2] [--repeats 7]

All contestants run in one process on the same tensors, taking turns, and medians are compared.
The floor of an operator is the time that a copy takes to move the bytes that it can not avoid
moving: one read of the logits for the forward pass, one read and one write for the fused pass with
the gradient in place. Copies are measured in the same run with ``Tensor.copy_``, counting bytes
read and bytes written. (An in-place operation can beat a copy's rate: it need not fetch lines that
it is about to overwrite.) Peak memory is the growth of the resident set during one call, from the
kernel's high-water mark, where the system has one.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import icpo
from icpo import LossConfig, objective, ops

TEMPERATURE = 0.7


def plain_logp_entropy(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What one writes in torch: log_softmax and gather, entropy from softmax and logsumexp."""
    scaled = logits / TEMPERATURE
    logp = torch.log_softmax(scaled, -1).gather(-1, ids[:, None])[:, 0]
    p = torch.softmax(scaled, -1)
    return logp, torch.logsumexp(scaled, -1) - (p * scaled).sum(-1)


def plain_logp(logits: Tensor, ids: Tensor) -> Tensor:
    """The log-probability alone."""
    return torch.log_softmax(logits / TEMPERATURE, -1).gather(-1, ids[:, None])[:, 0]


def plain_loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """The clipped loss with an entropy bonus, as in `LossConfig.preset("grpo")`."""
    logp, entropy = plain_logp_entropy(logits, ids)
    ratio = torch.exp((logp.float() - old).clamp(-20, 20))
    loss = torch.maximum(-ratio * advantage, -ratio.clamp(0.8, 1.2) * advantage)
    loss = torch.where(advantage < 0, torch.minimum(loss, -3.0 * advantage), loss)
    return (loss - 0.01 * entropy.float()).mean()


def median_of_turns(
    contestants: dict[str, Callable[[], object]],
    repeats: int,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds of each, in turns, after one round of warm-up; `prepare` is not timed."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            prepare()
            start = time.perf_counter()
            result = run()
            elapsed = time.perf_counter() - start
            del result
            if turn:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def resident(field: str) -> int:
    """A figure of the resident set in bytes: now (VmRSS) or its high-water mark (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"{field} is not in /proc/self/status")


def peak_growth(run: Callable[[], object]) -> int | None:
    """Bytes that the resident set grew by at most during a call."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = resident("VmRSS")
        run()
        return max(0, resident("VmHWM") - before)
    except OSError:
        return None


def row(*cells: str) -> None:
    """One line of the table."""
    widths = (34, 10, 10, 10, 10, 10, 10)
    print(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=False))
        )
    )


def bench(dtype: torch.dtype, arguments: argparse.Namespace, compiled: bool) -> None:
    """The table of one dtype."""
    tokens, vocabulary = arguments.tokens, arguments.vocabulary
    torch.manual_seed(0)
    logits = (torch.randn(tokens, vocabulary) * 3).to(dtype)
    ids = torch.randint(vocabulary, (tokens,))
    size = logits.numel() * logits.element_size()
    with torch.no_grad():
        old = plain_logp(logits, ids).float() + 0.1 * torch.randn(tokens)
    advantage = torch.randn(tokens)
    config = LossConfig.preset("grpo", entropy_coef=0.01)
    offsets = torch.tensor([0, tokens])
    target = torch.empty_like(logits)
    work = logits.clone()
    batch = (old, advantage, None, None)

    copy = median_of_turns({"copy": lambda: target.copy_(logits)}, arguments.repeats)["copy"]
    rate = 2 * size / copy
    name = str(dtype).removeprefix("torch.")
    print(f"\n{name}: {tokens} x {vocabulary} = {size / 1e6:.0f} MB, copy {rate / 1e9:.1f} GB/s")
    row("", "icpo ms", "eager ms", "compile ms", "x eager", "x compile", "of floor")

    def fused_in_place() -> object:
        return ops.fused_policy_loss(
            work,
            ids,
            *batch,
            temperature=TEMPERATURE,
            config=config,
            cu_seqlens=offsets,
            inplace=True,
        )

    def functional() -> object:
        leaf = logits.detach().requires_grad_(True)
        loss, _ = ops.fused_policy_loss(
            leaf, ids, *batch, temperature=TEMPERATURE, config=config, cu_seqlens=offsets
        )
        loss.backward()
        return leaf.grad

    def backward_of(loss: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> object:
            leaf = logits.detach().requires_grad_(True)
            loss(leaf, ids, old, advantage).backward()
            return leaf.grad

        return run

    def without_grad(function: Callable[..., object]) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return function(logits, ids)

        return run

    fast = torch.compile if compiled else None

    def contest(
        title: str,
        ours: Callable[[], object],
        eager: Callable[[], object],
        graph: Callable[[], object] | None,
        moved: int,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        contestants = {"ours": ours, "eager": eager}
        if graph is not None:
            contestants["compile"] = graph
        times = median_of_turns(contestants, arguments.repeats, prepare)
        own, other = times["ours"], times.get("compile")
        row(
            title,
            f"{own * 1e3:.1f}",
            f"{times['eager'] * 1e3:.1f}",
            "-" if other is None else f"{other * 1e3:.1f}",
            f"{times['eager'] / own:.1f}",
            "-" if other is None else f"{other / own:.1f}",
            f"{moved / rate / own:.0%}",
        )

    contest(
        "log-prob",
        without_grad(lambda x, i: ops.logp_entropy(x, i, TEMPERATURE)),
        without_grad(plain_logp),
        without_grad(fast(plain_logp)) if fast else None,
        size,
    )
    contest(
        "log-prob + entropy (+ rank)",
        without_grad(lambda x, i: ops.token_stats(x, i, TEMPERATURE)),
        without_grad(plain_logp_entropy),
        without_grad(fast(plain_logp_entropy)) if fast else None,
        size,
    )
    eager = backward_of(plain_loss)
    graph = backward_of(fast(plain_loss)) if fast else None
    contest("loss + gradient, functional", functional, eager, graph, 3 * size)
    contest(
        "loss + gradient, fused in place",
        fused_in_place,
        eager,
        graph,
        2 * size,
        prepare=lambda: work.copy_(logits),  # the gradient has overwritten them
    )

    peaks = {
        "icpo in place": peak_growth(fused_in_place),
        "icpo functional": peak_growth(functional),
    }
    peaks["torch eager"] = peak_growth(eager)
    shown = ", ".join(
        f"{which} {'?' if peak is None else f'{peak / size:.2%}'}" for which, peak in peaks.items()
    )
    print(f"peak extra memory of loss + gradient, of the logits: {shown}")


def bench_small(arguments: argparse.Namespace, compiled: bool) -> None:
    """The loss of given log-probabilities, where the logits are somebody else's."""
    torch.manual_seed(0)
    shape = (64, 8192)
    logp = -torch.rand(shape).requires_grad_(False) * 3
    old = logp + 0.1 * torch.randn(shape)
    advantage, mask = torch.randn(shape[0]), torch.rand(shape) < 0.9
    config = LossConfig.preset("grpo")
    spread = advantage[:, None].expand(shape)

    def ours() -> object:
        leaf = logp.detach().requires_grad_(True)
        ops.policy_loss(leaf, old, advantage, mask, None, config=config)[0].backward()
        return leaf.grad

    def loss(leaf: Tensor) -> Tensor:
        """The loss, with the three diagnostics that verl's has."""
        count = mask.sum()
        shift = (leaf - old).clamp(-20, 20)
        ratio = torch.exp(shift)
        plain, clipped = -ratio * spread, -ratio.clamp(0.8, 1.2) * spread
        values, lowest = torch.maximum(plain, clipped), -3.0 * spread
        diagnostics = [
            (-shift * mask).sum() / count,
            ((clipped > plain) * mask).sum() / count,
            ((values > lowest) * (spread < 0) * mask).sum() / count,
        ]
        values = torch.where(spread < 0, torch.minimum(values, lowest), values)
        return (values * mask).sum() / count + 0.0 * torch.stack(diagnostics).detach().sum()

    def run(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        def step() -> object:
            leaf = logp.detach().requires_grad_(True)
            function(leaf).backward()
            return leaf.grad

        return step

    contestants = {"ours": ours, "eager": run(loss)}
    if compiled:
        contestants["compile"] = run(torch.compile(loss))
    times = median_of_turns(contestants, arguments.repeats)
    print(
        f"\nloss and gradient of {shape[0]} x {shape[1]} log-probabilities; torch with three "
        f"diagnostics, icpo with {len(icpo.objective.LossMetrics.NAMES)}"
    )
    row("", "icpo ms", "eager ms", "compile ms", "x eager", "x compile")
    other = times.get("compile")
    row(
        "policy_loss",
        f"{times['ours'] * 1e3:.1f}",
        f"{times['eager'] * 1e3:.1f}",
        "-" if other is None else f"{other * 1e3:.1f}",
        f"{times['eager'] / times['ours']:.1f}",
        "-" if other is None else f"{other / times['ours']:.1f}",
    )


def main() -> None:
    """Runs everything and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    icpo.set_num_threads(arguments.threads)
    print(
        f"icpo {icpo.__version__}, torch {torch.__version__}, {platform.machine()}, "
        f"{arguments.threads} threads, medians of {arguments.repeats}"
    )
    # Warm-up of the pools.
    objective.logp_entropy(torch.zeros(4, 64).numpy(), [0] * 4)
    for dtype in (torch.float32, torch.bfloat16):
        bench(dtype, arguments, compiled=not arguments.no_compile)
    bench_small(arguments, compiled=not arguments.no_compile)


if __name__ == "__main__":
    main()
