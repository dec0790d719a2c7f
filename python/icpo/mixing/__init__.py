"""From rollouts to a batch: who joins which group, who is rejected, and what is trained on."""

from icpo.mixing.assemble import Batch, assemble
from icpo.mixing.bonus import Bonus
from icpo.mixing.groups import MixedGroup, mix
from icpo.mixing.lessons import LESSON_LOSS, LESSON_PLAN, Lessons, Timetable, unsolved
from icpo.mixing.metrics import MixingMetrics, StepMetrics, step_metrics
from icpo.mixing.pad import Padded, pad
from icpo.mixing.plan import Plan
from icpo.mixing.prefix import Prefix
from icpo.mixing.reject import accept
from icpo.mixing.rules import GROUPS, SOURCES, TARGETS, GroupRule, Source, Target
from icpo.mixing.split import denominator, micro_batches, mini_batches, rows_with_gradient

__all__ = [
    "GROUPS",
    "LESSON_LOSS",
    "LESSON_PLAN",
    "SOURCES",
    "TARGETS",
    "Batch",
    "Bonus",
    "GroupRule",
    "Lessons",
    "MixedGroup",
    "MixingMetrics",
    "Padded",
    "Plan",
    "Prefix",
    "Source",
    "StepMetrics",
    "Target",
    "Timetable",
    "accept",
    "assemble",
    "denominator",
    "micro_batches",
    "mini_batches",
    "mix",
    "pad",
    "rows_with_gradient",
    "step_metrics",
    "unsolved",
]
