"""The operators on one GPU: right, then how close to what its memory allows, then beside others.

    python benches/gpu.py [--quick] [--sections logp fused ...] [--json FILE]

The ceiling is a large copy on the device, measured in the same run; bytes read and bytes written
count. The floor of an operator is the time in which that copy moves the bytes that the operator can
not avoid: one read of the logits for the forward pass, one read and one write for its backward pass
and for the fused pass in place. `of floor` is that time over the measured one. `GB/s` counts these
bytes too. Times are medians, each call with a cold cache (`gpu_measure.py`). `extra` is the most
memory that a call holds beyond its arguments, in per cent of the logits. `x icpo` is how many times
as long as ours a peer takes. Sizes with a star have no peers.

`--device cpu` tries the benchmark itself, on small sizes. Status: 0 if all bars are met, 1 if one
is missed or something failed, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import gpu_correctness
import gpu_peers
import torch
from gpu_measure import Cpu, Gpu, Machine, Measured, Run, forget, measure, nothing
from gpu_problem import CONFIG, CONFIG_ENTROPY, TEMPERATURE, Problem, Size, problem_of
from torch import Tensor

import icpo
from icpo import _core, ops
from icpo.ops.tensors import view

QWEN = 151_936
SIZES = [
    Size(8_192, QWEN, "bf16", peers=True),
    Size(65_536, QWEN, "bf16", peers=True),
    Size(8_192, QWEN, "f16"),
    Size(8_192, QWEN, "f32"),
    *(Size(tokens, v, "bf16") for v in (128_256, 262_144) for tokens in (8_192, 65_536)),
]
QUICK = SIZES[:1]
SMALL = [Size(64, 4096, "bf16", peers=True), Size(64, 4096, "f32")]

#: Of the copy.
FORWARD_BAR = 0.90
FUSED_BAR = 0.85
#: Times the fused pass.
VERL_BAR = 3.0
#: Of the logits.
EXTRA_BAR = 0.01

OURS = "icpo"
#: log2(e)/τ
SCALE = math.log2(math.e) / TEMPERATURE


@dataclasses.dataclass
class Line:
    """One measurement."""

    section: str
    what: str
    who: str
    size: str
    moved: int | None  # bytes that can not be avoided
    logits: int  # bytes
    measured: Measured | None = None
    failure: str = ""

    def seconds(self) -> float | None:
        """The median, if the call succeeded."""
        return self.measured.median if self.measured else None


@dataclasses.dataclass
class Bar:
    """Something promised, and what came of it."""

    name: str
    wanted: str
    got: str
    met: bool


class Bench:
    """Measures, keeps what it measured, prints it line by line."""

    def __init__(self, machine: Machine, budget: float, peers: bool) -> None:
        """Takes the machine, the seconds to spend on each contestant, and whether peers run."""
        self.machine, self.budget, self.peers = machine, budget, peers
        self.lines: list[Line] = []
        self.bars: list[Bar] = []
        self.rate: float | None = None  # bytes a second of the copy

    def ceiling(self, size: int) -> None:
        """A large copy on the device; the median of many."""
        source = torch.empty(size, dtype=torch.uint8, device=self.machine.device)
        source.random_()
        target = torch.empty_like(source)
        measured = measure(self.machine, lambda: target.copy_(source), budget=4 * self.budget)
        self.rate = 2 * size / measured.median
        fastest = 2 * size / min(measured.seconds)
        print(
            f"copy of {size / 1e9:.2f} GB: {self.rate / 1e9:.0f} GB/s read and written (median of "
            f"{len(measured.seconds)}; best {fastest / 1e9:.0f})"
        )

    def fraction(self, line: Line) -> float | None:
        """The floor over the measured time."""
        seconds = line.seconds()
        if seconds is None or line.moved is None or self.rate is None:
            return None
        return line.moved / self.rate / seconds

    def contest(
        self,
        section: str,
        what: str,
        problem: Problem,
        moved: int | None,
        contestants: dict[str, Callable[[], Run]],
        prepare: Run = nothing,
    ) -> None:
        """Measures contestants one after another, ours first. What fails says so in its line."""
        size, ours = problem.size, None
        for who, load in contestants.items():
            line = Line(section, what, who, str(size), moved, size.bytes)
            forget()
            try:
                line.measured = measure(self.machine, load(), prepare, self.budget)
            except ImportError as error:
                line.failure = f"not installed ({error})"
            except torch.OutOfMemoryError:
                line.failure = "OOM"
            except Exception as error:
                # A peer that does not run here is a line of the table; so are we, but see `failed`.
                line.failure = f"{type(error).__name__}: {str(error).splitlines()[0][:70]}"
                traceback.print_exc(file=sys.stderr)
            self.lines.append(line)
            ours = line.seconds() if who.startswith(OURS) and ours is None else ours
            self.show(line, ours)

    def show(self, line: Line, ours: float | None) -> None:
        """A line of the table."""
        seconds, fraction = line.seconds(), self.fraction(line)
        name = f"  {line.who:<42}"
        if line.measured is None or seconds is None:
            print(f"{name} {line.failure}", flush=True)
            return
        extra = line.measured.extra
        cells = [
            f"{seconds * 1e3:.3f}",
            "-" if line.moved is None else f"{line.moved / seconds / 1e9:.0f}",
            "-" if fraction is None else f"{fraction:.1%}",
            "-" if extra is None else f"{extra / line.logits:.2%}",
            "-" if ours is None else f"{seconds / ours:.2f}",
        ]
        print(name + "".join(cell.rjust(10) for cell in cells), flush=True)

    def head(self, title: str, problem: Problem) -> None:
        """The title of a section's table."""
        star = "" if problem.size.peers else " *"
        print(f"\n{title}, {problem.size}{star}")
        cells = ("ms", "GB/s", "of floor", "extra", "x icpo")
        print(" " * 44 + "".join(cell.rjust(10) for cell in cells))

    def bar(self, name: str, wanted: str, got: str, met: bool) -> None:
        """Notes a bar."""
        self.bars.append(Bar(name, wanted, got, met))

    def failed(self) -> list[Line]:
        """Our own lines that did not run."""
        return [line for line in self.lines if line.failure and line.who.startswith(OURS)]

    def line(self, what: str, who: str, size: str) -> Line | None:
        """A line that succeeded."""
        for line in self.lines:
            if (line.what, line.who, line.size) == (what, who, size) and line.measured:
                return line
        return None


def with_peers(
    bench: Bench, problem: Problem, ours: dict[str, Run], peers: dict[str, gpu_peers.Peer]
) -> dict[str, Callable[[], Run]]:
    """Contestants, ours first."""
    contestants: dict[str, Callable[[], Run]] = {
        name: (lambda run=run: run) for name, run in ours.items()
    }
    if bench.peers and problem.size.peers:
        contestants |= {name: (lambda peer=peer: peer(problem)) for name, peer in peers.items()}
    return contestants


##### Sections: functions of the benchmark and a problem


def logp(bench: Bench, problem: Problem) -> None:
    """Log-probability, entropy and rank."""

    def ours() -> object:
        with torch.no_grad():
            return ops.token_stats(problem.logits, problem.ids, TEMPERATURE, check=False)

    bench.head("log-prob, entropy (and rank), forward", problem)
    named = {OURS: ours}
    stream = bench.machine.stream()
    if stream is not None:
        named[f"{OURS}, its kernel alone"] = row_states_alone(stream, problem)
    contestants = with_peers(bench, problem, named, gpu_peers.FORWARD)
    bench.contest("logp", "forward", problem, problem.size.bytes, contestants)


def backward(bench: Bench, problem: Problem) -> None:
    """From gradients of log-probabilities and entropies to that of the logits."""
    stats = ops.token_stats(problem.logits.requires_grad_(True), problem.ids, TEMPERATURE)
    weights = torch.stack([problem.advantage, 0.01 * problem.old_logp])

    def ours(both: bool) -> Run:
        outputs = (stats.logp, stats.entropy) if both else (stats.logp,)
        upstream = tuple(weights[: len(outputs)])

        def run() -> object:
            return torch.autograd.grad(outputs, problem.logits, upstream, retain_graph=True)

        return run

    bench.head("log-prob, backward", problem)
    named = {OURS: ours(both=False), f"{OURS}, entropy": ours(both=True)}
    contestants = with_peers(bench, problem, named, {})
    bench.contest("backward", "backward", problem, 2 * problem.size.bytes, contestants)
    problem.logits.requires_grad_(False)


def fused_call(problem: Problem, config: icpo.LossConfig, inplace: bool) -> Run:
    """Loss and gradient of the problem's logits."""

    def run() -> object:
        leaf = problem.work.detach().requires_grad_(True)
        loss, _ = ops.fused_policy_loss(
            leaf,
            problem.ids,
            problem.old_logp,
            problem.advantage,
            None,
            None,
            temperature=TEMPERATURE,
            cu_seqlens=problem.offsets,
            config=config,
            inplace=inplace,
            check=False,
        )
        loss.backward()
        return loss, leaf.grad

    return run


def fused(bench: Bench, problem: Problem) -> None:
    """Loss and gradient of logits: in place, functional, and as others make them."""
    bench.head("loss and gradient of logits", problem)
    if bench.peers and problem.size.peers and gpu_peers.flash_cross_entropy() is None:
        print("  without flash-attn's cross-entropy, which verl users have")
    ours = {
        f"{OURS}, in place": fused_call(problem, CONFIG, inplace=True),
        f"{OURS}, in place, entropy": fused_call(problem, CONFIG_ENTROPY, inplace=True),
    }
    contestants = with_peers(bench, problem, ours, gpu_peers.GRADIENT)
    moved = 2 * problem.size.bytes
    bench.contest("fused", "fused", problem, moved, contestants, problem.restore)
    functional = {f"{OURS}, functional": fused_call(problem, CONFIG, inplace=False)}
    bench.contest(
        "fused",
        "functional",
        problem,
        3 * problem.size.bytes,
        with_peers(bench, problem, functional, {}),
        problem.restore,
    )


def loss(bench: Bench, problem: Problem) -> None:
    """The loss of log-probabilities that somebody else has made: bound by launches."""
    logp = problem.old_logp - 0.05 * problem.advantage

    def ours() -> object:
        leaf = logp.detach().requires_grad_(True)
        value, _ = ops.policy_loss(
            leaf,
            problem.old_logp,
            problem.advantage,
            None,
            None,
            cu_seqlens=problem.offsets,
            config=CONFIG,
            check=False,
        )
        value.backward()
        return value, leaf.grad

    def plain(function: Callable[..., Tensor]) -> gpu_peers.Peer:
        def run() -> object:
            leaf = logp.detach().requires_grad_(True)
            function(leaf, problem.old_logp, problem.advantage).mean().backward()
            return leaf.grad

        return lambda _: run

    bench.head("loss and gradient of log-probabilities", problem)
    named = {OURS: ours}
    if problem.logits.is_cuda:
        named[f"{OURS}, replay of a graph"] = captured(ours)
    peers = {
        "torch eager": plain(gpu_peers.clipped),
        "torch.compile": plain(gpu_peers.compiled(gpu_peers.clipped)),
    }
    bench.contest("loss", "loss", problem, None, with_peers(bench, problem, named, peers))


def captured(run: Run) -> Run:
    """The call as one graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()  # what a replay writes must stay

    def replay() -> object:
        graph.replay()
        return kept

    return replay


def linear(bench: Bench, problem: Problem) -> None:
    """Loss and gradients of hidden states and head, at two widths of models."""
    for width in (1536, 3584):
        linear_of_width(bench, problem, width)


def linear_of_width(bench: Bench, problem: Problem, width: int) -> None:
    """Its floor is mostly matrix products, so these are measured beside it."""

    def normal(rows: int, deviation: float) -> Tensor:
        values = torch.empty(rows, width, device=problem.ids.device).normal_(std=deviation)
        return values.to(problem.logits.dtype).requires_grad_(True)

    hidden = normal(problem.size.tokens, 1.0)
    head = normal(problem.size.vocabulary, width**-0.5)

    def ours() -> object:
        value, _ = ops.linear_policy_loss(
            hidden,
            head,
            problem.ids,
            problem.old_logp,
            problem.advantage,
            None,
            None,
            temperature=TEMPERATURE,
            cu_seqlens=problem.offsets,
            config=CONFIG,
            check=False,
        )
        return torch.autograd.grad(value, (hidden, head))

    def products() -> object:
        """The three of them, in chunks as ours are; that of the head in the head's dtype."""
        total = torch.zeros_like(head)
        with torch.no_grad():
            for part in hidden.split(4096):
                logits = part @ head.t()
                kept = logits @ head
                total.addmm_(logits.t(), part)
        return kept, total

    bench.head(f"loss and gradients of hidden states, H={width}", problem)
    named = {OURS: ours, "three products alone": products}
    peers: dict[str, gpu_peers.Peer] = {
        name: (lambda problem, peer=peer: peer(problem, hidden, head))
        for name, peer in gpu_peers.LINEAR.items()
    }
    contestants = with_peers(bench, problem, named, peers)
    bench.contest("linear", f"linear {width}", problem, None, contestants)


def row_states_alone(stream: _core.CudaStream, problem: Problem) -> Run:
    """The kernel that the forward pass consists of, but for a tiny one."""
    states = problem.ids.new_empty((problem.size.tokens, 5), dtype=torch.float64)
    return lambda: stream.row_states(view(problem.logits), view(problem.ids), SCALE, view(states))


def fused_alone(
    stream: _core.CudaStream,
    problem: Problem,
    config: icpo.LossConfig,
    plan: Mapping[str, int] | None = None,
) -> Run:
    """The kernel that the pass in place consists of, but for small ones."""
    weights = torch.full_like(problem.old_logp, 1 / problem.size.tokens, dtype=torch.float64)
    tensors = {"weights": weights, "old_logp": problem.old_logp, "advantage": problem.advantage}
    absent = ("expert", "behavior_logp", "ref_logp")
    batch = {name: view(tensor) for name, tensor in tensors.items()} | dict.fromkeys(absent)
    logp, entropy = (torch.empty_like(weights) for _ in range(2))
    status = torch.empty_like(problem.ids, dtype=torch.uint8)

    def run() -> object:
        stream.fused(
            batch,
            view(problem.work),
            view(problem.work),
            view(problem.ids),
            SCALE,
            config,
            logp=view(logp),
            entropy=view(entropy),
            status=view(status),
            leave_unsound=False,
            plan=plan,
        )
        return logp, entropy, status

    return run


#: Threads that hold a row and blocks a multiprocessor, of the shapes that compile without spilling;
#: and the most vectors that a thread can hold.
SHAPES = [(224, 2, 22), (480, 1, 20)]
CLUSTERS = (1, 2, 4, 8)


def plans_of(problem: Problem) -> dict[str, dict[str, int]]:
    """Ways to cut a row, by name; the first is the one that is chosen without a word."""
    dtype = str(problem.logits.dtype).removeprefix("torch.")
    own = _core.cuda_plan(problem.ids.device.index or 0, problem.size.vocabulary, dtype)
    if isinstance(own, str):
        return {}
    ring = own["slots"] * own["threads"] * own["blocks_a_multiprocessor"]
    vectors = problem.size.vocabulary * problem.logits.element_size() // 16
    plans = [own]
    for threads, blocks, most in SHAPES:
        for cluster in CLUSTERS:
            held = -(-vectors // (cluster * threads))
            slots = min(31, ring // (threads * blocks))
            plan = dict(cluster=cluster, threads=threads, held=held, slots=slots)
            plan["blocks_a_multiprocessor"] = blocks
            if held <= most and plan not in plans:
                plans.append(plan)
    return {f"{p['cluster']} x {p['threads']} threads x {p['held']}": p for p in plans}


def plans(bench: Bench, problem: Problem) -> None:
    """The row-resident kernel, cut in every way that holds a row, and whether all agree."""
    stream = bench.machine.stream()
    if stream is None:
        return
    bench.head("row-resident kernel by plan", problem)
    runs = {
        name: fused_alone(stream, problem, CONFIG, plan) for name, plan in plans_of(problem).items()
    }
    named = {f"{OURS}, {name}": run for name, run in runs.items()}
    contestants = with_peers(bench, problem, named, {})
    moved = 2 * problem.size.bytes
    bench.contest("plans", "plans", problem, moved, contestants, problem.restore)
    first: Tensor | None = None
    for name, run in runs.items():
        problem.restore()
        run()
        if first is None:
            first = problem.work.clone()
            continue
        difference = largest_difference(problem.work, first)
        # Sums in another order may round an element the other way.
        bound = torch.finfo(first.dtype).eps * first.abs().max().item()
        title = f"gradient by plan {name}, {problem.size}"
        bench.bar(title, f"<= {bound:.0e}", f"{difference:.0e}", difference <= bound)


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Of two matrices, a few rows at a time."""
    parts = zip(a.split(1024), b.split(1024), strict=True)
    return max((x.float() - y.float()).abs().max().item() for x, y in parts)


def advantages(bench: Bench, problem: Problem) -> None:
    """Advantages of a batch of groups: bound by launches."""
    groups = torch.arange(128, device=problem.ids.device).repeat_interleave(8)
    rewards = torch.rand(len(groups), device=problem.ids.device).round()

    def ours() -> object:
        return ops.group_advantages(rewards, groups, check=False)

    def plain() -> object:
        """Groups lie side by side and are of one size, which plain torch needs."""
        grouped = rewards.view(128, 8)
        centred = grouped - grouped.mean(-1, keepdim=True)
        return centred / (grouped.std(-1, keepdim=True) + 1e-6)

    bench.head(f"group advantages of {len(groups)} rollouts", problem)
    named = {OURS: ours}
    if problem.logits.is_cuda:
        named[f"{OURS}, replay of a graph"] = captured(ours)
    contestants = with_peers(bench, problem, named, {"torch eager": lambda _: plain})
    bench.contest("advantages", "advantages", problem, None, contestants)


def repeat(bench: Bench, problem: Problem) -> None:
    """Whether the same call gives the same bits again, and as the replay of a graph."""
    call = fused_call(problem, CONFIG_ENTROPY, inplace=True)

    def outcome(run: Run) -> list[Tensor]:
        problem.restore()
        value, gradient = run()  # type: ignore[misc]
        stats = ops.token_stats(problem.logits, problem.ids, TEMPERATURE, check=False)
        return [x.detach() for x in (value, gradient, stats.logp, stats.entropy)]

    first = [x.clone() for x in outcome(call)]  # the gradient lies where the next one will

    def same(run: Run) -> bool:
        return all(bits_equal(x, y) for x, y in zip(first, outcome(run), strict=True))

    equal = sum(same(call) for _ in range(4))
    bench.bar(f"bitwise equal runs, {problem.size}", "4 of 4", f"{equal} of 4", equal == 4)
    if problem.logits.is_cuda:
        # A graph must not load kernels while it is captured.
        icpo.prepare(problem.logits.device, problem.size.vocabulary, problem.logits.dtype)
        replayed = same(captured(call))
        got = "equal" if replayed else "different"
        bench.bar(f"replay of a graph, {problem.size}", "equal", got, replayed)


def bits_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same, bit by bit: NaN equals itself, 0 does not equal -0."""
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    a, b = (x.contiguous().view(-1).view(kind) for x in (a, b))
    part = 2**28  # a comparison holds its answers, one byte each
    return all(torch.equal(x, y) for x, y in zip(a.split(part), b.split(part), strict=True))


SECTIONS: dict[str, Callable[[Bench, Problem], None]] = {
    "logp": logp,
    "backward": backward,
    "fused": fused,
    "loss": loss,
    "advantages": advantages,
    "linear": linear,
    "plans": plans,
    "repeat": repeat,
}
#: Sections that say nothing new at further sizes, and those that are run at sizes with peers.
ONCE = {"advantages", "plans"}
WITH_PEERS = {"linear"}


def attempt(bench: Bench, name: str, problem: Problem) -> None:
    """Runs a section; what fails outside its contests is a missed bar, and the rest goes on."""
    try:
        SECTIONS[name](bench, problem)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        bench.bar(f"{name} runs, {problem.size}", "yes", type(error).__name__, False)


##### Bars


def judge(bench: Bench, sizes: Iterable[Size]) -> None:
    """The bars that lines decide, at the sizes that have peers."""
    for size in (str(size) for size in sizes if size.peers):
        forward, fused = bench.line("forward", OURS, size), None
        if forward is not None:
            fraction = bench.fraction(forward) or 0.0
            met = fraction >= FORWARD_BAR
            bench.bar(f"forward, of copy, {size}", f">= {FORWARD_BAR}", f"{fraction:.3f}", met)
        for who in (f"{OURS}, in place", f"{OURS}, in place, entropy"):
            fused = bench.line("fused", who, size)
            if fused is None or fused.measured is None:
                continue
            fraction = bench.fraction(fused) or 0.0
            met = fraction >= FUSED_BAR
            bench.bar(f"{who}, of copy, {size}", f">= {FUSED_BAR}", f"{fraction:.3f}", met)
            if fused.measured.extra is not None:
                share = fused.measured.extra / fused.logits
                got, met = f"{share:.2%}", share < EXTRA_BAR
                bench.bar(f"{who}, extra memory, {size}", f"< {EXTRA_BAR:.0%}", got, met)
            suffix = ", entropy" if who.endswith("entropy") else ""
            # verl itself where it is installed.
            for peer in (gpu_peers.VERL, gpu_peers.VERL_OPERATIONS):
                stock = bench.line("fused", peer + suffix, size)
                if stock is not None and stock.measured is not None:
                    times = stock.measured.median / fused.measured.median
                    name = f"{peer}{suffix}, over ours, {size}"
                    bench.bar(name, f">= {VERL_BAR}", f"{times:.2f}", times >= VERL_BAR)
                    break


def report(bench: Bench) -> bool:
    """Prints the bars; whether all are met."""
    print("\nbars")
    for bar in bench.bars:
        verdict = "met" if bar.met else "MISSED"
        print(f"  {bar.name:<70} {bar.wanted:>8} {bar.got:>10}  {verdict}")
    for line in bench.failed():
        print(f"  {line.who}, {line.what}, {line.size}: {line.failure}")
    return all(bar.met for bar in bench.bars) and not bench.failed()


def record(bench: Bench, about: dict[str, object]) -> dict[str, object]:
    """Everything measured, for a file."""
    lines = [dataclasses.asdict(line) | {"of_floor": bench.fraction(line)} for line in bench.lines]
    bars = [dataclasses.asdict(bar) for bar in bench.bars]
    return {**about, "copy_bytes_per_second": bench.rate, "lines": lines, "bars": bars}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="the first size only")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--no-correctness", action="store_true", help="only measure")
    parser.add_argument("--correctness", action="store_true", help="only check")
    parser.add_argument("--small", action="store_true", help="leave full rows out of the checks")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--budget", type=float, default=0.4, help="seconds for each contestant")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def main() -> int:
    """Runs what is asked for; the status of the process."""
    arguments = parsed()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: torch.cuda.is_available() is False; --device cpu tries the benchmark itself")
        return 2
    machine: Machine = Gpu() if arguments.device == "cuda" else Cpu()
    about = {
        "machine": machine.describe(),
        "versions": f"icpo {icpo.__version__}, torch {torch.__version__} (CUDA "
        f"{torch.version.cuda}), Python {platform.python_version()}",
    }
    print("\n".join(about.values()))
    bench = Bench(machine, arguments.budget, peers=not arguments.no_peers)
    if not arguments.no_correctness:
        print("\nagainst float64")
        full = arguments.device == "cuda" and not arguments.small
        failed = gpu_correctness.run(machine.device, full)
        got = f"{len(failed)} faults"
        bench.bar("log-probs within 2e-6 and gradients, against float64", "none", got, not failed)
    if not arguments.correctness:
        sizes = QUICK if arguments.quick else SIZES
        if arguments.device == "cpu":
            sizes = SMALL
        print()
        bench.ceiling(sizes[0].bytes)
        for size in sizes:
            forget()
            try:
                problem = problem_of(size, machine.device)
            except torch.OutOfMemoryError:
                print(f"\n{size}: not enough memory for two copies of the logits")
                continue
            for name in arguments.sections:
                if name in ONCE and size is not sizes[0]:
                    continue
                if name in WITH_PEERS and not size.peers:
                    continue
                attempt(bench, name, problem)
            del problem
        judge(bench, sizes)
    met = report(bench)
    if arguments.json:
        arguments.json.write_text(json.dumps(record(bench, about), indent=1))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
