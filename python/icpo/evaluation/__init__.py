"""How good a policy is."""

from icpo.evaluation.averages import avg_at_n, counts_to_report, mean_and_error
from icpo.evaluation.bootstrap import difference_interval, interval
from icpo.evaluation.majority import maj_at_k
from icpo.evaluation.paired import holm, mcnemar, sign_flip
from icpo.evaluation.passk import pass_at_k

__all__ = [
    "avg_at_n",
    "counts_to_report",
    "difference_interval",
    "holm",
    "interval",
    "maj_at_k",
    "mcnemar",
    "mean_and_error",
    "pass_at_k",
    "sign_flip",
]
