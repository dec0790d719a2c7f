"""From settings to what answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from icpo.errors import ConfigError
from icpo.evaluation.settings import EngineSettings
from icpo.generation.local_engine import LocalEngine, prompt_encoder
from icpo.generation.server_engine import Retry, ServerEngine
from icpo.generation.text import TextEngine
from icpo.generation.vllm_engine import VllmEngine

__all__ = ["ENGINES", "open_engine"]


def open_engine(settings: EngineSettings, *, chat: bool) -> TextEngine:
    """The engine of these settings. `chat`: whether prompts will be chats."""
    if settings.kind not in ENGINES:
        raise ConfigError(
            f"engine.kind: expected one of {', '.join(ENGINES)}, got {settings.kind!r}"
        )
    return ENGINES[settings.kind](settings, chat)


def _transformers(settings: EngineSettings, chat: bool) -> TextEngine:
    try:
        import torch

        from icpo.generation.torch_engine import TorchEngine
        from icpo.trainer.config import ModelConfig
        from icpo.trainer.model import end_ids, load_model
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is needed, and is not installed: pip install icpo-rs[torch]"
        ) from None
    path = _model(settings)
    batch = settings.batch or 64
    model, tokenizer = load_model(ModelConfig(path, device=settings.device))
    if settings.dtype == "bfloat16":
        # Parameters alone: buffers hold rotation frequencies, which bfloat16 could not tell apart.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
    engine = TorchEngine(
        model.requires_grad_(False),
        end_ids=end_ids(model, tokenizer, chat=chat),
        pad_id=tokenizer.pad_token_id,
        batch=batch,
    )
    return LocalEngine(
        engine,
        prompt_encoder(tokenizer),
        lambda tokens: str(tokenizer.decode(tokens, skip_special_tokens=True)),
        together=batch,
        about={
            "engine": "transformers",
            "model": path,
            "dtype": settings.dtype,
            "device": str(next(model.parameters()).device),
            "positions": getattr(model.config, "max_position_embeddings", None),
        },
    )


def _vllm(settings: EngineSettings, chat: bool) -> TextEngine:
    return VllmEngine(_model(settings), dtype=settings.dtype, together=settings.batch or 1024)


def _server(settings: EngineSettings, chat: bool) -> TextEngine:
    if settings.url is None:
        raise ConfigError("engine.url: expected the address of a server, but it is not set")
    count: Callable[[Any], int] | None = None
    if settings.tokenizer is not None:
        from icpo.trainer.model import load_tokenizer

        encode = prompt_encoder(load_tokenizer(settings.tokenizer))
        count = lambda prompt: len(encode(prompt))  # noqa: E731
    return ServerEngine(
        settings.url,
        settings.model,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        retry=Retry(settings.attempts),
        key=os.environ.get(settings.key_variable),
        count=count,
        dialect=settings.dialect,
    )


def _model(settings: EngineSettings) -> str:
    if settings.model is None:
        raise ConfigError("engine.model: expected a folder or a name on the hub, but it is not set")
    return settings.model


#: By name.
ENGINES: dict[str, Callable[[EngineSettings, bool], TextEngine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "server": _server,
}
