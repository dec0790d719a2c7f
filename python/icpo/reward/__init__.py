"""Whether a response gives the gold answer: exact, fast, and the same on every machine.

`verify` and `score` are for a single check and for a batch; `Checker` holds settings, and says why.
Reward functions for trainers: ``icpo.verl.reward``, ``icpo.reward.trl`` and ``.lighteval``; files
are checked by ``icpo verify`` or ``icpo.reward.files``. docs/checker.md says what is accepted.
"""

from icpo._core import ParsedAnswer
from icpo.reward.checker import Checker, Verdict, score, verify

__all__ = ["Checker", "ParsedAnswer", "Verdict", "score", "verify"]
