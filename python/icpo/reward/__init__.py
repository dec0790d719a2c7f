"""Whether a response gives the gold answer: exact, fast, and the same on every machine."""

from icpo._core import ParsedAnswer
from icpo.reward.checker import Checker, Verdict, score, verify

__all__ = ["Checker", "ParsedAnswer", "Verdict", "score", "verify"]
