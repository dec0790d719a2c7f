"""A program: verl's real FSDP2 engine on the CPU, its own and icpo's, on the same micro-batches.

``python kernel_engines.py results.pt``. What verl sets up belongs to the whole process, so tests
start this one and look at its results.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def free_port() -> str:
    """A port on which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def prepare_process() -> None:
    """Makes this a process for verl on the CPU, the only rank unless it is started as another."""
    os.environ.update(
        VERL_USE_EXTERNAL_MODULES="icpo.verl.cpu",
        VERL_PLATFORM="cpu",
        VERL_ENGINE_DEVICE="cuda",
        MASTER_ADDR="127.0.0.1",
        HF_HUB_OFFLINE="1",
    )
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
        os.environ["MASTER_PORT"] = free_port()


prepare_process()

import torch  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: E402
from verl.trainer.config import CheckpointConfig  # noqa: E402
from verl.utils import tensordict_utils  # noqa: E402
from verl.workers.config import (  # noqa: E402
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
)
from verl.workers.engine import EngineRegistry  # noqa: E402

from icpo.ops import reference  # noqa: E402

VOCABULARY = 97
#: Of rows; a micro-batch has two.
LENGTHS = (8, 13, 6, 11)
#: One for all rows, or one a row.
TEMPERATURES = {"1": 1.0, "0.7": 0.7, "rows": torch.tensor([0.6, 1.0, 1.3, 0.9])}


def model_folder(path: Path) -> str:
    """A random model, its weights spread so that tokens are not equally likely.

    Its head is the embedding: verl's fused linear layer can not read an FSDP2 head of its own.
    """
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=2.0 / weight.shape[1] ** 0.5)
    model.save_pretrained(path)
    return str(path)


def engine(
    folder: str,
    packed: bool,
    *,
    dtype: str = "fp32",
    fused: str | None = None,
    lora_rank: int = 0,
    **settings: Any,
) -> Any:
    """The engine that verl's registry chooses; `fused` is how the linear layer is, if at all."""
    torch.manual_seed(0)  # adapters are random
    model = HFModelConfig(
        path=folder,
        load_tokenizer=False,
        override_config={"attn_implementation": "sdpa"},
        use_remove_padding=packed,
        enable_gradient_checkpointing=False,
        use_fused_kernels=fused is not None,
        fused_kernel_options={"impl_backend": fused},
        lora_rank=lora_rank,
    )
    precision = {"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    made = EngineRegistry.new(
        "language_model",
        "fsdp2",
        model_config=model,
        engine_config=FSDPEngineConfig(
            strategy="fsdp2", use_torch_compile=False, mixed_precision=precision, **settings
        ),
        optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
        checkpoint_config=CheckpointConfig(),
    )
    made.initialize()
    return made


def rows_and_weights() -> tuple[list[Tensor], Tensor, Tensor]:
    """Rows of ids, and for each token of all rows what its two values weigh in the loss."""
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in LENGTHS]
    g, h = torch.randn(2, sum(LENGTHS), generator=generator, dtype=torch.float64)
    silent = torch.zeros(sum(LENGTHS), dtype=torch.bool)
    silent[:5] = True  # a prompt
    silent[torch.tensor(LENGTHS).cumsum(0) - 1] = True  # nothing follows
    return rows, g.masked_fill(silent, 0.0), h.masked_fill(silent, 0.0)


def data_of(engine: Any, temperature: Any, **flags: Any) -> Any:
    """The rows as verl's workers hand them to an engine."""

    def jagged(rows: Any) -> Tensor:
        return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)

    rows, g, h = rows_and_weights()
    data = TensorDict(
        {
            "input_ids": jagged(rows),
            "position_ids": jagged(torch.arange(len(row)) for row in rows),
            "loss_mask": jagged(torch.ones(len(row), dtype=torch.int64) for row in rows),
            "g": jagged(g.split(LENGTHS)),
            "h": jagged(h.split(LENGTHS)),
        },
        batch_size=len(rows),
    )
    if isinstance(temperature, Tensor):
        data["temperature"] = temperature
    else:
        flags["temperature"] = temperature
    settings = {
        "use_remove_padding": engine.use_remove_padding,
        "use_dynamic_bsz": False,
        "micro_batch_size_per_gpu": 2,
        "use_fused_kernels": engine.model_config.use_fused_kernels,
        "calculate_entropy": True,
    }
    tensordict_utils.assign_non_tensor(data, **{**settings, **flags})
    return data


def weighted_loss(model_output: Any, data: Any, dp_group: Any) -> tuple[Tensor, dict[str, Any]]:
    """What every token's log-probability and entropy weigh."""
    total = (model_output["log_probs"].values() * data["g"].values()).sum()
    if "entropy" in model_output:
        total = total + (model_output["entropy"].values() * data["h"].values()).sum()
    return total, {}


def inferred(engine: Any, data: Any) -> dict[str, Tensor]:
    """Outputs of a pass without gradients, tokens end to end."""
    with engine.eval_mode():
        found = engine.infer_batch(data)["model_output"]
    return {name: torch.cat(list(values.unbind())) for name, values in found.items()}


def run(engine: Any, temperature: Any, **flags: Any) -> dict[str, Any]:
    """Outputs of a pass without gradients; loss and gradients of one with them."""
    found: dict[str, Any] = inferred(engine, data_of(engine, temperature, **flags))
    with engine.train_mode():
        engine.optimizer_zero_grad()
        losses = engine.forward_backward_batch(
            data_of(engine, temperature, **flags), weighted_loss
        )["loss"]
        gradients = {
            name: parameter.grad.full_tensor().clone()
            for name, parameter in engine.module.named_parameters()
            if parameter.grad is not None
        }
    return {**found, "loss": sum(losses), "gradients": gradients}


def exact(folder: str, temperature: Any, entropy: bool) -> dict[str, Any]:
    """The same in float64, a row at a time and without an engine."""
    model = Qwen3ForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="sdpa"
    )
    rows, g, h = rows_and_weights()
    logp, entropies = [], []
    for number, row in enumerate(rows):
        # verl shifts the ids of a whole micro-batch: behind a row stands the other's first.
        behind = rows[number ^ 1][:1]
        heat = temperature[number].item() if isinstance(temperature, Tensor) else temperature
        found = reference.logp_entropy(
            model(row[None]).logits[0], torch.cat([row[1:], behind]), heat
        )
        logp.append(found[0])
        entropies.append(found[1])
    loss = (torch.cat(logp) * g).sum() + entropy * (torch.cat(entropies) * h).sum()
    loss.backward()
    return {
        "log_probs": torch.cat(logp).detach(),
        "entropy": torch.cat(entropies).detach(),
        "loss": loss.item(),
        "gradients": {name: weight.grad for name, weight in model.named_parameters()},
    }


@contextlib.contextmanager
def watched(engine: Any, look: Any) -> Iterator[None]:
    """Calls `look` with what the model gives, before the engine has it."""
    inner = engine.prepare_model_outputs

    def watching(output: Any, output_args: Any, **rest: Any) -> Any:
        look(output.logits, output_args)
        return inner(output=output, output_args=output_args, **rest)

    engine.prepare_model_outputs = watching
    yield
    del engine.prepare_model_outputs


def read_of_half(engine: Any) -> dict[str, Any]:
    """What is read of bfloat16 logits, and what is right for just these."""
    logits, copies, truths = [], [], []

    def look(given: Tensor, arguments: Any) -> None:
        ids, heat = arguments["input_ids_rmpad_rolled"], arguments["temperature_rmpad"]
        logits.append(given)
        copies.append(given.clone())
        truths.append(reference.logp_entropy(given[0].double(), ids, heat.double()))

    with watched(engine, look):
        found = inferred(engine, data_of(engine, 0.7))
    return {
        "found": found,
        "exact": [torch.cat(values) for values in zip(*truths, strict=True)],
        "dtypes": {given.dtype for given in logits},
        "untouched": all(map(torch.equal, logits, copies)),
    }


def overwritten(engine: Any) -> list[bool]:
    """Whether, after a backward pass, what the model had given is its own gradient."""
    logits: list[Tensor] = []

    def look(given: Tensor, arguments: Any) -> None:
        given.retain_grad()
        logits.append(given)

    with watched(engine, look), engine.train_mode():
        engine.forward_backward_batch(data_of(engine, 0.7), weighted_loss)
    return [torch.equal(given.detach(), given.grad) for given in logits]


@contextlib.contextmanager
def own_forward() -> Iterator[None]:
    """verl gives the class of a model with fused kernels another forward pass: takes it back."""
    forward = Qwen3ForCausalLM.forward
    yield
    Qwen3ForCausalLM.forward = forward


def results_of(owner: str, folder: str) -> Iterator[tuple[Any, Any]]:
    """Results of the engines that the registry gives now, by a key for each."""
    for packed in (False, True):
        made = engine(folder, packed)
        yield (owner, "class", packed), type(made).__name__
        for name, heat in TEMPERATURES.items():
            for entropy in (False, True):
                found = run(made, heat, calculate_entropy=entropy)
                yield (owner, "logits", packed, name, entropy), found
        yield (owner, "sum_pi_squared", packed), run(made, 0.7, calculate_sum_pi_squared=True)
        yield (owner, "overwritten", packed), overwritten(made)
    filled_up = engine(folder, True, pad_to_length=True, pad_to_length_bucket=32)
    yield (owner, "filled up"), run(filled_up, 0.7)
    yield (owner, "adapters"), run(engine(folder, True, lora_rank=2), 0.7)
    yield (owner, "half"), read_of_half(engine(folder, True, dtype="bf16"))
    with own_forward():
        for packed in (False, True):
            made = engine(folder, packed, fused="torch")
            for name in ("1", "0.7"):
                for entropy in (False, True):
                    found = run(made, TEMPERATURES[name], calculate_entropy=entropy)
                    yield (owner, "fused", packed, name, entropy), found
    if owner == "icpo":  # verl's needs a GPU
        with own_forward():
            yield (owner, "triton"), run(engine(folder, True, fused="triton"), 0.7)


def main(path: str) -> None:
    torch.distributed.init_process_group("gloo")
    results: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(Path(folder))
        for name, heat in TEMPERATURES.items():
            for entropy in (False, True):
                results["exact", name, entropy] = exact(model, heat, entropy)
        results.update(results_of("verl", model))
        from icpo.verl import kernels

        kernels.install()
        results.update(results_of("icpo", model))
    torch.save(results, path)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
