"""A program: verl's real FSDP2 engine on the CPU, its own and icpo's, on the same micro-batches.

``python kernel_engines.py results.pt``. What verl sets up is the whole process's, so tests start
this and look at its results.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from typing import Any


def _free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


os.environ.update(
    VERL_USE_EXTERNAL_MODULES="icpo.verl.cpu",
    VERL_PLATFORM="cpu",
    VERL_ENGINE_DEVICE="cuda",
    RANK="0",
    WORLD_SIZE="1",
    MASTER_ADDR="127.0.0.1",
    MASTER_PORT=_free_port(),
    HF_HUB_OFFLINE="1",
)

import torch  # noqa: E402
import verl  # noqa: E402, F401
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
LENGTHS = (8, 13, 6, 11)
#: Two micro-batches of two rows; a temperature a row, or one.
TEMPERATURES = {"1": 1.0, "0.7": 0.7, "rows": torch.tensor([0.6, 1.0, 1.3, 0.9])}


def model_folder(path: str, tied: bool) -> str:
    """A random model, its weights spread so that tokens are not equally likely."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        pad_token_id=0,
        eos_token_id=2,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=2.0 / weight.shape[1] ** 0.5)
    model.save_pretrained(path)
    return path


def engine(folder: str, packed: bool, fused: bool, dtype: str, **settings: Any) -> Any:
    """The engine that verl's registry chooses."""
    model = HFModelConfig(
        path=folder,
        load_tokenizer=False,
        override_config={"attn_implementation": "sdpa"},
        use_remove_padding=packed,
        enable_gradient_checkpointing=False,
        use_fused_kernels=fused,
        fused_kernel_options={"impl_backend": "torch"},
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


def jagged(rows: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def batch() -> tuple[list[Tensor], Tensor, Tensor]:
    """Rows of ids, and for each token of all rows what its two values weigh in the loss."""
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in LENGTHS]
    g, h = torch.randn(2, sum(LENGTHS), generator=generator, dtype=torch.float64)
    g[:5] = h[:5] = 0.0  # a prompt, whose tokens have no gradient
    return rows, g, h


def run(engine: Any, temperature: Any, **flags: Any) -> dict[str, Any]:
    """Outputs of a pass without gradients; loss and gradients of one with them."""
    rows, g, h = batch()
    data = TensorDict(
        {
            "input_ids": jagged(rows),
            "position_ids": jagged([torch.arange(len(row)) for row in rows]),
            "loss_mask": jagged([torch.ones(len(row), dtype=torch.int64) for row in rows]),
            "g": jagged(list(g.split(LENGTHS))),
            "h": jagged(list(h.split(LENGTHS))),
        },
        batch_size=len(rows),
    )
    if isinstance(temperature, Tensor):
        data["temperature"] = temperature
    else:
        flags["temperature"] = temperature
    fused = engine.model_config.use_fused_kernels
    tensordict_utils.assign_non_tensor(
        data,
        use_remove_padding=engine.use_remove_padding,
        use_dynamic_bsz=False,
        micro_batch_size_per_gpu=2,
        use_fused_kernels=fused,
        return_model_output=True,
        **{"calculate_entropy": True, **flags},
    )

    def loss(model_output: Any, data: Any, dp_group: Any) -> tuple[Tensor, dict[str, Any]]:
        total = (model_output["log_probs"].values() * data["g"].values()).sum()
        if "entropy" in model_output:
            total = total + (model_output["entropy"].values() * data["h"].values()).sum()
        return total, {}

    with engine.eval_mode():
        found = engine.infer_batch(data.clone())["model_output"]
    found = {name: torch.cat(list(values.unbind())) for name, values in found.items()}
    with engine.train_mode():
        engine.optimizer_zero_grad()
        losses = engine.forward_backward_batch(data.clone(), loss)["loss"]
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
    rows, g, h = batch()
    logp, entropies = [], []
    for number, row in enumerate(rows):
        half = rows[number // 2 * 2 : number // 2 * 2 + 2]
        # verl shifts the ids of a whole micro-batch: behind a row stands the next one's first.
        behind = half[(number + 1) % 2][:1]
        heat = temperature[number].item() if isinstance(temperature, Tensor) else temperature
        logits = model(row[None]).logits[0]
        found = reference.logp_entropy(logits, torch.cat([row[1:], behind]), heat)
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


def main(path: str) -> None:
    torch.manual_seed(0)
    torch.distributed.init_process_group("gloo")
    results: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model_folder(folder, tied=True)
        for name, heat in TEMPERATURES.items():
            for entropy in (False, True):
                results["exact", name, entropy] = exact(folder, heat, entropy)
        for owner in ("verl", "icpo"):
            if owner == "icpo":
                from icpo.verl import kernels

                choice = kernels.choose("on", "fsdp2")
                results["choice"] = choice.reason
                kernels.install()
            for packed in (False, True):
                made = engine(folder, packed, False, "fp32")
                results["class", owner, packed] = type(made).__name__
                for name, heat in TEMPERATURES.items():
                    for entropy in (False, True):
                        results[owner, packed, "logits", name, entropy] = run(
                            made, heat, calculate_entropy=entropy
                        )
                if owner == "icpo":
                    results["described", packed] = kernels.describe(choice, made)
    torch.save(results, path)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
