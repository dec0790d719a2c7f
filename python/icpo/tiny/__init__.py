"""The tiny task: a data set and a model so small that ICPO can be watched on a laptop.

It is a data set, a model folder and a reward like any other; the trainer knows nothing of it.
`task` says what the problems are, `data` writes them to files, `corpus` is what the model reads in
pretraining, `pretrain` makes the model folder. ``task`` and ``data`` need no torch.
"""

from icpo.tiny.data import Sizes, Splits, split, write_data
from icpo.tiny.task import RULES, TOPICS, Exercise

__all__ = ["RULES", "TOPICS", "Exercise", "Sizes", "Splits", "split", "write_data"]
