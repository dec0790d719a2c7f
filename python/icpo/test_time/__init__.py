"""ME-ICPO: answers refined in context, from rewards that the model's own majority gives.

`me_icpo` answers questions; ``icpo solve`` asks whole benchmarks, beside ablations and baselines.
A search is a generator (`search`), so that many of them are one batch (`waves`), and a journal of
answers makes the same choices again. docs/solve.md explains all of it.
"""

from icpo.test_time.api import me_icpo
from icpo.test_time.config import SearchConfig
from icpo.test_time.search import Solution
from icpo.test_time.settings import SolveSettings

__all__ = ["SearchConfig", "Solution", "SolveSettings", "me_icpo"]
