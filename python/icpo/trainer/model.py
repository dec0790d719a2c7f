"""The policy and its tokenizer, from a folder or the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from icpo.bars import without_bars
from icpo.demos.solution import behind_an_answer
from icpo.errors import ConfigError
from icpo.trainer.config import GenerationConfig, LoraConfig, ModelConfig, PromptConfig

__all__ = [
    "autocast_dtype",
    "check_lengths",
    "end_ids",
    "load_model",
    "load_tokenizer",
    "resolve_device",
]

#: A model folder has at least one file of each kind.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)
#: Of a folder that holds adapters and the name of their base model.
_ADAPTER = "adapter_config.json"

#: What transformers raises if files are missing, damaged, or of an architecture it does not know.
_LOADING = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError)

#: What a name on the hub looks like.
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_model(config: ModelConfig) -> tuple[Any, Any]:
    """The model, on its device, and the tokenizer.

    Parameters that are trained are float32, whatever `config.dtype` says; see there. Dropout is
    off: with it, the probabilities of a rollout would differ between sampling and training. A
    folder with adapters stands for its base model with these merged.

    Raises:
        ConfigError: naming the folder and what is missing in it, or the setting that does not fit.
    """
    device = resolve_device(config.device)
    tokenizer = load_tokenizer(config.path)
    _check_folder(config.path)
    # Under LoRA the base is never updated, so it needs no more digits than the computation.
    frozen = config.lora is not None and config.dtype == "bfloat16"
    dtype = torch.bfloat16 if frozen else torch.float32
    if (Path(config.path) / _ADAPTER).is_file():
        model = _merged(config, dtype)
    else:
        model = _pretrained(config, config.path, dtype)
    _let_generation_config_be_saved(config.path, model.generation_config)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"model.path: {config.path}: expected a tokenizer of at most {rows} tokens, as many as "
            f"the model has, got {len(tokenizer)}"
        )
    if config.lora is not None:
        model = _with_adapters(model, config.lora)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        # It works in training mode only, and is not heard of otherwise. Layers within these layers
        # stay in evaluation mode.
        for layer in model.modules():
            layer.training = hasattr(layer, "gradient_checkpointing")
    return model.to(device), tokenizer


def load_tokenizer(path: str) -> Any:
    """The tokenizer, which pads with its end token if it has none to pad with."""
    folder = Path(path)
    if folder.is_dir() and not _any_of(folder, _TOKENIZERS):
        raise ConfigError(
            f"model.path: {path}: expected a tokenizer in the folder ({', '.join(_TOKENIZERS)}), "
            f"it has {_contents(folder)}"
        )
    _check_exists(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except _LOADING as error:
        raise ConfigError(
            f"model.path: {_where(path)}: the tokenizer can not be loaded: {error}"
        ) from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"model.path: {path}: expected a tokenizer with an end token or one to pad with"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def end_ids(model: Any, tokenizer: Any, *, chat: bool) -> tuple[int, ...]:
    """The tokens that end a rollout, ascending.

    They are those of the model's generation config and of the tokenizer; in a chat, also what the
    chat template puts behind an answer.

    Raises:
        ConfigError: if there are none.
    """
    found: set[int] = set()
    generation = getattr(model, "generation_config", None)
    for owner in (generation, tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([] if ids is None else ids if isinstance(ids, Sequence) else [ids])
    if chat:
        found.update(behind_an_answer(tokenizer))
    if not found:
        raise ConfigError(
            "model.path: expected an end token in generation_config.json or the tokenizer; without "
            "one every rollout would be as long as generation.max_new_tokens"
        )
    return tuple(sorted(found))


def end_of_solutions(tokenizer: Any, ends: Sequence[int], *, chat: bool) -> int:
    """The end token to put behind a text that the policy did not write itself."""
    likely: list[int] = [
        *(behind_an_answer(tokenizer) if chat else ()),
        tokenizer.eos_token_id,
        *ends,
    ]
    return next(token for token in likely if token in ends)


def autocast_dtype(config: ModelConfig) -> torch.dtype | None:
    """What ``torch.autocast`` should compute in; None: it is not needed."""
    return None if config.dtype == "float32" else torch.bfloat16


def check_lengths(
    model: Any, prompt: PromptConfig, generation: GenerationConfig, *, continued: bool = False
) -> None:
    """Refuses prompts and rollouts that are longer together than the model has positions.

    `continued`: behind a prompt there may be as many tokens of a solution as a rollout has.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    times = 2 if continued else 1
    if positions is not None and prompt.max_tokens + times * generation.max_new_tokens > positions:
        room = f"{positions} - prompt.max_tokens"
        raise ConfigError(
            f"generation.max_new_tokens: expected at most "
            f"{f'({room}) / 2' if continued else room} = {(positions - prompt.max_tokens) // times}"
            f", because the model has {positions} positions, got {generation.max_new_tokens}"
        )


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU, or else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"model.device: expected a device that is here, got {name!r}: {reason}"
        ) from None
    return device


def _check_folder(path: str) -> None:
    folder = Path(path)
    if not folder.is_dir() or _any_of(folder, [_ADAPTER]):
        return
    for kind, names in (("config.json", ["config.json"]), ("weights", _WEIGHTS)):
        if not _any_of(folder, names):
            wanted = kind if kind in names else f"{kind} ({', '.join(names)})"
            raise ConfigError(
                f"model.path: {path}: expected {wanted} in the folder, it has {_contents(folder)}"
            )


def _where(path: str) -> str:
    """A folder; or, if there is none of that name, where it was looked for instead."""
    return path if Path(path).is_dir() else f"{path} (no folder here, so a name on the hub)"


def _check_exists(path: str) -> None:
    if not Path(path).is_dir() and (Path(path).exists() or not _HUB_NAME.fullmatch(path)):
        raise ConfigError(f"model.path: expected a folder or a name on the hub, got {path!r}")


def _any_of(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _contents(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else "no files"


def _pretrained(config: ModelConfig, path: str, dtype: torch.dtype) -> Any:
    try:
        shape = AutoConfig.from_pretrained(path)
        for name, value in vars(shape).items():
            if "drop" in name and isinstance(value, float):
                setattr(shape, name, 0.0)
        with without_bars():
            model, info = AutoModelForCausalLM.from_pretrained(
                path,
                config=shape,
                dtype=dtype,
                attn_implementation=config.attention,
                output_loading_info=True,
            )
    except _LOADING as error:
        raise ConfigError(
            f"model.path: {_where(path)}: the model can not be loaded: {error}"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers would go on with random numbers.
        raise ConfigError(
            f"model.path: {path}: expected weights for the whole model, {len(missing)} tensors are "
            f"missing: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        )
    return model


def _let_generation_config_be_saved(path: str, settings: Any) -> None:
    """Mends what transformers would refuse to save, at the first checkpoint.

    It loads a temperature beside ``do_sample: false``, but does not save it.
    """
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True
        try:
            settings.validate(strict=True)
        except ValueError as error:
            raise ConfigError(f"model.path: {path}: generation_config.json: {error}") from error


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ConfigError(
            "model.lora: peft is needed for adapters, and is not installed: "
            "pip install icpo-rs[lora]"
        ) from None
    return peft


def _with_adapters(model: Any, lora: LoraConfig) -> nn.Module:
    peft = _peft()
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
    )
    try:
        adapted: nn.Module = peft.get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(f"model.lora.targets: {error}") from error
    return adapted


def _merged(config: ModelConfig, dtype: torch.dtype) -> Any:
    peft = _peft()
    adapter = peft.PeftConfig.from_pretrained(config.path)
    base = _pretrained(config, adapter.base_model_name_or_path, dtype)
    merged = peft.PeftModel.from_pretrained(base, config.path).merge_and_unload()
    return merged.requires_grad_(True)  # peft has frozen the base
