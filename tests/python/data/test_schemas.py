"""Schemas: rows as data sets have them, what is read from each, and which schema they are given."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from icpo.data.schemas import (
    SCHEMAS,
    last_boxed,
    recognise,
    recognise_rows,
    with_columns,
)
from icpo.errors import ConfigError
from icpo.reward import Checker
from icpo.tables import Row, UnreadableRow, placed_rows

BENCHMARKS = Path(__file__).parents[4] / "shared" / "benchmarks"

VERL = {
    "data_source": "x",
    "prompt": [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "How many?"},
    ],
    "reward_model": {"ground_truth": "12", "style": "rule"},
    "extra_info": {"index": -1, "split": "default"},
}

#: A row of each kind: schema, question, answer, solutions, subject, id.
ROWS = {
    "verl": (VERL, "verl", "How many?", "12", (), None, None),
    "Openr1-Math-46k": (
        {**VERL, "target": [{"role": "assistant", "content": "<think>…</think> 12"}]},
        *("verl", "How many?", "12", ("<think>…</think> 12",), None, None),
    ),
    "as icpo writes it": (
        {
            **VERL,
            "extra_info": {
                "id": "m:1",
                "question": "bare?",
                "subject": "Algebra",
                "solution": ["one", "two"],
            },
        },
        *("verl", "bare?", "12", ("one", "two"), "Algebra", "m:1"),
    ),
    "several answers": (
        {**VERL, "reward_model": {"ground_truth": ["12", "a dozen"]}},
        *("verl", "How many?", ("12", "a dozen"), (), None, None),
    ),
    "OpenR1-Math-220k": (
        {
            "problem": "p?",
            "solution": "by a human",
            "answer": "4",
            "problem_type": "Geometry",
            "uuid": "u-1",
            "generations": ["wrong", "right", "also right"],
            "correctness_math_verify": [False, True, False],
            "correctness_llama": [False, False, True],
        },
        *("openr1", "p?", "4", ("right", "also right"), "Geometry", "u-1"),
    ),
    "no verdict of a language model": (
        {
            "problem": "p?",
            "answer": "4",
            "generations": ["wrong", "right"],
            "correctness_math_verify": [False, True],
            "correctness_llama": None,
        },
        *("openr1", "p?", "4", ("right",), None, None),
    ),
    "GSM8K": (
        {"question": "q?", "answer": "2+3=<<2+3=5>>5 so\n$1,000<<5*200=1000>>\n#### 1,000"},
        "gsm8k",
        "q?",
        "1,000",
        ("2+3=5 so\n$1,000\nThe answer is \\boxed{1,000}.",),
        None,
        None,
    ),
    "MATH": (
        {
            "problem": "Find $x$.",
            "level": "Level 5",
            "solution": "Not \\boxed{1}, but $\\boxed{\\frac{1}{2}}$.",
            "type": "Algebra",
        },
        "math",
        "Find $x$.",
        "\\frac{1}{2}",
        ("Not \\boxed{1}, but $\\boxed{\\frac{1}{2}}$.",),
        "Algebra",
        None,
    ),
    "MATH-500": (
        {
            "problem": "m?",
            "solution": "s",
            "answer": "7",
            "subject": "Number Theory",
            "level": 2,
            "unique_id": "test/1.json",
        },
        *("math", "m?", "7", ("s",), "Number Theory", "test/1.json"),
    ),
    "MathInstruct": (
        {
            "source": "data/CoT/math50k_camel.json",
            "instruction": "i?",
            "output": "First the answer is open. Then:\nThe answer is 3.5.",
        },
        "math-instruct",
        "i?",
        "3.5",
        ("First the answer is open. Then:\nThe answer is 3.5.",),
        "data/CoT/math50k_camel.json",
        None,
    ),
    "AIME": (
        {"id": 60, "problem": "a?", "answer": "025", "url": "u"},
        *("plain", "a?", "025", (), None, "60"),
    ),
    "a pool": (
        {"id": "d", "question": "q?", "solution": "It is \\boxed{-3}.", "subject": "sums"},
        *("plain", "q?", "-3", ("It is \\boxed{-3}.",), "sums", "d"),
    ),
    "numbers": (
        {"question": "q?", "answer": 27.0, "subject": None},
        *("plain", "q?", "27.0", (), None, None),
    ),
}


def row(fields) -> Row:
    return Row(Path("a.jsonl"), 0, fields)


@pytest.mark.parametrize("kind", ROWS)
def test_each_kind_of_row(kind):
    fields, name, question, answer, solutions, subject, id = ROWS[kind]
    schema = recognise(fields)
    assert schema is SCHEMAS[name]
    assert schema.question(row(fields)) == question
    assert schema.answer(row(fields)) == answer
    assert schema.solutions(row(fields)) == solutions
    assert schema.subject(row(fields)) == subject
    assert schema.id(row(fields)) == id
    problem = schema.problem(row(fields), "p")
    assert (problem.id, problem.answer, problem.solutions) == ("p", answer, solutions)
    if solutions:
        assert schema.demo(row(fields), "d").solution == solutions[0]
    else:
        with pytest.raises(UnreadableRow, match="solution: expected a worked solution"):
            schema.demo(row(fields), "d")


def test_every_schema_has_a_row():
    assert {of[1] for of in ROWS.values()} == set(SCHEMAS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "once upon a time"},
        {"prompt": "as text", "reward_model": {"ground_truth": "1"}},
        {"prompt": [], "reward_model": {"ground_truth": "1"}},
        {"prompt": VERL["prompt"], "reward_model": None},
        {"instruction": "without output"},
        {"question": "alone"},
    ],
)
def test_rows_of_no_known_kind(fields):
    assert recognise(fields) is None
    assert recognise_rows([row(fields)]) is None


@pytest.mark.parametrize(
    ("fields", "part", "fault"),
    [
        ({"question": "q", "answer": "no end ####  "}, "answer", "behind '####'"),
        ({"problem": "p", "solution": "no box"}, "answer", r"expected \\boxed"),
        ({"problem": "p", "solution": "open \\boxed{1"}, "answer", r"expected \\boxed"),
        ({"instruction": "i", "output": "print(3)"}, "answer", "'The answer is ...'"),
        ({"instruction": "i", "output": "The answer is ."}, "answer", "'The answer is ...'"),
        ({**VERL, "prompt": [{"role": "system", "content": "x"}]}, "question", "a user's message"),
        (
            {"problem": "p", "answer": "1", "generations": ["a"], "correctness_llama": []},
            "solutions",
            "a verdict for each of 1 generations",
        ),
        ({"question": "  ", "answer": "1"}, "question", "an empty one"),
        ({"question": "q", "answer": []}, "answer", "an empty list"),
        (
            {"question": "q", "answer": "1", "response_length": -1},
            "length",
            "-1",
        ),
        ({"question": "q", "answer": "1", "response_length": True}, "length", "True"),
    ],
)
def test_rows_that_can_not_be_read(fields, part, fault):
    schema = recognise(fields)
    assert schema is not None
    with pytest.raises(UnreadableRow, match=fault):
        getattr(schema, part)(row(fields))


def test_what_icpo_has_measured():
    flat = {"question": "q", "answer": "1", "difficulty": "hard", "response_length": 40}
    inside = {**VERL, "extra_info": {"difficulty": "hard", "response_length": 40}}
    from_csv = {**flat, "response_length": "40"}
    for fields in (flat, inside, from_csv):
        problem = recognise(fields).problem(row(fields), "p")
        assert (problem.difficulty, problem.length) == ("hard", 40)
    for missing in ({"difficulty": None, "response_length": None}, {"response_length": ""}, {}):
        fields = {"question": "q", "answer": "1", **missing}
        problem = recognise(fields).problem(row(fields), "p")
        assert (problem.difficulty, problem.length) == (None, None)


def test_most_rows_decide():
    """A broken one, or one that looks like another kind, does not."""
    gsm = {"question": "q", "answer": "a\n#### 1"}
    plain = {"question": "q", "answer": "1"}
    assert recognise_rows(map(row, [plain, gsm, gsm])) is SCHEMAS["gsm8k"]
    assert recognise_rows(map(row, [gsm, plain, plain])) is SCHEMAS["plain"]
    assert recognise_rows(map(row, [plain, gsm])) is SCHEMAS["gsm8k"]
    broken = row(UnreadableRow("no JSON"))
    assert recognise_rows([broken, broken, row(plain)]) is SCHEMAS["plain"]
    assert recognise_rows([broken]) is recognise_rows([]) is None
    # So a row of GSM8K without its mark is an error, and not an answer of a whole paragraph.
    with pytest.raises(UnreadableRow, match="behind '####'"):
        SCHEMAS["gsm8k"].answer(row(plain))


def test_columns_of_ones_own():
    fields = {"text": "q?", "meta": {"gold": 3, "why": ["a", "b"]}, "kind": "sums"}
    columns = {"question": "text", "answer": "meta.gold", "solution": "meta.why", "subject": "kind"}
    schema = with_columns(None, columns)
    problem = schema.problem(row(fields), "p")
    assert (problem.question, problem.answer, problem.subject) == ("q?", "3", "sums")
    assert problem.solutions == ("a", "b")
    # Of a known schema the other parts stay.
    changed = with_columns(SCHEMAS["math"], {"subject": "level"})
    fields = {"problem": "p?", "solution": "\\boxed{1}", "type": "x", "level": "5"}
    assert changed.subject(row(fields)) == "5"
    assert changed.answer(row(fields)) == "1"
    with pytest.raises(ConfigError, match=r"columns: expected question, .* got 'gold'"):
        with_columns(None, {"gold": "a"})


def test_last_box_of_random_texts():
    """Against what was put into the box."""
    rng = random.Random(0)

    def inside(depth: int) -> str:
        parts = []
        for _ in range(rng.randint(1, 4)):
            choice = rng.randrange(5)
            if choice == 0 and depth:
                parts.append("{" + inside(depth - 1) + "}")
            elif choice == 1:
                parts.append(rng.choice(["\\{", "\\}", "\\frac", "\\\\ "]))
            else:
                parts.append(rng.choice(["1", "x", " + ", "a b"]))
        return "".join(parts)

    for _ in range(500):
        contents = [inside(3) for _ in range(rng.randint(1, 4))]
        text = "so ".join(rng.choice(["\\boxed", "\\fbox"]) + f"{{{one}}}." for one in contents)
        expected = [one.strip() for one in contents if one.strip()]
        assert last_boxed(text) == (expected[-1] if expected else None), text


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed 5$", "5"),
        ("$\\boxed\\pi$", "\\pi"),
        ("\\boxed{}", None),
        ("\\boxed{1} and \\boxed{2", "1"),
        ("\\boxedx{1}", None),
        ("nothing", None),
        ("\\boxed", None),
        ("\\boxed{\\text{a}\\} b}", "\\text{a}\\} b"),
    ],
)
def test_odd_boxes(text, box):
    assert last_boxed(text) == box


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside the repository")
def test_whole_data_sets():
    """Every row of GSM8K and MATH-500 is read, and its own solution comes to its answer."""
    checker = Checker()
    for name, schema, size in (
        ("gsm8k_test.jsonl", "gsm8k", 1319),
        ("math500_with_solutions.jsonl", "math", 500),
    ):
        rows = list(placed_rows(BENCHMARKS / name))
        assert recognise_rows(rows) is SCHEMAS[schema]
        read = [SCHEMAS[schema].problem(one, str(one.index)) for one in rows]
        assert len(read) == size
        right = checker.score([one.solutions[0] for one in read], [one.answer for one in read])
        assert right.all()
        boxes = [last_boxed(one.solutions[0]) for one in read]
        assert checker.score([f"\\boxed{{{box}}}" for box in boxes], [p.answer for p in read]).all()
