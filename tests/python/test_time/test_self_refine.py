"""Self-Refine, on scripted answers worked by hand."""

from __future__ import annotations

import dataclasses

import pytest
from solve_cases import drive, said, task

from icpo.generation.text import TextCompletion
from icpo.test_time import sample, self_refine
from icpo.test_time.config import SearchConfig
from icpo.test_time.search import Spending


def run(script, *, answers=3, refinements=4, begin=self_refine.search, **settings):
    """Answers by the keys of calls: the texts that a script has for them."""
    config = SearchConfig(answers=answers, refinements=refinements, **settings)
    return drive(begin(task(), config, lambda prompt, limit: True), lambda call: script[call.key])


SCRIPT = {
    "final/answer 0": r"\boxed{3}",
    "final/answer 1": r"<think>\boxed{9}</think>Clearly \boxed{2}",
    "final/answer 2": "no idea",
    "refinement 1/critique 0": "one too many",
    "refinement 1/critique 1": "I checked it: nothing\nis  WRONG here.",
    "refinement 1/critique 2": "<think>NOTHING IS WRONG, I am told to write.</think> try again",
    "refinement 1/answer 0": r"\boxed{2}",
    "refinement 1/answer 2": r"now \boxed{4}",
    "refinement 2/critique 0": "Nothing is wrong.",
    "refinement 2/critique 2": "still too many",
    "refinement 2/answer 2": r"so \boxed{2}",
    "refinement 3/critique 2": "",
}


def test_chains_by_hand():
    solution, waves = run(SCRIPT)
    assert [[call.key for call in wave] for wave in waves] == [
        ["final/answer 0", "final/answer 1", "final/answer 2"],
        ["refinement 1/critique 0", "refinement 1/critique 1", "refinement 1/critique 2"],
        ["refinement 1/answer 0", "refinement 1/answer 2"],
        ["refinement 2/critique 0", "refinement 2/critique 2"],
        ["refinement 2/answer 2"],
        # Which says nothing: there is nothing to improve by, as if it were satisfied.
        ["refinement 3/critique 2"],
    ]
    assert solution.texts == (r"\boxed{2}", SCRIPT["final/answer 1"], r"so \boxed{2}")
    assert solution.votes == (0, 0, 0) and solution.right == (True, True, True)
    assert (solution.answer, solution.mean, solution.majority) == ("2", 1.0, 1.0)
    assert list(solution.trace) == [
        {"round": "refinement 1", "approved": [1], "refined": [0, 2], "votes": [0, 0, 1]},
        {"round": "refinement 2", "approved": [0], "refined": [2], "votes": [0, 0, 0]},
        {"round": "refinement 3", "approved": [2], "refined": [], "votes": [0, 0, 0]},
    ]
    # Words of the script, and 100 of each prompt.
    assert solution.spent == Spending(12, (1 + 2 + 2) + (3 + 7 + 10) + (1 + 2) + (3 + 3) + 2, 1200)


def test_every_number_of_refinements_is_a_point():
    """Also those after which nothing was asked: problems that stop early count on, as they are."""
    solution, _ = run(SCRIPT)
    assert [
        (point.name, point.calls, point.tokens, point.prompt_tokens) for point in solution.curve
    ] == [
        ("refinement 0", 3, 5, 300),
        ("refinement 1", 8, 28, 800),
        ("refinement 2", 11, 36, 1100),
        ("refinement 3", 12, 36, 1200),
        ("refinement 4", 12, 36, 1200),
    ]
    # 3, 2 and nothing: a tie; 2, 2, 4; 2, 2, 2.
    assert [point.mean for point in solution.curve] == [1 / 3, 2 / 3, 1, 1, 1]
    assert [point.majority for point in solution.curve] == [1 / 2, 1, 1, 1, 1]


def test_prompts_show_what_was_said_last_and_no_thoughts():
    _, waves = run(SCRIPT)
    prompts = {call.key: said(call.prompt) for wave in waves for call in wave}
    critique = prompts["refinement 1/critique 1"]
    assert r"Clearly \boxed{2}" in critique and "9" not in critique
    refinement = prompts["refinement 1/answer 2"]
    assert "no idea" in refinement and "try again" in refinement
    assert "think" not in refinement and "one too many" not in refinement
    again = prompts["refinement 2/answer 2"]
    assert r"now \boxed{4}" in again and "still too many" in again
    assert "no idea" not in again and "try again" not in again


def test_it_stops_at_the_limit_on_refinements():
    script = {
        **{f"final/answer {place}": r"\boxed{1}" for place in range(2)},
        **{
            f"refinement {number}/{kind} {place}": text
            for number in (1, 2)
            for place in range(2)
            for kind, text in (("critique", "wrong"), ("answer", rf"\boxed{{{number + place}}}"))
        },
    }
    solution, waves = run(script, answers=2, refinements=2)
    assert len(waves) == 5 and len(solution.curve) == 3
    assert solution.texts == (r"\boxed{2}", r"\boxed{3}")
    assert (solution.mean, solution.majority) == (0.5, 0.5)


def test_without_refinements_it_is_plain_sampling():
    """The same calls, so that the runner asks for them once."""
    script = {f"final/answer {place}": rf"\boxed{{{place % 3}}}" for place in range(5)}
    ours, asked = run(script, answers=5, refinements=0)
    plain, plainly = run(script, answers=5, begin=sample.search)
    assert asked == plainly
    assert dataclasses.replace(ours, curve=()) == dataclasses.replace(plain, curve=())
    assert ours.curve[-1].mean == plain.curve[-1].mean


@pytest.mark.parametrize("known", [True, False])
def test_tokens_that_nobody_tells_and_questions_without_an_answer(known):
    def unknown(text):
        return TextCompletion(text, True, None, 7 if known else None)

    config = SearchConfig(answers=3, refinements=1)
    search = self_refine.search(task(answer="", has_gold=False), config, lambda *_: True)
    solution, _ = drive(search, lambda call: unknown(SCRIPT[call.key]))
    assert solution.spent == Spending(8, None, 56 if known else None)
    assert [point.tokens for point in solution.curve] == [None, None]
    assert solution.right is None and solution.mean is None and solution.curve[1].majority is None
    assert solution.answer == "2"


def test_long_answers_are_cut_to_the_limit():
    """Or an engine would refuse the prompt, and end the run."""
    config = SearchConfig(answers=1, refinements=1, prompt_tokens=60)
    script = {
        "final/answer 0": "a " * 70 + r"\boxed{2}",
        "refinement 1/critique 0": "wrong",
        "refinement 1/answer 0": r"\boxed{2}",
    }
    search = self_refine.search(
        task(), config, lambda prompt, limit: len(said(prompt).split()) <= limit
    )
    _, waves = drive(search, lambda call: script[call.key])
    prompts = [said(call.prompt) for wave in waves for call in wave]
    assert all(len(prompt.split()) <= 60 for prompt in prompts)
    assert r"a \boxed{2}" in prompts[1]


def test_long_critiques_and_answers_are_cut_to_the_limit():
    """Or an engine would refuse the prompt, and end the run."""
    config = SearchConfig(answers=1, refinements=1, prompt_tokens=60)
    script = {
        "final/answer 0": "a " * 70 + r"\boxed{2}",
        "refinement 1/critique 0": "b " * 70 + "wrong",
        "refinement 1/answer 0": r"\boxed{2}",
    }
    search = self_refine.search(
        task(), config, lambda prompt, limit: len(said(prompt).split()) <= limit
    )
    _, waves = drive(search, lambda call: script[call.key])
    prompts = [said(call.prompt) for wave in waves for call in wave]
    assert all(len(prompt.split()) <= 60 for prompt in prompts)
    assert r"a \boxed{2}" in prompts[1] and r"a \boxed{2}" in prompts[2] and "b wrong" in prompts[2]
