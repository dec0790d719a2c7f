"""Demonstrations: where they are kept, which are shown, and how a prompt is made of them."""

from __future__ import annotations

from icpo.demos.pool import DemoPool
from icpo.demos.prompt import (
    OVERLONG,
    TEMPLATES,
    Encode,
    ExpertPrompt,
    PromptBuilder,
    Template,
    check_pool,
    tokenizer_encoder,
)
from icpo.demos.sampler import DemoSampler
from icpo.demos.select import STRATEGIES, Strategy

__all__ = [
    "OVERLONG",
    "STRATEGIES",
    "TEMPLATES",
    "DemoPool",
    "DemoSampler",
    "Encode",
    "ExpertPrompt",
    "PromptBuilder",
    "Strategy",
    "Template",
    "check_pool",
    "tokenizer_encoder",
]
