"""Options of commands that ask a model, and the settings of the engine that they stand for."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_engine_options", "engine_given"]

#: Options that are called as settings are.
_ALIKE = (
    "model",
    "dtype",
    "device",
    "batch",
    "concurrency",
    "timeout",
    "attempts",
    "tokenizer",
    "dialect",
    "key_variable",
)


def add_engine_options(group: argparse._ArgumentGroup) -> None:
    """Adds them."""
    add = group.add_argument
    add("--model", metavar="NAME", help="folder, name on the hub, or the server's name for it")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="ask a server that speaks OpenAI's protocol")
    where.add_argument(
        "--vllm", action="store_true", help="run the model with vLLM, in this process"
    )
    add("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16")
    add("--device", help="default: auto")
    add(
        "--batch",
        type=int,
        metavar="N",
        help="responses computed at once (default: 64; vLLM: 1024)",
    )
    add("--concurrency", type=int, metavar="N", help="of a server's requests (default: 32)")
    add("--timeout", type=float, metavar="SECONDS", help="of a server (default: 600)")
    add("--attempts", type=int, metavar="N", help="at a request (default: 9)")
    add("--tokenizer", metavar="NAME", help="to measure prompts for a server")
    add("--dialect", metavar="NAME", help="of a server: vllm (default), llama.cpp, transformers")
    add("--key-variable", metavar="NAME", help="with the server's key (default: OPENAI_API_KEY)")


def engine_given(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of `icpo.evaluation.settings.EngineSettings`."""
    given = {name: getattr(options, name) for name in _ALIKE}
    if options.server is not None:
        given |= {"kind": "server", "url": options.server}
    elif options.vllm:
        given["kind"] = "vllm"
    return {name: value for name, value in given.items() if value is not None}
