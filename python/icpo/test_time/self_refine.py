"""Self-Refine (Madaan et al., 2023): the model criticises its own answer, and writes a better one.

K answers are refined side by side, none of which knows of the others. Nothing tells the model
whether an answer is right; it stops when it finds nothing wrong.
"""

from __future__ import annotations

from typing import Any

from icpo.test_time.config import SearchConfig
from icpo.test_time.search import Fits, Point, Search, Spending, Task
from icpo.test_time.talk import Talk, point, visible

__all__ = ["search"]


def search(task: Task, config: SearchConfig, fits: Fits) -> Search:
    """See `icpo.test_time.search.Method`."""
    talk, spent = Talk(task, config, fits), Spending()
    if config.refinements:
        talk.will_refine()
    # The keys of plain sampling, so that it begins with the same answers: what differs in the end
    # is owed to refinement, and answers that both need are asked for once.
    answers = list((yield talk.ask("final/answer", [], rewards=False, times=config.answers)))
    spent.add(answers)
    curve: list[Point] = []
    trace: list[dict[str, Any]] = []

    def look() -> None:
        """Every number of refinements has its point, also where there was nothing to refine."""
        curve.append(point(f"refinement {len(curve)}", spent, talk.read(answers)))

    look()
    going_on = list(range(len(answers)))
    for number in range(1, config.refinements + 1):
        if going_on:
            name = f"refinement {number}"
            critiques = yield [
                talk.criticise(f"{name}/critique {place}", answers[place].text)
                for place in going_on
            ]
            spent.add(critiques)
            said = {
                place: visible(critique.text)
                for place, critique in zip(going_on, critiques, strict=True)
            }
            satisfied = [place for place in going_on if _approves(said[place], config)]
            going_on = [place for place in going_on if place not in satisfied]
            if going_on:
                better = yield [
                    talk.refine(f"{name}/answer {place}", answers[place].text, said[place])
                    for place in going_on
                ]
                spent.add(better)
                for place, answer in zip(going_on, better, strict=True):
                    answers[place] = answer
            trace.append(
                {
                    "round": name,
                    "approved": satisfied,
                    "refined": list(going_on),
                    "votes": talk.votes(answers),
                }
            )
        look()
    return talk.solution(answers, spent, curve, trace)


def _approves(critique: str, config: SearchConfig) -> bool:
    """Whether there is nothing to improve by this: it says so, or nothing at all."""
    said = _words(critique)
    return not said or _words(config.form.approval) in said


def _words(text: str) -> str:
    return " ".join(text.split()).casefold()
