"""What the tests of the plugin put in the place of Ray: everything else is verl's own.

Importing this skips the module that does, with a reason, where verl is not installed.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib.util
import json
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config

# CI installs the peer, so there its absence is a failure and not a reason to skip.
if os.environ.get("CI"):
    importlib.import_module("verl.trainer.ppo.v1")
else:
    pytest.importorskip("verl.trainer.ppo.v1", reason="verl is not installed", exc_type=ImportError)

CHAT = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n"
    "{% if think %}<think>{% endif %}{% endif -%}"
)

#: Texts that merges are learned from: tokens then cross the seams between demonstration and
#: question, as they do with real tokenizers.
TEXTS = [
    "Question: What is 12 + 7? Let's think step by step and output the final answer within "
    "\\boxed{}\nAnswer: 12 + 7 = 19, so \\boxed{19}\n\n\n",
    "system user assistant You add numbers. Ärger, naïve, 数学",
]


def make_tokenizer(chat_template: str | None = CHAT) -> PreTrainedTokenizerFast:
    """Byte-level with merges and special tokens, as Qwen's is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=chat_template,
    )


def model_folder(folder: Path) -> Path:
    """What verl reads of a model without its weights."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    ).save_pretrained(folder)
    return folder


def write_demos(path: Path, count: int = 20) -> Path:
    """Sums, of which the first asks "What is 0 + 1?"."""
    rows = [
        {"id": f"d{i}", "question": f"What is {i} + 1?", "solution": f"\\boxed{{{i + 1}}}"}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compose_config(*overrides: str) -> Any:
    """verl's configuration, with the arguments of a command line."""
    # Reading it takes longer than most tests do, and many want the same.
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> Any:
    from hydra import compose, initialize_config_dir

    verl = Path(importlib.util.find_spec("verl").origin).parent
    with initialize_config_dir(str(verl / "trainer" / "config"), version_base=None):
        return compose("ppo_trainer", list(overrides))


class Queue:
    """verl's transfer queue, in memory."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, dict[str, Any]]] = {}
        self.fields: dict[str, dict[str, dict[str, Any]]] = {}
        #: Key and tag of each call, in their order.
        self.log: list[tuple[str, dict[str, Any]]] = []

    def install(self, monkeypatch: Any) -> Queue:
        """Puts it into the module that verl and icpo call."""
        import transfer_queue

        monkeypatch.setattr(transfer_queue, "init", lambda *args, **kwargs: None)
        for name in ("kv_put", "kv_batch_put"):
            monkeypatch.setattr(transfer_queue, name, getattr(self, name))
            monkeypatch.setattr(transfer_queue, f"async_{name}", _later(getattr(self, name)))
        for name in ("kv_batch_get", "kv_list", "kv_clear"):
            monkeypatch.setattr(transfer_queue, name, getattr(self, name))
        return self

    def kv_put(self, key: str, partition_id: str, fields: Any = None, tag: Any = None) -> Any:
        assert fields is None, "a prompt has a status only"
        return self.kv_batch_put([key], partition_id, tags=[tag])

    def kv_batch_put(
        self, keys: Sequence[str], partition_id: str, fields: Any = None, tags: Any = None
    ) -> Any:
        for place, key in enumerate(keys):
            if tags is not None:
                self.log.append((key, dict(tags[place])))
                self.tags.setdefault(partition_id, {}).setdefault(key, {}).update(tags[place])
            if fields is not None:
                row = self.fields.setdefault(partition_id, {}).setdefault(key, {})
                row.update({name: _item(fields[name], place) for name in fields.keys()})  # noqa: SIM118
        return self.batch(partition_id, keys)

    def kv_batch_get(self, keys: Any, partition_id: str, select_fields: Any = None) -> Any:
        from tensordict import TensorDict
        from transfer_queue.storage.managers.simple_storage_manager import (
            AsyncSimpleStorageManager as Storage,
        )

        assert keys, "the queue has no answer for no keys"
        rows = [self.fields[partition_id][key] for key in keys]
        names = [name for name in rows[0] if select_fields is None or name in _names(select_fields)]
        packed = {name: Storage._pack_field_values([row[name] for row in rows]) for name in names}
        return TensorDict(packed, batch_size=[len(rows)])

    def kv_list(self, partition_id: str | None = None) -> dict[str, Any]:
        return {partition_id: self.tags[partition_id]} if partition_id else self.tags

    def kv_clear(self, keys: Sequence[str], partition_id: str) -> None:
        for key in keys:
            self.tags.get(partition_id, {}).pop(key, None)
            self.fields.get(partition_id, {}).pop(key, None)

    def batch(self, partition_id: str, keys: Sequence[str]) -> Any:
        """What the trainer passes from step to step."""
        from transfer_queue import KVBatchMeta

        tags = [self.tags[partition_id].get(key, {}) for key in keys]
        return KVBatchMeta(keys=list(keys), tags=tags, partition_id=partition_id)

    def rows(self, uid: str, partition_id: str = "train") -> list[dict[str, Any]]:
        """The rows of a prompt, in the order of their numbers."""
        found = self.fields.get(partition_id, {})
        keys = [key for key in found if key.rsplit("_", 2)[0] == uid and key != uid]
        return [found[key] for key in sorted(keys, key=lambda key: int(key.rsplit("_", 2)[1]))]

    def status(self, uid: str, partition_id: str = "train") -> str:
        return str(self.tags[partition_id][uid]["status"])


def _names(select_fields: Any) -> list[str]:
    return [select_fields] if isinstance(select_fields, str) else list(select_fields)


def _item(column: Any, place: int) -> Any:
    found = column[place]
    return getattr(found, "data", found) if not isinstance(found, torch.Tensor) else found.clone()


def _later(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def later(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return later


@dataclass
class Asked:
    """A request that the server got."""

    prompt_ids: list[int]
    sampling_params: dict[str, Any]
    #: How many requests had been scored when it came.
    scored: int


#: What a server does with a request: gives the tokens, or raises.
Answer = Callable[[Asked], Awaitable[list[int]]]


class Server:
    """verl's client of the rollout servers.

    No dataclass, since Hydra would make a configuration of it.
    """

    def __init__(self, answer: Answer, rewards: Rewards | None = None) -> None:
        self.answer, self.rewards = answer, rewards
        self.asked: list[Asked] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: Any, **kwargs: Any
    ) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        scored = len(self.rewards.scored) if self.rewards else 0
        asked = Asked(list(prompt_ids), dict(sampling_params), scored)
        self.asked.append(asked)
        tokens = await self.answer(asked)
        steps = {"min_global_steps": 1, "max_global_steps": 1}
        logp = log_probs(asked.prompt_ids, tokens)
        return TokenOutput(token_ids=tokens, log_probs=logp, extra_fields=steps)


def log_probs(prompt_ids: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Numbers that tell which prompt a response was sampled from."""
    rng = random.Random(json.dumps([list(prompt_ids), list(tokens)]))
    return [-rng.random() for _ in tokens]


@dataclass
class Rewards:
    """verl's handle of a reward worker: a response's first token decides."""

    score: Callable[[list[int]], Any]
    #: Responses in the order in which they were scored, and the fields that came with them.
    scored: list[tuple[list[int], dict[str, Any]]] = field(default_factory=list)

    @property
    def compute_score(self) -> Rewards:
        return self

    async def remote(self, data: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        tokens = data.batch["responses"][-1].tolist()
        self.scored.append((tokens, {key: v[-1] for key, v in data.non_tensor_batch.items()}))
        score, details = self.score(tokens)
        return {"reward_score": score, "reward_extra_info": details}


def prompts(tokenizer: Any, count: int) -> Iterator[dict[str, Any]]:
    """Rows of data as verl's workers get them."""
    for index in range(count):
        question = f"What is {index} + 1?"
        yield {
            "raw_prompt": [
                {"role": "system", "content": "You add numbers."},
                {"role": "user", "content": question + " Answer within \\boxed{}."},
            ],
            "extra_info": {"index": index, "question": question},
            "reward_model": {"style": "rule", "ground_truth": str(index + 1)},
            "data_source": "sums",
            "uid": f"uid-{index}",
            "index": index,
            "global_steps": 1,
            "agent_name": "single_turn_agent",
        }
