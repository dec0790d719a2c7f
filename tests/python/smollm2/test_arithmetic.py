"""Problems to be solved by search: answers are right, none comes twice; what is asked."""

from __future__ import annotations

import itertools
import json
import operator
import random
import re
from pathlib import Path

import pytest

from icpo.errors import ConfigError
from icpo.evaluation.settings import digest
from icpo.test_time.forms import Idea
from icpo.test_time.settings import SolveSettings

ROOT = Path(__file__).parents[3]

#: What a reader does with the two numbers of a question, by a word in it.
READINGS = {
    " gets ": operator.add,
    " buys ": operator.add,
    " - ": operator.sub,
    " bags ": operator.mul,
    " rows ": operator.mul,
    " costs ": operator.mul,
}


@pytest.fixture(scope="module")
def arithmetic(example):
    return example("arithmetic")


def test_the_answer_follows_from_the_question(arithmetic):
    problems = list(arithmetic.distinct(random.Random(3)))
    for problem in problems:
        (reading,) = (rule for word, rule in READINGS.items() if word in problem.question)
        assert problem.answer == reading(*map(int, re.findall(r"\d+", problem.question)))
        assert problem.answer > 0
    assert {problem.kind for problem in problems} == set(arithmetic.KINDS)


def test_the_kinds_take_turns_until_one_has_no_more(arithmetic):
    problems = list(arithmetic.distinct(random.Random(3)))
    kinds = list(arithmetic.KINDS)
    # Rows are the fewest: 6 to 9 of them, of 11 to 19 seats.
    assert [problem.kind for problem in problems] == kinds * (4 * 9)
    for kind in kinds:
        numbers = [re.findall(r"\d+", one.question) for one in problems if one.kind == kind]
        assert len(set(map(tuple, numbers))) == 4 * 9


def test_the_same_seed_gives_the_same_file(arithmetic, tmp_path):
    for name, size, seed in (("one", 48, 0), ("same", 48, 0), ("more", 60, 0), ("other", 48, 1)):
        arithmetic.write(tmp_path / "made" / name, size, seed)
    one, same, more, other = (
        (tmp_path / "made" / name).read_text().splitlines()
        for name in ("one", "same", "more", "other")
    )
    assert one == same == more[:48] != other
    assert len({json.loads(line)["id"] for line in more}) == 60


def test_more_problems_than_there_are(arithmetic, tmp_path):
    with pytest.raises(ConfigError, match="size: expected at most 216, got 217"):
        arithmetic.write(tmp_path / "file", 217, 0)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def settings(example, tmp_path, monkeypatch):
    """What the example makes of its command line."""
    from icpo.test_time import run

    solve = example("solve")
    monkeypatch.chdir(tmp_path)
    asked = []

    class Enough(Exception):
        pass

    def begun(settings: SolveSettings, **how: bool) -> None:
        asked.append((settings, how))
        raise Enough

    monkeypatch.setattr(run, "solve", begun)

    def given(*arguments: str) -> tuple[SolveSettings, dict[str, bool]]:
        with pytest.raises(Enough):
            solve.main(arguments)
        return asked[-1]

    return given


def test_what_is_asked(settings, tmp_path):
    asked, how = settings("--limit", "6", "--resume")
    assert how == {"resume": True, "fresh": False}
    assert asked.limit == 6
    rows = (tmp_path / "runs/smollm2/arithmetic.jsonl").read_text().splitlines()
    assert len(rows) == 48
    assert asked.benchmarks == ("arithmetic=runs/smollm2/arithmetic.jsonl",)
    # Methods differ in what they are named for, and share everything else.
    full, *others = asked.chosen
    assert (full.config.select, full.config.reward) == ("entropy", "majority")
    assert not any(one.needs_gold for one in asked.chosen)
    assert all(one.config.form == full.config.form for one in others)
    assert {one.config.sampling for one in others} == {full.config.sampling}
    # As many answers as the whole search asks for, so that they may be compared at equal cost.
    calls = full.config.rounds * full.config.k * (1 + full.config.probes) + full.config.answers
    assert 0.9 < asked.chosen[-1].config.answers / calls <= 1


def test_the_prompt(settings):
    (form,) = {one.config.form for one in settings()[0].chosen}
    exercises = form.ask("1 + 1?", [], rewards=True).removesuffix("Question: 1 + 1?\nAnswer:")
    lines = [line for line in exercises.splitlines() if line.startswith("Answer: ")]
    for line in lines:
        left, right = line.removeprefix("Answer: ").split(" = ")
        first, sign, second = left.split()
        assert {"+": operator.add, "*": operator.mul}[sign](int(first), int(second)) == int(right)
    assert len(lines) == 2
    ideas = [Idea("1 + 1 = 2", 1), Idea("1 * 1 = 1", 0)]
    told = form.ask("1 + 1?", ideas, rewards=True).removeprefix(exercises)
    assert told.endswith(
        "Reward 0:\n- 1 * 1 = 1\nReward 1:\n- 1 + 1 = 2\n\nQuestion: 1 + 1?\nAnswer:"
    )
    silent = form.ask("1 + 1?", ideas, rewards=False).removeprefix(exercises)
    assert silent.endswith("\n- 1 + 1 = 2\n- 1 * 1 = 1\n\nQuestion: 1 + 1?\nAnswer:")
    assert "eward" not in silent


def test_problems_are_not_of_any_worked_exercise(arithmetic, settings):
    form = settings()[0].search.form
    shown = set(re.findall(r"Question: (.*)\n", form.question))
    assert len(shown) == 3  # two exercises, and the place of the question
    asked = itertools.islice(arithmetic.distinct(random.Random(0)), 48)
    assert not shown & {problem.question for problem in asked}


##### The results that are kept


@pytest.fixture(scope="module")
def kept():
    file = ROOT / "examples" / "smollm2" / "solve-results.json"
    (benchmark,) = json.loads(file.read_text())["benchmarks"]
    return {row["method"]: row for row in benchmark["methods"]}


def test_they_are_of_these_problems_and_methods(arithmetic, settings, kept):
    assert tuple(kept) == settings()[0].methods
    asked = list(itertools.islice(arithmetic.distinct(random.Random(0)), 48))
    for row in kept.values():
        assert [problem["digest"] for problem in row["problems"]] == [
            digest([one.question, str(one.answer)]) for one in asked
        ]


@pytest.mark.parametrize("page", ["examples/smollm2/README.md", "docs/solve.md"])
def test_the_tables_show_them(kept, page):
    text = (ROOT / page).read_text(encoding="utf-8").partition("48 problems")[2]
    for row in kept.values():
        for measure in (row["mean"], row["majority"]):
            shown = f"{100 * measure['mean']:.1f} ± {100 * measure['standard_error']:.1f}"
            assert f"| {shown} " in text
        assert f"| {row['tokens']:,.0f} |" in text
