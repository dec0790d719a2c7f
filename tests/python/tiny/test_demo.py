"""The demonstration: its statistics, its methods, and whole demonstrations of two steps."""

from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from icpo.algorithms import algorithm
from icpo.errors import ConfigError
from icpo.tiny import folder as tiny_folder
from icpo.tiny.evaluate import Accuracy
from icpo.trainer.config import TrainConfig

EXAMPLES = Path(__file__).parents[3] / "examples" / "tiny"
sys.path.insert(0, str(EXAMPLES))

import demo  # noqa: E402
import figure  # noqa: E402
from methods import Method  # noqa: E402
from paired import compare, sign_flip_test, t_test  # noqa: E402
from results import Result  # noqa: E402
from screen import Screen  # noqa: E402

import report  # noqa: E402

##### Statistics


def differences_with(t: float, freedom: int) -> np.ndarray:
    """Differences whose t is this."""
    values = np.random.default_rng(freedom).normal(size=freedom + 1)
    values = (values - values.mean()) / values.std(ddof=1)
    return values + t / math.sqrt(freedom + 1)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 31])
@pytest.mark.parametrize("t", [0.01, 0.7, -2.0, 5.0])
def test_student_is_the_integral_of_the_density(t, freedom):
    # x = √ν tan φ turns the tail of the density into that of cos^(ν-1), a finite interval.
    edges = np.linspace(math.atan(abs(t) / math.sqrt(freedom)), math.pi / 2, 20_001)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    tail = constant / math.sqrt(math.pi) * (np.cos(middles) ** (freedom - 1)).sum() * width
    assert t_test(differences_with(t, freedom)) == pytest.approx(2 * tail, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(12.706, 1, 0.05), (4.303, 2, 0.05), (4.604, 4, 0.01), (2.262, 9, 0.05), (8.610, 4, 0.001)],
)
def test_student_agrees_with_printed_tables(t, freedom, p):
    assert t_test(differences_with(t, freedom)) == pytest.approx(p, rel=2e-3)


def test_student_needs_differences_that_differ():
    assert math.isnan(t_test([0.3]))
    assert math.isnan(t_test([0.3, 0.3, 0.3]))
    assert math.isnan(t_test([0.0, 0.0]))


def flips_by_force(differences: list[float]) -> float:
    seen = abs(sum(differences))
    sums = [
        abs(sum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(one >= seen - 1e-9 for one in sums) / len(sums)


@pytest.mark.parametrize("count", range(1, 12))
def test_sign_flips_are_counted(count):
    rng = np.random.default_rng(count)
    some = rng.normal(0.5, 1, count).tolist()
    # Hundredths have many equal sums, whose last bits depend on the order of summation.
    many_ties = (rng.integers(-3, 6, count) / 100).tolist()
    for differences in (some, many_ties):
        assert sign_flip_test(differences) == flips_by_force(differences)


def test_sign_flips_of_many_seeds():
    assert sign_flip_test([0.1] * 30) == 2.0**-29
    assert sign_flip_test([0.1, -0.1] * 15) == 1.0
    with pytest.raises(ValueError, match="at most 40, got 41"):
        sign_flip_test([0.1] * 41)


def test_a_comparison():
    one = compare([0.9, 0.8, 0.7], [0.1, 0.2, 0.6])
    assert one.differences == pytest.approx((0.8, 0.6, 0.1))
    assert one.mean == pytest.approx(0.5)
    assert one.error == pytest.approx(math.sqrt(0.13) / math.sqrt(3))
    assert one.sign_flip == one.least == 0.25
    assert compare([0.9], [0.1]).least == 1.0


##### Methods


def test_methods_are_compositions_with_changes():
    def composition(name):
        return TrainConfig.load(EXAMPLES / "icpo.yaml", Method.of(name).settings).algorithm

    assert composition("grpo") == algorithm("grpo")
    assert composition("icpo:reference") == algorithm("icpo", loss="reference")
    assert composition("icpo:lam=0.2,n=4") == algorithm("icpo", n=4, loss={"lam": 0.2})
    assert composition("icpo_bonus:alpha=0.5") == algorithm("icpo_bonus", bonus={"alpha": 0.5})
    rate = TrainConfig.load(EXAMPLES / "icpo.yaml", Method.of("icpo:optim.lr=0.5").settings)
    assert rate.optim.lr == 0.5
    assert Method.of("icpo:reference,lam=0.2").folder == "icpo-reference-lam-0.2"


@pytest.mark.parametrize(
    ("name", "message"),
    [("dpo", "methods: expected one of grpo, .*, got 'dpo'"), ("icpo:lamb=1", "got 'lamb'")],
)
def test_methods_that_do_not_exist(name, message):
    with pytest.raises(ConfigError, match=message):
        Method.of(name)


##### The report


def made_up(method: str, seed: int, accuracies: list[float], **more: float) -> Result:
    """A run evaluated at steps 0, 10, 20 and so on."""
    steps = [10 * number for number in range(len(accuracies))]
    rows = [
        {"step": step, "eval/avg@4": accuracy, "on/surprise": 0.1, "prompts": 8.0, **more}
        for step, accuracy in zip(steps, accuracies, strict=True)
    ]
    settings = {"eval": {"k": 4}, "batch": 8, "optim": {"lr": 0.1}}
    seconds = [
        {"step": step, "generation": 6.0, "checking": 1.0, "loss": 1.0, "evaluation": 2.0}
        for step in steps
    ]
    return Result(method, seed, rows, seconds, settings)


def test_figures_of_a_run():
    run = made_up("icpo", 0, [0.0, 0.4, 0.9, 0.7])
    assert (run.final, run.reached, run.steps) == (0.7, 20, 30)
    assert run.area == pytest.approx((0.2 + 0.65 + 0.8) / 3)
    assert (run.spent, run.own_share) == (40.0, 0.25)
    assert made_up("icpo", 0, [0.0, 0.79]).reached == math.inf


def test_the_table_says_what_was_not_reached():
    runs = [made_up("icpo", seed, [0.1, 0.9 if seed else 0.5, 0.9]) for seed in range(3)]
    assert report._steps(runs) == "10 (10 to 20)"
    stuck = [made_up("grpo", seed, [0.1, 0.2]) for seed in range(2)]
    assert report._steps(stuck) == ">10"
    assert report._steps([*runs[1:], *stuck[:1]]) == "10 (10 to >20)"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_are_never_significant(seeds):
    results = {
        "grpo": [made_up("grpo", seed, [0.1, 0.11 + seed / 100]) for seed in range(seeds)],
        "icpo": [made_up("icpo", seed, [0.1, 0.99 - seed / 500]) for seed in range(seeds)],
    }
    text = " ".join(report._comparison(results).split())
    assert "nothing here is significant" in text and f"{seeds} of {seeds}" in text


def test_enough_seeds_are_significant_where_they_agree():
    better = [0.8, 0.7, 0.9, 0.8, 0.9, 0.7]
    results = {
        "grpo": [made_up("grpo", seed, [0.1, 0.2 + seed / 50]) for seed in range(6)],
        "icpo": [made_up("icpo", seed, [0.1, better[seed]]) for seed in range(6)],
        "icpo:lam=1": [
            made_up("icpo:lam=1", seed, [0.1, 0.2 + seed / 50 + (-0.1) ** (1 + seed % 2)])
            for seed in range(6)
        ],
    }
    text = report._comparison(results)
    assert "icpo: accuracy after is significantly higher (p 0.031)" in text
    assert "icpo:lam=1: accuracy after does not differ significantly" in text
    assert "4 differences are tested" in text


def test_one_seed_is_said_to_be_one():
    results = {name: [made_up(name, 0, [0.1, 0.5])] for name in ("grpo", "icpo")}
    assert report._comparison(results).startswith("One seed: the difference may be chance")


def test_names_of_lines_keep_apart():
    rng = np.random.default_rng(0)
    for count in range(1, 8):
        places = sorted(rng.random(count).tolist())
        moved = figure._apart(places, 0.1, 1.0)
        assert all(b - a > 0.1 - 1e-12 for a, b in itertools.pairwise(moved))
        assert max(moved) <= 1.0
    assert figure._apart([0.1, 0.5, 0.9], 0.1, 1.0) == [0.1, 0.5, 0.9]


def test_a_picture_of_many_methods(tmp_path):
    results = {
        f"method {number}": [
            made_up("", seed, [0.1, number / 9], **{"prompts/non_pass": 3.0}) for seed in range(2)
        ]
        for number in range(9)
    }
    figure.draw(results, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


##### Whole demonstrations

SMALL = [
    "batch=4",
    "mini_batch=2",
    "algorithm.n=2",
    "generation.max_new_tokens=6",
    "eval={every: 1, k: 2, limit: 4, probe: 4}",
]


def arguments(place: Path, *more: str) -> list[str]:
    sets = [word for setting in SMALL for word in ("--set", setting)]
    shared = ["--tiny", str(place / "tiny"), "--out", str(place / "out"), "--pretrain-steps", "3"]
    return [*shared, *sets, *more]


@pytest.fixture
def quick_evaluation(monkeypatch):
    """Untrained models answer nothing, and take their time over it."""
    monkeypatch.setattr(tiny_folder, "evaluate", lambda *_: Accuracy(0.125, 0.875))


@pytest.mark.slow
def test_a_demonstration_and_its_repetition(tmp_path, capsys, quick_evaluation):
    command = arguments(tmp_path, "--steps", "2", "--seeds", "0", "3", "--jobs", "2")
    assert demo.main(command) == 0
    out, printed = tmp_path / "out", capsys.readouterr().out
    assert f"Picture: {out / 'report.png'}" in printed
    assert "One-shot accuracy is 88 % only" in printed
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "report.txt").read_text()
    assert text in printed and printed in (out / "demo.log").read_text()
    rows = [line.split() for line in text.splitlines()]
    for name in ("grpo", "icpo"):
        lengths = [len(row) for row in rows if row[:1] == [name]]
        # The table; its seeds; against grpo, twice.
        assert len(lengths) == (2 if name == "grpo" else 4) and lengths[0] > 15
        for seed in (0, 3):
            run = out / f"{name}-seed{seed}"
            steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]
            assert steps == [0, 1, 2]
    assert "Of 2 seeds its p is 0.5 at best" in " ".join(text.split())

    before = {file: file.stat().st_mtime_ns for file in out.glob("*/metrics.jsonl")}
    assert len(before) == 4
    assert demo.main(command) == 0
    assert "4 of 4 are there already" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in out.glob("*/metrics.jsonl")}
    assert text == (out / "report.txt").read_text()

    changed, *_ = demo._jobs(demo._options([*command, "--lr", "0.5"]))
    assert changed.is_finished
    assert changed.keep_or_clear() == "grpo 0: anew, since optim.lr was 0.0007, is 0.5"
    assert not changed.is_finished


@pytest.mark.slow
def test_an_interrupted_demonstration_continues(tmp_path, capsys, quick_evaluation):
    command = arguments(
        tmp_path, "--methods", "icpo", "--seeds", "1", "--set", "checkpoint.every=1"
    )
    command += ["--steps", "25"]
    screen = Screen(tmp_path / "log.txt")
    demo._pretrain(demo._options(command), screen)
    screen.close()
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "demo.py"), *command],
        # Whoever runs the tests in the background may have them ignore interrupts, and who
        # inherits that is never interrupted.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    records = tmp_path / "out" / "icpo-seed1" / "metrics.jsonl"
    checkpoints = tmp_path / "out" / "icpo-seed1" / "checkpoints"
    deadline = time.monotonic() + 120
    while not any(checkpoints.glob("step-00000[2-9]")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    made = len(records.read_text().splitlines())
    assert 2 < made < 26
    time.sleep(0.5)
    assert len(records.read_text().splitlines()) == made  # nobody goes on by himself
    first = (records.parent / "timings.jsonl").read_text().splitlines()[:2]

    assert demo.main(command) == 0
    capsys.readouterr()
    assert [json.loads(line)["step"] for line in records.open()] == list(range(26))
    assert (records.parent / "timings.jsonl").read_text().splitlines()[:2] == first


@pytest.mark.slow
def test_a_run_that_fails_ends_the_demonstration(tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    command = arguments(tmp_path, "--model", str(model), "--jobs", "1")
    assert demo.main(command) == 1
    printed = capsys.readouterr().out
    assert "grpo 0: the run ended with exit code 2" in printed and str(model) in printed
    assert not (tmp_path / "out" / "icpo-seed0" / "log.txt").exists()


def test_settings_are_checked_before_anything_is_made(tmp_path, capsys):
    for more, message in (
        (["--steps", "0"], "steps: expected an integer from 1, got 0"),
        (["--seeds", "1", "1"], "seeds: expected each once, got 1 1"),
        (["--methods", "grpo", "dpo"], "got 'dpo'"),
        (["--jobs", "0"], "jobs: expected at least 1, got 0"),
        (["--set", "optim.rate=1"], "rate"),
    ):
        assert demo.main(arguments(tmp_path, *more)) == 2
        assert message in capsys.readouterr().out
        assert not (tmp_path / "tiny").exists()


def test_the_runs_of_others_are_left_alone(tmp_path, capsys):
    other = tmp_path / "out" / "grpo-seed0"
    other.mkdir(parents=True)
    (other / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "model").mkdir()
    assert demo.main(arguments(tmp_path, "--model", str(tmp_path / "model"))) == 2
    assert "expected a run of the demonstration, found another" in capsys.readouterr().out
    assert (other / "metrics.jsonl").read_text() == '{"step": 1}\n'
