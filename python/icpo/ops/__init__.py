"""The objective on torch tensors: registered operators with gradients.

They work in eager mode and under ``torch.compile(fullgraph=True)``, read tensors without a copy
where they are, on the CPU or on a CUDA device, and give the same bits each time. `reference` is the
same mathematics in plain torch, for any device.
"""

from icpo.ops import reference
from icpo.ops.advantage import group_advantages
from icpo.ops.fused import fused_policy_loss
from icpo.ops.linear import linear_policy_loss
from icpo.ops.linear_logprob import linear_logp_entropy
from icpo.ops.logprob import TokenStats, logp_entropy, token_rank, token_stats
from icpo.ops.policy_loss import policy_loss
from icpo.ops.vocab import MergedStates, merge_vocab_states, vocab_state, vocab_state_backward

__all__ = [
    "MergedStates",
    "TokenStats",
    "fused_policy_loss",
    "group_advantages",
    "linear_logp_entropy",
    "linear_policy_loss",
    "logp_entropy",
    "merge_vocab_states",
    "policy_loss",
    "reference",
    "token_rank",
    "token_stats",
    "vocab_state",
    "vocab_state_backward",
]
