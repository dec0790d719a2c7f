"""Minimum-Entropy In-Context Policy Optimization: the loop of one question.

Each round adds one idea to the history: of k attempts, summarised, the one after which the model's
answers have the least entropy, with the reward that the majority gives it. Nothing here asks a
model; see `icpo.test_time.search`.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from typing import Any

from icpo.generation.text import TextCompletion
from icpo.test_time.config import SearchConfig
from icpo.test_time.forms import Idea
from icpo.test_time.rewards import REWARDS
from icpo.test_time.search import Call, Fits, Point, Search, Solution, Spending, Task
from icpo.test_time.select import SELECTIONS
from icpo.test_time.talk import Read, Talk, point, visible
from icpo.test_time.votes import consensus, entropy_bits

__all__ = ["search"]

#: Asks something within a search, and comes to a value.
_Step = Generator[Sequence[Call], Sequence[TextCompletion], Any]


def search(task: Task, config: SearchConfig, fits: Fits) -> Search:
    """See `icpo.test_time.search.Method`."""
    return (yield from _Loop(task, config, fits).run())


class _Loop:
    def __init__(self, task: Task, config: SearchConfig, fits: Fits) -> None:
        self.config, self.talk = config, Talk(task, config, fits)
        if config.rounds and config.summarise:
            self.talk.will_summarise()
        self.reward, self.selection = REWARDS[config.reward], SELECTIONS[config.select]
        self.history: list[Idea] = []
        self.spent = Spending()
        self.curve: list[Point] = []
        self.trace: list[dict[str, Any]] = []

    def run(self) -> Generator[Sequence[Call], Sequence[TextCompletion], Solution]:
        for number in range(1, self.config.rounds + 1):
            yield from self._round(f"round {number}")
        final = yield from self._ask("final/answer", self.history, self.config.answers)
        self.curve.append(self._point(self.talk.read(final)))
        return self.talk.solution(final, self.spent, self.curve, self.trace)

    def _round(self, name: str) -> _Step:
        # 1. k attempts, given the question and the history.
        responses = yield from self._ask(f"{name}/attempt", self.history, self.config.k)
        attempts = self.talk.read(responses)
        # What the ideas so far are worth: as many answers as the end would have, at no extra cost.
        self.curve.append(self._point(attempts))
        # 2. The majority's answer, and rewards.
        winner = consensus(attempts.votes, self.talk.seed(f"{name}/majority"))
        rewards = self.reward.of(attempts.votes, winner, attempts.right)
        told: dict[str, Any] = {
            "round": name,
            "votes": list(attempts.votes),
            "majority": winner,
            "rewards": rewards,
        }
        self.trace.append(told)
        # An attempt without an answer has nothing to conclude its summary with.
        candidates = [place for place, vote in enumerate(attempts.votes) if vote >= 0]
        if candidates:
            told |= yield from self._choose(name, attempts, candidates, rewards)
        told["history"] = [[idea.text, idea.reward] for idea in self.history]

    def _choose(
        self, name: str, attempts: Read, candidates: list[int], rewards: Sequence[int]
    ) -> _Step:
        """Steps 3 to 6: one of the candidates, places among the attempts, enters the history."""
        luck = random.Random(self.talk.seed(f"{name}/choice"))
        explores = luck.random() < self.config.epsilon
        measured = self.selection.measures and not explores and len(candidates) > 1
        told: dict[str, Any] = {"candidates": candidates, "explored": explores}
        if not measured and len(candidates) > 1:
            rule = SELECTIONS["random"] if explores else self.selection
            chosen = rule.choose([rewards[place] for place in candidates], None, luck)
            candidates = [candidates[chosen]]
        # 3. Summaries; of the chosen one alone, if it is chosen already.
        ideas = yield from self._ideas(name, attempts, candidates, rewards)
        place = 0
        if measured:
            # 4. and 5. The candidate that leaves the least entropy.
            told["entropies"] = yield from self._entropies(
                f"{name}/candidate",
                [[*self.history, idea] for idea in ideas],
                [f"{place}" for place in candidates],
            )
            place = self.selection.choose([idea.reward for idea in ideas], told["entropies"], luck)
        told |= {"selected": candidates[place], "idea": ideas[place].text}
        # 6. It enters the history.
        self.history.append(ideas[place])
        if len(self.history) > self.config.history:
            told |= yield from self._evict(name, luck)
        return told

    def _ideas(
        self, name: str, attempts: Read, candidates: Sequence[int], rewards: Sequence[int]
    ) -> _Step:
        texts = [attempts.texts[place] for place in candidates]
        if not self.config.summarise:
            # Nothing but thoughts: the answer is all that there is to say.
            return [
                Idea(
                    visible(text) or self.talk.idea("", attempts.answers[place] or ""),
                    rewards[place],
                )
                for place, text in zip(candidates, texts, strict=True)
            ]
        summaries = yield from self._send(
            self.talk.summarise(f"{name}/candidate {place}/summary", text)
            for place, text in zip(candidates, texts, strict=True)
        )
        return [
            Idea(self.talk.idea(summary.text, attempts.answers[place] or ""), rewards[place])
            for place, summary in zip(candidates, summaries, strict=True)
        ]

    def _evict(self, name: str, luck: random.Random) -> _Step:
        """Removes the idea whose removal leaves the least entropy."""
        told: dict[str, Any] = {}
        entropies = None
        if self.selection.measures:
            places = range(len(self.history))
            entropies = yield from self._entropies(
                f"{name}/without",
                [[*self.history[:place], *self.history[place + 1 :]] for place in places],
                [f"{place}" for place in places],
            )
            told["eviction_entropies"] = entropies
        told["evicted"] = self.selection.remove(
            [idea.reward for idea in self.history], entropies, luck
        )
        del self.history[told["evicted"]]
        return told

    def _entropies(
        self, name: str, histories: Sequence[Sequence[Idea]], labels: Sequence[str]
    ) -> _Step:
        """The entropy in bits of the answers after each history; all are asked for at once."""
        probes = self.config.probes
        answers = yield from self._send(
            call
            for history, label in zip(histories, labels, strict=True)
            for call in self._calls(f"{name} {label}/probe", history, probes)
        )
        groups = [answers[start : start + probes] for start in range(0, len(answers), probes)]
        return [
            entropy_bits(self.talk.votes(group), penalty=self.config.invalid_penalty)
            for group in groups
        ]

    def _ask(self, key: str, history: Sequence[Idea], times: int) -> _Step:
        return (yield from self._send(self._calls(key, history, times)))

    def _calls(self, key: str, history: Sequence[Idea], times: int) -> list[Call]:
        return self.talk.ask(key, history, rewards=self.reward.shown, times=times)

    def _send(self, calls: Any) -> _Step:
        answers = yield list(calls)
        self.spent.add(answers)
        return answers

    def _point(self, read: Read) -> Point:
        return point(f"round {len(self.curve)}", self.spent, read)
