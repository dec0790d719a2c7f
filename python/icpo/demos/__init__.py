"""Demonstrations: where they are kept, which are shown, and how a prompt is made of them."""

from __future__ import annotations

from icpo.demos.buckets import Buckets
from icpo.demos.difficulty import DIFFICULTIES, difficulty_of
from icpo.demos.online import Online, solved_demo
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
from icpo.demos.sources import BAD_ROWS, DemoColumns, LoadedPool, load_pool

__all__ = [
    "BAD_ROWS",
    "DIFFICULTIES",
    "OVERLONG",
    "STRATEGIES",
    "TEMPLATES",
    "Buckets",
    "DemoColumns",
    "DemoPool",
    "DemoSampler",
    "Encode",
    "ExpertPrompt",
    "LoadedPool",
    "Online",
    "PromptBuilder",
    "Strategy",
    "Template",
    "check_pool",
    "difficulty_of",
    "load_pool",
    "solved_demo",
    "tokenizer_encoder",
]
