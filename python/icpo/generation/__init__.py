"""Sampling: an engine takes prompts and returns completions."""

from icpo.generation.engine import Completion, Engine, Sampling

__all__ = ["Completion", "Engine", "Sampling"]
