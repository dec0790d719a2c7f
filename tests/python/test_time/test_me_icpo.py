"""The loop, against rounds that were worked out by hand: every vote, entropy, choice and prompt."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace

import pytest
from scripted_search import Script, boxed

from icpo import ConfigError, DataError
from icpo.test_time import SearchConfig, me_icpo
from icpo.types import Problem

FORM = {
    "question": "{ideas}Q {question}",
    "ideas": "[0: {bad}][1: {good}] ",
    "unrewarded": "[{ideas}] ",
    "idea": "({idea})",
    "nothing": "-",
    "conclusion": "={answer}",
    "summary": "SUM {response}",
    "critique": "WHY {response}",
    "refinement": "AGAIN {response} {critique}",
    "approval": "FINE",
    "chat": False,
}
CONFIG = SearchConfig(form=FORM, k=4, probes=4, answers=2, rounds=1, prompt_tokens=200)
PROBLEM = Problem("p", "x?", "2")


def summaries(**texts):
    """What is answered to the request for a summary of a response with this answer."""
    return {f"SUM {boxed(answer[1:])}": said for answer, said in texts.items()}


def run(lines, config=CONFIG, problem=PROBLEM, **more):
    """The solution; every line must have been used."""
    script = Script(lambda prompt: prompt, lines)
    found = me_icpo(problem, script, config, stream=io.StringIO(), **more)
    assert script.left == {}
    return found, script


def answers(*given):
    return [boxed(answer) for answer in given]


def test_a_round():
    found, script = run(
        {
            "Q x?": answers("1", "2", "2", None),
            **summaries(_1=["one"], _2=["two", "also\n two "]),
            # 3/4 and 1/4: 2 - 3/4 log2 3 bits.
            "[0: (one=1)][1: -] Q x?": answers("2", "2", "2", "1"),
            # No uncertainty, but half of them are invalid: log2(4)/2 bits.
            "[0: -][1: (two=2)] Q x?": answers("2", None, None, "2"),
            # The least: 0 bits; then the final answers.
            "[0: -][1: (also two=2)] Q x?": answers("2", "4/2", "2", "2", "2", "3"),
        }
    )
    (step,) = found.trace
    assert step["votes"] == [0, 1, 1, -1]
    assert step["majority"] == 1
    assert step["rewards"] == [0, 1, 1, 0]
    assert step["candidates"] == [0, 1, 2]
    assert step["entropies"] == pytest.approx([2 - 0.75 * math.log2(3), 1.0, 0.0], abs=1e-15)
    assert step["selected"] == 2
    assert step["history"] == [["also two=2", 1]]
    assert "evicted" not in step
    # Every model call of a step is one batch.
    assert [sum(batch.values()) for batch in script.batches] == [4, 3, 12, 2]
    # At the end one is right, one wrong: a tie, drawn by the seed.
    assert (found.right, found.mean, found.majority) == ((True, False), 0.5, 0.5)
    assert found.answer in ("2", "3")
    assert found.spent.calls == 4 + 3 + 12 + 2
    points = [(one.name, one.calls, one.mean, one.majority) for one in found.curve]
    assert points == [("round 0", 4, 0.5, 1.0), ("round 1", 21, 0.5, 0.5)]


def test_tokens_are_counted():
    found, script = run(
        {
            "Q x?": answers("1", None),
            **summaries(_1=["a b c"]),
            "[0: -][1: (a b c=1)] Q x?": answers("1"),
        },
        replace(CONFIG, k=2, answers=1),
    )
    # "So it is \boxed{1}." and "I can not tell." have four words, the summary three.
    assert found.spent.tokens == 4 + 4 + 3 + 4
    assert found.spent.prompt_tokens == 2 + 2 + 5 + 7
    assert [one.tokens for one in found.curve] == [8, 15]
    assert len(script.batches) == 3


def test_the_first_of_equal_entropies_is_kept():
    found, _ = run(
        {
            "Q x?": answers("1", "2", "2"),
            **summaries(_1=["a"], _2=["b", "c"]),
            "[0: (a=1)][1: -] Q x?": answers("1", "2", "2", "1"),
            "[0: -][1: (b=2)] Q x?": answers("7", "7", "7", "7", "7"),
            "[0: -][1: (c=2)] Q x?": answers("8", "8", "8", "8"),
        },
        replace(CONFIG, k=3, answers=1),
    )
    (step,) = found.trace
    assert step["entropies"] == [1.0, 0.0, 0.0] and step["selected"] == 1
    assert found.answer == "7"


def test_a_tie_of_votes_is_drawn_and_decides_the_rewards():
    drawn = Counter()
    for seed in range(60):
        lines = {
            "Q x?": answers("1", "2"),
            **summaries(_1=["a"], _2=["b"]),
            "[0: (a=1)][1: -] Q x?": answers("5", "5"),
            "[0: -][1: (a=1)] Q x?": answers("5", "5"),
            "[0: (b=2)][1: -] Q x?": answers("5", "6"),
            "[0: -][1: (b=2)] Q x?": answers("5", "6"),
        }
        script = Script(lambda prompt: prompt, lines)
        config = replace(CONFIG, k=2, probes=2, answers=1)
        script.lines["[0: (a=1)][1: -] Q x?"] += answers("5")
        script.lines["[0: -][1: (a=1)] Q x?"] += answers("5")
        (step,) = me_icpo(PROBLEM, script, config, seed=seed, stream=io.StringIO()).trace
        assert step["rewards"] == [int(place == step["majority"]) for place in (0, 1)]
        assert step["entropies"] == [0.0, 1.0] and step["selected"] == 0
        # It is kept for its entropy, with whatever reward it has.
        assert step["history"] == [["a=1", step["rewards"][0]]]
        drawn[step["majority"]] += 1
    assert set(drawn) == {0, 1} and min(drawn.values()) > 10


def test_a_round_without_any_answer_changes_nothing():
    found, script = run(
        {
            "Q x?": answers(None, None, None, None, "1", "1", None, "2", None, None)[:8]
            + answers(),
            **summaries(_1=["a", "b"], _2=["c"]),
            "[0: -][1: (a=1)] Q x?": answers("1", "1", None, None),
            "[0: -][1: (b=1)] Q x?": answers(None, None, None, None),
            "[0: (c=2)][1: -] Q x?": answers("2", "2", None, "2", None, None),
        },
        replace(CONFIG, rounds=2),
    )
    silent, step = found.trace
    assert silent == {
        "round": "round 1",
        "votes": [-1, -1, -1, -1],
        "majority": None,
        "rewards": [0, 0, 0, 0],
        "history": [],
    }
    # 0 + 2/2; 5 log2(4); 0 + 2/4.
    assert step["entropies"] == [1.0, 10.0, 0.5] and step["selected"] == 3
    assert step["history"] == [["c=2", 0]]
    assert [sum(batch.values()) for batch in script.batches] == [4, 4, 3, 12, 2]
    # In the end nobody says anything.
    assert (found.answer, found.votes, found.mean, found.majority) == (None, (-1, -1), 0, 0)


def test_a_single_candidate_needs_no_probes():
    found, script = run(
        {
            "Q x?": answers(None, "3", None, None),
            **summaries(_3=["s"]),
            "[0: -][1: (s=3)] Q x?": answers("3", "3"),
        }
    )
    (step,) = found.trace
    assert step["candidates"] == [1] and step["selected"] == 1 and "entropies" not in step
    assert [sum(batch.values()) for batch in script.batches] == [4, 1, 2]


def test_one_attempt_one_probe_one_answer():
    found, _ = run(
        {
            "Q x?": answers("2"),
            **summaries(_2=["s"]),
            "[0: -][1: (s=2)] Q x?": answers("2"),
        },
        replace(CONFIG, k=1, probes=1, answers=1),
    )
    assert (found.answer, found.mean, found.majority) == ("2", 1.0, 1.0)


def test_without_rounds_the_bare_question_is_asked():
    found, script = run({"Q x?": answers("2", "3")}, replace(CONFIG, rounds=0))
    assert found.trace == () and len(script.batches) == 1 and len(found.curve) == 1


def three_rounds(**changes):
    """Ideas a, b and c enter in this order, each being the only candidate."""
    return replace(CONFIG, k=1, probes=2, answers=1, rounds=3, history=2, **changes)


FIRST_TWO = {
    "Q x?": answers("1"),
    "[0: -][1: (a=1)] Q x?": answers("2"),
    "[0: -][1: (a=1)(b=2)] Q x?": answers("3"),
    **summaries(_1=["a"], _2=["b"], _3=["c"]),
}


def test_over_the_cap_the_idea_goes_whose_removal_leaves_the_least_entropy():
    lines = {name: list(texts) for name, texts in FIRST_TWO.items()}
    lines["[0: -][1: (b=2)(c=3)] Q x?"] = answers("1", "2")  # without a: 1 bit
    lines["[0: -][1: (a=1)(c=3)] Q x?"] = answers("1", "1", "9")  # without b: 0 bits
    lines["[0: -][1: (a=1)(b=2)] Q x?"] += answers("1", None)  # without c: 1/2 bit
    found, script = run(lines, three_rounds())
    last = found.trace[-1]
    assert last["eviction_entropies"] == [1.0, 0.0, 0.5] and last["evicted"] == 1
    assert last["history"] == [["a=1", 1], ["c=3", 1]]
    assert [len(step["history"]) for step in found.trace] == [1, 2, 2]
    assert sum(script.batches[-2].values()) == 6  # one batch for all of them
    assert found.answer == "9"


def test_the_new_idea_may_be_the_one_that_goes():
    lines = {name: list(texts) for name, texts in FIRST_TWO.items()}
    lines["[0: -][1: (b=2)(c=3)] Q x?"] = answers("1", "2")
    lines["[0: -][1: (a=1)(c=3)] Q x?"] = answers("1", "2")
    lines["[0: -][1: (a=1)(b=2)] Q x?"] += answers("1", "1", "9")
    found, _ = run(lines, three_rounds())
    assert found.trace[-1]["evicted"] == 2
    assert found.trace[-1]["history"] == [["a=1", 1], ["b=2", 1]]


def test_selection_by_chance_measures_nothing():
    chosen, evicted = Counter(), Counter()
    for seed in range(80):
        script = Script(
            kind, {"ask": answers("1", "2", "2", None) * 3 + answers("2"), "sum": ["s"] * 3}
        )
        config = replace(CONFIG, rounds=3, answers=1, history=2, select="random")
        found = me_icpo(PROBLEM, script, config, seed=seed, stream=io.StringIO())
        assert script.left == {} and [sum(b.values()) for b in script.batches] == [4, 1] * 3 + [1]
        chosen.update(step["selected"] for step in found.trace)
        evicted[found.trace[-1]["evicted"]] += 1
    # Invalid attempts are no candidates; the others are equally likely: 80 of 240, five deviations.
    assert set(chosen) == {0, 1, 2} and all(abs(n - 80) < 37 for n in chosen.values())
    assert set(evicted) == {0, 1, 2}


def kind(prompt):
    return "sum" if prompt.startswith("SUM") else "ask"


def test_selection_by_reward_takes_rewarded_ones_and_drops_others():
    chosen = Counter()
    for seed in range(60):
        script = Script(
            kind, {"ask": answers("1", "2", "2", "3") * 2 + answers("2"), "sum": ["s", "t"]}
        )
        config = replace(CONFIG, rounds=2, answers=1, history=1, select="reward")
        found = me_icpo(PROBLEM, script, config, seed=seed, stream=io.StringIO())
        chosen.update(step["selected"] for step in found.trace)
        assert all(reward == 1 for step in found.trace for _, reward in step["history"])
    assert set(chosen) == {1, 2}
    # With nothing rewarded any candidate will do: the oracle says that both are wrong.
    script = Script(kind, {"ask": answers("1", "3", None, None, "2"), "sum": ["s"]})
    config = replace(CONFIG, answers=1, select="reward", reward="oracle")
    (step,) = me_icpo(PROBLEM, script, config, stream=io.StringIO()).trace
    assert step["rewards"] == [0, 0, 0, 0] and step["selected"] in (0, 1)


def test_the_oracle_rewards_what_is_right():
    found, _ = run(
        {
            "Q x?": answers("1", "1", "2", "4/2"),
            **summaries(_1=["a", "b"], _2=["c"]),
            "SUM " + boxed("4/2"): ["d"],
            "[0: (a=1)][1: -] Q x?": answers("1", "2", "3", "4"),
            "[0: (b=1)][1: -] Q x?": answers("1", "2", "3", "4"),
            "[0: -][1: (c=2)] Q x?": answers("1", "2", "3", "4"),
            "[0: -][1: (d=\\frac{4}{2})] Q x?": answers("1", "1", "3", "4", "2", "2"),
        },
        replace(CONFIG, reward="oracle"),
    )
    (step,) = found.trace
    assert step["votes"] == [0, 0, 1, 1] and step["rewards"] == [0, 0, 1, 1]
    assert step["entropies"] == [2.0, 2.0, 2.0, 1.5] and step["selected"] == 3


def test_hidden_rewards_are_in_no_prompt():
    found, script = run(
        {
            "Q x?": answers("1", "2", "2", None),
            **summaries(_1=["a"], _2=["b", "c"]),
            "[(a=1)] Q x?": answers("2", "2", "2", "2", "2", "2"),
            "[(b=2)] Q x?": answers("2", "2", "2", "1"),
            "[(c=2)] Q x?": answers("2", "2", "2", "1"),
        },
        replace(CONFIG, reward="none"),
    )
    assert found.trace[0]["history"] == [["a=1", 0]]
    assert not any("[0:" in prompt for prompts in script.prompts.values() for prompt in prompts)


def test_without_summaries_the_attempt_itself_is_the_idea():
    said = "<think> long \\boxed{9} </think> I say\n\\boxed{2}."
    found, script = run(
        {"Q x?": [said, boxed(None)], f"[0: -][1: ({said[32:]})] Q x?": answers("2")},
        replace(CONFIG, k=2, answers=1, summarise=False),
    )
    assert found.trace[0]["history"] == [["I say\n\\boxed{2}.", 1]]
    assert len(script.batches) == 2


def test_exploring_draws_the_candidate_and_measures_nothing():
    chosen = Counter()
    for seed in range(90):
        script = Script(kind, {"ask": answers("1", "2", "2", None, "2"), "sum": ["s"]})
        config = replace(CONFIG, answers=1, epsilon=1.0)
        (step,) = me_icpo(PROBLEM, script, config, seed=seed, stream=io.StringIO()).trace
        assert step["explored"] and "entropies" not in step
        chosen[step["selected"]] += 1
    assert set(chosen) == {0, 1, 2} and all(abs(n - 30) < 23 for n in chosen.values())


def test_exploring_happens_as_often_as_it_should():
    explored = 0
    for seed in range(400):
        lines = {"ask": answers("1", "2") + answers("1", "1") * 2 + answers("2"), "sum": ["s"] * 2}
        config = replace(CONFIG, k=2, probes=2, answers=1, epsilon=0.25)
        script = Script(kind, lines)
        (step,) = me_icpo(PROBLEM, script, config, seed=seed, stream=io.StringIO()).trace
        explored += step["explored"]
    # Binomial(400, 1/4): five standard deviations are 43.
    assert abs(explored - 100) < 43


def test_without_the_penalty_silence_is_cheap_but_not_cheapest():
    lines = {
        "Q x?": answers("1", "2", "2", None),
        **summaries(_1=["a"], _2=["b", "c"]),
        "[0: (a=1)][1: -] Q x?": answers("1", "2", "2", "1"),
        "[0: -][1: (b=2)] Q x?": answers("2", None, None, None, "2", "2"),
        "[0: -][1: (c=2)] Q x?": answers(None, None, None, None),
    }
    found, _ = run(lines, replace(CONFIG, invalid_penalty=False))
    assert found.trace[0]["entropies"] == [1.0, 0.0, 10.0] and found.trace[0]["selected"] == 1


def test_the_oldest_ideas_are_left_out_of_a_prompt_that_is_too_long():
    config = replace(three_rounds(), history=5)
    config = replace(config, form={**FORM, "idea": "( {idea} )"})
    lines = {
        "Q x?": answers("1"),
        "[0: -][1: ( a=1 )] Q x?": answers("2"),
        "[0: -][1: ( b=2 )] Q x?": answers("3"),
        "[0: -][1: ( c=3 )] Q x?": answers("4"),
        **summaries(_1=["a"], _2=["b"], _3=["c"]),
    }
    # One idea makes 8 words, two make 10.
    found, _ = run(lines, replace(config, prompt_tokens=8))
    assert [len(step["history"]) for step in found.trace] == [1, 2, 3]
    assert found.answer == "4"


def test_of_a_response_that_is_too_long_the_end_is_summarised():
    long = " ".join(f"w{number}" for number in range(50)) + f" {boxed('2')}"
    found, _ = run(
        {
            "Q x?": [long],
            # Of thirteen words the request has one.
            "SUM w42 w43 w44 w45 w46 w47 w48 w49 " + boxed("2"): ["s"],
            "[0: -][1: (s=2)] Q x?": answers("2"),
        },
        replace(CONFIG, k=1, answers=1, prompt_tokens=13),
    )
    assert found.answer == "2"


def test_a_question_that_is_too_long_is_named():
    with pytest.raises(DataError, match=r"problem 'p': expected prompts of at most 1 tokens"):
        run({}, replace(CONFIG, prompt_tokens=1))


def test_questions_without_gold_answers():
    found, _ = run(
        {
            "Q what?": answers("1", "1"),
            **summaries(_1=["a", "b"]),
            "[0: -][1: (a=1)] Q what?": answers("5", "5", "5"),
            "[0: -][1: (b=1)] Q what?": answers("5", "6"),
        },
        replace(CONFIG, k=2, probes=2, answers=1),
        "what?",
    )
    assert (found.answer, found.right, found.mean, found.majority) == ("5", None, None, None)
    with pytest.raises(ConfigError, match="problems: expected gold answers"):
        run({}, replace(CONFIG, reward="oracle"), "what?")


def test_many_questions_are_one_batch_and_do_not_know_of_each_other():
    def script():
        return Script(
            kind_of_question,
            {
                name: answers(*given)
                for name, given in {
                    "ask a": ["1", "2", "2", "1"] + ["1"] * 60,
                    "ask b": ["1", None, None, None] + ["2"] * 60,
                    "sum": [],
                }.items()
            }
            | {"sum": ["s"] * 20},
        )

    def kind_of_question(prompt):
        return "sum" if prompt.startswith("SUM") else f"ask {prompt[-2]}"

    problems = [Problem("1", "a?", "1"), Problem("2", "b?", "2")]
    config = replace(CONFIG, rounds=2)
    both = script()
    together = me_icpo(problems, both, config, stream=io.StringIO())
    alone = [me_icpo(one, script(), config, stream=io.StringIO()) for one in problems]
    assert [one.trace for one in together] == [one.trace for one in alone]
    assert [one.votes for one in together] == [one.votes for one in alone]
    assert both.batches[0] == {"ask a": 4, "ask b": 4}
    # The second one had a single candidate, so it is ahead; it goes on with the others.
    assert both.batches[1] == {"sum": 5}
    assert both.batches[2] == {"ask a": 16, "ask b": 4}


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "problems: expected at least one"),
        ([PROBLEM, PROBLEM], "problems: expected unique ids, got 'p' twice"),
    ],
)
def test_bad_problems(problems, message):
    with pytest.raises(ConfigError, match=message):
        me_icpo(problems, Script(kind, {}), CONFIG, stream=io.StringIO())
