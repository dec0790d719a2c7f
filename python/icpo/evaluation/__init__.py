"""How good a policy is."""

from icpo.evaluation.passk import pass_at_k

__all__ = ["pass_at_k"]
