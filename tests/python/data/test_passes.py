"""icpo data passes: counts against a table of answers, stops at any response, every format."""

from __future__ import annotations

import importlib
import io
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from icpo.cli import main
from icpo.data.passes import Passes, measure
from icpo.data.prepare import Preparation, prepare
from icpo.data.rewrite import rewrite
from icpo.data.sources import Source
from icpo.demos import TEMPLATES, load_pool
from icpo.errors import ConfigError, DataError
from icpo.generation import Sampling
from icpo.generation.text import TextCompletion, TextRequest
from icpo.tables import rows

parquet = pytest.importorskip("pyarrow.parquet")
pyarrow = importlib.import_module("pyarrow")

ABOUT = {"model": "m"}


class Stopped(Exception):
    """As if the process had been killed."""


@dataclass
class Answers:
    """Answers that follow from prompt and seed. Requests of a group round each other's digits."""

    together: int = 1
    #: Stops after so many answers.
    most: int | None = None
    asked: list[TextRequest] = field(default_factory=list)

    def complete(self, requests: Sequence[TextRequest], done=None) -> list[TextCompletion]:
        found = []
        for start in range(0, len(requests), self.together):
            group = requests[start : start + self.together]
            for place, request in enumerate(group):
                if self.most is not None and len(self.asked) >= self.most:
                    raise Stopped
                self.asked.append(request)
                found.append(answer(request, group))
                if done is not None:
                    done(start + place, found[-1])
        return found

    def count(self, prompt) -> int:
        return 1

    def describe(self):
        return ABOUT


def answer(request: TextRequest, group: Sequence[TextRequest]) -> TextCompletion:
    rng = random.Random(request.seed)
    text = f"So \\boxed{{{rng.randint(1, 3)}}}." if rng.random() < 0.9 else "well"
    tokens = rng.randint(1, 40) + sum(other.seed for other in group) % 7
    return TextCompletion(text, rng.random() < 0.8, tokens, 5)


def problems(count: int) -> list[dict]:
    return [
        {"id": f"p{i}", "question": f"question {i}?", "answer": str(i % 4)} for i in range(count)
    ]


def lines(path: Path, table) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return Source(str(path))


def run(source: Source, output: Path, engine: Answers, template="qa", samples=3, seed=0):
    return measure(
        source,
        output,
        Passes(None if template is None else TEMPLATES[template], Sampling(64), samples, seed),
        lambda chat: engine,
        ABOUT,
        stream=io.StringIO(),
    )


def test_counts(tmp_path):
    source = lines(tmp_path / "a.jsonl", problems(40))
    engine = Answers()
    found = run(source, tmp_path / "b.jsonl", engine)
    told: dict[str, list[TextCompletion]] = {}
    for request in engine.asked:
        question = request.prompt.split("Question: ")[1].split("\n")[0]
        told.setdefault(question, []).append(answer(request, [request]))
    names = {0: "hard", 1: "medium", 2: "medium", 3: "easy"}
    after = list(rows(tmp_path / "b.jsonl"))
    for row, before in zip(after, problems(40), strict=True):
        answers = told[row["question"]]
        right = sum(one.text == f"So \\boxed{{{row['answer']}}}." for one in answers)
        assert row == {
            **before,
            "passes": right,
            "samples": 3,
            "difficulty": names[right],
            "response_length": round(sum(one.tokens for one in answers) / 3),
        }
    every = [one for answers in told.values() for one in answers]
    assert found.answers == len(every) == 120
    assert found.unfinished == sum(not one.finished for one in every)
    assert found.unknown == sum(one.text == "well" for one in every)
    assert found.tokens == pytest.approx(sum(one.tokens for one in every) / 120)
    assert dict(found.difficulties) == {
        name: sum(row["difficulty"] == name for row in after) for name in ("easy", "medium", "hard")
    }
    assert found.passes == Counter(row["passes"] for row in after)
    # Other seeds are other answers.
    seeds = {request.seed for request in engine.asked}
    other = Answers()
    run(source, tmp_path / "c.jsonl", other, seed=1)
    assert len(seeds) == 120
    assert not seeds & {request.seed for request in other.asked}


@pytest.mark.parametrize("together", [1, 4, 7])
def test_stopped_at_random_and_continued(tmp_path, together):
    rng = random.Random(together)
    source = lines(tmp_path / "a.jsonl", problems(11))
    whole = tmp_path / "whole.jsonl"
    run(source, whole, Answers(together))
    output = tmp_path / "b.jsonl"
    stops = 0
    while not output.exists():
        engine = Answers(together, most=rng.randint(0, 15))
        try:
            run(source, output, engine)
        except Stopped:
            stops += 1
            journal = tmp_path / "b.jsonl.journal.jsonl"
            if rng.random() < 0.5:  # the last line is torn
                journal.write_bytes(journal.read_bytes()[: -rng.randint(1, 9)])
    assert stops > 1
    assert output.read_bytes() == whole.read_bytes()
    # Nothing is left to ask, so nothing is opened.
    run(source, output, None)
    assert output.read_bytes() == whole.read_bytes()


def test_rows_that_are_added_are_asked_and_no_others(tmp_path):
    run(lines(tmp_path / "a.jsonl", problems(5)), tmp_path / "b.jsonl", Answers())
    engine = Answers()
    # In another order, with other ids.
    table = [{**row, "id": f"new {row['id']}"} for row in reversed(problems(7))]
    run(lines(tmp_path / "a.jsonl", table), tmp_path / "b.jsonl", engine)
    asked = {request.prompt.split("Question: ")[1].split("\n")[0] for request in engine.asked}
    assert asked == {"question 5?", "question 6?"}
    # What something else answered is not taken for an answer of this.
    engine = Answers()
    measure(
        Source(str(tmp_path / "a.jsonl")),
        tmp_path / "b.jsonl",
        Passes(TEMPLATES["qa"], Sampling(64)),
        lambda chat: engine,
        {"model": "other"},
        stream=io.StringIO(),
    )
    assert len(engine.asked) == 21


def test_what_was_prepared(tmp_path):
    """verl's rows are asked in their own words; the columns go beside the question."""
    table = [{**row, "solution": f"\\boxed{{{row['answer']}}}"} for row in problems(9)]
    prepare(
        Preparation(demos=[lines(tmp_path / "a.jsonl", table)], near=1.0, words=9, system="Hm."),
        tmp_path / "data",
    )
    engine = Answers()
    chats = []

    def opened(chat: bool) -> Answers:
        chats.append(chat)
        return engine

    file = tmp_path / "data" / "demos.parquet"
    output = tmp_path / "data" / "demos.passes.parquet"
    measure(Source(str(file)), output, Passes(None, Sampling(64)), opened, ABOUT, io.StringIO())
    assert chats == [True]
    before, after = (parquet.read_table(path).to_pylist() for path in (file, output))
    for row, measured in zip(before, after, strict=True):
        asked = [r for r in engine.asked if r.prompt[1].content == row["prompt"][1]["content"]]
        assert len(asked) == 3
        assert [tuple(said) for said in asked[0].prompt] == [
            (said["role"], said["content"]) for said in row["prompt"]
        ]
        info = measured["extra_info"]
        right = info.pop("passes")
        assert info.pop("samples") == 3
        assert info["difficulty"] == {0: "hard", 3: "easy"}.get(right, "medium")
        assert isinstance(info["response_length"], int)
        for one in (info, row["extra_info"]):
            one.pop("difficulty"), one.pop("response_length")
        assert measured == row
    pool = load_pool([output]).pool
    assert {demo.difficulty for demo in pool} <= {"easy", "medium", "hard"}
    assert all(demo.length for demo in pool)


def test_rows_without_an_answer_that_can_be_verified(tmp_path):
    table = [
        {"instruction": "i?", "output": "print(1)"},
        {"instruction": "j?", "output": "The answer is 1."},
        {"instruction": "k?", "output": "The answer is ?."},
    ]
    found = run(lines(tmp_path / "a.jsonl", table), tmp_path / "b.jsonl", Answers())
    after = list(rows(tmp_path / "b.jsonl"))
    assert [row["difficulty"] is None for row in after] == [True, False, True]
    assert [row["passes"] is None for row in after] == [True, False, True]
    assert all(row["response_length"] > 0 for row in after)
    assert [text.split(":")[0] for text in found.unverifiable] == ["line 1", "line 3"]
    assert "2 rows have no answer that can be verified" in str(found)
    assert sum(found.difficulties.values()) == 1


def test_faults(tmp_path):
    good = problems(2)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps(good[0]) + "\nnonsense\n")
    output = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=r"broken.jsonl: line 2: no JSON"):
        run(Source(str(broken)), output, Answers())
    source = lines(tmp_path / "a.jsonl", good)
    with pytest.raises(ConfigError, match=r"output: expected a name that ends with .jsonl"):
        run(source, tmp_path / "out.parquet", Answers())
    with pytest.raises(ConfigError, match=r"output: expected a name that ends with .jsonl.gz"):
        run(Source(str(tmp_path / "a.jsonl.gz")), tmp_path / "out.csv.gz", Answers())
    with pytest.raises(ConfigError, match=r"template: expected a name, since rows of schema plain"):
        run(source, output, Answers(), template=None)
    with pytest.raises(ConfigError, match=r"file: expected a file of rows, got team/set"):
        run(Source("team/set"), output, Answers())
    with pytest.raises(ConfigError, match=r"samples: expected at least 1, got 0"):
        Passes(None, Sampling(1), samples=0)
    with pytest.raises(ConfigError, match=r"temperature: expected a number above 0, since 3"):
        Passes(None, Sampling(1, temperature=0))
    assert not output.exists()


def test_the_command_needs_a_model(tmp_path, capsys):
    source = lines(tmp_path / "a.jsonl", problems(2))
    assert main(["data", "passes", source.path]) == 2
    assert "--model: expected a folder or a name" in capsys.readouterr().err
    assert main(["data", "passes", source.path, "--model", "m", "--template", "{"]) == 2
    assert "--template: expected a name or JSON" in capsys.readouterr().err


##### Files written again

TABLE = [
    {"question": 'one, with "quotes"', "n": 1, "text": "ä\nb"},
    {"question": "two", "n": None, "text": None},
    {"question": "three", "n": 3, "text": "\\boxed{x}"},
]
ADDED = [{"n": i, "level": "hard" if i else None} for i in (0, 7, 8)]


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.csv.gz", "a.parquet"]
)
def test_every_format(tmp_path, name):
    import csv
    import gzip

    path = tmp_path / name
    if name.endswith(".parquet"):
        table = pyarrow.Table.from_pylist(TABLE)
        parquet.write_table(table.replace_schema_metadata({"huggingface": "{}"}), path)
    else:
        with (gzip.open if name.endswith(".gz") else open)(path, "wt", newline="") as file:
            if "jsonl" in name:
                file.writelines(json.dumps(row) + "\n" for row in TABLE)
            else:
                writer = csv.DictWriter(file, TABLE[0], delimiter="\t" if "tsv" in name else ",")
                writer.writeheader(), writer.writerows(TABLE)
    before = list(rows(path))
    output = tmp_path / f"out-{name}"
    rewrite(path, output, ADDED, None)
    once = output.read_bytes()
    for row, old, new in zip(rows(output), before, ADDED, strict=True):
        is_text = ".csv" in name or ".tsv" in name
        shown = {key: ("" if v is None else str(v)) if is_text else v for key, v in new.items()}
        assert row == {**old, **shown}
    rewrite(path, output, ADDED, None)
    assert output.read_bytes() == once
    # Over itself.
    rewrite(output, output, ADDED, None)
    assert len(list(rows(output))) == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([name, output.name])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_inside_a_column(tmp_path, name):
    table = [
        {"q": "a", "info": {"k": 1}},
        {"q": "b", "info": {"k": None}},
        {"q": "c", "info": None},
    ]
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(pyarrow.Table.from_pylist(table), path)
    else:
        lines(path, table)
    rewrite(path, path, ADDED, "info")
    after = list(rows(path))
    assert [row["info"].get("k") for row in after] == [1, None, None]
    assert [{key: row["info"][key] for key in ("n", "level")} for row in after] == ADDED
    # A column that is not there is made.
    rewrite(path, path, ADDED, "more")
    assert [row["more"] for row in rows(path)] == ADDED


def test_a_file_that_has_changed(tmp_path):
    source = lines(tmp_path / "a.jsonl", TABLE)
    for added in (ADDED[:2], [*ADDED, ADDED[0]]):
        with pytest.raises(DataError, match=f"expected {len(added)} rows"):
            rewrite(Path(source.path), tmp_path / "b.jsonl", added, None)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]
