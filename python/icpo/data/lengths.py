"""Lengths in tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError

__all__ = ["TokenCounter"]


@dataclass(frozen=True)
class TokenCounter:
    """Counts as a trainer would."""

    #: One of transformers.
    tokenizer: Any

    @classmethod
    def of(cls, name: str) -> TokenCounter:
        """With the tokenizer of that name, on the hub or in a folder."""
        try:
            import transformers
        except ImportError:
            raise ImportError(
                "transformers is needed to count tokens, and is not installed: "
                "pip install icpo-rs[torch]"
            ) from None
        try:
            return cls(transformers.AutoTokenizer.from_pretrained(os.path.expanduser(name)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"tokenizer: {name}: can not be loaded: {reason}") from error

    def chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Of a chat up to where the answer begins; of its text, without a chat template."""
        if self.tokenizer.chat_template is None:
            return self.texts(["\n".join(said["content"] for said in messages)])[0]
        encoded = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True
        )
        return len(encoded["input_ids"])

    def texts(self, texts: Sequence[str]) -> list[int]:
        """Of each text, as it stands."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]
