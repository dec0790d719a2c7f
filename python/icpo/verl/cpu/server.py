"""The rollout server: verl's requests, gathered into batches for `icpo.generation.TorchEngine`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from verl.workers.rollout.replica import TokenOutput

from icpo.errors import ConfigError, DataError, ShapeError
from icpo.generation import Completion, Sampling
from icpo.generation.torch_engine import TorchEngine
from icpo.types import Tokens
from icpo.verl.cpu.requests import Limits, Request, Seeds, read_request

__all__ = ["CpuServer"]

#: Seconds in which requests that come together are waited for. verl sends those of a step at once,
#: each as a message of its own.
_GATHER = 0.003

#: Names of verl's `rollout.dtype`.
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: A request, its seed, and who waits for what follows and for the version of its weights.
_Waiting = tuple[Request, int, "asyncio.Future[tuple[Completion, int]]"]


class CpuServer:
    """Continues prompts with the weights that the actor sent last. A Ray actor makes one of it.

    Whatever computes runs in one thread beside the event loop: requests can be gathered meanwhile,
    and weights never change under a batch. Errors of a batch reach every request in it; those of a
    request, only the one who asked.
    """

    def __init__(
        self,
        model_path: str,
        *,
        prompt_length: int,
        response_length: int,
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        dtype: str = "float32",
        seed: int = 0,
        replica: int = 0,
        ignore_eos: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        """A server without weights: those come from the actor, before the first request.

        Args:
            model_path: folder with the model's configuration.
            prompt_length, response_length, max_model_len, max_num_seqs, dtype, seed, ignore_eos:
                as in verl's rollout configuration.
            replica: number of this server.
            trust_remote_code: whether code of the model's folder may run.

        Raises:
            ConfigError: an unknown dtype, a model without end token, or no limit of its positions.
        """
        if dtype not in _DTYPES:
            raise ConfigError(f"rollout.dtype: expected {', '.join(_DTYPES)}, got {dtype}")
        config = AutoConfig.from_pretrained(model_path, trust_remote_code=trust_remote_code)
        self._model: nn.Module = AutoModelForCausalLM.from_config(
            config,
            dtype=_DTYPES[dtype],
            attn_implementation="sdpa",
            trust_remote_code=trust_remote_code,
        ).eval()
        self._engine = TorchEngine(
            self._model, end_ids=() if ignore_eos else _end_ids(model_path), batch=max_num_seqs
        )
        limits = (max_model_len, getattr(config.get_text_config(), "max_position_embeddings", None))
        if limits == (None, None):
            raise ConfigError(
                "rollout.max_model_len: expected a number, as the model's configuration has no "
                "max_position_embeddings; got none"
            )
        self._limits = Limits(
            prompt_length=prompt_length,
            response_length=response_length,
            positions=min(limit for limit in limits if limit is not None),
            vocabulary=int(self._model.get_input_embeddings().weight.shape[0]),
        )
        self._seeds = Seeds(seed, replica)
        #: Training steps behind the weights; None before the first.
        self._weights_version: int | None = None
        self._waiting: list[_Waiting] = []
        self._gathering: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def generate(
        self,
        prompt_ids: Sequence[int],
        sampling_params: Mapping[str, Any],
        request_id: str,
        image_data: object = None,
        video_data: object = None,
        audio_data: object = None,
        mm_processor_kwargs: object = None,
    ) -> TokenOutput:
        """A response, with log-probabilities at the sampling temperature if they are asked for.

        Its seed is `sampling_params["seed"]`; without one, see `Seeds`.
        """
        del request_id  # verl's servers keep sessions by it; here each request is one of its own
        media = (image_data, video_data, audio_data, mm_processor_kwargs)
        if any(media):
            raise DataError(
                "images, videos, audio: expected none, as torch_cpu reads text; got some"
            )
        request = read_request(prompt_ids, sampling_params, self._limits)
        completion, weights_version = await self._complete(request)
        return TokenOutput(
            token_ids=completion.tokens.tolist(),
            log_probs=completion.logp.tolist() if request.logprobs else None,
            stop_reason="completed",
            extra_fields={"global_steps": weights_version},
        )

    async def load_weights(
        self, weights: Mapping[str, Tensor], global_steps: int | None = None
    ) -> None:
        """Takes over these weights, all of the model's.

        Args:
            weights: by name, as ``model.state_dict()`` has them; of tied ones, one is enough.
            global_steps: training steps behind them; None: one more than before.

        Raises:
            ConfigError: a name that the model does not have, or weights without a value.
            ShapeError: a tensor has another shape than the model's.
        """
        before = -1 if self._weights_version is None else self._weights_version
        version = before + 1 if global_steps is None else global_steps
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load, weights, version)
        self._seeds.restart()

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Refuses: verl asks for it in its asynchronous trainers, icpo with a time-out.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "trainer.v1.trainer_mode: torch_cpu expects sync or icpo_sync, and with "
            "icpo.expert_timeout actor_rollout_ref.rollout.free_cache_engine=False, as it can not "
            "interrupt a request; got one that does"
        )

    async def sleep(self) -> None:
        """Nothing: no memory is taken from the trainer."""

    async def wake_up(self) -> None:
        """Nothing: see `sleep`."""

    async def clear_kv_cache(self) -> None:
        """Nothing: keys and values do not outlive their batch."""

    async def start_profile(self, **kwargs: Any) -> None:
        """Nothing: there is no profiler."""

    async def stop_profile(self) -> None:
        """Nothing: there is no profiler."""

    async def _complete(self, request: Request) -> tuple[Completion, int]:
        """What follows, computed together with whatever else is asked for at the moment."""
        if self._weights_version is None:
            raise ConfigError("torch_cpu: expected weights from the actor before the first request")
        seed = request.seed
        if seed is None:
            # The most likely token needs none; validation must not move the count of training.
            greedy = request.sampling.greedy
            seed = 0 if greedy else self._seeds.next(request.prompt, self._weights_version)
        future: asyncio.Future[tuple[Completion, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, seed, future))
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._gather())
        return await future

    async def _gather(self) -> None:
        """Answers all who wait, and those who come meanwhile."""
        while self._waiting:
            await asyncio.sleep(_GATHER)
            waiting, self._waiting = self._waiting, []
            # One call of the engine has one way to sample.
            waiting.sort(key=lambda entry: repr(entry[0].sampling))
            for sampling, entries in groupby(waiting, key=lambda entry: entry[0].sampling):
                await self._answer(sampling, list(entries))

    async def _answer(self, sampling: Sampling, entries: Sequence[_Waiting]) -> None:
        requests, seeds, futures = zip(*entries, strict=True)
        prompts = [request.prompt for request in requests]
        try:
            completions, version = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._compute, prompts, sampling, seeds
            )
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, completion in zip(futures, completions, strict=True):
            if not future.done():  # whoever asked may have given up
                future.set_result((completion, version))

    def _compute(
        self, prompts: Sequence[Tokens], sampling: Sampling, seeds: Sequence[int]
    ) -> tuple[list[Completion], int]:
        """In the thread: completions, and the version of the weights that made them."""
        assert self._weights_version is not None  # checked with each request
        return self._engine.generate(prompts, sampling, seeds), self._weights_version

    def _load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """In the thread: new weights, once no batch needs the old ones."""
        _copy_weights(self._model, weights)
        self._weights_version = version


def _end_ids(model_path: str) -> list[int]:
    """The tokens that end a response, as the model's folder says."""
    ids = GenerationConfig.from_pretrained(model_path).eos_token_id
    if ids is None:
        raise ConfigError(
            f"{model_path}: expected eos_token_id in generation_config.json, got none"
        )
    return list(ids) if isinstance(ids, (list, tuple)) else [ids]


@torch.no_grad()
def _copy_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into the model: all of its own, or none if something is wrong with them."""
    targets = model.state_dict()
    unknown = sorted(set(weights) - set(targets))
    if unknown:
        raise ConfigError(f"weights: expected names of the model's, got {', '.join(unknown)}")
    for name, weight in weights.items():
        if weight.shape != targets[name].shape:
            raise ShapeError(
                f"weights[{name!r}]: expected {tuple(targets[name].shape)}, "
                f"got {tuple(weight.shape)}"
            )
    # Tied weights are one tensor under two names.
    given = {targets[name].data_ptr() for name in weights}
    missing = sorted(name for name, target in targets.items() if target.data_ptr() not in given)
    if missing:
        raise ConfigError(
            f"weights: expected all of the model's, got none for {', '.join(missing)}"
        )
    for name, weight in weights.items():
        targets[name].copy_(weight)
