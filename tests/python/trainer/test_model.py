"""Models and tokenizers from folders: whole ones, and ones with a part missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import toy
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

import tiny_policy
from icpo import ConfigError
from icpo.trainer.config import GenerationConfig, LoraConfig, ModelConfig, PromptConfig
from icpo.trainer.model import (
    autocast_dtype,
    check_lengths,
    end_ids,
    end_of_solutions,
    load_model,
    load_tokenizer,
    resolve_device,
)

IDS = torch.tensor([[1, 3, 5, 9, 2, 7]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with everything; not to be changed."""
    place = tmp_path_factory.mktemp("toy")
    toy.write(place)
    return place / "model"


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(whole, tmp_path / "model")


def load(path: Path, **settings):
    return load_model(ModelConfig(str(path), device="cpu", **settings))


def refusal(path: Path, **settings) -> str:
    with pytest.raises(ConfigError) as raised:
        load(path, **settings)
    return str(raised.value).replace(str(path), "FOLDER")


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


##### Whole folders


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_are_float32_and_those_in_the_folder(whole, dtype):
    model, tokenizer = load(whole, dtype=dtype)
    expected = safetensors.torch.load_file(whole / "model.safetensors")
    found = model.state_dict()
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer("Q red").input_ids == [1, 3, 5]


def test_small_updates_would_be_lost_in_bfloat16():
    """Why parameters are float32 whatever the computation is in."""
    weights = torch.linspace(0.01, 1, 1000)
    step = 1e-6
    assert (weights + step != weights).all()
    assert (weights.bfloat16() + step == weights.bfloat16()).float().mean() > 0.99


def test_weights_in_half_precision_are_widened(folder):
    file = folder / "model.safetensors"
    half = {name: value.half() for name, value in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(half, file, {"format": "pt"})
    edit(folder / "config.json", dtype="float16")
    model, _ = load(folder)
    for name, value in half.items():
        assert torch.equal(model.state_dict()[name], value.float())


def test_dropout_is_off(tmp_path):
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=23, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    )
    assert model.config.resid_pdrop > 0
    model.save_pretrained(tmp_path)
    toy.tokenizer().save_pretrained(tmp_path)
    loaded, _ = load(tmp_path)
    loaded.train()
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, loaded(IDS).logits)
        assert torch.equal(loaded(IDS).logits, loaded.eval()(IDS).logits)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_gradient_checkpointing_computes_twice_and_changes_no_gradient(whole, lora):
    if lora is not None:
        pytest.importorskip("peft")
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model, _ = load(whole, gradient_checkpointing=checkpointing, lora=lora)
        for parameter in model.parameters():  # adapters start at 0, which would hide much
            if parameter.requires_grad and lora is not None:
                torch.nn.init.normal_(parameter)
        calls = []
        first = next(
            layer for name, layer in model.named_modules() if name.endswith("layers.0.mlp")
        )
        first.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        model(IDS, labels=IDS, use_cache=False).loss.backward()
        assert len(calls) == (2 if checkpointing else 1)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(value, checkpointed[name])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention(whole, attention):
    model, _ = load(whole, attention=attention)
    assert model.config._attn_implementation == attention


def test_what_is_saved_can_be_saved(folder):
    """transformers loads this file, but would not save it at the first checkpoint."""
    edit(folder / "generation_config.json", temperature=0.6, top_p=0.9, do_sample=False)
    untouched = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="do_sample"):
        untouched.save_pretrained(folder / "out")
    model, _ = load(folder)
    model.save_pretrained(folder / "out")
    saved = json.loads((folder / "out" / "generation_config.json").read_text())
    assert (saved["temperature"], saved["top_p"]) == (0.6, 0.9)


def test_names_on_the_hub_are_passed_on(monkeypatch):
    asked = []

    def offline(name, **_):
        asked.append(name)
        raise OSError("no connection")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", offline)
    message = r"^model\.path: some/Model-1\.5B \(no folder here.*: no connection"
    with pytest.raises(ConfigError, match=message):
        load_model(ModelConfig("some/Model-1.5B"))
    assert asked == ["some/Model-1.5B"]


##### Folders with a part missing

MISSING = {
    "tokenizer": (
        ["tokenizer.json", "tokenizer_config.json"],
        "model.path: FOLDER: expected a tokenizer in the folder (tokenizer.json, ",
    ),
    "config": (["config.json"], "model.path: FOLDER: expected config.json in the folder, it has "),
    "weights": (
        ["model.safetensors"],
        "model.path: FOLDER: expected weights (model.safetensors, ",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named(folder, name):
    files, message = MISSING[name]
    for file in files:
        (folder / file).unlink()
    found = refusal(folder)
    assert found.startswith(message)
    assert "generation_config.json" in found  # what is there


def test_an_empty_folder(tmp_path):
    assert refusal(tmp_path).endswith("it has no files")


@pytest.mark.parametrize("name", ["/no/where", "./nowhere", "a/b/c", "", " "])
def test_paths_that_lead_nowhere(name):
    with pytest.raises(ConfigError, match=r"^model\.path: expected a (folder|text)"):
        load_model(ModelConfig(name))


def test_a_file_for_a_folder(folder):
    found = refusal(folder / "config.json")
    assert found.startswith("model.path: expected a folder or a name on the hub, got ")


def test_tensors_that_are_missing_are_not_drawn_at_random(folder):
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    assert refusal(folder) == (
        "model.path: FOLDER: expected weights for the whole model, 1 tensors are missing: "
        "model.layers.1.mlp.up_proj.weight"
    )


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_files(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    assert "can not be loaded: " in refusal(folder)


def test_an_architecture_that_nobody_knows(folder):
    edit(folder / "config.json", model_type="qwen99", architectures=["Qwen99"])
    assert "can not be loaded: " in refusal(folder)


def test_a_tokenizer_of_another_model(folder):
    words = {f"w{i}": i for i in range(40)}
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, "w0")), eos_token="w1"
    )
    other.save_pretrained(folder)
    assert refusal(folder) == (
        f"model.path: FOLDER: expected a tokenizer of at most {tiny_policy.VOCABULARY} tokens, as "
        "many as the model has, got 40"
    )


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "0x"])
def test_devices_that_are_not_here(whole, name):
    with pytest.raises(ConfigError, match=rf"^model\.device: expected a device .*got '{name}'"):
        load_model(ModelConfig(str(whole), device=name))


def test_devices():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu").type == "cpu"


def test_attention_that_does_not_exist(whole):
    assert "flash_attention_99" in refusal(whole, attention="flash_attention_99")


##### Tokens


def chat_tokenizer(**tokens) -> PreTrainedTokenizerFast:
    words = ["<end>", "<turn>", "<user>", "<bot>", "<pad>", "?", "7"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "?"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        additional_special_tokens=["<turn>", "<user>", "<bot>"],
        **{"eos_token": "<end>", "pad_token": "<pad>", **tokens},
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<user> ' if m.role == 'user' else '<bot> ' }}"
        "{{ m.content }} <turn>\n{% endfor %}{% if add_generation_prompt %}<bot> {% endif %}"
    )
    return tokenizer


class Model:
    """As far as it matters here."""

    def __init__(self, eos_token_id):
        self.generation_config = type("Settings", (), {"eos_token_id": eos_token_id})


@pytest.mark.parametrize(
    ("own", "chat", "expected"),
    [
        (None, False, (0,)),
        (0, False, (0,)),
        (5, False, (0, 5)),
        ([6, 5], False, (0, 5, 6)),
        (None, True, (0, 1)),
        ([5], True, (0, 1, 5)),
    ],
)
def test_rollouts_end_with(own, chat, expected):
    assert end_ids(Model(own), chat_tokenizer(), chat=chat) == expected


def test_a_chat_that_ends_answers_with_words():
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} ? {% endfor %}"
    assert end_ids(Model(None), tokenizer, chat=True) == (0,)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert end_ids(Model(None), tokenizer, chat=True) == (0,)


@pytest.mark.parametrize(("ends", "chat", "expected"), [((0, 1), True, 1), ((0, 1), False, 0)])
def test_the_end_of_what_others_wrote(ends, chat, expected):
    """In a chat that of an answer, else that of a text."""
    assert end_of_solutions(chat_tokenizer(), ends, chat=chat) == expected
    assert end_of_solutions(chat_tokenizer(), (7,), chat=chat) == 7, "one that ends a rollout"
    assert end_of_solutions(chat_tokenizer(eos_token=None), (1, 7), chat=chat) == 1


def test_without_an_end_token():
    with pytest.raises(ConfigError, match=r"^model\.path: expected an end token"):
        end_ids(Model(None), chat_tokenizer(eos_token=None), chat=False)
    assert end_ids(Model(None), chat_tokenizer(eos_token=None), chat=True) == (1,)


def test_padding_falls_back_on_the_end_token(tmp_path):
    chat_tokenizer(pad_token=None).save_pretrained(tmp_path / "a")
    assert load_tokenizer(str(tmp_path / "a")).pad_token_id == 0
    chat_tokenizer(pad_token=None, eos_token=None).save_pretrained(tmp_path / "b")
    with pytest.raises(ConfigError, match="expected a tokenizer with an end token"):
        load_tokenizer(str(tmp_path / "b"))


def test_prompts_and_rollouts_have_to_fit(whole):
    model, _ = load(whole)
    positions = model.config.max_position_embeddings
    check_lengths(model, PromptConfig(max_tokens=28), GenerationConfig(positions - 28))
    with pytest.raises(ConfigError) as raised:
        check_lengths(model, PromptConfig(max_tokens=28), GenerationConfig(positions - 27))
    assert str(raised.value) == (
        "generation.max_new_tokens: expected at most 128 - prompt.max_tokens = 100, because the "
        "model has 128 positions, got 101"
    )


def test_what_autocast_computes_in():
    assert autocast_dtype(ModelConfig("m")) is None
    assert autocast_dtype(ModelConfig("m", dtype="bfloat16")) is torch.bfloat16


##### Adapters


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_only_adapters_are_trained(whole, dtype):
    pytest.importorskip("peft")
    model, _ = load(whole, dtype=dtype, lora=LoraConfig(rank=3, targets=("q_proj", "up_proj")))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2  # layers, targets, factors
    assert all(".lora_" in name for name in trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    base = {p.dtype for name, p in model.named_parameters() if name not in trained}
    assert base == {getattr(torch, dtype)}
    assert {p.shape[0] if "lora_A" in name else p.shape[1] for name, p in trained.items()} == {3}


def test_adapters_for_layers_that_do_not_exist(whole):
    pytest.importorskip("peft")
    found = refusal(whole, lora=LoraConfig(targets=("q_prog",)))
    assert found.startswith("model.lora.targets: ")
    assert "q_prog" in found


def test_adapters_without_peft(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert refusal(whole, lora=LoraConfig()) == (
        "model.lora: peft is needed for adapters, and is not installed: pip install icpo-rs[lora]"
    )


def test_a_folder_with_adapters_stands_for_the_merged_model(whole, tmp_path):
    pytest.importorskip("peft")
    adapted, tokenizer = load(whole, lora=LoraConfig(rank=2))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    merged, _ = load(tmp_path)
    plain, _ = load(whole)
    with torch.no_grad():
        expected = adapted.eval()(IDS).logits
        torch.testing.assert_close(merged.eval()(IDS).logits, expected, atol=1e-5, rtol=1e-4)
        assert (plain.eval()(IDS).logits - expected).abs().max() > 0.01
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert {name for name, _ in merged.named_parameters()} == {
        name for name, _ in plain.named_parameters()
    }
