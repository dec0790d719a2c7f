"""verl reads what is prepared, the demonstrations too, and finds the same prompts too long."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from icpo.data.paper import INSTRUCTION
from icpo.data.prepare import Preparation, prepare
from icpo.data.sources import Source
from icpo.verl.reward import compute_score

pytestmark = pytest.mark.verl

PEER = "verl.utils.dataset.rl_dataset"
# CI installs the peer, so there its absence is a failure and not a reason to skip.
rl_dataset = (
    importlib.import_module(PEER)
    if os.environ.get("CI")
    else pytest.importorskip(PEER, reason="verl is not installed", exc_type=ImportError)
)
datasets = importlib.import_module("datasets")
parquet = importlib.import_module("pyarrow.parquet")
tokenizers = importlib.import_module("tokenizers")
transformers = importlib.import_module("transformers")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """datasets would write to the user's own folder."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """One token a word, one more for a turn."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "<user>": 1}, unk_token="[UNK]")
    core = tokenizers.Tokenizer(words)
    core.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    found.chat_template = "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}"
    found.save_pretrained(folder)
    return folder


def lines(path: Path, rows) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(str(path))


def dataset(paths, folder: Path, **changes):
    """As verl's trainer reads it."""
    config = {"prompt_key": "prompt", "return_raw_chat": True, "max_prompt_length": 4096}
    config |= {"cache_dir": str(folder), "filter_overlong_prompts_workers": None, **changes}
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    create = importlib.import_module("omegaconf").OmegaConf.create
    return rl_dataset.RLHFDataset(list(map(str, paths)), reader, create(config))


@pytest.mark.parametrize("several", [False, True])
def test_verl_reads_it(tokenizer, tmp_path, several):
    train = [
        {
            "question": f"What is {i} + 1?",
            "answer": [str(i + 1), f"{i + 1}.0"] if several and i == 3 else str(i + 1),
            "subject": "sums" if i % 2 else None,
            "solutions": [f"\\boxed{{{i + 1}}}", "b"][: 1 + several] if i % 3 else None,
        }
        for i in range(12)
    ]
    demos = [{"question": f"Take {i} from 9.", "solution": f"\\boxed{{{9 - i}}}"} for i in range(5)]
    out = tmp_path / "out"
    prepare(
        Preparation(
            train=[lines(tmp_path / "mine.jsonl", train)],
            demos=[lines(tmp_path / "pool.jsonl", demos)],
        ),
        out,
    )
    # Both in one run: the forms are the same.
    rows = dataset([out / "train.parquet", out / "demos.parquet"], tokenizer)
    assert len(rows) == 17
    collate = rl_dataset.collate_fn([rows[i] for i in range(17)])
    assert len(collate["raw_prompt"]) == 17
    questions = [row["question"] for row in (*train, *demos)]
    answers = [*(str(i + 1) for i in range(12)), *(str(9 - i) for i in range(5))]
    for i in range(17):
        row = rows[i]
        assert [dict(said) for said in row["raw_prompt"]] == [
            {"role": "user", "content": f"{questions[i]} {INSTRUCTION}"}
        ]
        assert row["data_source"] == ("mine" if i < 12 else "pool")
        truth = row["reward_model"]["ground_truth"]
        score = compute_score(row["data_source"], f"\\boxed{{{answers[i]}}}", truth)
        assert score["acc"] == 1.0
        stored = row["extra_info"]["solution"]
        if i < 12:
            expected = train[i]["solutions"]
            assert stored == (expected if several or expected is None else expected[0])
        else:
            assert stored == ([demos[i - 12]["solution"]] if several else demos[i - 12]["solution"])


def test_long_prompts_are_those_that_verl_would_leave_out(tokenizer, tmp_path):
    rng = np.random.default_rng(1)
    limit = 40
    rows = [
        {"question": f"{i} " + "w " * int(rng.integers(1, 50)), "answer": "7"} for i in range(60)
    ]
    # Of a word each, so that no two are alike.
    pool = [
        {"question": f"d{'x' * i}", "solution": " ".join(f"w{'y' * (i + j)}" for j in range(i + 1))}
        for i in range(30)
    ]
    sources = {
        "train": [lines(tmp_path / "train.jsonl", rows)],
        "demos": [lines(tmp_path / "demos.jsonl", pool)],
        "near": 1.0,
        "words": 99,
    }
    whole, short = tmp_path / "whole", tmp_path / "short"
    prepare(Preparation(**sources), whole)
    report = prepare(
        Preparation(**sources, tokenizer=str(tokenizer), max_prompt=limit, max_solution=25), short
    )
    options = {"max_prompt_length": limit, "filter_overlong_prompts": True}
    theirs = dataset([whole / "train.parquet"], tokenizer, **options)
    ours = [
        row["extra_info"]["question"]
        for row in parquet.read_table(short / "train.parquet").to_pylist()
    ]
    assert ours == [row["extra_info"]["question"] for row in theirs]
    assert 0 < len(ours) < 60
    assert report.tables["train"]["left_out"]["too_long"] == 60 - len(ours)
    # A demonstration in the paper's form, then the shortest question and its instruction.
    shortest = min((row["question"] for row in rows), key=len).split()
    words = len(INSTRUCTION.split())
    # The turn, "Question:", its word, 12 of instruction, "Answer:"; then the solution.
    fits = [16 + i + 1 + len(shortest) + words <= limit for i in range(30)]
    kept = parquet.read_table(short / "demos.parquet").to_pylist()
    assert [row["extra_info"]["question"] for row in kept] == [
        row["question"] for row, each in zip(pool, fits, strict=True) if each
    ]
    counts = report.tables["demos"]["left_out"]
    # Solutions of more than 25 tokens go first; without one a row is no demonstration.
    assert (counts["no_solution"], counts["too_long"]) == (5, 25 - sum(fits))
    assert 0 < sum(fits) < 25
