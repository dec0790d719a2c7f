"""The objective on torch tensors: registered operators with gradients.

They work in eager mode and under ``torch.compile(fullgraph=True)``, read CPU tensors without a
copy, and give the same bits over any number of threads. `reference` is the same mathematics in
plain torch.
"""

from icpo.ops import reference
from icpo.ops.fused import fused_policy_loss
from icpo.ops.linear import linear_policy_loss
from icpo.ops.logprob import TokenStats, logp_entropy, token_rank, token_stats
from icpo.ops.policy_loss import policy_loss

__all__ = [
    "TokenStats",
    "fused_policy_loss",
    "linear_policy_loss",
    "logp_entropy",
    "policy_loss",
    "reference",
    "token_rank",
    "token_stats",
]
