"""From rollouts to a batch: who joins which group, who is rejected, and what is trained on."""

from icpo.mixing.assemble import Batch, assemble
from icpo.mixing.bonus import Bonus
from icpo.mixing.groups import MixedGroup, mix
from icpo.mixing.metrics import MixingMetrics, StepMetrics, step_metrics
from icpo.mixing.pad import Padded, pad
from icpo.mixing.plan import Plan
from icpo.mixing.reject import accept
from icpo.mixing.rules import GROUPS, TARGETS, GroupRule, Target
from icpo.mixing.split import denominator, micro_batches, mini_batches, rows_with_gradient

__all__ = [
    "GROUPS",
    "TARGETS",
    "Batch",
    "Bonus",
    "GroupRule",
    "MixedGroup",
    "MixingMetrics",
    "Padded",
    "Plan",
    "StepMetrics",
    "Target",
    "accept",
    "assemble",
    "denominator",
    "micro_batches",
    "mini_batches",
    "mix",
    "pad",
    "rows_with_gradient",
    "step_metrics",
]
