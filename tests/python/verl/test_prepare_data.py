"""examples/verl/prepare_data.py: what it keeps, what it leaves out; that verl reads the rest."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers

from icpo.demos import load_pool
from icpo.errors import ConfigError, DataError
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

SCRIPT = Path(__file__).parents[3] / "examples" / "verl" / "prepare_data.py"


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["prepare_data"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["prepare_data"]


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


def lines(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(count: int, first: int = 0) -> list[dict]:
    return [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(first, count)]


def worked(count: int) -> list[dict]:
    return [{"question": f"What is {i} - 1?", "solution": f"It is {i - 1}."} for i in range(count)]


def written(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def dataset(path: Path, folder: Path, **changes):
    """As verl's trainer reads it."""
    config = {"prompt_key": "prompt", "return_raw_chat": True, "max_prompt_length": 4096}
    config |= {"cache_dir": str(folder), "filter_overlong_prompts_workers": None, **changes}
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    create = importlib.import_module("omegaconf").OmegaConf.create
    return rl_dataset.RLHFDataset(str(path), reader, create(config))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """datasets would write to the user's own folder."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield
    datasets.config.HF_DATASETS_CACHE = before


def test_verl_reads_it(prepare, tokenizer, tmp_path, capsys):
    out = tmp_path / "out"
    train = [{**row, "topic": "sums" if i % 2 else None} for i, row in enumerate(asked(20))]
    prepare.main(
        [
            *("--train", lines(tmp_path / "mine.jsonl", train) + ",subject=topic"),
            *("--test", lines(tmp_path / "ours.jsonl", asked(30, 25)), "--out", str(out)),
            *("--demos", lines(tmp_path / "pool.jsonl", worked(10))),
        ]
    )
    rows = dataset(out / "train.parquet", tokenizer)
    assert len(rows) == 20
    for i in range(20):
        row = rows[i]
        question = f"What is {i} + 1?"
        assert [dict(said) for said in row["raw_prompt"]] == [
            {"role": "user", "content": f"{question} {prepare.INSTRUCTION}"}
        ]
        assert row["extra_info"] == {
            "index": i,
            "split": "train",
            "question": question,
            "subject": "sums" if i % 2 else None,
        }
        assert row["data_source"] == "mine"
        truth = row["reward_model"]["ground_truth"]
        score = compute_score(row["data_source"], f"\\boxed{{{i + 1}}}", truth, row["extra_info"])
        assert score["acc"] == 1.0
    rows = dataset(out / "validation.parquet", tokenizer)
    assert [row["extra_info"]["question"] for row in rows] == [
        f"What is {i} + 1?" for i in range(25, 30)
    ]
    pool = load_pool([out / "demos.jsonl"]).pool
    assert [(demo.question, demo.solution) for demo in pool] == [
        (row["question"], row["solution"]) for row in worked(10)
    ]
    said = capsys.readouterr().out
    for line in ("train             20 rows: 20 kept\n", "validation         5 rows: 5 kept\n"):
        assert line in said
    assert "unknown without --tokenizer" in said


def test_several_answers(prepare, tokenizer, tmp_path):
    rows = [{"question": "a?", "answer": ["2", "two"]}, {"question": "b?", "answer": "3"}]
    prepare.main(
        [
            *("--train", lines(tmp_path / "train.jsonl", rows)),
            *("--test", lines(tmp_path / "test.jsonl", asked(1)), "--out", str(tmp_path)),
            *("--demos", lines(tmp_path / "pool.jsonl", worked(1))),
        ]
    )
    rows = dataset(tmp_path / "train.parquet", tokenizer)
    truths = [row["reward_model"]["ground_truth"] for row in rows]
    assert truths == [["2", "two"], ["3"]]
    for truth, answer in ((truths[0], "2"), (truths[0], "two"), (truths[1], "3")):
        assert compute_score("x", f"The final answer is \\boxed{{{answer}}}.", truth)["acc"] == 1.0


def test_what_is_left_out(prepare, tmp_path, capsys):
    """Against a count of our own, over random mixtures."""
    rng = np.random.default_rng(0)
    for trial in range(5):
        folder = tmp_path / str(trial)
        folder.mkdir()

        def draw(count: int) -> list[int]:
            return rng.integers(0, 40, count).tolist()  # called at once

        def variant(text: str) -> str:
            forms = (text, text.upper(), f" {text}\n", text.replace(" ", "  "), f"${text}$")
            return forms[rng.integers(len(forms))]

        test, train, demos = draw(8), draw(40), draw(30)
        bad = set(rng.choice(40, 6, replace=False).tolist())
        unread, unverified = set(list(bad)[:3]), set(list(bad)[3:])
        table = [
            {"question": variant(f"q {n}"), "answer": "?" if i in unverified else "7"}
            if i not in unread
            else {"question": f"q {n}"}
            for i, n in enumerate(train)
        ]
        pool = [{"question": variant(f"q {n}"), "solution": "s"} for n in demos]
        pool.append({"question": "of its own", "solution": "s"})
        table.append({"question": "another", "answer": "7"})
        prepare.main(
            [
                "--train",
                lines(folder / "train.jsonl", table),
                "--test",
                lines(folder / "a.jsonl", [{"question": f"q {n}", "answer": "7"} for n in test]),
                *("--demos", lines(folder / "demos.jsonl", pool), "--out", str(folder)),
            ]
        )
        said = capsys.readouterr().out

        seen, kept = set(test), []
        for i, n in enumerate(train):
            if i not in bad and n not in seen:
                seen.add(n)
                kept.append(n)
        shown = []
        for n in demos:
            if n not in seen:
                seen.add(n)
                shown.append(n)
        rows = written(folder / "train.parquet")[:-1]
        numbers = [
            int(row["extra_info"]["question"].lower().strip(" $\n").split()[-1]) for row in rows
        ]
        assert numbers == kept
        assert len(written(folder / "validation.parquet")) == 8
        assert len(written(folder / "demos.jsonl")) == len(shown) + 1

        notes = written(folder / "left_out.jsonl")
        counts = Counter((note["table"], note["kind"]) for note in notes)
        assert counts[("train", "unreadable")] == counts[("train", "unverifiable")] == 3
        assert counts[("train", "asked before")] == 34 - len(kept)
        assert counts[("demos", "asked before")] == 30 - len(shown)
        assert counts.total() == 6 + 34 - len(kept) + 30 - len(shown)
        unverifiable = {note["row"] - 1 for note in notes if note["kind"] == "unverifiable"}
        assert unverifiable == unverified
        assert f"41 rows: {len(kept) + 1} kept, 3 unreadable, 3 unverifiable" in said


def test_files_of_one_name_do_not_mix(prepare, tmp_path):
    (tmp_path / "b").mkdir()
    first = lines(tmp_path / "pool.jsonl", worked(3))
    second = lines(tmp_path / "b" / "pool.jsonl", [{"question": "other", "solution": "s"}])
    prepare.main(
        [
            *("--train", lines(tmp_path / "train.jsonl", asked(2)), "--demos", first, second),
            *("--test", lines(tmp_path / "test.jsonl", asked(3, 2)), "--out", str(tmp_path)),
        ]
    )
    assert len(load_pool([tmp_path / "demos.jsonl"]).pool) == 4


def test_long_prompts_are_those_that_verl_would_leave_out(prepare, tokenizer, tmp_path, capsys):
    rng = np.random.default_rng(1)
    limit = 40
    rows = [
        {"question": f"{i} " + "w " * int(rng.integers(1, 50)), "answer": "7"} for i in range(60)
    ]
    pool = [{"question": f"d{i}", "solution": "w " * (i + 1)} for i in range(30)]
    common = [
        *("--train", lines(tmp_path / "train.jsonl", rows)),
        *("--test", lines(tmp_path / "test.jsonl", asked(3))),
        *("--demos", lines(tmp_path / "demos.jsonl", pool)),
    ]
    whole, short = tmp_path / "whole", tmp_path / "short"
    prepare.main([*common, "--out", str(whole)])
    prepare.main(
        [*common, "--out", str(short), "--tokenizer", str(tokenizer), "--max-prompt", str(limit)]
    )
    options = {"max_prompt_length": limit, "filter_overlong_prompts": True}
    theirs = dataset(whole / "train.parquet", tokenizer, **options)
    ours = [row["extra_info"]["question"] for row in written(short / "train.parquet")]
    assert ours == [row["extra_info"]["question"] for row in theirs]
    assert 0 < len(ours) < 60
    assert f"60 rows: {len(ours)} kept, {60 - len(ours)} too long" in capsys.readouterr().out
    # A demonstration in the paper's form, then the shortest question and its instruction.
    shortest = min(len(row["question"].split()) for row in rows)
    words = len(prepare.INSTRUCTION.split())
    # The turn, "Question:", its word, 12 of instruction, "Answer:"; then the solution.
    fits = [16 + len(row["solution"].split()) + shortest + words <= limit for row in pool]
    assert [demo["question"] for demo in written(short / "demos.jsonl")] == [
        row["question"] for row, each in zip(pool, fits, strict=True) if each
    ]
    assert 0 < sum(fits) < 30


def test_data_sets_of_the_hub(prepare, tokenizer, tmp_path, monkeypatch):
    """With tables in the form of the paper's data sets, in place of what would be downloaded."""
    asked_for = []

    def load(name, split):
        asked_for.append((name, split))
        rows = {
            "Elliott/Openr1-Math-46k-8192": {
                "data_source": "x",
                "prompt": [
                    {"role": "system", "content": "Think."},
                    {"role": "user", "content": "How many?"},
                ],
                "target": [{"role": "assistant", "content": "12"}],
                "ability": "math",
                "reward_model": {"ground_truth": "12", "style": "rule"},
                "extra_info": {"index": -1, "split": "default"},
            },
            "DigitalLearningGmbH/MATH-lighteval": {
                "problem": "Find $x$.",
                "level": "Level 5",
                "solution": "It is $\\boxed{3}$.",
                "type": "Algebra",
            },
            "HuggingFaceH4/MATH-500": {
                "problem": "m?",
                "solution": "s",
                "answer": "\\frac{1}{2}",
                "subject": "Algebra",
                "level": 2,
                "unique_id": "test/algebra/1.json",
            },
            "HuggingFaceH4/aime_2024": {"id": 60, "problem": "a?", "answer": "025", "url": "u"},
            "math-ai/aime25": {"problem": "b?", "answer": "70", "id": "0"},
            "math-ai/amc23": {"id": 0, "question": "c?", "answer": "27.0", "url": "u"},
        }
        return datasets.Dataset.from_list([rows[name]])

    monkeypatch.setattr(datasets, "load_dataset", load)
    prepare.main(["--out", str(tmp_path), "--tokenizer", str(tokenizer)])
    assert dict(asked_for)["HuggingFaceH4/MATH-500"] == "test"
    monkeypatch.undo()
    (row,) = written(tmp_path / "train.parquet")
    assert row["prompt"][0]["content"] == f"How many? {prepare.INSTRUCTION}"
    assert row["reward_model"]["ground_truth"] == "12"
    (demo,) = load_pool([tmp_path / "demos.jsonl"]).pool
    assert (demo.question, demo.subject) == ("Find $x$.", "Algebra")
    assert [row["data_source"] for row in written(tmp_path / "validation.parquet")] == [
        "HuggingFaceH4/MATH-500",
        "HuggingFaceH4/aime_2024",
        "math-ai/aime25",
        "math-ai/amc23",
    ]
    assert len(dataset(tmp_path / "validation.parquet", tokenizer)) == 4


def test_faults_stop(prepare, tmp_path):
    train = lines(tmp_path / "train.jsonl", asked(3))
    common = ["--out", str(tmp_path / "out")]
    common += ["--test", lines(tmp_path / "test.jsonl", asked(5, 3))]
    common += ["--demos", lines(tmp_path / "demos.jsonl", worked(2))]
    for change in ("problem=x", "question", "question="):
        with pytest.raises(ConfigError, match="expected NAME=VALUE with split, question, "):
            prepare.main([*common, "--train", f"{train},{change}"])
    with pytest.raises(DataError, match=r"train.jsonl: .* no column 'problem'; the row has"):
        prepare.main([*common, "--train", f"{train},question=problem"])
    with pytest.raises(DataError, match=r"train: expected rows to be left, but train .* 2 asked"):
        prepare.main([*common, "--train", str(tmp_path / "test.jsonl")])
    with pytest.raises(DataError, match=r"none.jsonl: can not be read"):
        prepare.main([*common, "--train", str(tmp_path / "none.jsonl")])
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--train", str(tmp_path / "none.jsonl")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("prepare_data.py: ")
    assert len(done.stderr.splitlines()) == 1
