"""Text from vLLM in this process, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icpo.errors import ConfigError
from icpo.generation.local_engine import prompt_encoder
from icpo.generation.text import (
    Done,
    EngineError,
    Message,
    TextCompletion,
    TextRequest,
    in_groups,
)

__all__ = ["VllmEngine"]


class VllmEngine:
    """Answers with ``vllm.LLM``. Prompts are encoded here, token for token as in training.

    vLLM batches as requests come and go, so answers may differ in their last digits with what is
    asked beside them.
    """

    def __init__(self, path: str, *, dtype: str = "auto", together: int = 1024) -> None:
        """Loads the model.

        Args:
            path: a folder in the transformers format, or a name on the hub.
            dtype: as vLLM names it.
            together: requests that are handed over at once; what a killed process loses at most.

        Raises:
            ImportError: vLLM is not installed.
            ConfigError: vLLM can not load the model.
        """
        if together < 1:
            raise ConfigError(f"together: expected at least 1, got {together}")
        self._vllm = _vllm()
        self._path, self._dtype, self._together = path, dtype, together
        try:
            self._llm = self._vllm.LLM(model=path, dtype=dtype)
        except (OSError, ValueError) as error:
            raise ConfigError(f"model: {path}: vLLM can not load it: {error}") from error
        self._encode = prompt_encoder(self._llm.get_tokenizer())

    @property
    def together(self) -> int:
        """See `TextEngine`."""
        return self._together

    def complete(
        self, requests: Sequence[TextRequest], done: Done | None = None
    ) -> list[TextCompletion]:
        """See `TextEngine`. `done` is called when a group is finished."""
        return in_groups(requests, self._together, self._group, done)

    def count(self, prompt: str | tuple[Message, ...]) -> int:
        """See `TextEngine`."""
        return len(self._encode(prompt))

    def describe(self) -> Mapping[str, Any]:
        """See `TextEngine`."""
        return {
            "engine": "vllm",
            "model": self._path,
            "dtype": self._dtype,
            "vllm": self._vllm.__version__,
        }

    def _group(self, requests: Sequence[TextRequest]) -> list[TextCompletion]:
        prompts = [{"prompt_token_ids": list(self._encode(one.prompt))} for one in requests]
        outputs = self._llm.generate(
            prompts, [self._parameters(one) for one in requests], use_tqdm=False
        )
        if len(outputs) != len(requests):
            raise EngineError(f"vLLM: expected {len(requests)} answers, got {len(outputs)}")
        return [
            TextCompletion(
                text=output.outputs[0].text,
                finished=output.outputs[0].finish_reason == "stop",
                tokens=len(output.outputs[0].token_ids),
                prompt_tokens=len(output.prompt_token_ids),
            )
            for output in outputs
        ]

    def _parameters(self, request: TextRequest) -> Any:
        sampling = request.sampling
        return self._vllm.SamplingParams(
            n=1,
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            repetition_penalty=sampling.repetition_penalty,
            # torch takes signed ones.
            seed=request.seed >> 1,
            stop=list(request.stop),
        )


def _vllm() -> Any:
    try:
        import vllm
    except ImportError:
        raise ImportError(
            "vllm is needed for this engine, and is not installed: pip install icpo-rs[vllm]"
        ) from None
    return vllm
