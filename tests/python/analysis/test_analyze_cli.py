"""The command: its files, the same each time, and its errors."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys

import analysis_cases as cases
import numpy as np
import pytest
import torch

from icpo.analysis import open_run
from icpo.analysis.replay import Continuation, replay
from icpo.cli import main
from icpo.trainer.config import ModelConfig
from icpo.trainer.model import load_model

pytest.importorskip("matplotlib", reason="figures need matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two training runs, an evaluation, a data file and two models."""
    folder = tmp_path_factory.mktemp("analyze")
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(f"w{i}" for i in rng.integers(9, size=rng.integers(1, 12)))

    for name in ("a", "b"):
        rows = []
        for step, problem in itertools.product((1, 2, 3), ("w5", "w6")):
            for _ in range(3):
                verdict = cases.right() if rng.random() < 0.5 else {}
                rows.append(cases.sample(step, problem, text(), **verdict))
            shown = {"expert": True, "prompt": f"<bos> w8 {problem}", "demos": ["d"]}
            shown |= {"accepted": bool(rng.random() < 0.5), **cases.right()}
            rows.append(cases.sample(step, problem, text(), **shown))
        cases.write_lines(folder / name / "samples.jsonl", rows)
        metrics = [
            {"step": step, "eval/avg@4": 0.1 * step, "on/reward": 0.5, "on/surprise": 1 / step,
             "expert/accepted": 0.5, "prompts": 8, "prompts/non_pass": 4 - step,
             "prompts/some_pass": 4, "prompts/all_pass": step}
            for step in range(1, 4)
        ]  # fmt: skip
        cases.write_lines(folder / name / "metrics.jsonl", metrics)
        torch.manual_seed(ord(name))
        cases.model_folder(folder / f"model-{name}")
    rows = [
        cases.answer(problem, text(), shots, **(cases.right() if rng.random() < 0.5 else {}))
        for shots in (0, 1)
        for problem in ("w3", "w4", "w5")
    ]
    cases.write_evaluation(folder / "eval", rows)
    rows = [{"question": "w5", "answer": "1", "solution": text()} for _ in range(4)]
    cases.write_lines(folder / "demos.jsonl", rows)
    return folder


#: Arguments, and the file that they make. A path stands in braces.
COMMANDS = {
    "curves": ("curves x={0}/a x={0}/b --window 2", "curves"),
    "one curve": ("curves {0}/a {0}/b --figure on/rew.*", "curves"),
    "non-pass": ("non-pass x={0}/a y={0}/b", "non_pass"),
    "lengths": ("lengths {0}/a {0}/eval", "lengths"),
    "lengths of files": ("lengths d={0}/demos.jsonl {0}/a --tokenizer {0}/model-a", "lengths"),
    "diversity": ("diversity {0}/a {0}/b --tokenizer words", "diversity"),
    "flips": ("flips {0}/eval --tokenizer characters", "flips"),
    "flips in training": ("flips {0}/a {0}/b --tokenizer {0}/model-a --steps 2:", "flips"),
    "rank shift": ("rank-shift {0}/a {0}/eval --base {0}/model-a --bins 5", "rank_shift"),
    "perplexity": (
        "perplexity {0}/demos.jsonl {0}/b --models x={0}/model-a y={0}/model-b --template "
        '{{"demo":"{{question}}{{solution}}","question":"{{question}}","separator":""}}',
        "perplexity",
    ),
}


def run(words: str, folder, out) -> int:
    return main(["analyze", *words.format(folder).split(" "), "--out", str(out)])


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_and_figures(name, folder, tmp_path, capsys):
    words, stem = COMMANDS[name]
    assert run(words, folder, tmp_path / "1") == 0
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == [f"{stem}.csv", f"{stem}.png", f"{stem}.svg"]
    assert f"{stem}.png" in capsys.readouterr().out
    with (tmp_path / "1" / f"{stem}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(None not in row and None not in row.values() for row in rows)
    # The same again; that figures are, too, test_figures.py shows.
    assert run(words + " --no-figures", folder, tmp_path / "2") == 0
    again = (tmp_path / "2" / f"{stem}.csv").read_bytes()
    assert again == (tmp_path / "1" / f"{stem}.csv").read_bytes()


def test_rank_shift_is_that_of_the_model(folder, tmp_path):
    """The counts in the table, from ranks counted one by one."""
    assert run(COMMANDS["rank shift"][0] + " --no-figures", folder, tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rank_shift.csv"]
    with (tmp_path / "rank_shift.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["condition"] == "a, expert"]
    model, tokenizer = load_model(ModelConfig(str(folder / "model-a")))
    counts = np.zeros((5, 3), int)
    for response in open_run(folder / "a").responses():
        if not response.expert:
            continue
        prompt, tokens = (
            np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
            for text in (f"<bos> {response.problem}", response.text)
        )
        for place, rank in enumerate(replay(model, [Continuation(prompt, tokens, "")])[0].rank):
            counts[place * 5 // len(tokens), 0 if rank == 1 else 1 if rank <= 3 else 2] += 1
    found = [[int(row[name]) for name in ("unshifted", "marginal", "shifted")] for row in rows]
    assert found == counts.tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("curves {0}/none", "run: expected the folder of a run, got"),
        ("curves {0}/a --window 0", "window: expected at least 1, got 0"),
        ("curves {0}/a {0}/b --metrics {0}/a/metrics.jsonl", "metrics: expected one run beside it"),
        ("lengths {0}/demos.jsonl", "tokenizer: expected one, to count the tokens of"),
        ("lengths {0}/a --bins 0", "bins: expected at least 1, got 0"),
        ("diversity {0}/a", "tokenizer: expected one, because the settings of the runs name no"),
        ("diversity {0}/a --tokenizer {0}/a", "expected a tokenizer in the folder"),
        ("flips {0}/a --tokenizer words --base x", "base: expected one of 'a', 'a, expert'"),
        ("perplexity {0}/a --models {0}/model-a", "models: expected two or more"),
        ("perplexity {0}/a --models {0}/model-a {0}/b/model-a", "with different names"),
        ("perplexity {0}/a --models {0}/model-a {0}/model-b --template {{", "expected a name or"),
        ("rank-shift {0}/a --base {0}/none", "model.path: expected a folder or a name"),
    ],
)
def test_errors_say_what_was_expected(words, message, folder, tmp_path, capsys):
    assert run(words, folder, tmp_path) == 2
    assert message in capsys.readouterr().err


def test_steps_are_first_and_last(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("diversity {0}/a --tokenizer words --steps 3", folder, tmp_path)
    assert "expected FIRST:LAST, got '3'" in capsys.readouterr().err
    assert run("diversity {0}/a --tokenizer words --steps 2:2 --no-figures", folder, tmp_path) == 0
    with (tmp_path / "diversity.csv").open() as file:
        assert {row["step"] for row in csv.DictReader(file)} == {"2"}


def test_short_responses_are_told_about(folder, tmp_path, capsys):
    assert run("rank-shift {0}/a --base {0}/model-a --no-figures", folder, tmp_path) == 0
    assert "24 of 24 responses have fewer tokens than there are bins" in capsys.readouterr().err


def test_reading_runs_needs_neither_torch_nor_matplotlib(folder):
    code = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'pandas', 'transformers'): sys.modules[name] = None\n"
        "from icpo.cli import main\n"
        f"raise SystemExit(main(['analyze', 'diversity', r'{folder}/a', '--tokenizer', 'words', "
        f"'--no-figures', '--out', r'{folder}/light']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "diversity.csv" in done.stdout
