"""ICPO against GRPO in about a minute, on the CPU of a laptop.

Eight clubs encipher numbers. Each adds its own shift to every digit, and a worked solution says
which before it applies it (here 3, so that 9 becomes 2):

    cedar 4 9 0 ? +3 7 2 3 .

A tiny language model first reads a corpus in which nearly every author believes that all clubs add
1. That becomes its habit: asked without context, it is wrong about seven clubs of eight and hardly
ever samples a right answer. The corpus also holds excerpts by authors who keep to one shift,
whichever. From them it learns to go on as the text before it does: shown a solved problem of the
same club, it is right. That is in-context learning in its simplest form.

Then it is trained by reinforcement, with exact rewards of 0 or 1. GRPO has to stumble over a right
answer before it can reinforce one. ICPO samples one more rollout a prompt with a solved problem in
front, keeps it if it is right, and trains on it as if the plain prompt had led there.

Everything between logits and gradient, and between rewards and advantages, is done by `icpo`.
Equation numbers are those of the ICPO paper.

    python examples/demo.py
    python examples/demo.py --quick
    python examples/demo.py --rare 0.02   # right habits are less rare: GRPO needs no help
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import icpo
from icpo.objective import LossConfig, LossMetrics, RolloutMetrics, reward_bonus, rollout_metrics
from icpo.ops import fused_policy_loss, logp_entropy

# ---------------------------------------------------------------------------------------- The task

CLUBS, DIGITS = 8, 3
PROBLEMS = CLUBS * 10**DIGITS  # a problem is a number: club + CLUBS * digits
HABIT = 1  # the shift that the corpus believes in, and the true one of the first club

# Tokens: 0-9 digits, then a name for each club, then "+1" to "+8", "?" and ".".
CLUB, PLUS, ASK, END = 10, 9 + CLUBS, 10 + 2 * CLUBS, 11 + 2 * CLUBS
VOCABULARY = END + 1
QUESTION, ANSWER = DIGITS + 2, DIGITS + 2  # lengths: "cedar 4 9 0 ?" and "+3 7 2 3 ."


def own_shift(problem: Tensor) -> Tensor:
    """The shift of the club that a problem belongs to, 1 to 8."""
    return problem % CLUBS + 1


def write(problem: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Questions (B, QUESTION) and their solutions (B, ANSWER) by the given shifts (B,)."""
    digits = (problem // CLUBS)[:, None] // 10 ** torch.arange(DIGITS) % 10
    shift, one = shift[:, None], torch.ones_like(shift)[:, None]
    question = torch.cat([CLUB + problem[:, None] % CLUBS, digits, ASK * one], 1)
    return question, torch.cat([PLUS + shift, (digits + shift) % 10, END * one], 1)


def verify(responses: Tensor, problem: Tensor) -> Tensor:
    """R: 1 for the right digits and nothing after them, else 0. The method is not looked at."""
    _, answer = write(problem, own_shift(problem))
    return (responses[:, 1:] == answer[:, 1:]).all(1).float()


def corpus(size: int, rare: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Documents (B, T) of three problems, and which of their tokens are worth learning (B, T)."""
    problem = torch.randint(PROBLEMS, (size, 3), generator=generator)
    kind = torch.rand(size, generator=generator)
    excerpt = kind < 0.5  # an author with one shift for everything, whichever
    expert = kind > 1 - 0.5 * rare  # an author who knows the clubs: the right habit
    any_shift = torch.randint(1, 1 + CLUBS, (size,), generator=generator)
    tokens, learn = [], []
    for i in range(3):
        shift = torch.where(excerpt, any_shift, torch.full_like(any_shift, HABIT))
        shift = torch.where(expert, own_shift(problem[:, i]), shift)
        question, answer = write(problem[:, i], shift)
        # What an excerpt begins with can not be known. It is there to be read, not learnt.
        known = ~excerpt if i == 0 else torch.ones_like(excerpt)
        tokens += [question, answer]
        learn += [torch.zeros_like(question, dtype=torch.bool), known[:, None].expand_as(answer)]
    return torch.cat(tokens, 1), torch.cat(learn, 1)


# -------------------------------------------------------------------------------------- The policy


class Block(nn.Module):
    """A transformer layer. Positions enter as a bias on attention, by distance."""

    def __init__(self, width: int, heads: int, reach: int = 3 * (QUESTION + ANSWER)) -> None:
        """Draws the weights from the global generator of torch."""
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.distance_bias = nn.Parameter(torch.zeros(heads, reach))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H), causal."""
        rows, length, width = x.shape
        qkv = self.qkv(self.norm(x)).view(rows, length, 3 * self.heads, width // self.heads)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        bias = self.distance_bias[:, distance.clamp(min=0)].masked_fill(distance < 0, -math.inf)
        query, key, value = qkv.transpose(1, 2).chunk(3, 1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, bias[None])
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.mlp(self.norm2(x))


class Policy(nn.Module):
    """Two transformer layers, 40 000 parameters."""

    def __init__(self, width: int = 48, heads: int = 4) -> None:
        """Draws the weights from the global generator of torch."""
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """Logits (B, T + 1, V): before each of the T response tokens, and after the last."""
        hidden = self.norm(self.blocks(self.embed(torch.cat([prompts, responses], 1))))
        return self.head(hidden[:, prompts.shape[1] - 1 :])


@torch.no_grad()
def sample(policy: Policy, prompts: Tensor, generator: torch.Generator) -> Tensor:
    """A response (B, ANSWER) to each prompt, at temperature 1."""
    responses = prompts[:, :0]
    for _ in range(ANSWER):
        chances = policy(prompts, responses)[:, -1].softmax(-1)
        token = torch.multinomial(chances, 1, generator=generator)
        responses = torch.cat([responses, token], 1)
    return responses


@torch.no_grad()
def score(policy: Policy, prompts: Tensor, responses: Tensor) -> Tensor:
    """log π(τ_t | prompt, τ_<t) of each token, (B, ANSWER)."""
    logp, _ = logp_entropy(policy(prompts, responses)[:, :-1], responses)
    return logp


def pretrain(steps: int, rare: float, seed: int) -> Policy:
    """A model that has read the corpus: of wrong habits, but able to learn from context."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    policy, peak = Policy(), 4e-3
    optimizer = torch.optim.AdamW(policy.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
    began = time.perf_counter()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(step / 30, 1.0, 2 * (1 - step / steps) + 0.02)
        documents, learn = corpus(32, rare, generator)
        predicted = policy(documents[:, :1], documents[:, 1:-1])
        wanted = documents[:, 1:].masked_fill(~learn[:, 1:], -100)  # -100: cross_entropy skips it
        loss = nn.functional.cross_entropy(predicted.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if step % max(1, steps // 5) == 0:
            spent = time.perf_counter() - began
            print(f"  step {step:5d}  loss {loss.item():.3f}  {spent:5.1f} s", flush=True)
    return policy


# ------------------------------------------------------------------------------------ The training


@dataclass(frozen=True)
class Method:
    """What one arm of the comparison does at each step."""

    config: LossConfig
    #: N, rollouts a prompt from the plain prompt.
    rollouts: int = 8
    #: Whether one more is sampled from the prompt with a demonstration.
    expert: bool = False
    #: Whether accepted expert rollouts get the annealed bonus of eq. 12.
    bonus: bool = False


# Nothing but the expert rollouts tells the first two apart: the dual clip, which GRPO has in verl
# and the paper does not mention, is off.
METHODS = {
    "grpo": Method(LossConfig.preset("grpo", dual_clip=None)),
    "icpo": Method(LossConfig.preset("paper"), expert=True),
    "icpo_bonus": Method(LossConfig.preset("paper"), expert=True, bonus=True),
    "grpo_16": Method(LossConfig.preset("grpo", dual_clip=None), rollouts=16),
}


@dataclass(frozen=True)
class Split:
    """Disjoint sets of problems."""

    train: Tensor
    test: Tensor
    #: The expert pool: problems with solutions, shown and never trained on.
    demos: Tensor

    @classmethod
    def draw(cls, seed: int) -> Split:
        """256 problems to test with, 256 to show, the rest to train on."""
        order = torch.randperm(PROBLEMS, generator=torch.Generator().manual_seed(seed))
        return cls(train=order[512:], test=order[:256], demos=order[256:512])


def plain_prompt(problem: Tensor) -> Tensor:
    """x: the questions, (B, QUESTION)."""
    return write(problem, own_shift(problem))[0]


def expert_prompt(problem: Tensor, demos: Tensor, generator: torch.Generator) -> Tensor:
    """x_exp = [D; x]: a random solved problem of the same club, then the question."""
    same_club = demos % CLUBS == problem[:, None] % CLUBS  # (B, demos)
    shown = demos[torch.multinomial(same_club.float(), 1, generator=generator)[:, 0]]
    return torch.cat([*write(shown, own_shift(shown)), plain_prompt(problem)], 1)


@dataclass(frozen=True)
class Batch:
    """What is trained on: plain prompts with rollouts, whichever prompt those came from."""

    prompts: Tensor  # (B, QUESTION)
    responses: Tensor  # (B, ANSWER)
    loss_mask: Tensor  # (B, ANSWER) bool, up to the end token
    expert_mask: Tensor  # (B,) bool
    old_logp: Tensor  # (B, ANSWER) under the plain prompt
    behavior_logp: Tensor  # (B, ANSWER) under the expert prompt, where that was sampled from
    advantage: Tensor  # (B,)


def collect(
    policy: Policy,
    problem: Tensor,  # (G,)
    demos: Tensor,
    method: Method,
    progress: float,
    generator: torch.Generator,
) -> tuple[Batch, RolloutMetrics]:
    """Samples, verifies and mixes the rollouts of one step; the policy is πold here."""
    n, groups = method.rollouts, torch.arange(len(problem))
    group = groups.repeat_interleave(n)  # (B,) with B = G·N
    prompts = plain_prompt(problem)[group]
    responses = sample(policy, prompts, generator)  # τ_on ~ πold(·|x)
    on_rewards = verify(responses, problem[group])

    rewards, expert_mask = on_rewards.clone(), torch.zeros(len(group), dtype=torch.bool)
    # NaN shows that the loss reads it at expert rollouts alone.
    behavior_logp = torch.full(responses.shape, math.nan)
    off_rewards, accepted = on_rewards[:0], expert_mask[:0]
    if method.expert:
        # Implicit expert forcing: the same model, another prompt. τ_off ~ πold(·|x_exp)
        longer = expert_prompt(problem, demos, generator)
        forced = sample(policy, longer, generator)
        off_rewards = verify(forced, problem)
        accepted = off_rewards >= 1.0  # eq. 8-9: only right ones reach the update
        # Each takes the place of a random rollout of its group, whose size stays N.
        place = groups * n + torch.randint(n, groups.shape, generator=generator)
        place = place[accepted]
        responses[place], rewards[place] = forced[accepted], off_rewards[accepted]
        expert_mask[place] = True
        # log πold(τ_t | x_exp), below the line in r̂ (eq. 7). From here on the demonstration is
        # gone: what is trained on is the pair (x, τ).
        behavior_logp[place] = score(policy, longer, forced)[accepted]

    metrics = rollout_metrics(  # of all that was sampled, kept or not
        torch.cat([on_rewards, off_rewards]),
        torch.cat([group, groups[: len(accepted)]]),
        expert_mask=torch.arange(len(group) + len(accepted)) >= len(group),
        accepted=torch.cat([torch.zeros(len(group), dtype=torch.bool), accepted]),
    )

    if method.bonus:  # eq. 12: R' = R + α·γ(t) with γ(t) = 1 - t/T; acceptance looked at R
        shaped = reward_bonus(rewards, expert_mask, progress, total_steps=1.0)
        rewards = torch.from_numpy(shaped)
    advantage = method.config.advantages(rewards, group, expert_mask=expert_mask)  # eq. 6
    ended = (responses == END).int()
    batch = Batch(
        prompts,
        responses,
        loss_mask=ended.cumsum(1) - ended == 0,
        expert_mask=expert_mask,
        old_logp=score(policy, prompts, responses),  # log πold(τ_t | x), eq. 5
        behavior_logp=behavior_logp,
        advantage=torch.from_numpy(advantage),
    )
    return batch, metrics


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: LossConfig,
    mini_batches: int,
    generator: torch.Generator,
) -> LossMetrics:
    """One pass over the batch in mini-batches; πold stays what it was when that was sampled."""
    order = torch.randperm(len(batch.advantage), generator=generator)
    seen = []
    for rows in order.chunk(mini_batches):
        logits = policy(batch.prompts[rows], batch.responses[rows])[:, :-1]  # given x, never x_exp
        loss, metrics = fused_policy_loss(  # eq. 10
            logits,
            batch.responses[rows],
            batch.old_logp[rows],
            batch.advantage[rows],
            batch.loss_mask[rows],
            batch.expert_mask[rows],
            behavior_logp=batch.behavior_logp[rows],
            config=config,
            inplace=True,  # the gradient takes the place of the logits
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        seen.append(metrics)
    return sum(seen)  # sums add up, so means over all mini-batches are exact


def solve_rate(
    policy: Policy, prompts: Tensor, problem: Tensor, seed: int, samples: int = 8
) -> Tensor:
    """Share of right answers of each problem, (B,)."""
    generator = torch.Generator().manual_seed(seed)
    responses = sample(policy, prompts.repeat_interleave(samples, 0), generator)
    return verify(responses, problem.repeat_interleave(samples)).view(-1, samples).mean(1)


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    #: avg@8 on the test problems, from the plain prompt.
    accuracy: float
    #: Clubs of which more than half of all answers are right.
    clubs: int
    #: Share of the non-pass prompts that are now answered rightly at least once in 8 times.
    solved: float
    #: Summed over all steps, as are ...
    rollouts: RolloutMetrics
    #: ... these, over all mini-batches.
    losses: LossMetrics
    #: Of the last step, in nats a token.
    entropy: float
    seconds: float


def train(
    start: Policy,
    split: Split,
    non_pass: Tensor,
    name: str,
    seed: int,
    args: argparse.Namespace,
) -> Run:
    """One run from a copy of the pretrained model."""
    method, policy = METHODS[name], copy.deepcopy(start)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=args.lr, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    began, rollouts, losses = time.perf_counter(), [], []
    for step in range(args.steps):
        drawn = torch.randint(len(split.train), (args.prompts,), generator=generator)
        batch, metrics = collect(
            policy, split.train[drawn], split.demos, method, step / args.steps, generator
        )
        rollouts.append(metrics)
        losses.append(update(policy, optimizer, batch, method.config, args.mini_batches, generator))
        if (step + 1) % max(1, args.steps // 3) == 0:
            line = f"  {name:10s} seed {seed}  step {step + 1:4d}"
            line += f"  reward {metrics['on/reward']:.2f}"
            if method.expert:
                line += f"  expert reward {metrics['off/reward']:.2f}"
                line += f"  f(1-f) {losses[-1]['off/gradient_weight']:.3f}"
            print(line, flush=True)
    seconds = time.perf_counter() - began
    right = solve_rate(policy, plain_prompt(split.test), split.test, seed)
    again = solve_rate(policy, plain_prompt(non_pass), non_pass, seed)
    by_club = [right[split.test % CLUBS == club].mean().item() for club in range(CLUBS)]
    return Run(
        accuracy=right.mean().item(),
        clubs=sum(share > 0.5 for share in by_club),
        solved=(again > 0).float().mean().item(),
        rollouts=sum(rollouts),
        losses=sum(losses),
        entropy=losses[-1]["on/entropy"],
        seconds=seconds,
    )


# -------------------------------------------------------------------------------------- The report


def mean_and_error(points: list[float]) -> str:
    """The mean over the seeds with its standard error, if there are several."""
    if len(points) == 1:
        return f"{points[0]:.1f}"
    error = np.std(points, ddof=1) / math.sqrt(len(points))
    return f"{np.mean(points):.1f} ± {error:.1f}"


def report(runs: dict[tuple[str, int], Run], methods: list[str], seeds: list[int]) -> None:
    """The table, every seed in it, and what it comes to."""
    print()
    print(
        "            seed  zero-shot    clubs  non-pass  expert rollouts     clip  entropy  seconds"
    )
    print("                      after    right    solved         accepted     rate")
    for name in methods:
        for seed in seeds:
            run = runs[name, seed]
            accepted, tried = (run.rollouts.total(key) for key in ("accepted", "off_rollouts"))
            cells = [
                f"{name:12s}{seed:4d}",
                f"{run.accuracy:9.1%}",
                f"{run.clubs:2d} of {CLUBS}",
                f"{run.solved:8.1%}",
                f"{f'{accepted:.0f} of {tried:.0f}' if tried else '-':>15s}",
                f"{run.losses['on/clip_fraction']:7.2%}",
                f"{run.entropy:7.3f}",
                f"{run.seconds:7.1f}",
            ]
            print("  ".join(cells))
    print("\nZero-shot accuracy, mean ± standard error over the seeds:")
    points = {name: [100 * runs[name, seed].accuracy for seed in seeds] for name in methods}
    for name in methods:
        failed = sum(value < 50 for value in points[name])
        line = f"  {name:10s}  {mean_and_error(points[name]):>11s}%"
        line += f"; below 50%: {failed} of {len(seeds)}"
        if name != methods[0]:
            gains = [a - b for a, b in zip(points[name], points[methods[0]], strict=True)]
            higher = sum(gain > 0 for gain in gains)
            line += f"; minus {methods[0]}: {mean_and_error(gains)}, above 0: {higher}"
        print(line)


def main() -> None:
    """Pretrains, trains with each method and seed, and prints a table."""
    parser = argparse.ArgumentParser(
        description="ICPO against GRPO on a tiny task.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--methods", nargs="+", choices=list(METHODS), default=["grpo", "icpo"], help="the arms")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="of the training runs")
    add("--steps", type=int, default=60, help="T, training steps")
    add("--prompts", type=int, default=32, help="prompts a step")
    add("--mini-batches", type=int, default=4, help="optimizer steps a training step")
    add("--lr", type=float, default=1e-3, help="learning rate of AdamW")
    add("--rare", type=float, default=0.005, help="share of authors with the right habit")
    add("--pretrain-steps", type=int, default=1000, help="batches of 32 documents")
    add("--pretrain-seed", type=int, default=0, help="of the model that all runs start from")
    add("--threads", type=int, default=1, help="of torch; another number gives other roundings")
    add("--quick", action="store_true", help="one seed, fewer steps")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.steps = args.seeds[:1], 40
    torch.set_num_threads(args.threads)
    icpo.set_num_threads(args.threads)
    began = time.perf_counter()

    print(f"Pretraining; {args.rare:.1%} of authors outside excerpts know the clubs", flush=True)
    start = pretrain(args.pretrain_steps, args.rare, args.pretrain_seed)
    split, generator = Split.draw(seed=0), torch.Generator().manual_seed(0)
    probe = split.train[:256]
    non_pass = probe[solve_rate(start, plain_prompt(probe), probe, seed=0) == 0]
    zero_shot = solve_rate(start, plain_prompt(split.test), split.test, seed=0)
    shown = expert_prompt(split.test, split.demos, generator)
    one_shot = solve_rate(start, shown, split.test, seed=0)
    question, solution = write(split.test, own_shift(split.test))
    chance = score(start, question, solution).sum(1).exp()
    by_club = " ".join(f"{chance[split.test % CLUBS == c].mean():.0e}" for c in range(CLUBS))
    print(
        "Before training, where all runs start:\n"
        f"  zero-shot {zero_shot.mean():.1%}, one-shot {one_shot.mean():.1%} right\n"
        f"  {len(non_pass) / len(probe):.0%} of training prompts non-pass (nothing right in 8)\n"
        f"  chance of the right solution from the plain prompt, by club: {by_club}\n",
        flush=True,
    )
    if one_shot.mean() < 0.9:
        print("  Not enough to learn from context reliably: raise --pretrain-steps.\n", flush=True)
    runs = {
        (name, seed): train(start, split, non_pass, name, seed, args)
        for seed in args.seeds
        for name in args.methods
    }
    report(runs, args.methods, args.seeds)
    print(
        "\nThe habit was made strong on purpose: this shows a mechanism, not how much it matters\n"
        "elsewhere. With --rare 0.02 GRPO meets right answers by itself and does slightly better.\n"
        f"{time.perf_counter() - began:.0f} s in all"
    )


if __name__ == "__main__":
    main()
