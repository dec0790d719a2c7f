"""What others offer for the same purpose. Each peer is a function from a problem to a call; one
whose package can not be imported raises, and the table says so.

Peers that lack a term leave it out (most have no entropy in their gradient, some no temperature);
their names say which. All of them are given what they are fastest with.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
from gpu_measure import Run
from gpu_problem import CONFIG, CONFIG_ENTROPY, SEQUENCES, TEMPERATURE, Problem
from torch import Tensor

from icpo import LossConfig

Peer = Callable[[Problem], Run]

# verl reads this before it looks for flash-attn; a benchmark of its defaults must not inherit it.
os.environ.pop("VERL_DISABLE_FLASH_ATTN_CE", None)


##### Plain torch


def plain_logp(logits: Tensor, ids: Tensor) -> Tensor:
    """The log-probability alone."""
    return torch.log_softmax(logits / TEMPERATURE, -1).gather(-1, ids[:, None])[:, 0]


def plain_logp_entropy(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What one writes in torch: log_softmax and gather, entropy from softmax and logsumexp."""
    scaled = logits / TEMPERATURE
    logp = torch.log_softmax(scaled, -1).gather(-1, ids[:, None])[:, 0]
    p = torch.softmax(scaled, -1)
    return logp, torch.logsumexp(scaled, -1) - (p * scaled).sum(-1)


def clipped(logp: Tensor, old: Tensor, advantage: Tensor, config: LossConfig = CONFIG) -> Tensor:
    """The loss of each token."""
    ratio = torch.exp((logp.float() - old).clamp(-20, 20))
    bounded = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss = torch.maximum(-ratio * advantage, -bounded * advantage)
    lowest = -(config.dual_clip or torch.inf) * advantage
    return torch.where(advantage < 0, torch.minimum(loss, lowest), loss)


def plain_loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """The clipped loss."""
    return clipped(plain_logp(logits, ids), old, advantage).mean()


def plain_loss_entropy(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """The same with a bonus for entropy."""
    logp, entropy = plain_logp_entropy(logits, ids)
    bonus = CONFIG_ENTROPY.entropy_coef * entropy.float()
    return (clipped(logp, old, advantage) - bonus).mean()


@functools.cache
def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """By torch.compile, once for all sizes of a vocabulary."""
    return torch.compile(function)


##### Log-probabilities and entropies, without gradients


def forward(function: Callable[..., object]) -> Peer:
    """A peer that calls a function of logits and ids."""

    def peer(problem: Problem) -> Run:
        def run() -> object:
            with torch.no_grad():
                return function(problem.logits, problem.ids)

        return run

    return peer


def trl_forward(problem: Problem) -> Run:
    """TRL: log-probability and entropy by one kernel of its own."""
    from trl.trainer.utils import selective_log_softmax_and_entropy as both

    return forward(lambda logits, ids: both(logits, ids, temperature=TEMPERATURE))(problem)


def flash_forward(problem: Problem) -> Run:
    """flash-attn's cross-entropy."""
    from flash_attn.ops.triton.cross_entropy import cross_entropy_loss

    return forward(lambda logits, ids: cross_entropy_loss(logits, ids)[0])(problem)


def quack_forward(problem: Problem) -> Run:
    """QuACK's cross-entropy."""
    from quack.cross_entropy import cross_entropy_fwd

    return forward(cross_entropy_fwd)(problem)


def liger_forward(problem: Problem) -> Run:
    """Liger's log-probabilities; it wants one row of logits more than tokens in each sequence."""
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax

    logits, ids = padded(problem.logits), padded(problem.ids)[:, :-1].contiguous()
    return forward(lambda *_: fused_selective_log_softmax(logits, ids, TEMPERATURE))(problem)


def padded(values: Tensor) -> Tensor:
    """(N, ...) as (B, N/B, ...)."""
    return values.view(SEQUENCES, -1, *values.shape[1:])


FORWARD: dict[str, Peer] = {
    "torch eager": forward(plain_logp_entropy),
    "torch.compile": forward(compiled(plain_logp_entropy)),
    "TRL": trl_forward,
    "Liger (no entropy)": liger_forward,
    "flash-attn (no entropy, no temperature)": flash_forward,
    "QuACK (no entropy, no temperature)": quack_forward,
}


##### From logits to their gradient


def gradient(loss: Callable[..., Tensor]) -> Peer:
    """A peer that differentiates a loss of logits, ids, old log-probs and advantages."""

    def peer(problem: Problem) -> Run:
        def run() -> object:
            leaf = problem.work.detach().requires_grad_(True)
            loss(leaf, problem.ids, problem.old_logp, problem.advantage).backward()
            return leaf.grad

        return run

    return peer


def verl(temperature: float, entropy: bool) -> Peer:
    """verl's actor: logits over temperature, entropy compiled, log-probabilities, vanilla loss.

    With a temperature of 1 it does not divide, and without entropy flash-attn's backward pass goes
    over the logits in place. Without flash-attn it takes one token at a time.
    """

    def peer(problem: Problem) -> Run:
        from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
        from verl.utils.torch_functional import entropy_from_logits, logprobs_from_logits
        from verl.workers.config import FSDPActorConfig

        settings = FSDPActorConfig(
            strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=1, use_dynamic_bsz=True
        )
        entropy_of = torch.compile(entropy_from_logits, dynamic=True)
        heat = torch.full((problem.size.tokens, 1), temperature, device=problem.ids.device)
        mask = torch.ones_like(problem.old_logp)[None]

        def loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
            if temperature != 1.0:
                logits = logits / heat.clamp(min=1e-8).to(logits.dtype)
            surprise = entropy_of(logits) if entropy else None
            logp = logprobs_from_logits(logits, ids, inplace_backward=not entropy)
            total, _ = compute_policy_loss_vanilla(
                old[None], logp[None], advantage[None], mask, "token-mean", settings
            )
            if surprise is not None:
                total = total - CONFIG_ENTROPY.entropy_coef * surprise.float().mean()
            return total

        return gradient(loss)(problem)

    return peer


def verl_operations(temperature: float, entropy: bool) -> Peer:
    """The operations of `verl` spelled out, for machines where verl can not be imported.

    Its stock path with flash-attn's cross-entropy; without that, log_softmax and gather on the
    whole batch, which is faster than verl's loop over tokens.
    """

    def entropy_from_logits(logits: Tensor) -> Tensor:
        p = torch.softmax(logits, -1)
        return torch.logsumexp(logits, -1) - (p * logits).sum(-1)

    def peer(problem: Problem) -> Run:
        entropy_of = torch.compile(entropy_from_logits, dynamic=True)
        heat = torch.full((problem.size.tokens, 1), temperature, device=problem.ids.device)
        cross_entropy = flash_cross_entropy()

        def loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
            if temperature != 1.0:
                logits = logits / heat.to(logits.dtype)
            surprise = entropy_of(logits) if entropy else None
            if cross_entropy is None:
                logp = torch.log_softmax(logits, -1).gather(-1, ids[:, None])[:, 0]
            else:
                logp = -cross_entropy(logits, ids, inplace_backward=not entropy)[0]
            total = clipped(logp, old, advantage).mean()
            if surprise is not None:
                total = total - CONFIG_ENTROPY.entropy_coef * surprise.float().mean()
            return total

        return gradient(loss)(problem)

    return peer


def flash_cross_entropy() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """flash-attn's cross-entropy, if it is installed."""
    try:
        from flash_attn.ops.triton.cross_entropy import cross_entropy_loss
    except ImportError:
        return None
    return cross_entropy_loss


def liger_gradient(problem: Problem) -> Run:
    """Liger's GRPO loss, its gradient in place of the logits."""
    from liger_kernel.transformers.grpo_loss import triton_grpo_loss

    ids, old = (padded(x)[:, :-1].contiguous() for x in (problem.ids, problem.old_logp))
    advantage = padded(problem.advantage)[:, 0].contiguous()

    def run() -> object:
        leaf = padded(problem.work).detach().requires_grad_(True)
        loss, _ = triton_grpo_loss(
            leaf,
            old,
            None,
            ids,
            advantage,
            temperature=TEMPERATURE,
            beta=0.0,
            eps_low=CONFIG.clip_low,
            eps_high=CONFIG.clip_high,
            inplace=True,
            loss_type="dapo",
            reduce=True,
        )
        loss.backward()
        return leaf.grad

    return run


def trl_gradient(problem: Problem) -> Run:
    """TRL's log-probabilities and entropies under the plain loss."""
    from trl.trainer.utils import selective_log_softmax_and_entropy as both

    def loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        logp, _ = both(logits, ids, entropy_requires_grad=False, temperature=TEMPERATURE)
        return clipped(logp, old, advantage).mean()

    return gradient(loss)(problem)


def quack_gradient(problem: Problem) -> Run:
    """QuACK's cross-entropy under the plain loss, its gradient in place of the logits."""
    from quack.cross_entropy import cross_entropy

    def loss(logits: Tensor, ids: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        logp = -cross_entropy(logits, ids, reduction="none", inplace_backward=True)
        return clipped(logp, old, advantage).mean()

    return gradient(loss)(problem)


#: The peer that the bar of three times is about: as verl's actor runs at a temperature.
VERL = f"verl, temperature {TEMPERATURE}"
VERL_OPERATIONS = f"verl's operations, temperature {TEMPERATURE}"

GRADIENT: dict[str, Peer] = {
    "torch eager": gradient(plain_loss),
    "torch eager, entropy": gradient(plain_loss_entropy),
    "torch.compile": gradient(compiled(plain_loss)),
    "torch.compile, entropy": gradient(compiled(plain_loss_entropy)),
    VERL: verl(TEMPERATURE, entropy=False),
    f"{VERL}, entropy": verl(TEMPERATURE, entropy=True),
    "verl, temperature 1": verl(1.0, entropy=False),
    VERL_OPERATIONS: verl_operations(TEMPERATURE, entropy=False),
    f"{VERL_OPERATIONS}, entropy": verl_operations(TEMPERATURE, entropy=True),
    "verl's operations, temperature 1": verl_operations(1.0, entropy=False),
    "Liger": liger_gradient,
    "TRL": trl_gradient,
    "QuACK (no temperature)": quack_gradient,
}


##### From hidden states to their gradient and that of the head

LinearPeer = Callable[[Problem, Tensor, Tensor], Run]


def linear_gradient(loss: Callable[[Problem, Tensor, Tensor], Tensor]) -> LinearPeer:
    """A peer that differentiates a loss of a problem, hidden states and a head."""

    def peer(problem: Problem, hidden: Tensor, head: Tensor) -> Run:
        return lambda: torch.autograd.grad(loss(problem, hidden, head), (hidden, head))

    return peer


def eager_linear(problem: Problem, hidden: Tensor, head: Tensor) -> Tensor:
    """The logits whole, and the plain loss."""
    logits = hidden @ head.t()
    return plain_loss(logits, problem.ids, problem.old_logp, problem.advantage)


def verl_linear(problem: Problem, hidden: Tensor, head: Tensor) -> Run:
    """verl's fused linear layer under the plain loss."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    layer = FusedLinearForPPO()

    def loss(problem: Problem, hidden: Tensor, head: Tensor) -> Tensor:
        logp, _ = layer(hidden, head, problem.ids, TEMPERATURE)
        return clipped(logp, problem.old_logp, problem.advantage).mean()

    return linear_gradient(loss)(problem, hidden, head)


def liger_linear(problem: Problem, hidden: Tensor, head: Tensor) -> Run:
    """Liger's fused linear GRPO loss, a sequence at a time."""
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss

    layer = LigerFusedLinearGRPOLoss(
        beta=0.0,
        use_ref_model=False,
        epsilon_low=CONFIG.clip_low,
        epsilon_high=CONFIG.clip_high,
        temperature=TEMPERATURE,
    )
    ids, old, advantage = (padded(x) for x in (problem.ids, problem.old_logp, problem.advantage))
    mask = torch.ones_like(ids)

    def loss(_: Problem, hidden: Tensor, head: Tensor) -> Tensor:
        total, *_ = layer(
            padded(hidden), head, ids, mask, advantage[:, 0].contiguous(), old_per_token_logps=old
        )
        return total

    return linear_gradient(loss)(problem, hidden, head)


LINEAR: dict[str, LinearPeer] = {
    "torch eager": linear_gradient(eager_linear),
    "verl, fused linear": verl_linear,
    "Liger, fused linear": liger_linear,
}
