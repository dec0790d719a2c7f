"""The tiny task: a data set and a model so small that ICPO can be watched on a laptop.

It is a data set, a model folder and a reward like any other; the trainer knows nothing of it.

- `task`: what the problems are; `data`: problems and demonstrations as files.
- `corpus`: what the model reads in pretraining; `words`: of what it is made.
- `tokenizer`, `model`, `batches`, `pretrain`, `evaluate`: from there to a model that can do it.
- `folder`: the model on disk, made once; `cli`: the subcommand.

All but `tokenizer`, `model`, `batches`, `pretrain`, `evaluate` and `folder` need no torch.
"""

from icpo.tiny.data import Sizes, Splits, split, write_data
from icpo.tiny.task import RULES, TOPICS, Exercise

__all__ = ["RULES", "TOPICS", "Exercise", "Sizes", "Splits", "split", "write_data"]
