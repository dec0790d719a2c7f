"""From texts to sequences of integers: by a model's tokenizer, by words, or by characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.analysis.sources import NamedRun
from icpo.errors import ConfigError, DataError

__all__ = ["SPLITTERS", "Encode", "encoder", "model_of", "token_ids"]

#: A text to integers, the same for the same piece.
Encode = Callable[[str], NDArray[np.int64]]

_WORD = re.compile(r"\w+|[^\w\s]")


def _words() -> Encode:
    numbers: dict[str, int] = {}

    def encode(text: str) -> NDArray[np.int64]:
        found = [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text)]
        return np.array(found, np.int64)

    return encode


def _characters() -> Encode:
    return lambda text: np.array([ord(character) for character in text], np.int64)


#: Units that need no model.
SPLITTERS: dict[str, Callable[[], Encode]] = {"words": _words, "characters": _characters}


def encoder(choice: str) -> Encode:
    """A name in `SPLITTERS`, or the folder or hub name of a model, whose tokenizer is taken.

    Raises:
        ConfigError: if there is no such tokenizer.
        ImportError: if transformers is not installed.
    """
    if choice in SPLITTERS:
        return SPLITTERS[choice]()
    try:
        from icpo.trainer.model import load_tokenizer
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is needed for a model's tokens, and is not installed: "
            "pip install icpo-rs[torch]"
        ) from None
    tokenizer = load_tokenizer(choice)
    return lambda text: np.array(token_ids(tokenizer, text), np.int64)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a part of a text: none is added at its ends.

    Raises:
        DataError: if the tokenizer has none for it.
    """
    try:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    except Exception as error:  # what tokenizers raise is nothing more special
        raise DataError(f"expected a text that has tokens, got {text!r:.80}: {error}") from error
    return ids


#: Where settings name the model, by the kind of the run.
_MODELS = {
    "trainer": ("model", "path"),
    "verl": ("actor_rollout_ref", "model", "path"),
    "eval": ("settings", "engine", "model"),
}


def model_of(runs: Iterable[NamedRun], option: str) -> str:
    """A model with the tokenizer that runs were made with, as their settings name it.

    Args:
        runs: of one model, or of several with the same tokenizer, such as two that began as one.
        option: what to use instead, for messages.

    Raises:
        ConfigError: if they do not say, or differ.
    """
    settings = (_setting(one.run.config, _MODELS[one.run.kind]) for one in runs)
    found = list(dict.fromkeys(settings))
    models = [model for model in found if isinstance(model, str)]
    if models and len(models) == len(found) and _have_the_same_tokens(models):
        return models[0]
    named = " and ".join(sorted("no model" if one is None else repr(one) for one in found))
    raise ConfigError(f"{option}: expected one, because the settings of the runs name {named}")


def _have_the_same_tokens(models: Sequence[str]) -> bool:
    if len(models) == 1:
        return True
    try:
        from icpo.trainer.model import load_tokenizer

        tokenizers = [load_tokenizer(model) for model in models]
    except (ConfigError, ModuleNotFoundError):  # one that is gone can not be compared
        return False
    spelled = set()
    for one in tokenizers:
        backend = getattr(one, "backend_tokenizer", None)
        if backend is None:  # one written in Python does not tell all of itself
            return False
        spelled.add(backend.to_str())
    return len(spelled) == 1


def _setting(config: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        config = config.get(key) if hasattr(config, "get") else None
    return config
