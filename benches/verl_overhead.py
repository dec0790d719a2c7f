"""What the verl plugin costs beside generation, reward and update: milliseconds a prompt.

    python benches/verl_overhead.py [--prompts 32] [--repeats 7] [--response 2000] [--prompt 1500]
                                    [--pool 7500]

verl's own agent-loop worker and trainer, without Ray: the rollout server answers at once, the
reward is a constant, and the transfer queue is a dictionary. N = 8. The worker's contestants are
verl's own with 8 and with 9 requests a prompt, and ICPO's, once with expert prompts that are made
beforehand; of the trainer, each step that ICPO changes is run as it is and as in verl. They take
turns at every prompt. The CPU time of all threads is compared, since elapsed time says more of what
else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import logging
import platform
import random
import re
import statistics
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
import torch  # noqa: E402
import transfer_queue  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tokenizers import (  # noqa: E402
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transfer_queue import KVBatchMeta  # noqa: E402
from transfer_queue.storage.managers.simple_storage_manager import (  # noqa: E402
    AsyncSimpleStorageManager,
)
from transformers import PreTrainedTokenizerFast, Qwen3Config  # noqa: E402
from verl.trainer.ppo.v1 import AgentLoopWorkerTQ, PPOTrainerSync  # noqa: E402
from verl.workers.rollout.replica import TokenOutput  # noqa: E402

from icpo.verl.expert import asked  # noqa: E402
from icpo.verl.group import Response, form_group  # noqa: E402
from icpo.verl.hooks import plain_class  # noqa: E402
from icpo.verl.rollout import DRAWN_FIELD, _GroupWorker  # noqa: E402
from icpo.verl.trainer import IcpoTrainer  # noqa: E402

N = 8
#: Milliseconds a prompt that worker and driver may take together.
BAR = 1.0

VERL, RESERVE, REPLACE = "verl, 8 requests", "icpo, 7 + 1 (reserve)", "icpo, 8 + 1 (replace)"
MADE = "icpo, 7 + 1, prompts made before"
#: Only with a bonus, or with advantages relative to on-policy rollouts.
ADVANTAGES = "advantages, with a bonus"

#: As Qwen divides a text into words.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCABULARY = 151_643
CHAT = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)
TRAIN = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}


##### What is asked


def corpus() -> list[str]:
    """Texts that every Python brings along."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [path.read_text(errors="ignore") for path in sorted(folder.glob("*.py"))]


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level, with the words and the number of tokens that Qwen's has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # The texts have not as many words, so the rest are pairs that hardly ever meet.
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    parts, rng = list(vocabulary)[3:], random.Random(0)
    while len(vocabulary) < VOCABULARY:
        pair = rng.choice(parts), rng.choice(parts)
        if "".join(pair) not in vocabulary:
            vocabulary["".join(pair)] = len(vocabulary)
            merges.append(pair)
    tokenizer.model = models.BPE(vocabulary, merges)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT,
    )


def make_folder(folder: Path, prompts: int, pool: int, length: int) -> PreTrainedTokenizerFast:
    """Model, data and demonstrations, as files. Expert prompts have about `length` tokens."""
    texts, rng = corpus(), random.Random(1)
    tokenizer = make_tokenizer(texts)
    tokenizer.save_pretrained(folder / "model")
    Qwen3Config(architectures=["Qwen3ForCausalLM"]).save_pretrained(folder / "model")
    words = re.findall(r"[A-Za-z]+|[0-9]|[(){}=+*-]", "\n".join(texts[:100]))

    def text(tokens: int) -> str:
        """Prose and formulas. A word is 1.1 tokens."""
        return " ".join(rng.choice(words) for _ in range(int(tokens / 1.1)))

    question = 100
    with (folder / "demos.jsonl").open("w") as file:
        for number in range(pool):
            solution = text(length - 2 * question - 60)
            row = {"id": str(number), "question": text(question), "solution": solution}
            file.write(json.dumps(row) + "\n")
    rows = [
        {
            "data_source": "none",
            "prompt": [{"role": "user", "content": asked}],
            "reward_model": {"style": "rule", "ground_truth": "1"},
            "extra_info": {"index": index, "question": asked},
        }
        for index, asked in enumerate(text(question) for _ in range(prompts))
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    return tokenizer


def config_of(folder: Path, prompts: int, *overrides: str) -> Any:
    """verl's configuration with ICPO on."""
    verl = Path(importlib.util.find_spec("verl").origin).parent  # type: ignore[union-attr, arg-type]
    with initialize_config_dir(str(verl / "trainer" / "config"), version_base=None):
        return compose(
            "ppo_trainer",
            [
                "+icpo=on",
                f"icpo.demonstrations.source={folder / 'demos.jsonl'}",
                f"actor_rollout_ref.model.path={folder / 'model'}",
                f"data.train_files={folder / 'rows.parquet'}",
                f"data.val_files={folder / 'rows.parquet'}",
                f"data.train_batch_size={prompts}",
                "data.dataloader_num_workers=0",
                "data.shuffle=false",
                "actor_rollout_ref.rollout.name=vllm",
                f"actor_rollout_ref.rollout.n={N}",
                "actor_rollout_ref.rollout.prompt_length=4096",
                "actor_rollout_ref.rollout.response_length=8192",
                f"actor_rollout_ref.actor.ppo_mini_batch_size={prompts}",
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
                "trainer.total_training_steps=10",
                *overrides,
            ],
        )


##### What answers


class Server:
    """Answers at once. The first token says whether it is right."""

    def __init__(self, length: int) -> None:
        rng = random.Random(2)
        self.tokens = [rng.randrange(3, VOCABULARY) for _ in range(length)]
        self.logp = [-rng.random() for _ in range(length)]
        self.turn = 0

    async def generate(self, request_id: str, **request: Any) -> TokenOutput:
        self.turn += 1
        steps = {"min_global_steps": 1, "max_global_steps": 1}
        tokens = [10 + self.turn % 2, *self.tokens[1:]]
        return TokenOutput(token_ids=tokens, log_probs=list(self.logp), extra_fields=steps)


class Rewards:
    """Half of all responses are right."""

    @property
    def compute_score(self) -> Rewards:
        return self

    async def remote(self, data: Any) -> dict[str, Any]:
        right = float(data.batch["responses"][-1, 0] == 10)
        return {"reward_score": right, "reward_extra_info": {"score": right, "acc": right}}


class Queue:
    """A dictionary; it packs as the real one does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, Any]] = {}
        for name in ("kv_batch_get", "kv_batch_put", "async_kv_put", "async_kv_batch_put"):
            setattr(transfer_queue, name, getattr(self, name))
        transfer_queue.init = lambda *args, **kwargs: None

    async def async_kv_put(self, key: str, partition_id: str, tag: Any) -> None:
        self.tags[key] = tag

    async def async_kv_batch_put(
        self, keys: Any, fields: Any, tags: Any, partition_id: str
    ) -> None:
        self.kv_batch_put(keys, partition_id, fields, tags)

    def kv_batch_put(self, keys: Any, partition_id: str, fields: Any, tags: Any = None) -> Any:
        for place, key in enumerate(keys):
            row = self.rows.setdefault(key, {})
            for name in fields.keys():  # noqa: SIM118
                value = fields[name][place]
                row[name] = (
                    value if isinstance(value, torch.Tensor) else getattr(value, "data", value)
                )
            if tags is not None:
                self.tags[key] = tags[place]
        return self.batch(keys)

    def kv_batch_get(self, keys: Any, partition_id: str, select_fields: list[str]) -> TensorDict:
        rows = [self.rows[key] for key in keys]
        packed = {
            name: AsyncSimpleStorageManager._pack_field_values([row[name] for row in rows])
            for name in select_fields
            if name in rows[0]
        }
        return TensorDict(packed, batch_size=[len(rows)])

    def batch(self, keys: Any) -> KVBatchMeta:
        return KVBatchMeta(list(keys), [self.tags[key] for key in keys], partition_id="train")


##### The measurement

#: Runs what a contestant does for the prompt of that number.
Contestant = Callable[[int], None]


def alternating(
    contestants: dict[str, Contestant], prompts: int, repeats: int
) -> dict[str, list[float]]:
    """CPU time of each prompt, in milliseconds, in the same order for all contestants.

    They take turns at every prompt, so that a busy machine is as busy for all.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for prompt in range(prompts):
            for name, run in contestants.items():
                start = time.process_time()
                run(prompt)
                if repeat:  # the first is to warm up
                    times[name].append(1e3 * (time.process_time() - start))
    return times


def more(ours: list[float], theirs: list[float]) -> float:
    """The median of the differences."""
    return statistics.median(one - other for one, other in zip(ours, theirs, strict=True))


def worker_runs(
    folder: Path, rows: list[dict[str, Any]], length: int
) -> Iterator[tuple[str, Contestant]]:
    """Each of the worker's contestants: a prompt, up to the transfer queue."""
    of_verl = plain_class(AgentLoopWorkerTQ)
    loop = asyncio.new_event_loop()
    for name, worker_class, n, overrides in (
        (VERL, of_verl, N, []),
        ("verl, 9 requests", of_verl, N + 1, []),
        ("icpo, 8 + 0", _GroupWorker, N, ["icpo.n_off=0"]),
        (MADE, _GroupWorker, N, ["icpo.group=reserve"]),
        (RESERVE, _GroupWorker, N, ["icpo.group=reserve"]),
        (REPLACE, _GroupWorker, N, []),
    ):
        config = config_of(folder, len(rows), f"actor_rollout_ref.rollout.n={n}", *overrides)
        worker = make_worker(loop, worker_class, config, length)
        if name == MADE:
            make_before(worker, rows)

        def run(prompt: int, worker: Any = worker) -> None:
            row = dict(rows[prompt])
            if not isinstance(worker, _GroupWorker):
                row.pop(DRAWN_FIELD)
            elif worker.settings.n_off == 0:
                row[DRAWN_FIELD] = {**row[DRAWN_FIELD], "demos": []}
            loop.run_until_complete(worker._run_prompt(row, {"temperature": 1.0}, dict(TRAIN)))

        yield name, run


def make_worker(loop: Any, worker_class: Any, config: Any, length: int) -> Any:
    """A worker, made where it finds its loop."""

    async def make() -> Any:
        return worker_class(config, Server(length), None, [Rewards()])

    return loop.run_until_complete(make())


def expert_prompt(worker: Any, row: dict[str, Any]) -> Any:
    """The expert prompt of a row, as the worker makes it."""
    demos = [worker.demos[id] for id in row[DRAWN_FIELD]["demos"][0]]
    messages = row["raw_prompt"]
    return worker.prompts(messages).expert(asked(messages, worker._problem(row)), demos)


def make_before(worker: Any, rows: list[dict[str, Any]]) -> None:
    """Has a worker find expert prompts, in place of making them."""
    made = {row["raw_prompt"][-1]["content"]: expert_prompt(worker, row) for row in rows}
    worker.prompts = lambda messages: SimpleNamespace(
        expert=lambda problem, demos: made[problem.question]
    )


class Workers:
    """The group of workers that train, which do nothing."""

    _dispatch_info = {"actor": list(range(8))}  # noqa: RUF012

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def compute_log_prob(self, batch: Any) -> Any:
        for key in batch.keys:
            row = self.queue.rows[key]
            row["log_probs"] = row["entropy"] = torch.ones(len(row["input_ids"]))
        return batch


def trainer_of(folder: Path, prompts: int, queue: Queue) -> Any:
    """ICPO's trainer, as far as it needs no Ray."""
    trainer = IcpoTrainer(config_of(folder, prompts, "icpo.bonus.alpha=0.5"))
    trainer._init_tokenizer()
    trainer._init_dataloader()
    trainer._init_resource_pool_mgr()
    trainer.actor_rollout_wg = Workers(queue)
    trainer.global_steps = 1
    return trainer


def rows_of(batch: Any) -> list[dict[str, Any]]:
    """The prompts of a batch, as workers take them apart."""
    return [
        {
            **{
                name: getattr(batch[name][place], "data", batch[name][place])
                for name in ("raw_prompt", "extra_info", "reward_model", "uid", DRAWN_FIELD)
            },
            "data_source": "none",
            "index": place,
            "global_steps": 1,
            "agent_name": "single_turn_agent",
        }
        for place in range(len(batch))
    ]


def driver_runs(trainer: Any, queue: Queue, keys: list[str]) -> dict[str, Callable[[Any], None]]:
    """The steps of a trainer that ICPO changes, with `PPOTrainerSync` or `IcpoTrainer`."""
    times = {"step": 1.0, "gen": 1.0, "adv": 1.0, "old_log_prob": 1.0, "update_actor": 1.0}

    def order_rows(cls: Any) -> None:
        trainer._trained = set()  # the same batch comes again, which no training has
        cls._balance_batch(trainer, queue.batch(keys), {})

    return {
        "draw demonstrations": lambda cls: cls._next_train_batch(trainer),
        "order rows": order_rows,
        "old log-probs": lambda cls: cls._compute_old_log_prob(trainer, queue.batch(keys), {}),
        ADVANTAGES: lambda cls: cls._compute_advantage(trainer, queue.batch(keys), {}),
        "metrics": lambda cls: cls._compute_metrics(
            trainer, queue.batch(keys), {}, times, global_steps=1, epoch=0
        ),
    }


def worker_parts(folder: Path, rows: list[dict[str, Any]], length: int) -> dict[str, Contestant]:
    """What a worker does for the group of a prompt, one by one."""
    worker = make_worker(
        asyncio.new_event_loop(), _GroupWorker, config_of(folder, len(rows)), length
    )

    def output() -> Any:
        details = {"reward_extra_info": {"score": 1.0, "acc": 1.0}}
        return SimpleNamespace(
            reward_score=1.0, response_ids=[0] * length, prompt_ids=[], extra_fields=details
        )

    policy = [Response([output()]) for _ in range(N)]
    expert = [Response([output()], ("d",))]

    def prompt(number: int) -> None:
        expert_prompt(worker, rows[number])

    def group(number: int) -> None:
        rng = np.random.default_rng(rows[number][DRAWN_FIELD]["seed"])
        form_group(worker._problem(rows[number]), policy, expert, worker.rules, 1, rng)

    return {"  of it: tokens of expert prompts": prompt, "  of it: groups and sums": group}


def worker_table(
    folder: Path, rows: list[dict[str, Any]], options: argparse.Namespace
) -> tuple[float, float]:
    """Prints it, and where the time goes.

    Returns what ICPO takes more, request for request: beside making expert prompts, and with that.
    """
    runs = dict(worker_runs(folder, rows, options.response))
    found = alternating(runs, len(rows), options.repeats)
    print(f"\n{'worker: CPU ms a prompt':34} {'median':>8} {'ratio':>7} {'more':>7}")
    base = found[VERL]
    for name, times in found.items():
        middle = statistics.median(times)
        ratio = middle / statistics.median(base)
        print(f"{name:34} {middle:8.2f} {ratio:7.2f} {more(times, base):7.2f}")
    parts = worker_parts(folder, rows, options.response)
    for name, times in alternating(parts, len(rows), options.repeats).items():
        print(f"{name:34} {statistics.median(times):8.2f}")
    return more(found[MADE], base), more(found[RESERVE], base)


def driver_table(trainer: Any, queue: Queue, options: argparse.Namespace) -> float:
    """Prints it. Returns what ICPO takes more, with settings whose advantages are verl's."""
    print(f"\n{'driver: CPU ms a prompt':34} {'icpo':>8} {'verl':>8} {'ratio':>7} {'more':>7}")
    total = 0.0
    for name, run in driver_runs(trainer, queue, list(queue.rows)).items():
        contestants = {
            "icpo": lambda _, run=run: run(IcpoTrainer),
            "verl": lambda _, run=run: run(PPOTrainerSync),
        }
        found = alternating(contestants, 1, 3 * options.repeats)
        ours, theirs = (
            [one / options.prompts for one in found[contestant]] for contestant in contestants
        )
        middles = statistics.median(ours), statistics.median(theirs)
        taken = more(ours, theirs)
        total += taken if name != ADVANTAGES else 0
        ratio = middles[0] / middles[1]
        print(f"{name:34} {middles[0]:8.3f} {middles[1]:8.3f} {ratio:7.2f} {taken:7.3f}")
    return total


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--response", type=int, default=2000)
    parser.add_argument("--prompt", type=int, default=1500)
    parser.add_argument("--pool", type=int, default=7500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    queue = Queue()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = make_folder(folder, options.prompts, options.pool, options.prompt)
        trainer = trainer_of(folder, options.prompts, queue)
        rows = rows_of(trainer._next_train_batch())
        print(
            f"\n{platform.machine()}, torch {torch.__version__}; {options.prompts} prompts, "
            f"N = {N}, responses of {options.response} tokens, vocabulary {len(tokenizer):,}, "
            f"{options.pool:,} demonstrations"
        )
        beside, whole = worker_table(folder, rows, options)
        queue.rows.clear()
        queue.tags.clear()
        for contestant, run in worker_runs(folder, rows, options.response):
            for number in range(len(rows)) if contestant == REPLACE else ():
                run(number)
        of_driver = driver_table(trainer, queue, options)
    print(
        f"\nboth, with as many requests as verl: {beside:.2f} + {of_driver:.2f} = "
        f"{beside + of_driver:.2f} ms a prompt more (bar: {BAR:g}), and {whole - beside:.2f} for "
        "the tokens of expert prompts"
    )


if __name__ == "__main__":
    main()
