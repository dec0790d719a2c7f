"""icpo data prepare: what it keeps, what it leaves out, and that every row is accounted for."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from icpo.cli import main
from icpo.data.paper import INSTRUCTION
from icpo.data.prepare import Preparation, prepare
from icpo.data.progress import Progress
from icpo.data.sources import Source
from icpo.demos import load_pool
from icpo.errors import ConfigError, DataError
from icpo.reward import Checker
from icpo.trainer.config import DataConfig
from icpo.trainer.data import load_problems

pytest.importorskip("pyarrow")
parquet = importlib.import_module("pyarrow.parquet")

#: Words that make questions of different numbers different, and n-grams of nothing.
EXACT = {"near": 1.0, "words": 50}


def lines(path: Path, rows) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(str(path))


def asked(count: int, first: int = 0) -> list[dict]:
    return [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(first, count)]


def worked(count: int) -> list[dict]:
    return [
        {"question": f"What is {i} - 1?", "solution": f"It is \\boxed{{{i - 1}}}."}
        for i in range(count)
    ]


def written(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def questions(path: Path) -> list[str]:
    return [row["extra_info"]["question"] for row in written(path)]


def run(out: Path, **what):
    return prepare(Preparation(**what), out, Progress(stream=Silent()))


class Silent:
    """A stream to nowhere."""

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def accounted(report, out: Path) -> None:
    """Every row is in the file of its table or among those left out, and in one of them only."""
    notes = written(out / "left_out.jsonl")
    assert json.loads((out / "report.json").read_text()) == report.to_dict()
    for name, table in report.tables.items():
        left_out = [note for note in notes if note["table"] == name and "solution" not in note]
        rows = written(out / table["file"])
        assert table["rows"] == table["kept"] + sum(table["left_out"].values())
        assert (len(rows), len(left_out)) == (table["kept"], table["rows"] - table["kept"])
        assert Counter(note["kind"] for note in left_out) == {
            kind: count for kind, count in table["left_out"].items() if count
        }
        assert len({row["extra_info"]["id"] for row in rows}) == len(rows)
        assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))


def test_the_form(tmp_path):
    out = tmp_path / "out"
    train = [{**row, "topic": "sums" if i % 2 else None} for i, row in enumerate(asked(20))]
    train[3] |= {"difficulty": "hard", "response_length": 7, "solution": "So \\boxed{4}."}
    mine = lines(tmp_path / "mine.jsonl", train)
    report = run(
        out,
        train=[Source(mine.path, columns={"subject": "topic"})],
        validation=[lines(tmp_path / "ours.jsonl", asked(30, 25))],
        demos=[lines(tmp_path / "pool.jsonl", worked(10))],
        system="Be brief.",
    )
    accounted(report, out)
    rows = written(out / "train.parquet")
    assert rows[3] == {
        "data_source": "mine",
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is 3 + 1? {INSTRUCTION}"},
        ],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {
            "split": "train",
            "index": 3,
            "id": "mine:4",
            "question": "What is 3 + 1?",
            "subject": "sums",
            "difficulty": "hard",
            "response_length": 7,
            "solution": "So \\boxed{4}.",
        },
    }
    assert rows[2]["extra_info"]["solution"] is None
    assert questions(out / "validation.parquet") == [f"What is {i} + 1?" for i in range(25, 30)]
    assert report.tables["train"]["solutions"] == {
        "right": 1,
        "wrong": 0,
        "unknown": 0,
        "unchecked": 0,
    }
    # The pool is read as any other, and is training data too.
    pool = load_pool([out / "demos.parquet"]).pool
    assert [(demo.question, demo.solution) for demo in pool] == [
        (row["question"], row["solution"]) for row in worked(10)
    ]
    columns = DataConfig(
        train=out / "demos.parquet",
        question="extra_info.question",
        answer="reward_model.ground_truth",
        subject="extra_info.subject",
        id="extra_info.id",
    )
    problems = load_problems(out / "demos.parquet", columns, Checker())
    assert [problem.answer for problem in problems] == [str(i - 1) for i in range(10)]
    # And it is the same again.
    again = run(
        tmp_path / "again",
        train=[Source(str(out / "train.parquet"))],
        demos=[Source(str(out / "demos.parquet"))],
    )
    assert again.tables["train"]["sources"][0]["schema"] == "verl"
    for name in ("train", "demos"):
        before, after = (
            written(out / f"{name}.parquet"),
            written(tmp_path / f"again/{name}.parquet"),
        )
        for row in (*before, *after):
            row["extra_info"].pop("id"), row.pop("data_source"), row.pop("prompt")
        assert before == after


def test_what_is_left_out(tmp_path):
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

        test, other, train, demos = draw(8), draw(4), draw(40), draw(30)
        bad = rng.choice(40, 6, replace=False).tolist()
        unread, unverified = set(bad[:3]), set(bad[3:])
        table = [
            {"question": variant(f"q {n}"), "answer": "?" if i in unverified else str(n)}
            if i not in unread
            else {"question": f"q {n}"}
            for i, n in enumerate(train)
        ]
        pool = [{"question": variant(f"q {n}"), "solution": "s"} for n in demos]
        pool.append({"question": "of its own", "solution": "s"})
        table.append({"question": "another", "answer": "7"})
        others = [{"question": f"q {n}", "solution": ""} for n in other]
        report = run(
            folder / "out",
            train=[lines(folder / "train.jsonl", table)],
            validation=[
                lines(folder / "a.jsonl", [{"question": f"q {n}", "answer": "7"} for n in test])
            ],
            against=[lines(folder / "b.jsonl", others)],
            demos=[lines(folder / "demos.jsonl", pool)],
            **EXACT,
        )
        accounted(report, folder / "out")

        evaluated = {*test, *other}
        kept: list[int] = []
        expected: Counter[str] = Counter(unreadable=3, unverifiable=3)
        for i, n in enumerate(train):
            if i in bad:
                continue
            kind = "in_evaluation" if n in evaluated else "duplicate" if n in kept else "kept"
            expected[kind] += 1
            if kind == "kept":
                kept.append(n)
        shown: list[int] = []
        of_demos: Counter[str] = Counter()
        for n in demos:
            if n in evaluated:
                of_demos["in_evaluation"] += 1
            elif n in kept:
                of_demos["in_train"] += 1
            elif n in shown:
                of_demos["duplicate"] += 1
            else:
                shown.append(n)
        rows = questions(folder / "out" / "train.parquet")[:-1]
        assert [int(text.lower().strip(" $\n").split()[-1]) for text in rows] == kept
        assert len(written(folder / "out" / "validation.parquet")) == 8
        assert len(written(folder / "out" / "demos.parquet")) == len(shown) + 1
        tables = report.tables
        assert +Counter(tables["train"]["left_out"]) == expected - Counter(kept=len(kept))
        assert +Counter(tables["demos"]["left_out"]) == of_demos
        notes = written(folder / "out" / "left_out.jsonl")
        for kind, places in (("unreadable", unread), ("unverifiable", unverified)):
            found = {n["row"] - 1 for n in notes if (n["table"], n["kind"]) == ("train", kind)}
            assert found == places
        # What came before, and where, is true.
        for note in notes:
            if note["kind"] in ("in_evaluation", "in_train", "duplicate"):
                file, line = note["why"].removeprefix("asked in ").split(", ")[:2]
                there = Path(file).read_text().splitlines()[int(line.removeprefix("line ")) - 1]
                here = Path(note["source"]).read_text().splitlines()[note["row"] - 1]
                there, here = (json.loads(text)["question"].lower() for text in (there, here))
                assert there.strip(" $\n").split() == here.strip(" $\n").split()


def test_near_questions(tmp_path):
    long = (
        "A train leaves {} at noon and drives for {} hours until it comes to a bridge over the "
        "river Rhine, which has been closed because of a storm that came down from the mountains."
    )
    train = [
        {"question": long.format("Basel", 3), "answer": "1"},
        {"question": long.format("Basel", 4), "answer": "1"},
        {"question": long.format("Bern", 3), "answer": "1"},
        {"question": "Something else", "answer": "1"},
    ]
    demos = [{"question": long.format("Köln", n), "solution": "\\boxed{1}"} for n in (3, 9)]
    sources = {
        "train": [lines(tmp_path / "train.jsonl", train)],
        "demos": [lines(tmp_path / "demos.jsonl", demos)],
    }
    report = run(tmp_path / "a", **sources)
    accounted(report, tmp_path / "a")
    # With other numbers it is another question, unless an evaluation is compared with.
    assert questions(tmp_path / "a" / "train.parquet") == [train[i]["question"] for i in (0, 1, 3)]
    assert questions(tmp_path / "a" / "demos.parquet") == [demos[1]["question"]]
    notes = written(tmp_path / "a" / "left_out.jsonl")
    assert [(note["table"], note["kind"], note["row"]) for note in notes] == [
        ("train", "near_duplicate", 3),
        ("demos", "near_train", 1),
    ]
    assert "train.jsonl, line 1: 'A train leaves Basel" in notes[0]["why"]
    bench = lines(tmp_path / "bench.jsonl", [{"question": long.format("Ulm", 7), "answer": "1"}])
    report = run(tmp_path / "b", train=sources["train"], against=[bench])
    assert report.tables["train"]["left_out"]["near_evaluation"] == 3
    assert questions(tmp_path / "b" / "train.parquet") == ["Something else"]
    assert "compared with: " in str(report)
    report = run(tmp_path / "c", **sources, keep_shared=True)
    assert report.tables["demos"]["kept"] == 2


def test_questions_that_are_only_compared_with(tmp_path):
    """Whatever else their rows have: options in columns, answers of other names, none at all."""
    arc = {"question": "Which one?", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"}
    gpqa = {"Question": "And which?", "Correct Answer": "x"}
    bare = {"problem": "What is 5 + 1?"}
    verl = {"prompt": [{"role": "user", "content": "What is 6 + 1?"}], "reward_model": None}
    verl["reward_model"] = {"ground_truth": "7"}
    kinds = [arc, gpqa, bare, verl]
    tables = [[kind] for kind in kinds]
    tables[0].append({"question": ""})
    against = [lines(tmp_path / f"{i}.jsonl", table) for i, table in enumerate(tables)]
    train = [
        *asked(8),
        *({"question": text, "answer": "A"} for text in ("which one?", "and WHICH?")),
    ]
    report = run(tmp_path / "out", train=[lines(tmp_path / "t.jsonl", train)], against=against)
    accounted(report, tmp_path / "out")
    assert questions(tmp_path / "out" / "train.parquet") == [
        f"What is {i} + 1?" for i in (0, 1, 2, 3, 4, 7)
    ]
    assert [each["schema"] for each in report.against] == ["questions"] * 3 + ["verl"]
    # What can not be compared with is said.
    assert f"compared with: {against[0]} (1 of 2 that can be read), " in str(report)
    (note,) = [n for n in written(tmp_path / "out/left_out.jsonl") if n["table"] == "against"]
    assert (note["place"], note["kind"]) == ("line 2", "unreadable")
    with pytest.raises(DataError, match=r"x.jsonl: expected rows of a known schema"):
        run(
            tmp_path / "b",
            train=[against[3]],
            against=[lines(tmp_path / "x.jsonl", [{"text": "?"}])],
        )


def test_answers_that_contradict_each_other(tmp_path):
    rows = [
        {"question": "a?", "answer": "\\frac{1}{2}"},
        {"question": "A?", "answer": "0.5"},
        {"question": " a?", "answer": "2"},
        {"question": "b?", "answer": ["2", "two"]},
        {"question": "b?", "answer": "two"},
    ]
    report = run(tmp_path / "out", train=[lines(tmp_path / "t.jsonl", rows)])
    assert report.tables["train"]["left_out"]["duplicate"] == 3
    assert report.tables["train"]["contradictions"] == 1
    notes = written(tmp_path / "out" / "left_out.jsonl")
    assert [note["row"] for note in notes] == [2, 3, 5]
    assert "with another answer: '\\\\frac{1}{2}', here '2'" in notes[1]["why"]
    assert "train: 1 of those that came before have another answer" in str(report)
    # Several answers make lists of all ground truths, in every file.
    truths = [r["reward_model"]["ground_truth"] for r in written(tmp_path / "out/train.parquet")]
    assert truths == [["\\frac{1}{2}"], ["2", "two"]]


def test_stored_solutions(tmp_path):
    traces = {
        "problem": "p?",
        "answer": "4",
        "generations": ["It is \\boxed{4}.", "So \\boxed{5}.", "long " * 50 + "\\boxed{4}", "none"],
        "correctness_math_verify": [True, True, True, True],
    }
    other = {**traces, "problem": "q?", "generations": ["a \\boxed{3}"]}
    other["correctness_math_verify"] = [True]
    source = lines(tmp_path / "t.jsonl", [traces, other])
    both = {"train": [source], "demos": [source], "keep_shared": True}
    report = run(tmp_path / "a", **both, max_solution_chars=100)
    accounted(report, tmp_path / "a")
    table = report.tables["train"]
    assert table["solutions"] == {"right": 1, "wrong": 2, "unknown": 1, "unchecked": 0}
    assert table["solutions_left_out"] == {"solution_too_long": 1, "solution_not_right": 0}
    rows = written(tmp_path / "a" / "train.parquet")
    assert rows[0]["extra_info"]["solution"] == [traces["generations"][i] for i in (0, 1, 3)]
    (note, *_) = written(tmp_path / "a" / "left_out.jsonl")
    assert (note["row"], note["solution"], note["kind"]) == (1, 3, "solution_too_long")
    assert note["why"] == "259 characters, expected at most 100"

    report = run(tmp_path / "b", **both, only_right=True)
    accounted(report, tmp_path / "b")
    rows = written(tmp_path / "b" / "train.parquet")
    assert [row["extra_info"]["solution"] for row in rows] == [
        [traces["generations"][0], traces["generations"][2]],
        None,
    ]
    # A demonstration without a solution is none; a problem still is one.
    assert report.tables["demos"]["left_out"]["no_solution"] == 1
    assert report.tables["demos"]["kept"] == 1


def test_demonstrations_without_an_answer(tmp_path):
    rows = [
        {"instruction": "i?", "output": "print(1)"},
        {"instruction": "j?", "output": "Thus. The answer is 4."},
        {"instruction": "k?", "output": ""},
    ]
    report = run(tmp_path / "out", demos=[lines(tmp_path / "d.jsonl", rows)])
    accounted(report, tmp_path / "out")
    table = report.tables["demos"]
    assert (table["without_answer"], table["kept"]) == (1, 2)
    assert table["left_out"]["unreadable"] == 1
    assert table["solutions"]["unchecked"] == 1
    truths = [r["reward_model"]["ground_truth"] for r in written(tmp_path / "out/demos.parquet")]
    assert truths == [None, "4"]


def test_broken_rows(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"question": "a?", "answer": "1"}\n\nnonsense\n[1]\n{"question": "b?", "answer": "2"}\n'
    )
    csv = tmp_path / "t.csv"
    csv.write_text('question,answer\n"two\nlines",3\nx,4,5\n,6\n')
    report = run(tmp_path / "out", train=[Source(str(file)), Source(str(csv))])
    accounted(report, tmp_path / "out")
    notes = written(tmp_path / "out" / "left_out.jsonl")
    assert [(Path(note["source"]).name, note["place"]) for note in notes] == [
        ("t.jsonl", "line 3"),
        ("t.jsonl", "line 4"),
        ("t.csv", "line 4"),
        ("t.csv", "line 5"),
    ]
    assert [s["kept"] for s in report.tables["train"]["sources"]] == [2, 1]


def test_ids(tmp_path):
    """Unique, whatever ids and names the sources have."""
    (tmp_path / "b").mkdir()
    first = lines(
        tmp_path / "pool.jsonl", [{**row, "id": i // 2} for i, row in enumerate(asked(4))]
    )
    second = lines(tmp_path / "b" / "pool.jsonl", asked(6, 4))
    report = run(tmp_path / "out", train=[first, second])
    accounted(report, tmp_path / "out")
    ids = [row["extra_info"]["id"] for row in written(tmp_path / "out" / "train.parquet")]
    assert ids == ["pool:0", "pool:0 (row 2)", "pool:1", "pool:1 (row 4)", "pool#2:1", "pool#2:2"]


def test_the_same_bytes_again(tmp_path):
    sources = {
        "train": [lines(tmp_path / "t.jsonl", [*asked(50), *asked(60, 40)])],
        "validation": [lines(tmp_path / "v.jsonl", asked(70, 55))],
        "demos": [lines(tmp_path / "d.jsonl", worked(30))],
    }
    run(tmp_path / "a", **sources)
    run(tmp_path / "b", **sources)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "demos.parquet",
        "left_out.jsonl",
        "report.json",
        "train.parquet",
        "validation.parquet",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_source_that_changes_while_it_is_read(tmp_path, monkeypatch):
    source = lines(tmp_path / "t.jsonl", asked(5))
    module = importlib.import_module("icpo.data.prepare")
    before = module.write_rows

    def change_then_write(*arguments):
        lines(tmp_path / "t.jsonl", [*asked(2), {"question": "new", "answer": "1"}, *asked(5, 3)])
        return before(*arguments)

    monkeypatch.setattr(module, "write_rows", change_then_write)
    with pytest.raises(DataError, match=r"t.jsonl: line 3: the source has changed while it was re"):
        run(tmp_path / "out", train=[source])
    assert list((tmp_path / "out").iterdir()) == []


def test_limits(tmp_path):
    source = lines(tmp_path / "t.jsonl", asked(12))
    report = run(tmp_path / "a", train=[source], max_question_chars=14, limit=11)
    accounted(report, tmp_path / "a")
    assert (report.tables["train"]["rows"], report.tables["train"]["kept"]) == (11, 10)
    assert report.tables["train"]["left_out"]["too_long"] == 1


def test_faults_stop_and_nothing_is_written(tmp_path):
    train = lines(tmp_path / "train.jsonl", asked(3))
    test = lines(tmp_path / "test.jsonl", asked(5, 3))
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"train.jsonl: .* no column 'problem'; the row has"):
        run(out, train=[Source(train.path, columns={"question": "problem"})])
    with pytest.raises(DataError, match=r"train: expected rows to be left, .* in_evaluation 2"):
        run(out, train=[test], validation=[test])
    with pytest.raises(DataError, match=r"none.jsonl: can not be read"):
        run(out, train=[Source(str(tmp_path / "none.jsonl"))])
    empty = lines(tmp_path / "empty.jsonl", [])
    with pytest.raises(DataError, match=r"empty.jsonl: expected rows of a known schema"):
        run(out, train=[empty])
    for change, fault in (
        ({"near": 0}, "near: expected a share above 0"),
        ({"max_prompt": 5}, "max_prompt: expected a tokenizer"),
        ({"limit": 0}, "limit: expected at least 1, got 0"),
        ({"train": ()}, "expected some for train, validation or demos, got none"),
        ({"tokenizer": "x", "max_solution": 1, "max_solution_chars": 1}, "expected one limit"),
    ):
        with pytest.raises(ConfigError, match=fault):
            run(out, **{"train": [train], **change})
    assert not out.exists()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = lines(tmp_path / "train.jsonl", [{"q": row["question"], **row} for row in asked(6)])
    lines(tmp_path / "bench.jsonl", asked(1))
    words = ["data", "prepare", "--out", "out", "--train", f"{train.path},question=q"]
    assert main([*words, "--against", "bench.jsonl", "--instruction", ""]) == 0
    said = capsys.readouterr()
    for line in (
        "rows                                           6\n",
        "  in an evaluation set                         1\n",
        "kept                                           5\n",
        "compared with: bench.jsonl (1)\n",
        "written to out; what is left out, and why: out/left_out.jsonl\n",
    ):
        assert line in said.out
    assert "train.jsonl: 6 rows read" in said.err
    assert written(tmp_path / "out/train.parquet")[0]["prompt"] == [
        {"role": "user", "content": "What is 1 + 1?"}
    ]
    # A benchmark in a file, written as for `icpo eval`.
    assert main([*words, "--against", "math500=bench.jsonl"]) == 0
    assert "  in an evaluation set                         1\n" in capsys.readouterr().out
    assert main([*words, "--max-prompt", "9"]) == 2
    assert capsys.readouterr().err.startswith("icpo data: max_prompt: expected a tokenizer")


def test_the_paper_is_what_is_prepared_without_sources(tmp_path, monkeypatch, capsys):
    """With rows in the form of its data sets, in place of what would be downloaded."""
    datasets = pytest.importorskip("datasets")
    asked_for = []
    rows = {
        "Elliott/Openr1-Math-46k-8192": {
            "data_source": "x",
            "prompt": [
                {"role": "system", "content": "Think."},
                {"role": "user", "content": "How many?"},
            ],
            "target": [{"role": "assistant", "content": "<think>So</think> \\boxed{12}"}],
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

    def load(name, config, *, split, revision):
        asked_for.append((name, config, split))
        return datasets.Dataset.from_list([rows[name]])

    monkeypatch.setattr(datasets, "load_dataset", load)
    out = tmp_path / "data"
    assert main(["data", "prepare", "--out", str(out)]) == 0
    assert ("HuggingFaceH4/MATH-500", None, "test") in asked_for
    assert len(asked_for) == len(set(asked_for)) == 6
    (row,) = written(out / "train.parquet")
    assert row["prompt"] == [{"role": "user", "content": f"How many? {INSTRUCTION}"}]
    assert row["extra_info"]["solution"] == "<think>So</think> \\boxed{12}"
    (demo,) = load_pool([out / "demos.parquet"]).pool
    assert (demo.question, demo.subject) == ("Find $x$.", "Algebra")
    assert [row["data_source"] for row in written(out / "validation.parquet")] == [
        "HuggingFaceH4/MATH-500",
        "HuggingFaceH4/aime_2024",
        "math-ai/aime25",
        "math-ai/amc23",
    ]
    capsys.readouterr()


def test_no_torch_is_needed():
    code = (
        "import sys, icpo.data.prepare, icpo.data.cli; "
        "print([m for m in ('torch', 'datasets', 'pyarrow', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
